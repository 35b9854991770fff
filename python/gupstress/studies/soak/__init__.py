"""Soaks: run after run of everything there is, until something is wrong."""
