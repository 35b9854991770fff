"""The policy that a search found, as a file says it."""

from collections.abc import Iterator, Sequence

from gupstress.model import catalog
from gupstress.model.policy import Policy
from gupstress.outcome.tune import TuneCell, TuneResult


def policy_toml(result: TuneResult, name: str) -> str | None:
    """Return the best policy as TOML, with what it was measured on; None if there is none."""
    if result.best is None:
        return None
    trial = result.trial(result.best)
    base = catalog.preset("policy", result.settings.base)
    changed = {axis: value for axis, value in trial.axes.items() if base[axis] != value}
    profiles = ", ".join(result.settings.profiles)
    threads = ", ".join(map(str, result.settings.threads))
    policy = Policy(
        name=name,
        base=result.settings.base,
        summary=f"Found from {result.settings.base} for {profiles} with {threads} threads.",
        source=f"gupstress tune, trial {trial.number} of {len(result.trials)}",
        **changed,
    )
    confirmed = next((one.cells for one in result.confirmed if one.number == result.best), ())
    return "".join((*_comment(result, trial.cells, confirmed), policy.to_toml()))


def _comment(
    result: TuneResult, cells: Sequence[TuneCell], confirmed: Sequence[TuneCell]
) -> Iterator[str]:
    settings = result.settings
    yield f"# Rules of {settings.kernel}, seed {settings.seed}, {settings.pins} pins a cell.\n"
    for cell in (*cells, *confirmed):
        where = "real threads" if cell.driver == "os" else "simulator"
        yield (
            f"# {cell.profile}, {cell.threads} threads, {where}: {cell.pages_per_s:,.0f} pages/s,"
            f" p99 {(cell.p99_ns or 0) / 1e6:.3g} ms, {cell.drains:.3g} drains a call,"
            f" {cell.failed_spurious} of {cell.issued} calls failed needlessly\n"
        )
    if not confirmed:
        yield "# Not confirmed on real threads.\n"
