# SPDX-License-Identifier: MIT
"""Figures of matplotlib, `pip install 'bitmill[report]'`: what quantization did, to look at.

Each function returns a `matplotlib.figure.Figure` that belongs to no window and no pyplot: save it
with `figure.savefig("name.svg")`, or let a notebook show it. Backgrounds are transparent, and inks
are such that light and dark pages both show them.
"""

from bitmill.plot.codebook import codebook
from bitmill.plot.errors import error_by_layer
from bitmill.plot.frontier import frontier
from bitmill.plot.histogram import histogram

__all__ = ["codebook", "error_by_layer", "frontier", "histogram"]
