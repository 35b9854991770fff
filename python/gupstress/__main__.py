"""`python -m gupstress`, the same as the command `gupstress`."""

import sys

from gupstress.cli import main

sys.exit(main())
