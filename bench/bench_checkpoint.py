# SPDX-License-Identifier: MIT
"""A whole checkpoint, bfloat16 to int4 in groups of 128, on the disk: `bitmill quantize`.

Beside it a copy of the source that is on the disk at the end, and llama.cpp and torch in processes
of their own. The source is in the page cache, and one thread computes. Nine weights of the default
shape are 1.06 GB; TMPDIR says on which disk.

The aims: at most 1.5 times as long as the copy ("x copy" of at least 0.67), less CPU than llama.cpp
and a fourth of torch's; with clip="mse" at most twice as long as with "minmax".
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import pytest

import bitmill as bm
from agree import same_bits
from bitmill.checkpoint import quantize_checkpoint
from bitmill.checkpoint.read import WEIGHTS
from bitmill.checkpoint.write import write_tensors
from checkpoint_peers import GGUF, write_gguf
from minilm import folder_or_skip
from race import timed

COUNT = 9
SCHEME = bm.Affine(4, group_size=128, scales="bfloat16")
OPTIONS = ("--threads", 1, "--clip", "minmax")


@pytest.fixture(scope="module")
def source(weights, tmp_path_factory):
    """A folder with the weights as safetensors."""
    folder = tmp_path_factory.mktemp("source")
    x = weights["bf16"]
    arrays = {f"model.layers.{i}.mlp.down_proj.weight": np.roll(x, i, 0) for i in range(COUNT)}
    write_tensors(folder / WEIGHTS, arrays)
    (folder / "config.json").write_text(json.dumps({"dtype": "bfloat16"}))
    yield folder
    shutil.rmtree(folder)


def remove(path: Path) -> None:
    """Remove what is there, and let the disk come to rest."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    os.sync()


def copy(source: Path, target: Path) -> None:
    """`cp` of the weights, and fsync: whoever reads all and writes all takes so long."""
    subprocess.run(["cp", "--reflink=never", source / WEIGHTS, target], check=True)
    handle = os.open(target, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def command(source: Path, target: Path) -> None:
    """`bitmill quantize`, the start of the interpreter included."""
    run("-m", "bitmill", "quantize", source, target, *OPTIONS)


def call(source: Path, target: Path) -> None:
    """The same in this process, which is started."""
    quantize_checkpoint(source, target, SCHEME, num_threads=1)


def run(*arguments: object) -> float:
    """Do it in a fresh interpreter; the CPU time that this took, of all its threads."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def check(source: Path, target: Path, scheme: bm.Affine = SCHEME) -> None:
    """Fail unless what was written is what `bitmill.quantize` makes of what was read."""
    loaded, given = bm.load_checkpoint(target), bm.load_checkpoint(source)
    assert list(loaded) == list(given)
    for name, q in loaded.items():
        if isinstance(q, np.ndarray):
            same_bits(q, given[name])
            continue
        made = bm.quantize(given[name], scheme.with_scales(q.scheme.scales))
        for field, array in made.arrays.items():
            same_bits(q.arrays[field], array)


@pytest.mark.parametrize("way", [command, call])
def bench_beside_a_copy(benchmark, source, tmp_path, request, way):
    """Wall time, and that of a copy of the source in the same round."""
    copies: list[float] = []

    def copy_first() -> None:
        remove(tmp_path / "copy")
        copies.append(timed(lambda: copy(source, tmp_path / "copy")))
        remove(tmp_path / "target")

    rounds = request.config.option.rounds or (1 if benchmark.disabled else 9)
    (source / WEIGHTS).read_bytes()  # into the page cache
    benchmark.pedantic(way, (source, tmp_path / "target"), setup=copy_first, rounds=rounds)
    check(source, tmp_path / "target")
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.data
        info = benchmark.extra_info
        info["GB/s of input"] = (source / WEIGHTS).stat().st_size / median(seconds) / 1e9
        info["s"], info["s of a copy"] = median(seconds), median(copies)
        info["x copy"] = median(c / s for c, s in zip(copies, seconds, strict=True))


@pytest.mark.parametrize("peer", ["llama_cpp", "torch"])
def bench_cpu_time(benchmark, source, tmp_path, request, peer):
    """CPU time of all threads, from the start of the interpreter on, beside a peer's."""
    if find_spec(peer) is None or find_spec("gguf") is None:
        pytest.skip(f"no {peer}")
    if peer == "llama_cpp" and not (source / GGUF).exists():
        write_gguf(source)
    theirs, cpu = [], []
    script = Path(__file__).with_name("checkpoint_peers.py")

    def peer_first() -> None:
        theirs.append(run(script, peer, source, tmp_path / "theirs"))
        remove(tmp_path / "target")

    def measure() -> None:
        command = ("-m", "bitmill", "quantize", source, tmp_path / "target", *OPTIONS)
        cpu.append(run(*command))

    rounds = request.config.option.rounds or (1 if benchmark.disabled else 3)
    benchmark.pedantic(measure, setup=peer_first, rounds=rounds)
    check(source, tmp_path / "target")
    assert (tmp_path / "theirs").stat().st_size < (source / WEIGHTS).stat().st_size / 3
    if benchmark.stats is not None:
        info = benchmark.extra_info
        info["CPU s"], info[f"CPU s of {peer}"] = median(cpu), median(theirs)
        info[f"x {peer}"] = median(b / a for a, b in zip(cpu, theirs, strict=True))


@pytest.mark.parametrize("clip", ["mse", "mse-exact"])
@pytest.mark.parametrize("way", ["command", "call"])
@pytest.mark.parametrize("model", ["normal", "minilm"])
def bench_clip(benchmark, request, tmp_path, model, way, clip):
    """Wall and CPU time with a clip, as times those with "minmax" in the same round."""
    source = folder_or_skip() if model == "minilm" else request.getfixturevalue("source")
    wall: dict[str, list[float]] = {"minmax": [], clip: []}
    cpu: dict[str, list[float]] = {"minmax": [], clip: []}
    target = tmp_path / "target"

    def by_command(scheme: bm.Affine) -> float:
        options = ("--clip", scheme.clip, "--threads", 1)
        return run("-m", "bitmill", "quantize", source, target, *options)

    def by_call(scheme: bm.Affine) -> float:
        start = process_time()
        quantize_checkpoint(source, target, scheme, num_threads=1)
        return process_time() - start

    def quantize(clip: str) -> None:
        scheme = bm.Affine(4, group_size=128, clip=clip)
        how = by_command if way == "command" else by_call
        wall[clip].append(timed(lambda: cpu[clip].append(how(scheme))))

    def minmax_first() -> None:
        remove(target)
        quantize("minmax")
        remove(target)

    rounds = request.config.option.rounds or (1 if benchmark.disabled else 5)
    (source / WEIGHTS).read_bytes()  # into the page cache
    benchmark.pedantic(quantize, (clip,), setup=minmax_first, rounds=rounds)
    check(source, target, bm.Affine(4, group_size=128, clip=clip))
    if benchmark.stats is not None:
        info = benchmark.extra_info
        for kind, times in (("s", wall), ("CPU s", cpu)):
            pairs = list(zip(times[clip], times["minmax"], strict=True))
            info[kind], info[f"{kind} of minmax"] = map(median, zip(*pairs, strict=True))
            info[f"x minmax, {kind}"] = median(
                with_clip / by_range for with_clip, by_range in pairs
            )
