# SPDX-License-Identifier: MIT
"""The memory that `quantize_checkpoint` and `sensitivity` take, beside their `max_memory`.

    python tests/long/memory.py                 some minutes, 12 GB of disk
    python tests/long/memory.py --budget 64MiB --only experts

For each budget: checkpoints of 20 times its size, and single tensors of 8 times its size, in all
dtypes and kinds of schemes. Each is converted, or measured as for an allocation, in a process of
its own, whose peak of memory less what it was after importing bitmill must be the budget plus
100 MiB at most; every byte of the result must be that of a run with as much memory as it likes.
What learns of whole tensors must have them within the budget: there it is given many small ones.
The checkpoints are generated in a temporary folder (see --folder).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
import bitmill as bm
from bitmill.checkpoint import LayerScheme
from bitmill.checkpoint.sizes import parse_size
from bounded import SLACK, Taken, Weights, convert, digests, measure, write_checkpoint

MIB = 1 << 20
UNBOUNDED = "64GiB"


class Source(NamedTuple):
    """A checkpoint to generate."""

    name: str
    tensors: list[Weights]
    shards: int = 1


class Case(NamedTuple):
    """What to make of a source."""

    name: str
    rules: Any
    """For `plan_checkpoint`; or candidates, to measure."""
    threads: tuple[int, ...] = (1, 8)

    def run(self, folder: Path, **options: Any) -> tuple[Taken, dict[str, str]]:
        """What it took of src in a folder, and digests of what it made, which is removed."""
        src, dst = folder / "src", folder / "dst"
        if isinstance(self.rules, tuple):
            dst.mkdir()
            taken = measure(src, dst / "sensitivity.json", self.rules, **options)
        else:
            taken = convert(src, dst, bm.plan_checkpoint(src, self.rules), **options)
        found = digests(dst)
        shutil.rmtree(dst)
        return taken, found


def native(bits: int, **options: Any) -> Any:
    """Rules that take any tensor."""
    return {"re:.*big": LayerScheme(bm.Affine(bits, **options), format="native")}


def packed(bits: int, **options: Any) -> Any:
    """Rules for all matrices, in the format of compressed-tensors."""
    return {"Linear": LayerScheme(bm.Affine(bits, **options))}


def outliers(inner: Any, **options: Any) -> Any:
    """Rules for all matrices whose largest values are kept beside the codes."""
    return {"Linear": LayerScheme(bm.Outliers(inner, 0.005, **options), format="native")}


MATRIX = [
    Case("W4A16", "W4A16"),
    Case("W4A16_ASYM", "W4A16_ASYM"),
    Case("W8A8", "W8A8"),
    Case("int8, one scale", {"re:.*big": LayerScheme(bm.Affine(8, axis=None), "int8")}),
    Case("native, columns", native(5, axis=1, symmetric=False, offset=True)),
    Case("g16, float32 scales", packed(4, group_size=16)),
    Case("g8, offsets", native(8, group_size=8, symmetric=False, offset=True), (8,)),
    Case("kept", {"re:.*small": "W4A16"}),
]
ENDS = [
    Case("signed_max g128", packed(4, group_size=128, scale_rule="signed_max")),
    Case("signed_max rows", packed(8, scale_rule="signed_max")),
    Case("int2 asym", native(2, symmetric=False, group_size=32)),
]
SCHEMES = [
    *(Case(name, name, (8,)) for name in ("NF4", "IQ4_NL")),
    *(Case(name, name, (8,)) for name in ("FP8", "MXFP4", "NVFP4")),
    Case("outliers of rows", outliers(bm.Affine(4, group_size=128), per="row"), (8,)),
    Case("measured", ("W2", "W4", "W4g32a", "W8", "NF4", "KEEP"), (8,)),
]
LEARNED = [
    *(Case(name, name) for name in ("KMEANS4", "LEARNED4")),
    Case("outliers", outliers(bm.Affine(4, group_size=128)), (8,)),
    Case("outliers, one scale", outliers(bm.Affine(8, axis=None)), (8,)),
    Case("outliers, KMEANS4", outliers(bm.KMeans(4)), (8,)),
    Case("measured", ("W3", "KMEANS4", "LEARNED4"), (8,)),
]
FLOATS = [Case("W4A16", "W4A16"), Case("W8A8", "W8A8", (8,)), MATRIX[-1]]
SHORT = [
    Case("W8A8", "W8A8"),
    Case("int4 asym", packed(4, symmetric=False), (8,)),
    Case("g16, float32 scales", packed(4, group_size=16), (8,)),
]
EXPERTS = [
    Case("W4A16", {"re:.*big": "W4A16"}),
    Case("W4A16_ASYM", {"re:.*big": "W4A16_ASYM"}, (8,)),
    Case("native, axis 1", native(8, axis=1), (8,)),
]
MANY = [Case("W4A16", "W4A16"), Case("W8A8", "W8A8", (8,))]


def sources(budget: int) -> Iterator[tuple[Source, list[Case]]]:
    """Checkpoints that are large beside the budget, and what to make of each."""
    size = 8 * budget
    small = Weights("small.weight", (128, 4096))

    def big(*shape: int, dtype: str = "bfloat16", kind: str = "random") -> list[Weights]:
        return [Weights("big.weight", shape, dtype, kind), small]

    layers = list(_layers(20 * budget))
    yield Source("20x", layers, shards=3), MANY
    yield Source("20x holes", [w._replace(kind="holes") for w in layers], shards=3), MANY[:1]
    yield Source("20x ends", [w._replace(kind="ends") for w in layers], shards=3), ENDS[:1]
    yield Source("matrix", big(size // 8192, 4096)), MATRIX
    yield Source("schemes", big(size // 8192, 4096)), SCHEMES
    if budget >= 128 * MIB:  # the counts of a codebook take half of that
        some = [Weights(f"layers.{i}.m.weight", (1024, 2048)) for i in range(budget // 2 // MIB)]
        yield Source("learned", some), LEARNED
    yield Source("holes", big(size // 8192, 4096, kind="holes")), MATRIX[:1]
    yield Source("ends", big(size // 8192, 4096, kind="ends")), ENDS
    for dtype, width in ("float32", 4), ("float64", 8):
        yield Source(dtype, big(size // 4096 // width, 4096, dtype=dtype)), FLOATS
    yield Source("short rows", big(size // 64, 32)), SHORT
    yield Source("wide rows", big(1024, size // 2048)), [MATRIX[0], MATRIX[4]]
    yield Source("experts", big(size // 2048 // 1024 // 2, 1024, 2048)), EXPERTS
    yield Source("nan", big(size // 8192, 4096, kind="nan")), MATRIX[-1:]


def _layers(nbytes: int) -> Iterator[Weights]:
    """Matrices of several sizes, and norms."""
    shapes = [(4096, 4096), (1024, 4096), (4096, 14336), (4096,), (14336, 4096)]
    left, number = nbytes, 0
    while left > 0:
        made = Weights(f"model.layers.{number:03}.m.weight", shapes[number % len(shapes)])
        left, number = left - made.nbytes, number + 1
        yield made


def check(folder: Path, source: Source, case: Case, budget: int) -> Iterator[str]:
    """A line of the table for each number of threads; what is wrong is in capitals."""
    wanted = None
    for threads, memory in ((2, UNBOUNDED), *((n, budget) for n in case.threads)):
        taken, found = case.run(folder, max_memory=memory, num_threads=threads)
        if wanted is None:
            wanted = found
            continue
        wrong = "" if taken.added <= budget + SLACK else "TOO MUCH"
        wrong += "" if found == wanted else " OTHER BYTES"
        size = sum(tensor.nbytes for tensor in source.tensors)
        yield (
            f"{source.name:11} {case.name:20} {threads:7} {size / MIB:8.0f} {budget / MIB:7.0f} "
            f"{taken.added / MIB:7.0f} {taken.seconds:8.1f}  {wrong or 'ok'}"
        )


def main() -> int:
    """Run what the command line asks for; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--budget", nargs="+", default=["64MiB", "256MiB"])
    parser.add_argument("--only", default="", help="sources whose name contains this")
    parser.add_argument("--folder", help="where to make the checkpoints (default: as tempfile)")
    args = parser.parse_args()
    print("source      scheme               threads  MiB in  budget    peak  seconds")
    wrong = False
    for budget in (parse_size(given, "--budget") for given in args.budget):
        for source, cases in sources(budget):
            if args.only not in source.name:
                continue
            with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
                folder = Path(temporary)
                write_checkpoint(folder / "src", source.tensors, shards=source.shards)
                for case in cases:
                    for line in check(folder, source, case, budget):
                        print(line, flush=True)
                        wrong |= not line.endswith("ok")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
