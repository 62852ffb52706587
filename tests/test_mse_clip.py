# SPDX-License-Identifier: MIT
"""The clip "mse" in schemes: its string, what keeps and refuses it, and what does not change it."""

from typing import ClassVar

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
import engines
from bitmill import kernels
from bitmill.clip.matrix import matrix_of
from bitmill.grid import View
from bitmill.schemes import from_dict
from conftest import same_bits
from test_mse_importance import RULES, VIEWS, same_arrays

CLIPS = [("mse", bm.clip.MSE()), ("mse-exact", bm.clip.MSE("exact"))]


@pytest.mark.parametrize(("text", "clip"), CLIPS)
def test_string_and_object_are_the_same_clip(rng, text, clip):
    x = rng.standard_normal((4, 40), np.float32)
    assert str(clip) == text
    assert bm.Affine(4, clip=text) == bm.Affine(4, clip=clip)
    same_arrays(bm.quantize(x, bm.Affine(4, clip=text)), bm.quantize(x, bm.Affine(4, clip=clip)))


@pytest.mark.parametrize(("text", "clip"), CLIPS)
def test_clip_is_kept(tmp_path, rng, text, clip):
    scheme = bm.Affine(4, group_size=16, clip=text, symmetric=False)
    assert from_dict(scheme.to_dict()) == scheme
    assert from_dict(scheme.to_dict()).clip == clip
    q = bm.quantize(rng.standard_normal((4, 40), np.float32), scheme, importance=np.ones(40))
    bm.save({"w": q}, tmp_path / "w.safetensors")
    read = bm.load(tmp_path / "w.safetensors")["w"]
    assert read.scheme == scheme
    same_arrays(read, q)


@pytest.mark.parametrize("text", ["mse:3", "mse-exact:1", "mse:"])
def test_clip_takes_no_argument(text):
    with pytest.raises(ValueError, match=r"takes no argument"):
        bm.Affine(4, clip=text)


def test_other_modes_are_refused():
    with pytest.raises(ValueError, match=r"mode='best' is not one of: fast, exact"):
        bm.clip.MSE("best")


@pytest.mark.parametrize(("text", "clip"), CLIPS)
def test_codes_of_16_bits_are_refused(text, clip):
    for given in (text, clip):
        with pytest.raises(ValueError, match=r"goes with up to 8 bits, not 16"):
            bm.Affine(16, clip=given)


@pytest.mark.parametrize("text", ["mse", "mse-exact"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(text, value):
    x = np.ones((3, 4), np.float32)
    x[1, 2] = value
    with pytest.raises(ValueError, match=r"nan|inf"):
        bm.quantize(x, bm.Affine(4, clip=text))


@pytest.mark.parametrize("text", ["mse", "mse-exact"])
@pytest.mark.parametrize("rule", RULES)
def test_any_engine_and_number_of_threads_gives_the_same(rng, rule, text):
    x, w = rng.standard_normal((70, 96), np.float32), rng.random((70, 96))
    scheme = bm.Affine(3, group_size=40, clip=text, **RULES[rule])
    wanted = bm.quantize(x, scheme, importance=w, num_threads=1)
    for engine in engines.ENGINES:
        with engines.api(engine) if engine == "twin" else engines.engine(engine):
            part = slice(None, 3 if engine == "twin" else None)
            for threads in (1, 3):
                made = bm.quantize(x[part], scheme, importance=w[part], num_threads=threads)
                for name, array in made.arrays.items():
                    same_bits(array, wanted.arrays[name][part], (engine, threads, name))


@pytest.mark.parametrize("text", ["mse", "mse-exact"])
@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_threads_change_nothing_for_many_values(rng, view, text):
    x, w = rng.standard_normal((30, 20, 500), np.float32), rng.random(500)
    scheme = bm.Affine(4, clip=text, **view)
    wanted = bm.quantize(x, scheme, importance=w, num_threads=1)
    same_arrays(bm.quantize(x, scheme, importance=w, num_threads=3), wanted)


@pytest.mark.parametrize("text", ["mse", "mse-exact"])
@pytest.mark.parametrize("kind", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_other_dtypes_are_fitted_as_float32(rng, kind, text):
    x = rng.standard_normal((6, 50)).astype(kind)
    for options in RULES.values():
        scheme = bm.Affine(4, group_size=25, clip=text, **options)
        q = bm.quantize(x, scheme, importance=np.arange(50.0))
        assert q.dtype == np.dtype(kind).name
        same_arrays(q, bm.quantize(x.astype(np.float32), scheme, importance=np.arange(50.0)))


class Halved(bm.clip.Clip):
    """A clip of a user, as they were before there was importance: half the greatest magnitude."""

    takes_importance: ClassVar[bool] = False

    def fit(self, x, view: View, grid, *, num_threads=None):
        matrix, group_size = matrix_of(x, view)
        most = kernels.absmax(matrix, group_size, num_threads=num_threads) / 2
        made = kernels.affine_params(-most, most, **grid._asdict())
        return made._replace(scale=made.scale.reshape(view.params))


def test_clips_of_users_need_not_know_importance(rng):
    x = rng.standard_normal((4, 32), np.float32)
    scheme = bm.Affine(4, clip=Halved())
    half = bm.quantize(x, bm.Affine(4)).scale / 2
    np.testing.assert_allclose(bm.quantize(x, scheme).scale, half, rtol=1e-6)
    with pytest.raises(ValueError, match=r"importance goes with a clip that weighs errors"):
        bm.quantize(x, scheme, importance=np.ones(32))
