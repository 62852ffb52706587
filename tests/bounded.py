# SPDX-License-Identifier: MIT
"""Checkpoints of generated weights, of any size, and what memory a process takes to quantize them.

As a program, this file is that process: it converts or measures one checkpoint, and tells what it
took.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bitmill as bm
from bitmill.checkpoint import Plan
from bitmill.checkpoint.header import NAMES, Spec, build_header
from bitmill.checkpoint.plan import read_plan

SLACK = 100 << 20
"""What a conversion may take beyond `max_memory`."""

_BLOCK = 1 << 23
_KEPT_BITS = {
    # Sign, mantissa and the low bits of the exponent are random: magnitudes are 2^-7 to 2.
    "bfloat16": (np.uint16, 0x83FF, 0x3C00),
    "float32": (np.uint32, 0x83FFFFFF, 0x3C000000),
    "float64": (np.uint64, 0x807FFFFFFFFFFFFF, 0x3F80000000000000),
}
_ONE = {"bfloat16": 0x3F80, "float32": 0x3F800000, "float64": 0x3FF0000000000000}
_NAN = {"bfloat16": 0x7FC0, "float32": 0x7FC00000, "float64": 0x7FF8000000000000}


class Weights(NamedTuple):
    """A tensor to generate."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "bfloat16"
    kind: str = "random"
    """"random"; "ends": 1 and -1; "nan"; or "holes": zeros that take no place on the disk."""

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * np.dtype(_KEPT_BITS[self.dtype][0]).itemsize


def write_checkpoint(folder: Path, tensors: Sequence[Weights], *, shards: int = 1) -> Path:
    """Write a Hugging Face folder of such tensors, a piece at a time; the folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "dtype": "bfloat16"}))
    homes: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = tensors[number::shards]
        _write_file(folder / ("model.safetensors" if shards == 1 else file), part, seed=number)
        homes |= {tensor.name: file for tensor in part}
    if shards > 1:
        index = {"metadata": {"total_size": 0}, "weight_map": homes}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def _write_file(path: Path, tensors: Sequence[Weights], seed: int) -> None:
    specs = [Spec(t.name, NAMES[t.dtype], t.shape) for t in tensors]
    head, places = build_header(specs, {"format": "pt"})
    rng = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(head)
        for tensor in tensors:
            file.seek(places[tensor.name].begin)
            for block in _blocks(tensor, rng):
                file.write(block.data)
        file.truncate(len(head) + sum(t.nbytes for t in tensors))


def _blocks(tensor: Weights, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The bits of its values."""
    of, mask, base = _KEPT_BITS[tensor.dtype]
    for done in range(0, 0 if tensor.kind == "holes" else tensor.nbytes, _BLOCK):
        count = min(_BLOCK, tensor.nbytes - done)
        raw = rng.integers(0, 1 << 64, -(-count // 8), np.uint64).view(of)
        bits = raw[: count // np.dtype(of).itemsize]
        if tensor.kind == "random":
            yield bits & of(mask) | of(base)
        else:
            sign = 1 << (8 * np.dtype(of).itemsize - 1)
            yield bits & of(sign) | of((_ONE if tensor.kind == "ends" else _NAN)[tensor.dtype])


@dataclass(frozen=True)
class Taken:
    """What a conversion took."""

    before: int
    """The peak of memory when all was imported."""
    peak: int
    seconds: float

    @property
    def added(self) -> int:
        """Bytes that it needed beside the program."""
        return self.peak - self.before


def convert(src: Path, dst: Path, plan: Plan, **options: Any) -> Taken:
    """`quantize_checkpoint` in a process that does nothing else."""
    path = dst.with_name(dst.name + ".plan.json")
    plan.save(path)
    taken = _run({"src": str(src), "dst": str(dst), "plan": str(path), "options": options})
    path.unlink()
    return taken


def measure(src: Path, dst: Path, candidates: Sequence[str], **options: Any) -> Taken:
    """`sensitivity` in a process that does nothing else; `dst` is the file of what it finds."""
    asked = {"src": str(src), "dst": str(dst), "candidates": list(candidates), "options": options}
    return _run(asked)


def _run(given: dict[str, Any]) -> Taken:
    text = json.dumps(given)
    done = subprocess.run(
        [sys.executable, __file__, text], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{text}: {done.stderr}")
    return Taken(**json.loads(done.stdout))


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
    return found


def peak_of_this_process() -> int:
    """Bytes. Not what getrusage says: a process inherits that from the one that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def _main(given: dict[str, Any]) -> None:
    plan = read_plan(given["plan"]) if "plan" in given else None
    start = time.perf_counter()
    if plan is None:
        bm.sensitivity(given["src"], given["candidates"], **given["options"]).save(given["dst"])
    else:
        bm.quantize_checkpoint(given["src"], given["dst"], plan, **given["options"])
    seconds = time.perf_counter() - start
    print(json.dumps({"before": _before, "peak": peak_of_this_process(), "seconds": seconds}))


if __name__ == "__main__":
    _before = peak_of_this_process()
    _main(json.loads(sys.argv[1]))
