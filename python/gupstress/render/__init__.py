"""A run's result as text for people and for other programs."""

from gupstress.render.page import markdown, page

__all__ = ["markdown", "page"]
