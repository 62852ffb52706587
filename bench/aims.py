# SPDX-License-Identifier: MIT
"""The rows of the table, and what each is to reach on a quiet machine."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """Benches whose names start with `prefix` ("ISA" stands for the instruction set in use).

    `shares` are the least shares of the ceiling, in per cent, on avx512 and on avx2; `ratios` how
    many times as long as ours a peer should at least take.
    """

    label: str
    prefix: str
    shares: tuple[int, int]
    ratios: dict[str, float] = field(default_factory=dict)

    def misses(self, isa: str, share: float, ratios: dict[str, float]) -> list[str]:
        """What falls short, in words."""
        wanted = self.shares[0 if isa == "avx512" else 1]
        found = [] if share >= wanted else [f"{share:.0f} % of the ceiling, not {wanted}"]
        for peer, least in self.ratios.items():
            if peer in ratios and ratios[peer] < least:
                found.append(f"{ratios[peer]:.2f} × {peer}, not {least:g}")
        return found


INT4 = {"numpy": 15, "torch_compile": 3, "fbgemm": 2}
INT8 = {"numpy": 10, "fbgemm": 2.5}
TWICE = {"numpy": 2, "torch": 2, "torch_compile": 2, "ml_dtypes": 2}
THRICE = {"numpy": 3, "fbgemm": 3, "ggml": 3}

ROWS = [
    Row("int4, groups of 128, f32 → words", "bench_int4_sym[g128-", (75, 70), INT4),
    Row("int4, groups of 32, f32 → words", "bench_int4_sym[g32-", (75, 70), INT4),
    Row("the same, groups of 128, bf16", "bench_quantize[ISA-int4 sym g128-bf16]", (50, 42)),
    Row("the same, groups of 32, bf16", "bench_quantize[ISA-int4 sym g32-bf16]", (42, 35)),
    Row("uint4, groups of 128, f32 → words", "bench_int4_asym[g128-", (62, 42), {"fbgemm": 2}),
    Row("uint4, groups of 32, f32 → words", "bench_int4_asym[g32-", (62, 42), {"fbgemm": 2}),
    Row("int8, one scale per row, f32", "bench_int8_row[f32-", (75, 65), INT8),
    Row("int8, one scale per row, bf16", "bench_int8_row[bf16-", (70, 45), INT8),
    Row("uint8, one scale, f32", "bench_uint8_tensor[", (90, 90), {"onnxruntime": 0.95}),
    Row("int8 → f32", "bench_dequantize_int8[", (90, 88), {"onnxruntime": 1.2}),
    Row("int4, groups of 128 → f32", "bench_dequantize_int4[", (90, 88), THRICE),
    Row("pack 4 bits", "bench_pack4[", (85, 85), {"hqq": 1.5}),
    Row("unpack 4 bits", "bench_unpack4[", (85, 85), {"hqq": 1.5}),
    Row("bf16 → f32", "bench_convert[to-bf16-", (85, 75), TWICE),
    Row("f32 → bf16", "bench_convert[from-bf16-", (85, 75), TWICE),
    Row("f16 → f32", "bench_convert[to-f16-", (85, 75), TWICE),
    Row("f32 → f16", "bench_convert[from-f16-", (85, 75), TWICE),
    Row("absmax per row, f32", "bench_range[absmax-", (85, 75), TWICE),
    Row("min and max per row, f32", "bench_range[minmax-", (85, 75), TWICE),
    Row("error sums of two f32", "bench_error_sums[", (75, 65), {"numpy": 3}),
]
