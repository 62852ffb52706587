# SPDX-License-Identifier: MIT
"""What a scheme derives is kept between calls; nothing that a caller does may show it."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest

import bitmill as bm
from bitmill.clip import Clip, MinMax


@pytest.mark.parametrize("shape", [(np.uint8(3), np.uint8(240)), (np.int64(3), 240), [3, 240]])
def test_shapes_of_other_integers_leave_nothing_behind(shape):
    scheme = bm.Affine(5, group_size=16)
    made = scheme.layout(shape), scheme.view(shape)
    plain = bm.Affine(5, group_size=16)
    assert made == (plain.layout((3, 240)), plain.view((3, 240)))
    json.dumps([field.shape for field in plain.layout((3, 240))])
    q = bm.quantize(np.ones((3, 240), np.float32), plain)
    assert [type(n) for field in plain.layout(q.shape) for n in field.shape] == [int] * 4


def test_a_shape_of_floats_is_refused_and_forgotten():
    scheme = bm.Affine(4, group_size=32)
    with pytest.raises(TypeError):
        scheme.layout((4.0, 64.0))
    assert bm.quantize(np.ones((4, 64), np.float32), scheme).shape == (4, 64)


def test_a_layout_is_the_callers_own():
    scheme = bm.Affine(4)
    scheme.layout((2, 8)).clear()
    assert len(scheme.layout((2, 8))) == 2


def test_a_clip_need_not_be_hashable():
    @dataclasses.dataclass  # eq without frozen: no hash
    class Mine(Clip):
        times: float = 1.0

        def fit(self, x, view, grid, *, num_threads=None):
            return MinMax().fit(x, view, grid, num_threads=num_threads)

    x = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)
    mine, plain = bm.quantize(x, bm.Affine(4, clip=Mine())), bm.quantize(x, bm.Affine(4))
    assert (mine.codes == plain.codes).all()


def test_used_schemes_are_as_unused_ones():
    used, new = bm.Affine(4, symmetric=False), bm.Affine(4, symmetric=False)
    bm.quantize(np.ones((2, 8), np.float32), used)
    assert used == new
    assert hash(used) == hash(new)
    assert pickle.dumps(used) == pickle.dumps(new)
    for other in (pickle.loads(pickle.dumps(used)), copy.copy(used), copy.deepcopy(used)):
        assert other == used
        assert other.grid == used.grid
    wider = dataclasses.replace(used, bits=8)
    assert wider.grid == bm.Affine(8, symmetric=False).grid
