# SPDX-License-Identifier: MIT
"""bitmill beside every file of ONNX Runtime's MatMulNBits: bytes, values, scales, codes."""

import numpy as np
import pytest

import bitmill as bm
import engines
import golden_files
from golden_files import zero_groups

# Codes that differ. They multiply by 1 / scale, add the zero-point (2^(bits-1) where symmetric)
# before they round, and round half away from zero; bitmill divides, rounds half to even, then adds.
DIFFERING = {
    "nbits_w2_b32_asym_K100": 0,
    "nbits_w2_b32_asym_K256": 16,
    "nbits_w2_b32_sym_K100": 0,
    "nbits_w2_b32_sym_K256": 32,
    "nbits_w4_b128_asym_K100": 0,
    "nbits_w4_b128_asym_K256": 9,
    "nbits_w4_b128_sym_K100": 0,
    "nbits_w4_b128_sym_K256": 0,
    "nbits_w4_b32_asym_K100": 0,
    "nbits_w4_b32_asym_K256": 14,
    "nbits_w4_b32_sym_K100": 0,
    "nbits_w4_b32_sym_K256": 0,
    "nbits_w8_b128_asym_K100": 0,
    "nbits_w8_b128_asym_K256": 10,
    "nbits_w8_b128_sym_K100": 0,
    "nbits_w8_b128_sym_K256": 0,
    "nbits_w8_b32_asym_K100": 0,
    "nbits_w8_b32_asym_K256": 15,
    "nbits_w8_b32_sym_K100": 0,
    "nbits_w8_b32_sym_K256": 0,
}
FILES = list(DIFFERING)
SYMMETRIC = [name for name in FILES if "_sym_" in name]
ASYMMETRIC = [name for name in FILES if "_asym_" in name]


@pytest.fixture(params=engines.ENGINES, autouse=True)
def _api(request):
    with engines.api(request.param):
        yield


class Peer:
    """A golden file, as the QTensor it is and as bitmill quantizes the same input."""

    def __init__(self, name):
        self.x, args, self.arrays = golden_files.read(f"ort/{name}")
        self.bits, self.block, self.symmetric = (
            args[name] for name in ("bits", "block_size", "symmetric")
        )
        self.rows, self.blocks = self.arrays["scales"].shape
        self.scheme = bm.Affine(
            self.bits,
            symmetric=self.symmetric,
            group_size=self.block,
            scale_rule="signed_max" if self.symmetric else "absmax",
        )
        self.ours = bm.quantize(self.x, self.scheme)
        arrays = {"scale": self.arrays["scales"]}
        if not self.symmetric:
            arrays["zero_point"] = self.fields(self.arrays["zero_points"], self.blocks)
        self.padded = self.fields(self.arrays["B"], self.blocks * self.block)
        codes = self.padded[:, : self.x.shape[1]].copy()
        if self.symmetric:  # zero-point 2^(bits-1)
            codes = (codes - (1 << self.bits - 1)).astype(np.int8)
        if self.bits < 8:
            arrays["packed"] = bm.pack(codes, self.bits)
        else:
            arrays["codes"] = codes
        self.q = bm.QTensor(self.scheme, self.x.shape, "float32", arrays)
        self.zero = zero_groups(self.x, self.block)

    def fields(self, given, count):
        """The unsigned fields of a blob, whose rows are whole bytes."""
        given = given.reshape(self.rows, -1)
        stream = np.zeros((self.rows, 4 * -(-count * self.bits // 32)), np.uint8)
        stream[:, : given.shape[1]] = given
        return bm.unpack(stream.view(np.uint32), self.bits, count, signed=False)

    def of_weights(self, groups):
        """What holds for groups, for each of their weights."""
        return np.repeat(groups, self.block, axis=1)[:, : self.x.shape[1]]


def test_table_names_every_golden_file():
    assert golden_files.names("ort") == FILES
    assert (len(SYMMETRIC), len(ASYMMETRIC)) == (10, 10)


@pytest.mark.parametrize("name", FILES)
def test_codes_padded_with_zero_to_whole_blocks_pack_to_the_same_bytes(name):
    peer = Peer(name)
    offset = 1 << peer.bits - 1 if peer.symmetric else 0
    padded = np.zeros((peer.rows, peer.blocks * peer.block), np.uint8)
    padded[:, : peer.x.shape[1]] = peer.q.codes.astype(np.int16) + offset
    assert bm.pack(padded, peer.bits).tobytes() == peer.arrays["B"].tobytes()


@pytest.mark.parametrize("name", ASYMMETRIC)
def test_zero_points_padded_with_the_middle_code_to_bytes_pack_to_the_same_bytes(name):
    """A row of one 4-bit zero-point leaves a nibble, and ONNX Runtime puts 8 there."""
    peer = Peer(name)
    given = peer.arrays["zero_points"]
    padded = np.full((peer.rows, given.shape[1] * 8 // peer.bits), 1 << peer.bits - 1, np.uint8)
    padded[:, : peer.blocks] = peer.q.zero_point
    row = bm.pack(padded, peer.bits).view(np.uint8)[:, : given.shape[1]]
    assert row.tobytes() == given.tobytes()


@pytest.mark.parametrize("name", FILES)
def test_values_are_the_peers(name):
    peer = Peer(name)
    assert (peer.q.dequantize() == peer.arrays["dequant_KN"].T).all()


@pytest.mark.parametrize("name", FILES)
def test_values_have_the_peers_bytes_but_for_zeros_under_a_negative_scale(name):
    """There ONNX Runtime gives +0.0 and bitmill, which multiplies 0 by the scale, -0.0."""
    peer = Peer(name)
    ours, theirs = peer.q.dequantize(), peer.arrays["dequant_KN"].T
    minus = np.signbit(ours) & (ours == 0)
    assert not (np.signbit(theirs) & (theirs == 0)).any()
    assert (minus == peer.of_weights(peer.q.scale < 0) & (ours == 0)).all()
    assert ours[~minus].tobytes() == theirs[~minus].tobytes()


@pytest.mark.parametrize("name", FILES)
def test_scales_outside_zero_groups_have_the_peers_bytes(name):
    peer = Peer(name)
    assert peer.ours.scale[~peer.zero].tobytes() == peer.q.scale[~peer.zero].tobytes()


@pytest.mark.parametrize("name", SYMMETRIC)
def test_about_half_of_the_symmetric_scales_are_negative(name):
    peer = Peer(name)
    assert 0.4 < (peer.ours.scale < 0).mean() < 0.6


@pytest.mark.parametrize("name", ASYMMETRIC)
def test_zero_points_are_the_peers(name):
    peer = Peer(name)
    assert peer.ours.zero_point.tobytes() == peer.q.zero_point.tobytes()


@pytest.mark.parametrize("name", FILES)
def test_as_many_codes_differ_as_stated(name):
    peer = Peer(name)
    assert int((peer.ours.codes != peer.q.codes).sum()) == DIFFERING[name]


@pytest.mark.parametrize("name", FILES)
def test_zero_groups_have_scale_zero_there_and_one_here(name):
    peer = Peer(name)
    assert peer.zero.sum() == (2 if (peer.block, len(peer.x)) == (32, 16) else 0)
    assert (peer.q.scale[peer.zero] == 0).all()
    assert (peer.ours.scale[peer.zero] == 1).all()


@pytest.mark.parametrize("name", FILES)
def test_peers_codes_follow_from_their_order_of_rounding(name):
    """The reason given in the table above, which leaves nothing unexplained."""
    peer = Peer(name)
    with np.errstate(divide="ignore"):
        inverse = np.where(peer.q.scale == 0, np.float32(0), np.float32(1) / peer.q.scale)
    zero_point = np.full_like(peer.q.scale, 1 << peer.bits - 1)
    if not peer.symmetric:
        zero_point = peer.q.zero_point.astype(np.float32)
    sums = peer.x * peer.of_weights(inverse) + peer.of_weights(zero_point)
    away_from_zero = np.floor(np.abs(sums).astype(np.float64) + 0.5) * np.sign(sums)
    fields = np.clip(away_from_zero, 0, (1 << peer.bits) - 1)
    assert (fields == peer.padded[:, : peer.x.shape[1]]).all()
