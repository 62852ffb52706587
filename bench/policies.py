# SPDX-License-Identifier: MIT
"""Ways to quantize the linear layers of MiniLM, from plain rounding to the best that there is."""

from __future__ import annotations

import bitmill as bm
from bitmill.post_training import Policy

STATIC = bm.Affine(8, axis=None, symmetric=False)
PLAIN = bm.Affine(4, group_size=32, scales="float16")
BEST = bm.LearnedTable(4, 32, scales="float16")

POLICIES = {
    "W8A8 static": Policy(bm.Affine(8), STATIC),
    "W8A8": Policy(bm.Affine(8)),
    "W4A8, rounded": Policy(PLAIN),
    "W4A8, rounded, refitted": Policy(PLAIN, refit=True),
    "W4A8, learned": Policy(BEST),
    "W4A8, learned, refitted": Policy(BEST, refit=True),
}
"""By name: weights of 8 bits by rows and of 4 bits in groups of 32; activations of 8 bits."""
