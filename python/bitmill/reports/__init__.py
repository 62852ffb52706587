# SPDX-License-Identifier: MIT
"""A report on a quantized checkpoint, to look at: one page, with CSV and JSON beside it.

`build` reads the folder; `levels` and `errors` are what it sees of each tensor, `curve` is the
frontier of what was measured. `record` holds all of it, with `totals`; `rows` makes CSV of it, and
`page` a page, with `page.html`, `page.css` and the scripts beside them, in short by `plain` where
scripts do not run. `files` is where they go.
"""

from bitmill.reports.build import report
from bitmill.reports.curve import Curve, Spot
from bitmill.reports.errors import ErrorMap, Worst
from bitmill.reports.files import destinations
from bitmill.reports.levels import Histogram
from bitmill.reports.record import Details, FullReport
from bitmill.reports.totals import Totals

__all__ = [
    "Curve",
    "Details",
    "ErrorMap",
    "FullReport",
    "Histogram",
    "Spot",
    "Totals",
    "Worst",
    "destinations",
    "report",
]
