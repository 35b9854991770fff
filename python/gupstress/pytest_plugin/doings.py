"""What tests have done, and what a failed one tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gupstress.model.machine import Machine
    from gupstress.running.result import RunResult

_STEPS = 20
"""Steps of a machine's last call that are shown from its start, and as many from its end."""

_NO_FINDING = "gupstress: the run itself has no finding: what failed is the test around it"


@dataclass
class Attempt:
    """A run that a test asked for."""

    settings: dict[str, Any]
    """Arguments of `gupstress.run`, the seed among them."""
    result: RunResult | None = None
    """None until it is over."""

    def command(self, thresholds: Iterable[str] = ()) -> str:
        """Return what to type to see it again, under further thresholds."""
        from gupstress.model.reference import several
        from gupstress.running.reproduce import command

        # One may be both given to the run and asserted afterwards.
        every = dict.fromkeys((*several(self.settings.get("threshold", ())), *thresholds))
        return command({**self.settings, "threshold": list(every)})

    def tell(self, error: BaseException | None) -> str:
        """Return the verdict table, the seed and the command, for a test that failed."""
        from gupstress.outcome.assertions import UnmetError
        from gupstress.outcome.verdict import Outcome, outcome
        from gupstress.render import page

        if self.result is None:
            end = f"gupstress: no result: seed={self.settings['seed']}"
            return f"reproduce: {self.command()}\n{end}"
        judged, command = self.result, self.command()
        if isinstance(error, UnmetError) and error.run is self.result:
            # As if the run had been made under what was asserted: so will the next one.
            # One may be both given to the run and asserted.
            every = dict.fromkeys((*self.result.thresholds, *error.thresholds))
            judged = self.result.model_copy(update={"thresholds": tuple(every)})
            command = self.command(one.expr for one in error.thresholds)
        text = page.plain(judged, command)
        if outcome(judged) is not Outcome.SUCCESS:
            return text
        # What succeeded is not what a failed test is about.
        before, _, _ = text.rpartition("\n")
        return f"{before}\n{_NO_FINDING}"


@dataclass
class Doings:
    """What a test has done so far."""

    attempts: list[Attempt] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)

    def tell(self, error: BaseException | None) -> str:
        """Return everything that helps to see a failure again."""
        told = [attempt.tell(error) for attempt in self.attempts]
        return "\n\n".join([*told, *map(_tell_machine, self.machines)])


def _tell_machine(machine: Machine) -> str:
    """Return the ends of a machine's last call, and the script that leads there."""
    steps = [repr(step) for step in machine.trace()]
    if (left := len(steps) - 2 * _STEPS) > 0:
        steps[_STEPS:-_STEPS] = [f"… {left} more steps …"]
    last = "\n".join(steps) or "none"
    return (
        f"{machine!r}, steps of its last call:\n{last}\n\n"
        f"the same as a scenario, for `gupstress litmus FILE.toml`:\n{machine.script()}"
    )


@dataclass
class Shared:
    """Runs that several tests look at."""

    attempts: list[Attempt] = field(default_factory=list)

    def behind(self, error: BaseException | None, values: Iterable[object]) -> list[Attempt]:
        """Return those that a test had to do with: that failed it, or that it was given."""
        results = [getattr(error, "run", None), *values]
        return [
            attempt
            for attempt in self.attempts
            if any(attempt.result is one for one in results if one is not None)
        ]
