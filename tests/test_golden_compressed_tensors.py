# SPDX-License-Identifier: MIT
"""bitmill beside every integer file that compressed-tensors made: bytes, values, scales, codes."""

import numpy as np
import pytest

import bitmill as bm
import engines
import golden_files
from golden_files import bits_of, zero_groups

# Outside groups of zeros all their scales are bitmill's, and all their codes too.
FLOAT32_SYMMETRIC = [
    "int8_channel_sym_f32", "int8_g128_sym_f32", "int8_tensor_sym_f32", "pack_w2_sym_g128_f32",
    "pack_w3_sym_g128_f32", "pack_w4_sym_channel_f32", "pack_w4_sym_channel_odd",
    "pack_w4_sym_g128_f32", "pack_w4_sym_g32_f32", "pack_w5_sym_g128_f32", "pack_w6_sym_g128_f32",
    "pack_w7_sym_g128_f32", "pack_w8_sym_channel_f32", "pack_w8_sym_g128_f32",
    "pack_w8_sym_g32_f32",
]  # fmt: skip

# Codes that differ. They add the zero-point before they round: ties can go the other way, and the
# sum is rounded to float32. The one weight it happens to, in a row that two files hold per channel:
# x / scale is 16.499996 and rounds to 16, while 16.499996 + 51 is 67.5 in float32, a tie, thus 68.
FLOAT32_ASYMMETRIC = {
    "int8_channel_asym_f32": 1,
    "pack_w3_asym_channel_odd": 0,
    "pack_w3_asym_g32_f32": 0,
    "pack_w4_asym_channel_f32": 0,
    "pack_w4_asym_channel_odd": 0,
    "pack_w4_asym_g128_f32": 0,
    "pack_w4_asym_g32_f32": 0,
    "pack_w8_asym_channel_f32": 1,
    "pack_w8_asym_channel_odd": 0,
    "pack_w8_asym_g128_f32": 0,
    "pack_w8_asym_g32_f32": 0,
}

# Codes that differ. They round x / scale to bfloat16 before they round it to a code: its 8 bits
# turn many quotients into a tie, and above 128 there are no halves. bitmill rounds the float32
# quotient.
BFLOAT16_SYMMETRIC = {
    "int8_channel_sym_bf16": 711,
    "int8_g128_sym_bf16": 757,
    "pack_w4_sym_channel_bf16": 42,
    "pack_w4_sym_g128_bf16": 39,
    "pack_w4_sym_g32_bf16": 64,
    "pack_w8_sym_channel_bf16": 711,
    "pack_w8_sym_g128_bf16": 757,
    "pack_w8_sym_g32_bf16": 915,
}

# Scales, zero-points and codes that differ. They round to bfloat16 max - min and its quotient, the
# zero-point's quotient and its distance from qmin, and x / scale and its sum with the zero-point.
# bitmill computes in float32 and rounds the scale alone.
BFLOAT16_ASYMMETRIC = {
    "pack_w4_asym_channel_bf16": (2, 2, 444),
    "pack_w4_asym_g128_bf16": (9, 0, 62),
    "pack_w4_asym_g32_bf16": (46, 4, 198),
    "pack_w8_asym_channel_bf16": (5, 12, 3161),
    "pack_w8_asym_g128_bf16": (5, 16, 2592),
    "pack_w8_asym_g32_bf16": (49, 76, 2823),
}

SYMMETRIC = [*FLOAT32_SYMMETRIC, *BFLOAT16_SYMMETRIC]
ASYMMETRIC = [*FLOAT32_ASYMMETRIC, *BFLOAT16_ASYMMETRIC]
FILES = [*SYMMETRIC, *ASYMMETRIC]
PACKED = [name for name in FILES if name.startswith("pack_")]


@pytest.fixture(params=engines.ENGINES, autouse=True)
def _api(request):
    with engines.api(request.param):
        yield


class Peer:
    """A golden file, as the QTensor it is and as bitmill quantizes the same input."""

    def __init__(self, name):
        self.x, args, self.arrays = golden_files.read(f"compressed_tensors/{name}")
        self.bits, self.symmetric = args["num_bits"], args["symmetric"]
        self.group_size = args.get("group_size")
        self.per_tensor = args["strategy"] == "tensor"
        self.scheme = bm.Affine(
            self.bits,
            symmetric=self.symmetric,
            axis=None if self.per_tensor else "row",
            group_size=self.group_size,
            scale_rule="full_range" if self.symmetric else "absmax",
            scales=self.x.dtype.name,
        )
        self.ours = bm.quantize(self.x, self.scheme)
        arrays = {"scale": self.arrays["weight_scale"].reshape(self.ours.scale.shape)}
        if not self.symmetric:
            arrays["zero_point"] = self._zero_point()
        codes = self._codes()
        if self.bits < 8:
            arrays["packed"] = bm.pack(codes, self.bits)
        else:
            arrays["codes"] = codes
        self.q = bm.QTensor(self.scheme, self.x.shape, self.x.dtype.name, arrays)
        group = None if self.per_tensor else self.group_size
        zero = zero_groups(self.x.reshape(1, -1) if self.per_tensor else self.x, group)
        self.zero = zero  # groups of zeros
        self.zeros = np.repeat(zero, self.x.size // zero.size, axis=1).reshape(self.x.shape)

    def _codes(self):
        """Signed where symmetric; else their signed codes and zero-points as unsigned fields."""
        if "weight" in self.arrays:
            codes = self.arrays["weight"]
            return codes if self.symmetric else bits_of(codes) ^ 0x80
        words = self.arrays["weight_packed"].view(np.uint32)
        return bm.unpack(words, self.bits, self.x.shape[1], signed=self.symmetric)

    def _zero_point(self):
        """One stream per column of groups, running along the rows."""
        given = self.arrays["weight_zero_point"]
        if given.dtype == np.int8:
            return bits_of(given) ^ 0x80
        streams = np.ascontiguousarray(given.T).view(np.uint32)
        return bm.unpack(streams, self.bits, self.x.shape[0], signed=False).T.copy()


def test_tables_name_every_golden_file_of_integers_once():
    integer = [
        n for n in golden_files.names("compressed_tensors") if n.startswith(("int8", "pack"))
    ]
    assert sorted(FILES) == integer
    assert (len(FILES), len(PACKED)) == (40, 34)


@pytest.mark.parametrize("name", PACKED)
def test_unpacked_and_packed_again_the_codes_have_the_same_bytes(name):
    peer = Peer(name)
    assert bm.pack(peer.q.codes, peer.bits).tobytes() == peer.arrays["weight_packed"].tobytes()


@pytest.mark.parametrize("name", [name for name in ASYMMETRIC if name in PACKED])
def test_unpacked_and_packed_again_the_zero_points_have_the_same_bytes(name):
    peer = Peer(name)
    streams = bm.pack(peer.q.zero_point.T, peer.bits)
    assert streams.T.tobytes() == peer.arrays["weight_zero_point"].tobytes()


@pytest.mark.parametrize("name", FILES)
def test_values_have_the_peers_bytes(name):
    peer = Peer(name)
    values = peer.q.dequantize(dtype=peer.x.dtype.name)
    assert values.dtype == peer.arrays["dequant"].dtype
    assert values.tobytes() == peer.arrays["dequant"].tobytes()


@pytest.mark.parametrize("name", [*SYMMETRIC, *FLOAT32_ASYMMETRIC])
def test_scales_outside_zero_groups_have_the_peers_bytes(name):
    peer = Peer(name)
    assert peer.ours.scale[~peer.zero].tobytes() == peer.q.scale[~peer.zero].tobytes()


@pytest.mark.parametrize("name", FLOAT32_ASYMMETRIC)
def test_zero_points_outside_zero_groups_are_the_peers(name):
    peer = Peer(name)
    assert peer.ours.zero_point[~peer.zero].tobytes() == peer.q.zero_point[~peer.zero].tobytes()


@pytest.mark.parametrize("name", FLOAT32_SYMMETRIC)
def test_codes_of_float32_symmetric_are_the_peers(name):
    peer = Peer(name)
    assert peer.ours.codes.tobytes() == peer.q.codes.tobytes()


@pytest.mark.parametrize("name", [*FLOAT32_ASYMMETRIC, *BFLOAT16_SYMMETRIC])
def test_as_many_codes_differ_as_stated(name):
    peer = Peer(name)
    stated = (FLOAT32_ASYMMETRIC | BFLOAT16_SYMMETRIC)[name]
    assert int((peer.ours.codes != peer.q.codes)[~peer.zeros].sum()) == stated


@pytest.mark.parametrize("name", BFLOAT16_ASYMMETRIC)
def test_as_many_scales_zero_points_and_codes_differ_as_stated(name):
    peer = Peer(name)
    scales = bits_of(peer.ours.scale) != bits_of(peer.q.scale)
    zero_points = peer.ours.zero_point != peer.q.zero_point
    codes = (peer.ours.codes != peer.q.codes)[~peer.zeros]
    found = (scales[~peer.zero], zero_points[~peer.zero], codes)
    assert tuple(int(f.sum()) for f in found) == BFLOAT16_ASYMMETRIC[name]


@pytest.mark.parametrize("name", FILES)
def test_zero_groups_have_scale_eps_and_the_middle_code_there_but_one_and_zero_here(name):
    peer = Peer(name)
    of_input = {None: 1, 128: 3, 32: 14}[peer.group_size]
    assert peer.zero.sum() == (0 if len(peer.x) == 20 else of_input)
    eps = 2.0**-23 if peer.x.dtype == np.float32 else 2.0**-7
    assert (peer.q.scale[peer.zero] == eps).all()
    assert (peer.q.codes[peer.zeros] == (0 if peer.symmetric else 1 << peer.bits - 1)).all()
    assert (peer.ours.scale[peer.zero] == 1).all()
    assert (peer.ours.codes[peer.zeros] == 0).all()


@pytest.mark.parametrize("name", FILES)
def test_peers_numbers_follow_from_their_order_of_rounding(name):
    """The reasons given in the tables above, which leave nothing unexplained."""
    peer = Peer(name)
    scale, zero_point, codes = peers_arithmetic(
        peer.x.reshape(peer.zero.size, -1), peer.bits, peer.symmetric
    )
    half = 0 if peer.symmetric else 1 << peer.bits - 1
    assert scale.tobytes() == peer.q.scale.tobytes()
    assert (codes.reshape(peer.x.shape) + half == peer.q.codes).all()
    if not peer.symmetric:
        assert (zero_point.reshape(peer.zero.shape) + half == peer.q.zero_point).all()


def peers_arithmetic(groups, bits, symmetric):
    """Their scale, zero-point and signed codes: every step is rounded to the dtype of the data."""
    of = groups.dtype.type
    qmin, qmax = of(-(1 << bits - 1)), of((1 << bits - 1) - 1)
    lo = np.minimum(groups.min(axis=1, keepdims=True), of(0))
    hi = np.maximum(groups.max(axis=1, keepdims=True), of(0))

    def round_to_code(x):
        return np.rint(np.minimum(np.maximum(x, qmin), qmax))

    if symmetric:
        scale, zero_point = np.maximum(-lo, hi) / of(((1 << bits) - 1) / 2), np.zeros_like(lo)
    else:
        scale = (hi - lo) / of((1 << bits) - 1)
        with np.errstate(invalid="ignore"):
            quotient = lo / scale
        quotient = np.where(scale == 0, qmin, quotient)  # 0/0 ends as zero-point 0
        zero_point = round_to_code(qmin - quotient)
    scale[scale == 0] = np.finfo(np.float32).eps if of is np.float32 else 2.0**-7
    codes = round_to_code(groups / scale + zero_point)
    return scale, zero_point.astype(np.int32), codes.astype(np.int32)
