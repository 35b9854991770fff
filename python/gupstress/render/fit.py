"""What `gupstress fit` found, for people."""

from collections.abc import Iterator

from gupstress.outcome.fit import Explanation, FitResult, KernelFit

_SHOWN = 5
"""Explanations and cells that are named one by one."""


def plain(result: FitResult) -> str:
    """Return the result as text."""
    return "\n\n".join("\n".join(_lines(one)) for one in result.kernels)


def _lines(fit: KernelFit) -> Iterator[str]:
    yield f"{fit.kernel}: {fit.verdict}, {fit.cells} cells, {fit.tried} tried"
    for one in fit.explanations[:_SHOWN]:
        yield f"  {_explanation(one)}"
    if len(fit.explanations) > _SHOWN:
        yield f"  … {len(fit.explanations) - _SHOWN} more"
    if fit.decided:
        yield f"  decided: {', '.join(key.axis for key in fit.decided)}"
    if fit.undecided:
        keys = (f"{key.axis} ({' '.join(key.values)})" for key in fit.undecided)
        yield f"  the cells cannot tell apart: {', '.join(keys)}"
    if fit.policy_toml is not None:
        yield "  its policy, for --policy to take:"
        yield from (f"    {line}" for line in fit.policy_toml.splitlines())
    if fit.nearest is not None:
        yield f"  nearest: {_explanation(fit.nearest.explanation)}"
        for cell in fit.nearest.unexplained[:_SHOWN]:
            why = "explained alone, not with the others" if cell.alone else "nothing explains it"
            yield f"  {cell.cell}: {', '.join(cell.differences)}: {why}"
        if len(fit.nearest.unexplained) > _SHOWN:
            yield f"  … {len(fit.nearest.unexplained) - _SHOWN} more cells"


def _explanation(one: Explanation) -> str:
    names = ", ".join(one.same_rules) or one.rules
    changes = "".join(f", {change.axis} = {change.value}" for change in one.changes)
    policy = one.policy if not one.own_policy else f"{one.policy}, its own"
    return f"{names}; policy {policy}{changes}"
