"""Makes files that are not quite right of ones that are, a different one for each seed."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**400, -(10**400), 1e308, 5e-324, 2**64, 1.5, "", "x", "9" * 5000,
    "\ud800", "\x1b[31mred\x1b[0m", "a\n::error::x", "##[error]x", "<b>&|`$(x)`\x00", "\u202e",
    "NaN", "2026-01-01T00:00:00Z", [], {}, [[]], {"a": {}}, [None], {"verdict": 1},
)  # fmt: skip
"""What may stand where something else should."""

KEYS = ("\x1b[2J", "x", "__class__", "schema", "\ud800", "", " ", "::warning::")

WORDS = (
    '""', '"x"', "-1", "0", "1e400", "1" + "0" * 400, '"\\u001b[31m"', '"::error::x"', '"a\\nb"',
    "[]", "{}", "true", "nan", "inf", "1979-05-27", '"never"', "18446744073709551615",
    '"<b>|`"', '"\\u202e"', "'''a\nb'''", '["pin a"]', '["map a 4 shmem","pin a"]',
    '"unlimited"', "4294967295",
)  # fmt: skip
"""The same in TOML."""

LINES = (
    "zzz = 1", '"\\u001b[2J" = 1', 'name = "\\u001b[31mx"', 'name = "::error::x"',
    'name = "a|b<b>"', "[x]", "[[y]]", "a.b.c.d = 2", '"" = 3', 'name = ""', "\x1b[31m", "=",
    'name = "' + "x" * 3000 + '"', 'base = "zzz"', '"""', "\ufeff",
)  # fmt: skip


def result(document: Any, seed: int) -> bytes:
    """Return a stored result that has been changed in some places."""
    rng = random.Random(seed)
    changed = copy.deepcopy(document)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        _change(changed, rng)
    return _scratched(json.dumps(changed, ensure_ascii=rng.random() < 0.7), rng)


def table(text: str, seed: int) -> bytes:
    """Return a TOML file that has been changed in some lines."""
    rng = random.Random(seed)
    lines = text.split("\n")
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(lines))
        how = rng.choice(["value", "value", "value", "delete", "double", "line"])
        if how == "value" and "=" in lines[at] and not lines[at].startswith("#"):
            lines[at] = f"{lines[at].partition('=')[0]}= {rng.choice(WORDS)}"
        elif how == "delete" and len(lines) > 1:
            del lines[at]
        else:
            lines.insert(at, lines[at] if how == "double" else rng.choice(LINES))
    return _scratched("\n".join(lines), rng)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield everything in a document as (what it is in, its key there)."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


def _change(document: Any, rng: random.Random) -> None:
    places = list(_places(document))
    if not places:
        return
    around, key = rng.choice(places)
    how = rng.choice(["set", "set", "set", "delete", "more", "rename"])
    if how == "set":
        around[key] = rng.choice(VALUES)
    elif how == "delete":
        del around[key]
    elif isinstance(around, list):
        around.append(copy.deepcopy(around[key]))
    elif how == "more":
        around[rng.choice(KEYS)] = rng.choice(VALUES)
    else:
        around[rng.choice([*KEYS, f"{key}x"])] = around.pop(key)


def _scratched(text: str, rng: random.Random) -> bytes:
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        if not data:
            break
        at, how = rng.randrange(len(data)), rng.randrange(4)
        if how == 0:
            data[at] = rng.randrange(256)
        elif how == 1:
            del data[at : at + rng.randrange(1, 40)]
        elif how == 2:
            data[at:at] = rng.randbytes(3)
        else:
            del data[at:]
    return bytes(data)
