"""Work that others do: items in, results out in their order, over the workers of a Dask cluster.

An item holds all that its result depends on, so it may be done anywhere, and again: what a
worker that died had begun, another one does anew. Who does which, and how often an item is
lost, is Dask's business.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Protocol, TypeVar

from gupstress import _core
from gupstress.errors import ConfigError, ResourceError, UnavailableError
from gupstress.problems import Problems
from gupstress.values import Whole

Item = TypeVar("Item")
Result = TypeVar("Result")


class Spread(Protocol):
    """Who does something with each of some items."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]:
        """Yield what a function gives for each of some items, in their order.

        Items are taken as they are needed. The function is one of a module, and items and
        results can be pickled. What the function raises is raised.
        """
        ...


def here(function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
    """Do one after the other in this process."""
    return map(function, items)


_LOCAL = "local"
_WORKERS = Whole(1, _core.MOST_CPUS)

_ANSWER_S = 10.0
"""How long a scheduler may take to answer."""

_AHEAD = 4
"""Items for each thread of a worker that are waited for at once: a long one in front holds up
none behind it."""


def check(address: str, problems: Problems) -> None:
    """Note what is wrong with what `--cluster` was given."""
    kind, colon, number = address.partition(":")
    if kind == _LOCAL:
        with problems.noting(f"--cluster {address}"):
            if colon:
                _WORKERS.check(_WORKERS.parse(number))
    elif not colon:
        near = f"{_LOCAL}, or tcp://{address or 'HOST'}:8786"
        problems.add("--cluster", f"{address!r} is no scheduler's address; nearest: {near}")


@contextmanager
def opened(address: str, told: Callable[[str], None]) -> Iterator[Spread]:
    """Give what spreads work over a cluster.

    Args:
        address: `local`, `local:N` or a scheduler's address, as `check` lets it pass.
        told: Told where the cluster's dashboard is.

    Raises:
        ConfigError: No scheduler answers there.
        UnavailableError: The extra is not installed.
    """
    try:
        # Its functions have no types.
        dask: Any = import_module("distributed")
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        said = f"--cluster needs {missing}: pip install 'gupstress[cluster]'"
        raise UnavailableError(said) from None
    # That a worker has died and is made anew concerns nobody.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with ExitStack() as open_:
        client = _client(dask, address, open_)
        told(f"dashboard {client.dashboard_link}")
        yield lambda function, items: _spread(dask, client, function, items)


def _client(dask: Any, address: str, open_: ExitStack) -> Any:
    kind, _, number = address.partition(":")
    where: Any = address
    if kind == _LOCAL:
        where = open_.enter_context(
            dask.LocalCluster(
                n_workers=int(_WORKERS.parse(number)) if number else None,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                # What a run may take is asked of the host before.
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
        )
    try:
        return open_.enter_context(dask.Client(where, timeout=_ANSWER_S, set_as_default=False))
    except (OSError, ValueError):
        said = f"no scheduler answers; nearest: {_LOCAL}"
        raise ConfigError([(f"--cluster {address}", said)]) from None


_END: Any = object()


def _spread(
    dask: Any, client: Any, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    left = iter(items)
    under_way: deque[Any] = deque()
    ahead = _AHEAD * max(sum(client.nthreads().values()), 1)
    try:
        while True:
            while len(under_way) < ahead and (item := next(left, _END)) is not _END:
                # Two items that are alike are two all the same.
                under_way.append(client.submit(_do, _build(), function, item, pure=False))
            if not under_way:
                return
            yield under_way.popleft().result()
    except dask.KilledWorker as error:
        said = f"--cluster: what was asked for killed {error.allowed_failures + 1} workers"
        raise ResourceError(said) from None
    finally:
        # What nobody waits for any more; a client that has gone has given it up.
        if under_way and client.status == "running":
            client.cancel(list(under_way))


def _build() -> tuple[str, str]:
    return _core.__version__, _core.build_profile


def _do(build: tuple[str, str], function: Callable[[Item], Result], item: Item) -> Result:
    """Do an item where a worker is, if it is of the same make."""
    if build != _build():
        mine, theirs = (" ".join(one) for one in (build, _build()))
        raise ConfigError([("--cluster", f"a worker has {theirs}, not {mine}; nearest: {mine}")])
    return function(item)
