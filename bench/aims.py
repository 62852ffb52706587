# SPDX-License-Identifier: MIT
"""The rows of the table, and what each is to reach on a quiet machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Row:
    """The benches of one kind of work, by how their names start ("ISA" stands for the instruction
    set in use): `alone` gives the rates and the share of the ceiling, `beside` the ratios to peers.

    `shares` are the least shares, in per cent, on avx512 and on avx2; `ratios` how many times as
    long as ours a peer should at least take.
    """

    label: str
    alone: str
    shares: tuple[int, int]
    beside: str = ""
    ratios: Mapping[str, float] = field(default_factory=dict)

    def misses(self, isa: str, share: float, ratios: dict[str, float]) -> list[str]:
        """What falls short, in words."""
        wanted = self.shares[0 if isa == "avx512" else 1]
        found = [] if share >= wanted else [f"{share:.0f} % of the ceiling, not {wanted}"]
        for peer, least in self.ratios.items():
            if peer in ratios and ratios[peer] < least:
                found.append(f"{ratios[peer]:.2f} × {peer}, not {least:g}")
        return found


INT4 = {"numpy": 15, "torch_compile": 3, "fbgemm": 2}
FBGEMM = {"fbgemm": 2}
INT8 = {"numpy": 10, "fbgemm": 2.5}
TWICE = {"numpy": 2, "torch": 2, "torch_compile": 2, "ml_dtypes": 2}
THRICE = {"numpy": 3, "fbgemm": 3, "ggml": 3}


def quantizing(
    label: str,
    name: str,
    shares: tuple[int, int],
    beside: str = "",
    ratios: Mapping[str, float] = NONE,
) -> Row:
    """Alone into arrays that are there, as the ceiling; beside peers into new ones, as those do."""
    return Row(label, f"bench_quantize[ISA-{name}]", shares, beside, ratios)


def both(label: str, prefix: str, shares: tuple[int, int], ratios: Mapping[str, float]) -> Row:
    """Rates and ratios from the same benches, whose arrays are there on both sides."""
    return Row(label, prefix, shares, prefix, ratios)


ROWS = [
    quantizing(
        "int4, g128, f32 → words", "int4 sym g128-f32", (75, 70), "bench_int4_sym[g128-", INT4
    ),
    quantizing("int4, g32, f32 → words", "int4 sym g32-f32", (75, 70), "bench_int4_sym[g32-", INT4),
    quantizing("int4, g128, bf16 → words", "int4 sym g128-bf16", (50, 42)),
    quantizing("int4, g32, bf16 → words", "int4 sym g32-bf16", (42, 35)),
    quantizing(
        "uint4, g128, f32 → words", "int4 asym g128-f32", (62, 42), "bench_int4_asym[g128-", FBGEMM
    ),
    quantizing(
        "uint4, g32, f32 → words", "int4 asym g32-f32", (62, 42), "bench_int4_asym[g32-", FBGEMM
    ),
    quantizing(
        "int8, a scale per row, f32", "int8 sym row-f32", (75, 65), "bench_int8_row[f32-", INT8
    ),
    quantizing(
        "int8, a scale per row, bf16", "int8 sym row-bf16", (70, 45), "bench_int8_row[bf16-", INT8
    ),
    Row("int8, one scale, f32", "bench_quantize_whole[ISA-sym]", (90, 90)),
    Row(
        "uint8, one scale, f32",
        "bench_quantize_whole[ISA-asym]",
        (90, 90),
        "bench_uint8_tensor[",
        {"onnxruntime": 0.95},
    ),
    both("int8 → f32", "bench_dequantize_int8[", (90, 88), {"onnxruntime": 1.2}),
    both("int4, g128 → f32", "bench_dequantize_int4[", (90, 88), THRICE),
    both("pack 4 bits", "bench_pack4[", (85, 85), {"hqq": 1.5}),
    both("unpack 4 bits", "bench_unpack4[", (85, 85), {"hqq": 1.5}),
    both("bf16 → f32", "bench_convert[to-bf16-", (85, 75), TWICE),
    both("f32 → bf16", "bench_convert[from-bf16-", (85, 75), TWICE),
    both("f16 → f32", "bench_convert[to-f16-", (85, 75), TWICE),
    both("f32 → f16", "bench_convert[from-f16-", (85, 75), TWICE),
    both("absmax per row, f32", "bench_range[absmax-", (85, 75), TWICE),
    both("min and max per row, f32", "bench_range[minmax-", (85, 75), TWICE),
    both("error sums of two f32", "bench_errors[", (75, 65), {"numpy": 3}),
]
