# SPDX-License-Identifier: MIT
"""Ways to quantize the linear layers of MiniLM, from plain rounding to the best that there is."""

from __future__ import annotations

import bitmill as bm
from bitmill.post_training import Policy, Rotate, Smooth

STATIC = bm.Affine(8, axis=None, symmetric=False)
PLAIN = bm.Affine(4, group_size=32, scales="float16")
LEARNED = bm.LearnedTable(4, 16, scales=bm.Scales("float16", bits=6, super_block=384))
TRIED = (Smooth(0.3), Smooth(0.5), Smooth(0.7), Rotate())

POLICIES = {
    "W8A8 static": Policy(bm.Affine(8), STATIC),
    "W8A8": Policy(bm.Affine(8)),
    "W4A8, rounded": Policy(PLAIN),
    "W4A8, rounded, refitted": Policy(PLAIN, refit=True),
    "W4A8, learned": Policy(LEARNED),
    "W4A8, learned, refitted": Policy(LEARNED, refit=True),
    "W4A8, learned, all": Policy(LEARNED, transforms=TRIED, compensate=True, refit=True),
}
"""By name. Activations have a scale and a zero-point for each token, but for "static"."""
