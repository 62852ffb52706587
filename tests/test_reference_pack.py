# SPDX-License-Identifier: MIT
"""Bit streams, twin and kernels, beside words worked by hand."""

import numpy as np
import pytest

import engines

# One row for each width: unsigned codes, and their words. 3 bits are the digits of octal numbers,
# 4 bits those of hexadecimal ones. Where a width does not divide 32, a field straddles two words:
# of the last one of 5 bits, 31, two bits end the first word and three begin the second.
WORDS = {
    1: ([1, 0, 1, 1, 0, 0, 1], [0b1001101]),
    2: ([0, 1, 2, 3, 3], [0b11_11_10_01_00]),
    3: (
        [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 0b110, 4, 3, 2, 1, 0, 7, 6, 5, 4, 3, 0b011],
        [
            0b10 << 30 | 0o1076543210,  # low two bits of field 10 (110)
            0b1 << 31
            | 0o3456701234 << 1
            | 0b1,  # low bit of field 21 (011) .. high bit of field 10
            0b01,  # high two bits of field 21
        ],
    ),
    4: ([0, 1, 2, 3, 4, 5, 6, 7, 8, 15], [0x76543210, 0xF8]),
    5: ([1, 2, 3, 4, 5, 6, 31], [0xCC520C41, 0b111]),
    6: ([1, 2, 3, 4, 5, 0b111110], [0x85103081, 0b1111]),
    7: ([1, 2, 3, 4, 127], [0xF080C101, 0b111]),
    8: ([1, 2, 3, 255, 7], [0xFF030201, 0x07]),
}


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def words(*rows):
    return np.array(rows, np.uint32)


@pytest.mark.parametrize("bits", WORDS)
def test_unsigned_codes_pack_to_the_words_worked_by_hand(fn, bits):
    codes, wanted = WORDS[bits]
    assert fn.pack(np.array([codes], np.uint8), bits).tolist() == [wanted]


@pytest.mark.parametrize("bits", WORDS)
def test_signed_codes_pack_offset_binary(fn, bits):
    codes, wanted = WORDS[bits]
    signed = np.array([codes]) - (1 << bits - 1)
    assert fn.pack(signed.astype(np.int8), bits).tolist() == [wanted]


@pytest.mark.parametrize("bits", WORDS)
def test_words_worked_by_hand_unpack_to_unsigned_codes(fn, bits):
    codes, given = WORDS[bits]
    found = fn.unpack(words(given), bits, len(codes), signed=False)
    assert (found.dtype, found.tolist()) == (np.uint8, [codes])


@pytest.mark.parametrize("bits", WORDS)
def test_words_worked_by_hand_unpack_to_signed_codes(fn, bits):
    codes, given = WORDS[bits]
    found = fn.unpack(words(given), bits, len(codes), signed=True)
    assert found.dtype == np.int8
    assert found.tolist() == [[u - (1 << bits - 1) for u in codes]]


@pytest.mark.parametrize("bits", range(1, 9))
def test_least_greatest_and_zero_are_no_bits_all_bits_and_the_top_bit(fn, bits):
    codes = np.array([[-(1 << bits - 1), (1 << bits - 1) - 1] + [0] * (bits > 1)], np.int8)
    ones, top = (1 << bits) - 1, 1 << bits - 1
    wanted = ones << bits | (top << 2 * bits if bits > 1 else 0)
    assert fn.pack(codes, bits).tolist() == [[wanted]]


def test_each_row_starts_a_word_and_ends_in_zeros(fn):
    codes = np.full((2, 9), 15, np.uint8)
    assert fn.pack(codes, 4).tolist() == [[0xFFFFFFFF, 0xF]] * 2


def test_words_are_little_endian_streams_of_bytes(fn):
    codes = np.array([[0x1, 0x2, 0x3, 0x4, 0x5]], np.uint8)
    assert fn.pack(codes, 4).astype("<u4").tobytes() == bytes([0x21, 0x43, 0x05, 0])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_every_byte_unpacks_and_packs_to_itself(fn, bits):
    every = np.arange(256, dtype=np.uint8).view(np.uint32).reshape(1, -1)
    for signed in (False, True):
        codes = fn.unpack(every, bits, 256 * 8 // bits, signed=signed)
        assert fn.pack(codes, bits).tobytes() == every.tobytes()


def test_every_byte_is_two_offset_nibbles(fn):
    every = np.arange(256, dtype=np.uint8).view(np.uint32).reshape(1, -1)
    nibbles = [code for byte in range(256) for code in ((byte & 15) - 8, (byte >> 4) - 8)]
    assert fn.unpack(every, 4, 512, signed=True).tolist() == [nibbles]


def test_bits_beyond_the_row_are_not_read_back(fn):
    assert fn.unpack(words([0xFFFFFFFF]), 3, 2, signed=False).tolist() == [[7, 7]]


@pytest.mark.parametrize(("rows", "length"), [(0, 5), (3, 0), (0, 0)])
def test_no_codes_pack_to_no_words_and_back(fn, rows, length):
    packed = fn.pack(np.zeros((rows, length), np.int8), 3)
    assert packed.shape == (rows, 1 if length else 0)
    assert fn.unpack(packed, 3, length, signed=True).shape == (rows, length)


@pytest.mark.parametrize(
    ("codes", "bits", "at", "code"),
    [
        (np.array([[0, 8, -9, 7]], np.int8), 4, 1, 8),
        (np.array([[0, 7, -8, -9]], np.int8), 4, 3, -9),
        (np.array([[7, 0], [0, 8]], np.uint8), 3, 3, 8),
        (np.array([[0, -1, 1]], np.int8), 1, 2, 1),
    ],
)
def test_code_out_of_range_is_refused_by_its_index(fn, codes, bits, at, code):
    with pytest.raises(ValueError, match=rf"codes\.flat\[{at}\], is {code}\b"):
        fn.pack(codes, bits)


def test_length_that_does_not_take_the_words_given_is_refused(fn):
    with pytest.raises(ValueError, match="2 words per row; length=8 at bits=4 takes 1"):
        fn.unpack(words([0, 0]), 4, 8, signed=False)
