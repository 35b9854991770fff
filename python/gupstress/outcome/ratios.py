"""Shares and other quotients of a result's numbers, which may be asked for like the numbers."""

from gupstress.outcome.results import Calls

SHARES = {
    **{
        f"share.{ending}": (f"calls.{ending}", "calls.issued")
        for ending in Calls.model_fields
        if ending != "issued"
    },
    "share.contended": ("pages.contended", "pages.pinned"),
}
"""By name, what is taken of what: from 0 to 1."""

RATIOS = {
    **SHARES,
    "drains_per_call": ("counters.drain_all", "calls.issued"),
    "idle_drains_per_call": ("counters.drain_idle", "calls.issued"),
    "drain_work_per_call": ("counters.drain_work", "calls.issued"),
    "busy_per_call": ("counters.isolate_busy", "calls.issued"),
    "migrated_per_page": ("counters.migrated", "pages.pinned"),
    "cpu_s_per_page": ("cpu_s", "pages.pinned"),
}
"""By name, what is divided by what."""

RATIO_OF = {part: name for name, (part, _) in RATIOS.items()}
"""The quotient that a number is the upper part of."""
