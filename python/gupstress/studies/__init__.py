"""Many runs for one answer: a matrix, a comparison, scenarios against real kernels."""
