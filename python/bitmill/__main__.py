# SPDX-License-Identifier: MIT
"""`python -m bitmill`, the same as the command `bitmill`."""

import sys

from bitmill.cli import main

sys.exit(main())
