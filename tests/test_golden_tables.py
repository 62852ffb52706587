# SPDX-License-Identifier: MIT
"""Tables beside what bitsandbytes and ggml made of the same weights."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bitmill as bm
import golden_files
from bitmill import kernels
from bitmill.schemes import dynamic_map

FILES = [name for name in golden_files.names("bitsandbytes") if name[:3] in ("nf4", "fp4")]
PLAIN = [name for name in FILES if "double" not in name]


def scheme_of(file: golden_files.GoldenFile) -> bm.NF4 | bm.FP4:
    kind = {"nf4": bm.NF4, "fp4": bm.FP4}[file.args["quant_type"]]
    double = file.args["double_quant"]
    return kind(file.args["blocksize"], double_quantization=double)


def codes_of(file: golden_files.GoldenFile) -> np.ndarray:
    """The first code of a byte lies in its high bits."""
    both = file.arrays["weight"].reshape(-1, 1)
    return np.concatenate([both >> 4, both & 15], axis=1).reshape(file.x.shape)


@pytest.mark.parametrize("name", PLAIN)
def test_codes_and_scales_are_those_of_bitsandbytes(isa, name):
    file = golden_files.read(f"bitsandbytes/{name}")
    scheme = scheme_of(file)
    q = bm.quantize(file.x, scheme)
    absmax = file.arrays["weight.absmax"].reshape(q.scale.shape)
    zero = golden_files.zero_groups(file.x, scheme.group_size)
    assert (q.codes == codes_of(file)).all()
    assert (golden_files.bits_of(q.scale) == golden_files.bits_of(absmax))[~zero].all()
    assert (q.scale[zero] == 1).all()  # 0 there
    assert not absmax[zero].any()
    values = file.arrays["weight.quant_map"]
    assert scheme.table_of({}).tobytes() == values.tobytes()


@pytest.mark.parametrize("name", PLAIN)
def test_values_are_those_of_bitsandbytes(isa, name):
    file = golden_files.read(f"bitsandbytes/{name}")
    wanted = file.arrays["dequant"]
    values = bm.quantize(file.x, scheme_of(file)).dequantize(dtype=wanted.dtype.name)
    assert (values == wanted).all()


@pytest.mark.parametrize("name", sorted(set(FILES) - set(PLAIN)))
def test_double_quantization_is_that_of_bitsandbytes(isa, name):
    file = golden_files.read(f"bitsandbytes/{name}")
    q = bm.quantize(file.x, scheme_of(file))
    (state,) = (json.loads(bytes(v)) for k, v in file.arrays.items() if "quant_state" in k)
    assert (q.codes == codes_of(file)).all()
    assert (q.arrays["scale"].reshape(-1) == file.arrays["weight.absmax"].reshape(-1)).all()
    assert q.arrays["nested_scale"].tobytes() == file.arrays["weight.nested_absmax"].tobytes()
    nested = file.arrays["weight.nested_quant_map"]
    assert dynamic_map.dynamic_map().tobytes() == nested.tobytes()
    # The mean, which is summed in another order, differs in its last bit.
    assert np.isclose(q.arrays["nested_offset"], state["nested_offset"], rtol=2e-7, atol=0)
    same = q.arrays | {"nested_offset": np.float32([state["nested_offset"]])}
    values = bm.QTensor(q.scheme, q.shape, q.dtype, same).dequantize(
        dtype=file.arrays["dequant"].dtype.name
    )
    assert (values == file.arrays["dequant"]).all()


def test_blocks_of_iq4_nl_decode_to_the_bits_of_ggml(isa):
    file = golden_files.read("gguf/IQ4_NL")
    blocks = file.arrays["blocks"].reshape(len(file.x), -1, 18)
    scale = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0]
    fields = blocks[..., 2:]
    codes = np.concatenate([fields & 15, fields >> 4], axis=-1).reshape(file.x.shape)
    values = kernels.table_decode(codes, bm.IQ4_NL().table_of({}), scale, group_size=32)
    assert golden_files.bits_of(values).tolist() == golden_files.bits_of(
        file.arrays["dequant"]
    ).tolist()  # fmt: skip


def test_searched_scales_are_better_than_those_of_ggml():
    file = golden_files.read("gguf/IQ4_NL")
    ours = bm.quantize(file.x, bm.IQ4_NL(clip="mse", scales="float16"))
    squares = [((file.x - np.float64(y)) ** 2).sum(axis=1) for y in (ours, file.arrays["dequant"])]
    assert (squares[0] <= squares[1] * (1 + 1e-6)).mean() > 0.8
    assert squares[0].sum() < squares[1].sum()
