# SPDX-License-Identifier: MIT
"""PyTorch, one operator after another ("eager")."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import torch

from agree import same_bits
from peers import Rival

torch.set_num_threads(1)


def tensor(x: np.ndarray) -> torch.Tensor:
    """The same memory as a tensor."""
    if x.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(x.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def array(t: torch.Tensor) -> np.ndarray:
    """The same memory as an array."""
    if t.dtype == torch.bfloat16:
        return t.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return t.numpy()


def sym4(x: torch.Tensor, group_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """int4 symmetric codes, two in a byte, and scales."""
    groups = x.view(-1, group_size)
    scale = groups.abs().amax(1, keepdim=True) / 7
    return _joined((groups / scale).round().clamp(-8, 7) + 8), scale


def asym4(x: torch.Tensor, group_size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """uint4 codes, two in a byte, scales and zero-points."""
    groups = x.view(-1, group_size)
    lo, hi = groups.amin(1, keepdim=True).clamp(max=0), groups.amax(1, keepdim=True).clamp(min=0)
    scale = (hi - lo) / 15
    zero_point = (-lo / scale).round()
    codes = ((groups / scale).round() + zero_point).clamp(0, 15)
    return _joined(codes), scale, zero_point.to(torch.uint8)


def _joined(codes: torch.Tensor) -> torch.Tensor:
    """Pairs of codes to bytes; Inductor makes most of it if the sums are still float32."""
    return (codes[:, 0::2] + codes[:, 1::2] * 16).to(torch.uint8)


def sym8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 symmetric codes, one scale per row."""
    scale = x.float().abs().amax(1, keepdim=True) / 127
    return (x.float() / scale).round().clamp(-128, 127).to(torch.int8), scale


def decode4(packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Values of symmetric int4 codes [groups, size / 2]."""
    codes = torch.stack((packed & 15, packed >> 4), dim=-1)
    return (codes.float() - 8) * scale


def int4_sym(x, group_size, ours, function=sym4):
    return _int4(x, group_size, ours, function)


def int4_asym(x, group_size, ours, function=asym4):
    return _int4(x, group_size, ours, function)


def _int4(x, group_size, ours, function):
    """Bit for bit ours."""
    given = tensor(x)

    def check(answer):
        codes, *params = (array(part).reshape(-1) for part in answer)
        same_bits(codes, ours.codes.view(np.uint8).reshape(-1))
        wanted = [part.reshape(-1) for part in ours[1:3] if part is not None]
        same_bits(tuple(params), tuple(wanted))

    return Rival(lambda: function(given, group_size), check)


def int8_row(x, ours, function=sym8):
    """Bit for bit ours."""
    given = tensor(x)
    return Rival(
        lambda: function(given),
        lambda answer: same_bits(tuple(map(array, answer)), (ours.codes, ours.scale)),
    )


def uint8_tensor(x, q):
    """aminmax, then the quantization of FBGEMM inside torch, which multiplies by 1/scale: codes may
    be one off."""
    given = tensor(x)

    def run():
        lo, hi = torch.aminmax(given)
        lo, hi = min(float(lo), 0.0), max(float(hi), 0.0)
        scale = (hi - lo) / 255
        return torch.quantize_per_tensor(given, scale, round(-lo / scale), torch.quint8)

    def check(answer):
        assert answer.q_zero_point() == q.zero_point.item()
        off = array(answer.int_repr()).astype(np.int16) - q.codes
        assert np.abs(off).max() <= 1

    return Rival(run, check)


def dequantize_int8(q, out, ours):
    """Bit for bit ours."""
    codes, scale, values = tensor(q.codes), tensor(q.scale), tensor(out)
    return Rival(
        lambda: torch.mul(codes, scale, out=values), lambda answer: same_bits(array(answer), ours)
    )


def dequantize_int4(q, group_size, out, ours, function=decode4):
    """Bit for bit ours."""
    packed = tensor(q.packed.view(np.uint8).reshape(-1, group_size // 2))
    scale = tensor(q.scale.reshape(-1, 1, 1))
    return Rival(
        lambda: function(packed, scale),
        lambda answer: same_bits(array(answer).reshape(ours.shape), ours),
    )


def convert(x, out, ours):
    """Bit for bit ours."""
    given, values = tensor(x), tensor(out)
    return Rival(lambda: values.copy_(given), lambda answer: same_bits(array(answer), ours))


def largest(x: torch.Tensor) -> torch.Tensor:
    """max |x| of each row; faster than abs().amax(), and than the norm."""
    return torch.maximum(x.amax(1, keepdim=True), -x.amin(1, keepdim=True))


def ends(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """min and max of each row; aminmax is the faster one for whole tensors alone."""
    return x.amin(1, keepdim=True), x.amax(1, keepdim=True)


def absmax(x, ours, function=largest):
    """Bit for bit ours."""
    given = tensor(x)
    return Rival(lambda: function(given), lambda answer: same_bits(array(answer), ours))


def minmax(x, ours, function=ends):
    """Bit for bit ours."""
    given = tensor(x)
    return Rival(
        lambda: function(given),
        lambda answer: same_bits(tuple(map(array, answer)), tuple(ours)),
    )


def error_sums(x, y, ours):
    """The sums are float32 from end to end, and stop growing: within 5 % of ours."""
    a, b = tensor(x).view(-1), tensor(y).view(-1)

    def run():
        d = a - b
        return a.dot(a), b.dot(b), a.dot(b), d.dot(d), torch.linalg.vector_norm(d, torch.inf)

    def check(answer):
        wanted = [*(part.sum() for part in ours[:4]), ours.max_abs.max()]
        np.testing.assert_allclose([float(part) for part in answer], wanted, rtol=0.05)

    return Rival(run, check)
