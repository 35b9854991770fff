"""Numbers as people read them, each in a few characters."""


def amount(value: float | None) -> str:
    """Return a number in at most five characters: `7`, `1.25`, `12.3k`, `1.2M`."""
    if value is None:
        return "-"
    for limit, divisor, unit in ((1e3, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        # What would be rounded up to the limit belongs to the next unit.
        if value < limit * 0.9995:
            return f"{value / divisor:.3g}{unit}"
    return f"{value / 1e9:.3g}G"


def duration(ns: float | None) -> str:
    """Return a time given in nanoseconds: `850ns`, `1.2ms`, `31s`."""
    if ns is None:
        return "-"
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if ns < limit * 0.9995:
            return f"{ns / divisor:.3g}{unit}"
    return f"{ns / 1e9:.3g}s"


def share(part: float, whole: float) -> str:
    """Return a part of a whole in percent; only a true nothing is `0`."""
    if part == 0:
        return "0"
    percent = 100 * part / whole
    return "<0.1%" if percent < 0.1 else f"{percent:.3g}%"
