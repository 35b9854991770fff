"""The result of a run as those who asked for it hold it."""

from gupstress.outcome.assertions import Assertions
from gupstress.outcome.results import Run


class RunResult(Run, Assertions):
    """Everything one command or `gupstress.run` found, and what tests ask of it."""
