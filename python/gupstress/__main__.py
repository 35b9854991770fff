"""The command `gupstress`, which is `python -m gupstress` too."""

import os
import re
import signal
import sys

_LACK = re.compile("allocate memory|failed to map segment|out of memory", re.IGNORECASE)
"""What the loader says where it gets no memory."""


def main() -> int:
    """Carry out the command line of this process and return its exit code."""
    # While the rest is loaded there is nothing to keep.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        from gupstress import cli
    except (MemoryError, ImportError) as error:
        # A limit so low that not even this can be loaded.
        if isinstance(error, ImportError) and not _LACK.search(str(error)):
            raise
        os.write(2, b"gupstress: no memory left to load Python's modules\n")
        return 2
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
