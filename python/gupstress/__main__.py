"""The command `gupstress`, which is `python -m gupstress` too."""

import os
import signal
import sys


def main() -> int:
    """Carry out the command line of this process and return its exit code."""
    # While the rest is loaded there is nothing to keep.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from gupstress import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
