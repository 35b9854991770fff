"""What the studies found as those who asked for it hold it: it shows its own table."""

from gupstress.outcome import comparison, litmus, matrix, soak, tune
from gupstress.render import comparison as compared
from gupstress.render import cross
from gupstress.render import litmus as counted
from gupstress.render import matrix as judged
from gupstress.render import soak as ended
from gupstress.render import tune as searched
from gupstress.render.grid import Grid
from gupstress.render.shown import Shown


class MatrixResult(Shown, matrix.MatrixResult):
    """Everything that one `gupstress matrix` found."""

    def _tables(self) -> list[Grid]:
        return [cross.grid(judged.table(self))]

    def _end(self) -> str:
        return judged.end_line(self)


class LitmusResult(Shown, litmus.LitmusResult):
    """Everything that one `gupstress litmus` found."""

    def _tables(self) -> list[Grid]:
        return [cross.grid(counted.table(self))]

    def _end(self) -> str:
        return counted.summary(self)


class Comparison(Shown, comparison.Comparison):
    """Everything that one comparison found."""

    def _tables(self) -> list[Grid]:
        return [compared.table(self)] if self.policies else []

    def _end(self) -> str:
        return compared.end_line(self)


class TuneResult(Shown, tune.TuneResult):
    """Everything that one `gupstress tune` found."""

    def _tables(self) -> list[Grid]:
        return [searched.front(self), searched.effects(self)] if self.front else []

    def _end(self) -> str:
        return searched.end_line(self)


class SoakResult(Shown, soak.SoakResult):
    """Everything that one `gupstress soak` found; its state file, too."""

    def _tables(self) -> list[Grid]:
        return [ended.table(self)] if self.verdicts else []

    def _end(self) -> str:
        return ended.end_line(self)
