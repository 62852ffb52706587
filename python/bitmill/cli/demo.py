# SPDX-License-Identifier: MIT
"""`bitmill demo`: make a small Llama-shaped checkpoint, quantize it, read it back and compare."""

from __future__ import annotations

import argparse
import errno
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bitmill._dtypes import Array, dtype
from bitmill.checkpoint import (
    CheckpointError,
    LoadedCheckpoint,
    Report,
    load_checkpoint,
    plan_checkpoint,
    quantize_checkpoint,
)
from bitmill.checkpoint.read import CONFIG, INDEX
from bitmill.checkpoint.write import json_text, replace_file, write_file, write_tensors
from bitmill.cli.arguments import add_json, add_threads, path, print_json, threads_of
from bitmill.cli.progress import ProgressDisplay
from bitmill.cli.show import report_lines
from bitmill.cli.text import printable
from bitmill.qtensor import QTensor
from bitmill.quantize import quantize
from bitmill.schemes import Affine

HIDDEN, INTERMEDIATE, LAYERS, VOCABULARY = 1024, 2816, 4, 4096
HEADS, KV_HEADS = 16, 4

SCHEME = Affine(4, group_size=128)


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    text = (
        "Write a small Llama-shaped bfloat16 checkpoint with heavy-tailed weights, quantize it to "
        "W4A16, read it back and compare every code and scale with bitmill.quantize of the source."
    )
    parser = commands.add_parser("demo", help="see it work on a made-up model", description=text)
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("--keep", type=path, metavar="DIR", help="keep both checkpoints in DIR")
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Run the demo in a temporary folder, or in `--keep`."""
    say = _nothing if args.json else print
    if args.keep is not None:
        report = _demo(args.keep, threads_of(args), say)
        say(f"kept: {printable(args.keep)}")
    else:
        with tempfile.TemporaryDirectory(prefix="bitmill-demo-") as folder:
            report = _demo(Path(folder), threads_of(args), say)
            say(f"removed: {folder} (--keep DIR keeps the checkpoints)")
    if args.json:
        print_json({**report.to_dict(), "seconds": report.seconds})


def _nothing(text: str) -> None:
    """What is said with `--json`."""


def _demo(folder: Path, num_threads: int, say: Callable[[str], None]) -> Report:
    src, dst = folder / "llama-bf16", folder / "llama-W4A16"
    say(f"writing a made-up Llama to {printable(src)}")
    write_llama(src)
    plan = plan_checkpoint(src, SCHEME, scale_dtype="auto")
    say(f"quantizing it into {printable(dst)}\n")
    with ProgressDisplay() as display:
        report = quantize_checkpoint(src, dst, plan, num_threads=num_threads, progress=display)
    count = compare(load_checkpoint(src), load_checkpoint(dst))
    for line in report_lines(report):
        say(line)
    say(f"read back: all {count} quantized tensors are those of bitmill.quantize, bit for bit")
    return report


def write_llama(folder: Path, *, seed: int = 0) -> None:
    """Write a bfloat16 checkpoint of 53 million weights in two shards, with index and config."""
    layers = range(LAYERS)
    shards = [
        ["model.embed_tokens", *_layer_names(layers[: LAYERS // 2])],
        [*_layer_names(layers[LAYERS // 2 :]), "model.norm", "lm_head"],
    ]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "tie_word_embeddings": False,
        "vocab_size": VOCABULARY,
    }
    rng = np.random.default_rng(seed)
    homes: dict[str, str] = {}
    size = 0
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(errno.EEXIST, "is not empty; name another folder", str(folder))
    for i, modules in enumerate(shards, 1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        arrays = {f"{module}.weight": _weight(rng, _shape(module)) for module in modules}
        with replace_file(folder / file) as temporary:
            write_tensors(temporary, arrays)
        homes |= dict.fromkeys(sorted(arrays), file)
        size += sum(array.nbytes for array in arrays.values())
    index = {"metadata": {"total_size": size}, "weight_map": homes}
    for name, text in ((INDEX, index), (CONFIG, config)):
        with replace_file(folder / name) as temporary:
            write_file(temporary, json_text(text))


def compare(source: LoadedCheckpoint, target: LoadedCheckpoint) -> int:
    """Check that `target` holds what `bitmill.quantize` makes of `source`; how many it quantized.

    Raises CheckpointError at the first tensor that differs.
    """
    for name, x in source.items():
        found = target[name]
        if isinstance(found, QTensor):
            wanted = quantize(x, found.scheme).arrays
            equal = all(found.arrays[k].tobytes() == array.tobytes() for k, array in wanted.items())
        else:
            equal = isinstance(x, np.ndarray) and found.tobytes() == x.tobytes()
        if not equal:
            raise CheckpointError(f"{target.source.folder}: {name} differs from its source")
    return len(target.stored)


def _layer_names(layers: range) -> Iterator[str]:
    for i in layers:
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield f"model.layers.{i}.self_attn.{name}"
        for name in ("gate_proj", "up_proj", "down_proj"):
            yield f"model.layers.{i}.mlp.{name}"
        yield f"model.layers.{i}.input_layernorm"
        yield f"model.layers.{i}.post_attention_layernorm"


def _shape(module: str) -> tuple[int, ...]:
    """The shape of a Llama module's weight, by the last part of its name."""
    last = module.rpartition(".")[2]
    if last.endswith("norm"):
        return (HIDDEN,)
    if last in ("embed_tokens", "lm_head"):
        return (VOCABULARY, HIDDEN)
    if last in ("k_proj", "v_proj"):
        return (HIDDEN * KV_HEADS // HEADS, HIDDEN)
    if last in ("gate_proj", "up_proj"):
        return (INTERMEDIATE, HIDDEN)
    return (HIDDEN, INTERMEDIATE if last == "down_proj" else HIDDEN)


def _weight(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Weights as trained ones look: rows of different scale, and one in a thousand far outside."""
    if len(shape) == 1:
        return np.ones(shape, dtype("bfloat16"))
    x = rng.standard_normal(shape, dtype=np.float32)
    x *= 0.02 * rng.lognormal(0.0, 0.3, (shape[0], 1)).astype(np.float32)
    x.reshape(-1)[rng.integers(x.size, size=x.size // 1000)] *= 6
    return x.astype(dtype("bfloat16"))
