"""A run's result as text for people and for other programs."""
