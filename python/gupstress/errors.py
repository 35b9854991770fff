"""The errors of the package, the core's among them."""


class GupstressError(Exception):
    """Something that gupstress could not do."""


class ConfigError(GupstressError):
    """A configuration that cannot be used.

    Attributes:
        problems: Everything wrong with it, as `(place, message)`; the place is
            `file:line`, an option, or empty.
    """

    def __init__(self, problems: "list[tuple[str, str]]") -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(
            f"{place}: {message}" if place else message for place, message in self.problems
        )


class ResourceError(GupstressError):
    """The host has too few threads or too little memory left."""


class MachineError(GupstressError):
    """Misuse of an interactive machine."""


class UnavailableError(GupstressError):
    """Something that is needed is not to be had here."""


class InconclusiveError(GupstressError):
    """What was asked of a kernel did not come to an end that says anything.

    Attributes:
        console: The last lines of its console, if it has one.
    """

    def __init__(self, message: str, console: "tuple[str, ...]" = ()) -> None:
        super().__init__(message)
        self.console = console
