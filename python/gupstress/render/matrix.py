"""What `gupstress matrix` found, for people.

Each form takes the result and, for a cell that is worse than expected, the command
that makes it again.
"""

from collections.abc import Callable, Iterator
from xml.etree import ElementTree as ET

from gupstress.outcome.matrix import Cell, MatrixResult, Scale, undecided
from gupstress.outcome.units import share
from gupstress.render import cross, junit
from gupstress.visible import markdown as marked

Again = Callable[[Cell], str]
"""Returns the command that makes a cell again."""

_WORSE = "!"
_MISSING = "-"

LEGEND = (
    "justified: every failed call had to fail. spurious: calls that failed though",
    "waiting would have helped, of all.",
    "slow drains: all pinned, but every second call drained all CPUs for nothing: the",
    "drains for each call; also told of an ok that is too near to say.",
    "OOM killed: processes were killed for memory.",
    "!: worse than the profile expects of the policy. ?: inconclusive.",
)

SCALE = (
    "holds: largest number of threads up to which no call failed needlessly, got stuck or",
    "pinned what must move. keeps: share of its best rate that a policy has there.",
)

_SAID: dict[str, list[str]] = {
    "slow-drains": ["slow", "drains"],
    "inconclusive": ["?"],
    "oom-killed": ["OOM", "killed"],
    "unsafe": ["UNSAFE"],
    "stuck": ["STUCK"],
    "panicked": ["PANIC"],
    "broken": ["BROKEN"],
}
"""The words of verdicts that are not shown as they are."""


def plain(result: MatrixResult, again: Again) -> str:
    """Return the result as text; its tables are at most 80 columns wide."""
    blocks = [cross.plain(table(result)), "\n".join(legend(result))]
    for cell in _worse(result):
        finding = f"\n  {cell.finding}" if cell.finding else ""
        blocks.append(f"{_sentence(cell)}{finding}\n  reproduce: {again(cell)}")
    return "\n\n".join([*blocks, end_line(result)])


def markdown(result: MatrixResult, again: Again) -> str:
    """Return the result as Markdown."""
    blocks = [cross.markdown(table(result)), " ".join(legend(result))]
    for cell in _worse(result):
        finding = f": {marked(cell.finding)}" if cell.finding else ""
        blocks.append(
            f"- **{marked(_sentence(cell))}**{finding}\n\n  ```sh\n  {again(cell)}\n  ```"
        )
    return "\n\n".join([*blocks, f"**{marked(end_line(result))}**"])


def end_line(result: MatrixResult) -> str:
    """Return on one line what came of it and under which settings."""
    worse, unknown = sum(1 for _ in _worse(result)), sum(map(undecided, result.cells))
    words = ["1 cell" if len(result.cells) == 1 else f"{len(result.cells)} cells"]
    if result.status == "interrupted":
        numbers = max(len(result.settings.threads_each), 1)
        wanted = len(result.policies) * len(result.profiles) * numbers
        words.append(f"interrupted before {wanted}")
    words.append(f"{worse} worse than expected" if worse else "none worse than expected")
    if unknown:
        words.append(f"{unknown} inconclusive")
    names = ("kernel", "driver", "threads", "cpus", "pins", "seed")
    values = ((name, getattr(result.settings, name)) for name in names)
    said = " ".join(f"{name}={value}" for name, value in values if value is not None)
    if each := result.settings.threads_each:
        said += f" threads={','.join(map(str, each))}"
    said += f" repeat={result.settings.repeat}" if result.settings.repeat > 1 else ""
    return f"gupstress: {', '.join(words)}: {said}"


def _worse(result: MatrixResult) -> Iterator[Cell]:
    return (cell for cell in result.cells if cell.worse)


def legend(result: MatrixResult) -> tuple[str, ...]:
    """Return what the words of the table mean."""
    return LEGEND + SCALE if result.scale else LEGEND


def table(result: MatrixResult) -> cross.Cross:
    """Return the verdicts, a row for each profile and a column for each policy.

    For several numbers of threads these are the columns, and each policy on each profile a row.
    """
    return _over_threads(result) if result.settings.threads_each else _over_policies(result)


def _over_threads(result: MatrixResult) -> cross.Cross:
    cells = {(cell.profile, cell.policy, cell.threads): cell for cell in result.cells}
    scales = {(scale.profile, scale.policy): scale for scale in result.scale}
    threads = result.settings.threads_each
    pairs = [(profile, policy) for profile in result.profiles for policy in result.policies]
    one = len(result.profiles) == 1
    return cross.Cross(
        corner=result.profiles[0] if one else "profile, policy",
        rows=[policy if one else f"{profile}, {policy}" for profile, policy in pairs],
        columns=[*map(str, threads), "holds", "keeps"],
        cells=[
            [
                *(_words(cells.get((*pair, count))) for count in threads),
                *([word] for word in _scale(scales.get(pair))),
            ]
            for pair in pairs
        ],
        joint=" ",
    )


def _scale(found: Scale | None) -> tuple[str, str]:
    if found is None:
        return _MISSING, _MISSING
    holds = "none" if found.holds is None else str(found.holds)
    return holds, _MISSING if found.keeps is None else share(found.keeps, 1)


def _over_policies(result: MatrixResult) -> cross.Cross:
    cells = {(cell.profile, cell.policy): cell for cell in result.cells}
    return cross.Cross(
        corner="profile",
        rows=result.profiles,
        columns=result.policies,
        cells=[
            [_words(cells.get((profile, policy))) for policy in result.policies]
            for profile in result.profiles
        ],
        joint=" ",
    )


def _words(cell: Cell | None) -> list[str]:
    if cell is None:
        return [_MISSING]
    *words, last = _SAID.get(cell.verdict, [cell.verdict])
    if cell.verdict == "spurious":
        words, last = [last], share(cell.calls.failed_spurious, cell.calls.issued)
    elif cell.verdict == "slow-drains" or cell.close:
        # Of an `ok` only where it is nearly none.
        words, last = [*words, last], share(cell.share or 0, 1)
    return [*words, last + _WORSE if cell.worse else last]


def _sentence(cell: Cell) -> str:
    found = " ".join(_words(cell)).removesuffix(_WORSE)
    at = "" if cell.threads is None else f" at {cell.threads} threads"
    return f"{cell.policy} on {cell.profile}{at}: expected {cell.expected}, found {found}"


def junit_xml(result: MatrixResult, again: Again) -> str:
    """Return the result as JUnit XML: a case for each cell, in a class for each profile.

    A cell that is worse than expected is a failure, one that could not be decided an error.
    """
    suite = ET.Element(
        "testsuite",
        name="gupstress.matrix",
        timestamp=result.started_at.isoformat(timespec="seconds"),
        time=f"{sum(map(junit.wall_s, result.cells)):.3f}",
    )
    for cell in result.cells:
        at = "" if cell.threads is None else f" threads={cell.threads}"
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"gupstress.matrix.{cell.profile}",
            name=f"{cell.policy}{at}",
            time=f"{junit.wall_s(cell):.3f}",
        )
        if cell.worse or undecided(cell):
            kind = "failure" if cell.worse else "error"
            told = ET.SubElement(case, kind, message=_sentence(cell))
            told.text = "\n".join([*([cell.finding] if cell.finding else []), again(cell)])
    return junit.document(suite, end_line(result))
