# SPDX-License-Identifier: MIT
"""NumPy, as someone who knows it would write the job: in pieces that stay in L2, in place.

The answers are ours bit for bit, but for the error sums, which BLAS adds in float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np

from agree import same_bits
from peers import Rival

PIECE = 1 << 16  # values: 256 KiB of float32, and as much for the results on the way


def pieces(x: np.ndarray) -> Iterator[slice]:
    """Rows that make about one piece."""
    step = max(1, PIECE // x.shape[1])
    return (slice(start, start + step) for start in range(0, x.shape[0], step))


def scratch(x: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Room for one piece."""
    return np.empty((max(1, PIECE // x.shape[1]), x.shape[1]), dtype)


def int4_sym(x, group_size, ours):
    return _packed(x, group_size, ours)


def int4_asym(x, group_size, ours):
    return _packed(x, group_size, ours)


def _packed(x, group_size, ours):
    packed = np.empty((x.shape[0], x.shape[1] // 2), np.uint8)
    scale = np.empty_like(ours.scale)
    zero_point = None if ours.zero_point is None else np.empty_like(ours.zero_point)
    work = scratch(x)
    codes = np.empty(work.shape, np.uint8)

    def run():
        for rows in pieces(x):
            groups = x[rows].reshape(-1, scale.shape[1], group_size)
            steps = work[: len(groups)].reshape(groups.shape)
            if zero_point is None:
                shift = np.float32(8)
                divisor = np.abs(groups, out=steps).max(2, keepdims=True) / np.float32(7)
            else:
                lo = np.minimum(groups.min(2, keepdims=True), np.float32(0))
                hi = np.maximum(groups.max(2, keepdims=True), np.float32(0))
                divisor = (hi - lo) / np.float32(15)
                shift = np.rint(-lo / divisor)
                zero_point[rows] = shift[..., 0]
            scale[rows] = divisor[..., 0]
            np.divide(groups, divisor, out=steps)
            np.rint(steps, out=steps)
            np.add(steps, shift, out=steps)
            if zero_point is not None:
                np.clip(steps, 0, 15, out=steps)
            fields = codes[: len(groups)]
            np.copyto(fields, work[: len(groups)], casting="unsafe")
            _join(fields, packed[rows])
        return packed, scale, zero_point

    def check(answer):
        same_bits(answer[0].view(np.uint32), ours.codes)
        same_bits(answer[1:], (ours.scale, ours.zero_point))

    return Rival(run, check)


def _join(codes, out):
    """Pairs of codes to bytes, without a stride of two."""
    pairs = codes.view(np.uint16)
    np.copyto(out, pairs | pairs >> 4, casting="unsafe")


def int8_row(x, ours):
    codes, scale = np.empty(x.shape, np.int8), np.empty((x.shape[0], 1), np.float32)
    work = scratch(x)

    def run():
        for rows in pieces(x):
            part = x[rows]
            if part.dtype != np.float32:
                part = part.astype(np.float32)
            steps = work[: len(part)]
            scale[rows] = np.maximum(part.max(1, keepdims=True), -part.min(1, keepdims=True)) / (
                np.float32(127)
            )
            np.divide(part, scale[rows], out=steps)
            np.rint(steps, out=steps)
            np.copyto(codes[rows], steps, casting="unsafe")
        return codes, scale

    return Rival(run, lambda answer: same_bits(answer, (ours.codes, ours.scale)))


def uint8_tensor(x, q):
    codes, work = np.empty(x.shape, np.uint8), scratch(x)

    def run():
        ends = [(x[rows].min(), x[rows].max()) for rows in pieces(x)]
        lo = min(np.float32(0), *(least for least, _ in ends))
        hi = max(np.float32(0), *(most for _, most in ends))
        scale = (hi - lo) / np.float32(255)
        zero_point = np.rint(-lo / scale)
        for rows in pieces(x):
            steps = work[: len(x[rows])]
            np.divide(x[rows], scale, out=steps)
            np.rint(steps, out=steps)
            np.add(steps, zero_point, out=steps)
            np.clip(steps, 0, 255, out=steps)
            np.copyto(codes[rows], steps, casting="unsafe")
        return codes, scale, zero_point

    def check(answer):
        same_bits(answer[0], q.codes)
        assert (answer[1], answer[2]) == (q.scale.item(), q.zero_point.item())

    return Rival(run, check)


def dequantize_int8(q, out, ours):
    def run():
        for rows in pieces(out):
            np.multiply(q.codes[rows], q.scale[rows], out=out[rows], dtype=np.float32)
        return out

    return Rival(run, lambda answer: same_bits(answer, ours))


def dequantize_int4(q, group_size, out, ours):
    packed = q.packed.view(np.uint8)
    codes = scratch(out, np.int8)

    def run():
        for rows in pieces(out):
            part, fields = packed[rows], codes[: len(packed[rows])]
            pairs = fields.view(np.uint16)
            np.bitwise_and(part | part.astype(np.uint16) << 4, np.uint16(0x0F0F), out=pairs)
            np.subtract(fields, 8, out=fields)
            groups = fields.reshape(len(part), -1, group_size)
            values = out[rows].reshape(groups.shape)
            np.multiply(groups, q.scale[rows, :, np.newaxis], out=values, dtype=np.float32)
        return out

    return Rival(run, lambda answer: same_bits(answer, ours))


def pack4(codes, ours):
    out = np.empty((codes.shape[0], codes.shape[1] // 2), np.uint8)

    def run():
        for rows in pieces(codes):
            _join(codes[rows], out[rows])
        return out

    return Rival(run, lambda answer: same_bits(answer.view(np.uint32), ours))


def unpack4(packed, codes):
    part, out = packed.view(np.uint8), np.empty_like(codes)
    pairs = out.view(np.uint16)

    def run():
        for rows in pieces(codes):
            wide = part[rows].astype(np.uint16)
            np.bitwise_or(wide, wide << 4, out=wide)
            np.bitwise_and(wide, np.uint16(0x0F0F), out=pairs[rows])
        return out

    return Rival(run, lambda answer: same_bits(answer, codes))


def convert(x, out, ours):
    if x.dtype == ml_dtypes.bfloat16:  # the bits, which NumPy shifts faster than ml_dtypes converts
        bits, wide = x.view(np.uint16), out.view(np.uint32)

        def run():
            for rows in pieces(x):
                np.left_shift(bits[rows], np.uint32(16), out=wide[rows], dtype=np.uint32)
            return out

    else:

        def run():
            np.copyto(out, x, casting="same_kind")
            return out

    return Rival(run, lambda answer: same_bits(answer, ours))


def absmax(x, ours):
    def run():
        return np.maximum(x.max(1, keepdims=True), -x.min(1, keepdims=True))

    return Rival(run, lambda answer: same_bits(answer, ours))


def minmax(x, ours):
    def run():
        ends = [(x[rows].min(1), x[rows].max(1)) for rows in pieces(x)]
        return tuple(np.concatenate(end)[:, np.newaxis] for end in zip(*ends, strict=True))

    return Rival(run, lambda answer: same_bits(answer, tuple(ours)))


def error_sums(x, y, ours):
    """With a difference that stays in L2 and BLAS for the sums; within 1e-3 of ours."""
    work = scratch(x).reshape(-1)

    def run():
        totals, largest = np.zeros(4), 0.0
        for rows in pieces(x):
            a, b = x[rows].reshape(-1), y[rows].reshape(-1)
            d = np.subtract(a, b, out=work[: a.size])
            totals += np.dot(a, a), np.dot(b, b), np.dot(a, b), np.dot(d, d)
            largest = max(largest, np.abs(d, out=d).max())
        return totals, largest

    def check(answer):
        np.testing.assert_allclose(answer[0], [part.sum() for part in ours[:4]], rtol=1e-3)
        assert np.isclose(answer[1], ours.max_abs.max(), rtol=1e-6)

    return Rival(run, check)


def histogram(batches, found, bins):
    """np.histogram over a range that is known before: the same counts."""
    lo, hi = found.edges[[0, -1]]

    def run():
        return sum(np.histogram(batch, len(found.counts), (lo, hi))[0] for batch in batches)

    return Rival(run, lambda answer: same_bits(answer, found.counts))


def percentile(x, p, ours):
    """In float32, which is faster than the float64 that the answer is compared in."""

    def run():
        return np.percentile(np.abs(x), p, axis=1)

    return Rival(run, lambda answer: np.testing.assert_allclose(answer, ours, rtol=1e-6))


def percentile_by_partition(x, p, ours):
    rank, weight = divmod((x.shape[1] - 1) * (p / 100), 1)
    ranks = [int(rank), int(rank) + 1]

    def run():
        low, high = np.partition(np.abs(x), ranks, axis=1)[:, ranks].T.astype(np.float64)
        return low + (high - low) * weight

    return Rival(run, lambda answer: np.testing.assert_allclose(answer, ours, rtol=1e-12))


def percentile_by_sample(x, p, ours):
    """Only what lies above a threshold, found in a sample, is put in order: for one row."""
    flat, work = x.reshape(-1), np.empty(PIECE, x.dtype)
    rank, weight = divmod((flat.size - 1) * (p / 100), 1)

    def run():
        sample = np.abs(flat[:: max(1, flat.size // 65536)])
        share = 1 - p / 100
        above = sample.size * share + 5 * (sample.size * share) ** 0.5
        threshold = np.partition(sample, sample.size - int(above))[sample.size - int(above)]
        kept = []
        for start in range(0, flat.size, PIECE):
            part = flat[start : start + PIECE]
            part = np.abs(part, out=work[: part.size])
            kept.append(part[part >= threshold])
        found = np.concatenate(kept)
        at = int(rank) - (flat.size - found.size)
        low, high = np.partition(found, [at, at + 1])[at : at + 2].astype(np.float64)
        return np.array([low + (high - low) * weight])

    return Rival(run, lambda answer: np.testing.assert_allclose(answer, ours, rtol=1e-12))


def kmeans1d(x, k, ours):
    """Lloyd's steps on sorted values with prefix sums, from quantiles, until nothing moves."""

    def run():
        values = np.sort(x.reshape(-1).astype(np.float32)).astype(np.float64)
        sums = np.concatenate([[0.0], np.cumsum(values)])
        squares = np.concatenate([[0.0], np.cumsum(values * values)])
        edges = np.linspace(0, values.size, k + 1).astype(np.int64)
        for _ in range(300):
            centroids = np.diff(sums[edges]) / np.maximum(np.diff(edges), 1)
            inner = np.searchsorted(values, (centroids[1:] + centroids[:-1]) / 2)
            moved = np.concatenate([[0], inner, [values.size]])
            if (moved == edges).all():
                break
            edges = moved
        counts = np.maximum(np.diff(edges), 1)
        return float((np.diff(squares[edges]) - np.diff(sums[edges]) ** 2 / counts).sum())

    return Rival(run, lambda inertia: _not_better(inertia, ours))


def _not_better(inertia, ours):
    assert inertia >= ours * (1 - 1e-4), "buckets leave less than that"
