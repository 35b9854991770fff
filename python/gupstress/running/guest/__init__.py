"""Virtual machines that boot a kernel to measure it."""
