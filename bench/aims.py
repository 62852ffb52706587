# SPDX-License-Identifier: MIT
"""The rows of the table, and what each is to reach on a quiet machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

KERNELS = ("bench_affine.py", "bench_peers.py")
NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Row:
    """The benches of one kind of work, by how their names start ("ISA" stands for the instruction
    set in use): `alone` gives the rates and the share of the ceiling, `beside` the ratios to peers.

    `shares` are the least shares, in per cent, on avx512 and on avx2, 0 for any; `ratios` how many
    times as long as ours a peer should at least take; `files` where the benches are.
    """

    label: str
    alone: str
    shares: tuple[int, int]
    beside: str = ""
    ratios: Mapping[str, float] = field(default_factory=dict)
    files: tuple[str, ...] = KERNELS

    def names(self, isa: str) -> list[str]:
        """How the names of its benches start."""
        return [name.replace("ISA", isa) for name in (self.alone, self.beside) if name]

    def misses(self, isa: str, share: float | None, ratios: dict[str, float]) -> list[str]:
        """What falls short, in words."""
        wanted = self.shares[0 if isa == "avx512" else 1]
        short = share is not None and share < wanted
        found = [f"{share:.0f} % of the ceiling, not {wanted}"] if short else []
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

W8A8, W4 = ("bench_matmul.py",), ("bench_matmul4.py",)
ANY = (0, 0)
DYNAMIC = {"torch fbgemm": 0.95, "torch onednn": 0.95}
FUSED = DYNAMIC | {"onnxruntime dynamic": 0.95}
GGML = {"ggml q4_0": 0.95, "ggml q4_K": 0.95, "ggml q4_K repacked": 0.95}
PARITY = {"onnxruntime level 4": 0.95} | GGML
FASTER = {"onnxruntime level 4": 1.3} | GGML
FLOATS = {"onnxruntime level 0": 1.3, "torch int4pack": 1.3}
THREADS, AVX2 = {"1 thread": 1.7}, {"best ISA": 0.4}


def streaming(
    label: str, file: str, name: str, shares: tuple[int, int], ratios: Mapping[str, float] = NONE
) -> Row:
    """Rates and ratios from one bench of a file of its own."""
    name = f"bench_{name}]"
    return Row(label, name, shares, name if ratios else "", ratios, (file,))


def bytes_by_bytes(tokens: int, share: int, ratios: Mapping[str, float]) -> Row:
    """M tokens: codes of 8 bits alone; beside peers with all that is done to activations."""
    label, beside = f"W8A8, M = {tokens}", f"bench_w8a8_peers[{tokens}-"
    return Row(label, f"bench_w8a8[ISA-sym-{tokens}]", (share, 0), beside, ratios, W8A8)


def nibbles(work: str, group: str, tokens: int, share: int, ratios: Mapping[str, float]) -> Row:
    """Weights of 4 bits in groups; `work` is w4a8 or w4a16."""
    label, part = f"{work.upper()}, {group}, M = {tokens}", f"{group}-{tokens}"
    alone, beside = f"bench_{work}[ISA-{part}]", f"bench_{work}_peers[{part}-"
    return Row(label, alone, (share, 0), beside, ratios, W4)


def itself(label: str, name: str, ratios: Mapping[str, float], files: tuple[str, ...]) -> Row:
    """A product beside itself, run otherwise."""
    return Row(label, f"bench_{name}]", ANY, f"bench_{name}]", ratios, files)


PRODUCTS = [
    *(
        streaming(f"tokens to {to}", "bench_tokens.py", f"token_quantize[ISA-f32-{kind}", (60, 60))
        for to, kind in [("int8", "symmetric"), ("uint8", "asymmetric")]
    ),
    *(bytes_by_bytes(*row) for row in [(1, 0, DYNAMIC), (16, 0, FUSED), (128, 90, FUSED)]),
    Row("int8 · int8 → int32, M = 128", "bench_int8[ISA-128]", ANY, files=W8A8),
    *(
        nibbles("w4a8", group, *row)
        for group in ("g128", "g32")
        for row in [(1, 70, PARITY), (16, 0, PARITY), (128, 0, FASTER)]
    ),
    *(nibbles("w4a16", "g128", tokens, 0, FLOATS) for tokens in (1, 16, 128)),
    itself("W8A8, M = 128, two threads", "w8a8_threads[128", THREADS, W8A8),
    itself("W4A8, g128, M = 1, two threads", "w4_threads[dynamic-1", THREADS, W4),
    itself("W4A8, g128, M = 128, two threads", "w4_threads[dynamic-128", THREADS, W4),
    itself("W8A8, M = 128, AVX2", "w8a8_avx2[128", AVX2, W8A8),
    itself("W4A8, g128, M = 1, AVX2", "w4_avx2[dynamic-1", AVX2, W4),
    itself("W4A8, g128, M = 128, AVX2", "w4_avx2[dynamic-128", AVX2, W4),
    streaming(
        "int32 sums to int8", "bench_requantize.py", "requantize[ISA-single", (85, 70), {"numpy": 2}
    ),
    streaming(
        "Hadamard, 1024, f32", "bench_hadamard.py", "hadamard[ISA-f32-1024", ANY, {"copy": 0.8}
    ),
]
