"""How the policies of a run stand to one of them, a line each."""

from collections.abc import Iterator
from math import floor, log10

from gupstress.outcome.relative import Ratio, Standing, standings
from gupstress.outcome.results import Run
from gupstress.outcome.units import share


def summary(run: Run) -> Iterator[str]:
    """Yield a line for each policy but the one that all are held against."""
    for standing in standings(run):
        parts = [*_rate(standing), *_needless(standing)]
        if standing.finding is not None:
            parts.append(standing.finding)
        yield f"{standing.policy}: {', '.join(parts) or f'nothing to hold against {standing.to}'}"


def _rate(standing: Standing) -> Iterator[str]:
    if standing.rate is not None:
        yield f"{_ratio(standing.rate)} × {standing.to}'s pins/s"


def _ratio(rate: Ratio) -> str:
    if not rate.value:
        return "0"
    if not rate.deviation:
        return f"{rate.value:.{_decimals(rate.value, 2)}f}"
    # What is less than the deviation's first digit is not known.
    digits = _decimals(rate.deviation, 1)
    return f"{rate.value:.{digits}f} ± {rate.deviation:.{digits}f}"


def _decimals(value: float, digits: int) -> int:
    """Return how many decimals show so many digits of a number."""
    return max(0, digits - 1 - floor(log10(value)))


def _needless(standing: Standing) -> Iterator[str]:
    here, there = standing.needless, standing.needless_there
    if here is not None and there is not None and (here or there):
        yield f"{share(here, 1)} instead of {share(there, 1)} needless failures"
