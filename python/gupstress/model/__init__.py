"""What users name and build: policies, profiles, kernels, a machine by hand."""
