"""What `gupstress tune` found, for people."""

from collections.abc import Iterator

from gupstress.outcome.tune import Trial, TuneResult
from gupstress.outcome.units import share
from gupstress.render.grid import Grid, ruled

_SHOWN = 10
"""Policies of the front that are shown."""


def plain(result: TuneResult) -> str:
    """Return the result as text."""
    blocks = []
    if result.front:
        blocks += [ruled(front(result)), ruled(effects(result))]
    if result.policy_toml is not None:
        blocks.append(result.policy_toml.rstrip())
    return "\n\n".join([*blocks, end_line(result)])


def front(result: TuneResult) -> Grid:
    """Return the table of the trials that no other beats."""
    return Grid(
        headings=["trial", "pages/s", "p99, ms", "drains a call", "real threads", "differs by"],
        rows=[
            [
                str(trial.number),
                f"{trial.pages_per_s:,.0f}",
                f"{trial.p99_ns / 1e6:.3g}",
                f"{trial.drains:.3g}",
                _confirmed(result, trial.number),
                " ".join(differences(result, trial)) or "nothing",
            ]
            for trial in map(result.trial, result.front[:_SHOWN])
        ],
        aligns=["right", "right", "right", "right", "left", "left"],
        widths=[None, None, None, None, None, 40],
    )


def _confirmed(result: TuneResult, number: int) -> str:
    for one in result.confirmed:
        if one.number == number:
            return "held" if one.held else "FAILED"
    return "not run"


def differences(result: TuneResult, trial: Trial) -> Iterator[str]:
    """Yield the axes of a trial that are not as in the base, which is the first value of each."""
    for axis, values in result.settings.space.items():
        if trial.axes[axis] != values[0]:
            yield f"{axis}={trial.axes[axis]}"


def effects(result: TuneResult) -> Grid:
    """Return the table of what the trials say of each value of each axis."""
    return Grid(
        headings=["axis", "value", "trials", "kept", "best pages/s", "median", "median p99, ms"],
        rows=[
            [
                one.axis,
                str(one.value),
                str(one.trials),
                share(one.feasible, one.trials),
                "-" if one.best_pages_per_s is None else f"{one.best_pages_per_s:,.0f}",
                "-" if one.median_pages_per_s is None else f"{one.median_pages_per_s:,.0f}",
                "-" if one.median_p99_ns is None else f"{one.median_p99_ns / 1e6:.3g}",
            ]
            for one in result.effects
        ],
        aligns=["left", "left", "right", "right", "right", "right", "right"],
        widths=[None] * 7,
        stubs=2,
    )


def end_line(result: TuneResult) -> str:
    """Return on one line what came of it and under which settings."""
    kept = sum(trial.feasible for trial in result.trials)
    words = [f"{len(result.trials)} trials", f"{kept} kept the constraints"]
    if result.status == "interrupted":
        words.append("interrupted")
    if result.best is not None:
        best = result.trial(result.best)
        words.append(f"best is {best.number} with {best.pages_per_s:,.0f} pages/s")
    else:
        words.append("none held")
    settings = result.settings
    return (
        f"gupstress: {', '.join(words)}: base={settings.base} profile={','.join(settings.profiles)}"
        f" threads={','.join(map(str, settings.threads))} kernel={settings.kernel}"
        f" seed={settings.seed}"
    )
