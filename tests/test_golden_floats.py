# SPDX-License-Identifier: MIT
"""bitmill beside the files of floats that compressed-tensors, ggml and MLX made: bytes, values."""

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
import engines
import golden_files
from bitmill.schemes import floats  # its kernels are those of the engine
from golden_files import bits_of, zero_groups

E4M3 = "__f8e4m3"  # behind the names of arrays that are kept as their bytes


@pytest.fixture(params=engines.ENGINES, autouse=True)
def _api(request):
    with engines.api(request.param):
        yield


def read(name):
    x, _, arrays = golden_files.read(name)
    return x, {key.removesuffix(E4M3): array for key, array in arrays.items()}


def nibbles(packed):
    """Two codes a byte, the even one in its low half, as words; the same as `pack` makes."""
    return np.ascontiguousarray(packed).view(np.uint32)


def tensor(scheme, x, **arrays):
    """What a file holds, as the QTensor that it is."""
    wanted = {field.name: field.shape for field in scheme.layout(x.shape)}
    shaped = {name: array.reshape(wanted[name]) for name, array in arrays.items()}
    return bm.QTensor(scheme, x.shape, x.dtype.name, shaped)


def same_values(q, dequant):
    """Fail unless the values in the peer's dtype have its bytes, but for the sign of zeros."""
    values = q.dequantize(dtype=dequant.dtype.name)
    assert values.dtype == dequant.dtype
    np.testing.assert_array_equal(bits_of(values + values.dtype.type(0)), bits_of(dequant + 0))


@pytest.mark.parametrize(("name", "axis"), [("fp8_channel_f32", "row"), ("fp8_tensor_f32", None)])
def test_fp8_of_float32_has_the_peers_bytes(name, axis):
    x, arrays = read(f"compressed_tensors/{name}")
    q = bm.quantize(x, bm.Float("fp8_e4m3", axis=axis))
    zero = zero_groups(x if axis else x.reshape(1, -1), None)
    scale = arrays["weight_scale"].reshape(q.scale.shape)
    assert q.scale[~zero].tobytes() == scale[~zero].tobytes()
    assert (scale[zero] == 2.0**-23).all()  # their eps; ours is 1
    np.testing.assert_array_equal(q.codes, arrays["weight"])


@pytest.mark.parametrize(
    ("name", "axis"), [("fp8_channel_f32", "row"), ("fp8_channel_bf16", "row"),
                       ("fp8_tensor_f32", None)],
)  # fmt: skip
def test_fp8_values_have_the_peers_bytes(name, axis):
    x, arrays = read(f"compressed_tensors/{name}")
    scheme = bm.Float("fp8_e4m3", axis=axis, scales=x.dtype.name)
    q = tensor(scheme, x, codes=arrays["weight"], scale=arrays["weight_scale"])
    same_values(q, arrays["dequant"])


def test_fp8_of_bfloat16_has_the_peers_scales_and_codes_that_differ_by_their_rounding():
    """They round x / scale to bfloat16 before they round it to E4M3."""
    x, arrays = read("compressed_tensors/fp8_channel_bf16")
    q = bm.quantize(x, bm.Float("fp8_e4m3", scales="bfloat16"))
    zero = zero_groups(x, None)
    assert q.scale[~zero].tobytes() == arrays["weight_scale"][~zero].tobytes()
    assert np.count_nonzero(q.codes != arrays["weight"]) == 291 - 9
    once = (x / arrays["weight_scale"] + x.dtype.type(0)).astype(np.float32)
    twice = np.clip(once, -448, 448).astype(ml_dtypes.float8_e4m3fn)
    np.testing.assert_array_equal(twice.view(np.uint8), arrays["weight"])


def test_fp8_blocks_decode_to_the_peers_values():
    x, arrays = read("compressed_tensors/fp8_block128_bf16")
    scale = np.repeat(arrays["weight_scale"].astype(np.float32), len(x), axis=0)
    values = floats.kernels.float_decode(
        arrays["weight"], scale, format="float8_e4m3fn", group_size=128, dtype_name="bfloat16"
    )
    assert values.tobytes() == arrays["dequant"].tobytes()


@pytest.mark.parametrize("kind", ["mxfp4", "mxfp8"])
def test_mxfp_of_bfloat16_has_the_peers_bytes_and_values(kind):
    x, arrays = read(f"compressed_tensors/{kind}_bf16")
    scheme = bm.Float("mxfp4" if kind == "mxfp4" else "mxfp8_e4m3")
    q = bm.quantize(x, scheme)
    np.testing.assert_array_equal(q.arrays["scale"], arrays["weight_scale"])
    stored = arrays["weight_packed"] if kind == "mxfp4" else arrays["weight"]
    assert q.packed.tobytes() == stored.tobytes()
    same_values(q, arrays["dequant"])


def test_nvfp4_codes_under_the_peers_scales_have_its_bytes():
    x, arrays = read("compressed_tensors/nvfp4_bf16")
    packed, given = nibbles(arrays["weight_packed"]), arrays["weight_global_scale"]
    q = tensor(
        bm.Float("nvfp4"), x, packed=packed, scale=arrays["weight_scale"], global_scale=given
    )
    same_values(q, arrays["dequant"])
    codes = floats.kernels.float_encode(
        x, q.scale, format="float4_e2m1fn", group_size=16, packed=True
    )
    np.testing.assert_array_equal(codes, packed)


def test_nvfp4_scales_differ_by_the_peers_global_scale_in_bfloat16():
    x, arrays = read("compressed_tensors/nvfp4_bf16")
    q = bm.quantize(x, bm.Float("nvfp4"))
    ours, theirs = q.arrays["global_scale"], arrays["weight_global_scale"]
    assert theirs == np.float32(ml_dtypes.bfloat16(2688) / np.abs(x).max())
    assert ours == np.float32(2688) / np.abs(x).max().astype(np.float32)
    assert np.count_nonzero(q.arrays["scale"] != arrays["weight_scale"]) == 1


def blocks_of_ggml():
    x, arrays = read("gguf/MXFP4")
    blocks = arrays["blocks"].reshape(len(x), -1, 17)
    low, high = blocks[..., 1:] & 15, blocks[..., 1:] >> 4  # elements j and 16 + j
    codes = np.concatenate([low, high], axis=-1).reshape(x.shape)
    return x, blocks[..., 0].copy(), codes, arrays["dequant"]


def test_mxfp4_of_ggml_decodes_to_its_values():
    x, scale, codes, dequant = blocks_of_ggml()
    q = tensor(bm.Float("mxfp4", rule="floor"), x, packed=bm.pack(codes, 4), scale=scale)
    same_values(q, dequant)


def test_mxfp4_by_the_floor_rule_has_ggmls_scales_and_codes_but_at_ties():
    """ggml gives a tie to the smaller magnitude, and has no negative zero."""
    x, scale, codes, _ = blocks_of_ggml()
    q = bm.quantize(x, bm.Float("mxfp4", rule="floor"))
    np.testing.assert_array_equal(q.arrays["scale"], scale)
    ours = np.where(q.codes == 8, 0, q.codes)
    steps = np.abs(x) / np.repeat(q.scale, 32, axis=1)
    ties = np.isin(steps, [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])
    np.testing.assert_array_equal(ours[~ties], codes[~ties])
    assert np.count_nonzero(ours != codes) == 32


@pytest.mark.parametrize(("name", "kind"), [("mxfp4", "mxfp4"), ("mxfp8", "mxfp8_e4m3")])
def test_mxfp_of_mlx_decodes_to_its_values(name, kind):
    x, arrays = read(f"mlx/{name}")
    words = arrays["weight"]
    codes = {"packed": words} if name == "mxfp4" else {"codes": words.view(np.uint8)}
    same_values(tensor(bm.Float(kind), x, **codes, scale=arrays["scales"]), arrays["dequant"])


def test_nvfp4_of_mlx_decodes_to_its_values():
    """It has no global scale."""
    x, arrays = read("mlx/nvfp4")
    one = np.ones(1, np.float32)
    q = tensor(
        bm.Float("nvfp4"), x, packed=arrays["weight"], scale=arrays["scales"], global_scale=one
    )
    same_values(q, arrays["dequant"])
