"""One request: read, refused or carried out, and watched meanwhile."""
