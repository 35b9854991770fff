"""How the policies of a run stand to one of them, a line each."""

from collections.abc import Iterator

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
        yield f"{_ratio(standing.rate)} × {standing.to}'s pins/s"  # noqa: RUF001


def _ratio(rate: Ratio) -> str:
    # A deviation that is rounded to nothing would claim too much.
    digits = next((n for n in range(1, 4) if rate.value >= 10 ** (2 - n)), 4)
    if rate.deviation is None:
        return f"{rate.value:.{digits}f}"
    while digits < 4 and not round(rate.deviation, digits):
        digits += 1
    return f"{rate.value:.{digits}f} ± {rate.deviation:.{digits}f}"


def _needless(standing: Standing) -> Iterator[str]:
    here, there = standing.needless, standing.needless_there
    if here is not None and there is not None and (here or there):
        yield f"{share(here, 1)} instead of {share(there, 1)} needless failures"
