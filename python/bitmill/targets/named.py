# SPDX-License-Identifier: MIT
"""Targets by name, each as the specification of its format, or its code, has it."""

from __future__ import annotations

from bitmill import _check
from bitmill.targets import packing
from bitmill.targets.target import Packing, Target

# compressed-tensors demands rows of whole groups, and has integer zero-points only. vLLM: its fast
# kernels take groups of 32, 64, 128 or rows, 4 and 8 bits, and rows and columns that are multiples
# of 64 and 128; others it runs on slower ones.
_VLLM = Target(
    (4, 8),
    name="vllm",
    group_sizes=(32, 64, 128, None),
    whole_groups=True,
    row_scales_from=8,
    kinds=("symmetric", "asymmetric"),
    scale_rules=("absmax", "full_range"),
    scales=("bfloat16", "float16", "float32"),
    ranks=(2,),
    others=("fp8_e4m3", "nvfp4"),
    formats=("pack-quantized", "float-quantized", "nvfp4-pack-quantized"),
    activation_formats=("int-quantized", "float-quantized"),
    row_activations=True,
    about=(
        "vLLM loads compressed-tensors; it is fastest with outputs that are multiples of 64 and "
        "inputs that are multiples of 128 on each device."
    ),
)

# Transformers with compressed-tensors 0.18 to 0.20 loads asymmetric packed weights only with
# dequantize=True.
_TRANSFORMERS = Target(
    (2, 3, 4, 5, 6, 7, 8),
    name="transformers",
    whole_groups=True,
    row_scales_from=8,
    kinds=("symmetric",),
    scale_rules=("absmax", "full_range"),
    scales=("bfloat16", "float16", "float32"),
    ranks=(2,),
    others=("fp8_e4m3", "mxfp4", "mxfp6_e2m3", "mxfp8_e4m3", "nvfp4", "NF4", "FP4"),
    formats=(
        "pack-quantized",
        "int-quantized",
        "float-quantized",
        "mxfp4-pack-quantized",
        "mxfp6-pack-quantized",
        "mxfp8-quantized",
        "nvfp4-pack-quantized",
        "bitsandbytes",
    ),
    activation_formats=("int-quantized", "float-quantized"),
    about="Transformers loads compressed-tensors, and makes dense weights of them as it runs.",
)

# com.microsoft MatMulNBits: blocks are powers of two from 16 on, its CPU kernels know them up to
# 256; rows are padded to whole blocks. Its own quantizer has the signed extreme at code 0.
_ONNXRUNTIME = Target(
    (2, 4, 8),
    16,
    name="onnxruntime",
    group_sizes=(16, 32, 64, 128, 256),
    kinds=("symmetric", "asymmetric"),
    scale_rules=("signed_max", "absmax", "full_range"),
    scales=("float32", "float16"),
    ranks=(2,),
    formats=("native", "pack-quantized"),
    export="onnx",
    packing=packing.blobs,
    about="ONNX Runtime takes them as MatMulNBits, a blob for each group.",
)

# mlx.core.quantize, mode affine: W = scale·u + bias.
_MLX = Target(
    (2, 3, 4, 5, 6, 8),
    32,
    name="mlx",
    group_size=64,
    group_sizes=(32, 64, 128),
    whole_groups=True,
    kinds=("offset", "symmetric"),
    scales=("bfloat16", "float16", "float32"),
    ranks=(2,),
    formats=("native", "pack-quantized"),
    export="mlx",
    about="MLX takes them as affine: scales, and offsets as biases.",
)


def _ggml(name: str, bits: int, scale_rules: tuple[str, ...], about: str) -> Target:
    """Blocks of 32 along rows, with a float16 scale d for each."""
    return Target(
        (bits,),
        32,
        target_bits=bits,
        name=name,
        group_size=32,
        group_sizes=(32,),
        whole_groups=True,
        kinds=("symmetric",),
        scale_rules=scale_rules,
        scales=("float16",),
        ranks=(1, 2, 3, 4),
        packing=packing.blocks,
        about=about,
    )


# Q4_0: d = v / −8, v the signed extreme. Q8_0: d = absmax / 127. Any other d is as good to read.
_Q4_0 = _ggml(
    "gguf-q4_0",
    4,
    ("signed_max", "absmax", "full_range"),
    "A block of Q4_0 is a float16 scale and 16 bytes of codes.",
)
_Q8_0 = _ggml(
    "gguf-q8_0",
    8,
    ("absmax", "full_range", "signed_max"),
    "A block of Q8_0 is a float16 scale and 32 bytes of codes.",
)


def _dot(name: str, tiles: Packing, about: str) -> Target:
    """Instructions that sum products of four bytes: 8 bits by rows, 4 bits by groups."""
    return Target(
        (4, 8),
        8,
        target_bits=8,
        name=name,
        group_sizes=(32, 64, 128, None),
        row_scales_from=8,
        kinds=("symmetric", "asymmetric"),
        scales=("float32",),
        ranks=(2,),
        packing=tiles,
        about=about,
    )


_AVX512_VNNI = _dot(
    "avx512-vnni",
    packing.tiles(48, biased=True),
    "vpdpbusd multiplies unsigned by signed bytes, four at a time, in 16 lanes.",
)
_AVX2 = _dot(
    "avx2",
    packing.tiles(16),
    "vpmaddwd multiplies bytes that are widened to 16 bits, so that no sum saturates.",
)
_ARM_DOT = _dot(
    "arm-dot",
    packing.tiles(8),
    "sdot multiplies signed bytes, four at a time, in 4 lanes.",
)

_NAMED = {
    target.name: target
    for target in (
        _VLLM,
        _TRANSFORMERS,
        _ONNXRUNTIME,
        _MLX,
        _Q4_0,
        _Q8_0,
        _AVX512_VNNI,
        _AVX2,
        _ARM_DOT,
    )
}


def names() -> tuple[str, ...]:
    """The names of the targets that there are.

    >>> names()[:4]
    ('vllm', 'transformers', 'onnxruntime', 'mlx')
    """
    return tuple(_NAMED)


def get(name: str) -> Target:
    """The target of this name; ValueError, listing the names, if there is none.

    >>> get("mlx").scheme((512, 4096))
    Affine(bits=4, symmetric=False, group_size=64, scales='bfloat16', offset=True)
    >>> get("gguf-q4_0").scheme((512, 4096))
    Affine(bits=4, group_size=32, scale_rule='signed_max', scales='float16')
    """
    return _NAMED[_check.choice(name, "target", names())]
