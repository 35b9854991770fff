"""Tune: a search over the axes of a retry policy, for given loads and numbers of threads."""
