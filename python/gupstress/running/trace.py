"""What every thread of a run did last, for a trace viewer.

The file is in the Trace Event Format, which Perfetto (ui.perfetto.dev) and
`chrome://tracing` open: a process for each run, a row for each thread, on it
calls, and under a call its steps and waits.
"""

DEFAULT_LAST = 4096
"""Events kept of each thread unless asked otherwise: some thousand steps before the end,
and a file that a viewer opens."""


class Recorder:
    """Gathers the traces of runs, one process each."""

    def __init__(self) -> None:
        self._runs: list[str] = []

    def process(self, label: str) -> tuple[int, str]:
        """Return what the next run is called, as the core takes it."""
        return len(self._runs) + 1, label

    def take(self, events: str) -> None:
        """Keep the events of a run, as the core gives them."""
        self._runs.append(events)

    def to_json(self) -> str:
        """Return everything gathered as one file."""
        events = ",\n".join(self._runs)
        return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{events}\n]}}\n'
