# SPDX-License-Identifier: MIT
"""The exact scale beside the optimum in rational arithmetic, group by group.

Two things may part them. Sums of up to 8 products of one sign are rounded to float64 some 12 times
on the way to (Σwxq)²/Σwq², so that codes may be taken whose error is higher by 1e-14·Σwx². And the
best scale is rounded to float32: at a distance of d from it, the same codes cost Σwq²·d² more,
d being half a unit in the last place, or one where the scale is raised from zero.
"""

from fractions import Fraction

import numpy as np
import pytest

import cases
from bitmill import kernels
from bitmill.grid import code_range
from bitmill.reference.sums import Values
from bitmill.reference.sweep import Span, exact_scale
from fractions_oracle import Group

ROUNDING = Fraction(1, 10**14)
TINY = Fraction(2) ** -149
KINDS = [
    *cases.VALUES,
    lambda rng, shape: rng.integers(-9, 10, shape).astype(np.float32),
    lambda rng, shape: np.full(shape, rng.standard_normal(), np.float32),
    lambda rng, shape: np.float32(3e38) * rng.uniform(-1, 1, shape).astype(np.float32),
]


def weights(rng, shape, kind):
    """None, positive ones, or some of them 0."""
    if kind == 0:
        return None
    w = rng.random(shape, np.float32) ** 3
    return np.where(rng.random(shape) < 0.4 * (kind - 1), np.float32(0), w)


def spans_of(rule, lo, hi):
    """What codes around zero may be: by zero-point, or by the sign of the scale."""
    if rule == "asymmetric":
        return [Span(-z, hi - z) for z in range(hi + 1)]
    return [Span(lo, hi)] + [Span(-hi, -lo)] * (rule == "signed_max")


def check(x, w, spans, stored):
    """Of one group: the twin's scale, and the one that was stored with its codes."""
    group = Group(x, w)
    best = min((group.optimum(*span) for span in spans), key=lambda found: found.error)
    used = None if w is None or not (w * x).any() else w
    found = exact_scale(Values.of(x, used), spans)
    codes = spans[found.span]
    assert group.error(found.scale, *codes) <= best.error + ROUNDING * group.power

    ulp = max(Fraction(float(np.spacing(np.float32(found.scale)))), TINY)
    distance = ulp / 2 if Fraction(found.scale) > TINY / 2 else ulp
    rounding = group.squares(found.scale, *codes) * distance**2
    most = best.error * (1 + Fraction(1, 10**6)) + rounding + ROUNDING * group.power
    assert best.error <= group.error(*stored) <= most


@pytest.mark.parametrize(
    ("rule", "bits", "rows", "kinds_of_weights"),
    [
        ("absmax", 2, 3, 3), ("absmax", 3, 3, 3), ("absmax", 4, 2, 3), ("absmax", 8, 1, 1),
        ("full_range", 2, 3, 3), ("full_range", 3, 3, 3), ("full_range", 4, 2, 3),
        ("full_range", 6, 1, 2), ("signed_max", 2, 3, 3), ("signed_max", 3, 2, 3),
        ("signed_max", 4, 2, 3), ("signed_max", 8, 1, 1), ("asymmetric", 2, 2, 3),
        ("asymmetric", 3, 1, 3), ("asymmetric", 4, 1, 2),
    ],
)  # fmt: skip
def test_scale_is_that_of_the_optimum(rng, rule, bits, rows, kinds_of_weights):
    """Of 3,360 groups in all; "absmax" has narrow codes here."""
    symmetric = rule != "asymmetric"
    lo, hi = code_range(bits, symmetric=symmetric, narrow=rule == "absmax")
    for kind in KINDS:
        for n in (1, 2, 5, 7 if bits < 5 else 3):
            for weighted in range(kinds_of_weights):
                x = kind(rng, (rows, n))
                if not symmetric:  # values from 2^125 on are not searched for a zero-point
                    x *= np.float32(1 if np.abs(x).max() < 2.0**125 else 2.0**-4)
                w = weights(rng, x.shape, weighted)
                made = kernels.mse_params(x, w, qmin=lo, qmax=hi, rule=rule, exact=True)
                for row in range(rows):
                    z = 0 if symmetric else int(made.zero_point[row, 0])
                    stored = float(made.scale[row, 0]), lo - z, hi - z
                    w_row = None if w is None else w[row]
                    check(x[row], w_row, spans_of(rule, lo, hi), stored)
