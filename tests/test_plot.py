# SPDX-License-Identifier: MIT
"""Figures: what is drawn is what is so, in inks that light and dark pages show."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import Report, TensorReport
from bitmill.formats import LayerScheme
from bitmill.metrics import Metrics
from bitmill.plot import style
from bitmill.plot.units import levels, units
from checkpoints import llama, make, weight
from conftest import needs

PAGES = ("#ffffff", "#0d1117", "#1e1e1e")  # paper, GitHub's dark page, a notebook's


@pytest.fixture(autouse=True)
def _matplotlib() -> None:
    needs("matplotlib")


def stairs(axes: Any) -> list[Any]:
    """The histograms that are drawn."""
    from matplotlib.patches import StepPatch

    return [patch for patch in axes.patches if isinstance(patch, StepPatch)]


def stems(axes: Any) -> np.ndarray:
    """Place and height of each vertical line of a set."""
    (collection,) = axes.collections
    return np.array([(path[1, 0], path[1, 1]) for path in collection.get_segments()])


def luminance(colour: Any) -> float:
    """As WCAG has it."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def contrast(a: Any, b: Any) -> float:
    """Of two colours, from 1 to 21."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


# Histogram


def test_histogram_is_of_all_values_in_units_of_their_scales() -> None:
    x = weight(16, 256, dtype="float32")
    q = bm.quantize(x, bm.Affine(4, group_size=64))
    (axes,) = bm.plot.histogram(x, q, bins=50).axes
    (drawn,) = stairs(axes)
    assert q.scale is not None
    heights, edges = np.histogram(x.astype(np.float64) / np.repeat(q.scale, 64, axis=1), 50)
    values, found_edges, _ = drawn.get_data()
    np.testing.assert_allclose(values, heights / x.size / np.diff(edges), rtol=1e-12)
    np.testing.assert_array_equal(found_edges, edges)
    assert axes.get_xlabel() == "weight / scale of its group"


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_levels_stand_at_the_codes_as_high_as_they_are_frequent(bits: int) -> None:
    x = weight(64, 256, dtype="float32")
    q = bm.quantize(x, bm.Affine(bits, group_size=128))
    (axes,) = bm.plot.histogram(x, q).axes
    codes, counts = np.unique(q.codes, return_counts=True)
    np.testing.assert_allclose(stems(axes)[:, 0], codes, atol=1e-5)
    np.testing.assert_allclose(stems(axes)[:, 1], counts / x.size, rtol=1e-5)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["weights", f"{len(codes)} levels of int{bits} sym g128"]


@pytest.mark.parametrize(
    ("scheme", "values", "name"),
    [
        (bm.NF4(), bm.NF4().table_of({}), "weight / scale of its group"),
        (bm.IQ4_NL(), bm.IQ4_NL().table_of({}), "weight / scale of its group"),
        (
            bm.Affine(4, symmetric=False, offset=True, group_size=32),
            np.arange(16),
            "(weight − offset) / scale of its group",
        ),
        (bm.Affine(3, axis=0), np.arange(-4, 4), "weight / scale of its group"),
        (bm.Affine(3, group_size=100), np.arange(-4, 4), "weight / scale of its group"),
        (
            bm.Float("mxfp4"),
            [s * v for s in (1, -1) for v in (0, 0.5, 1, 1.5, 2, 3, 4, 6)],
            "weight / scale of its group",
        ),
    ],
)
def test_levels_are_those_of_the_scheme(scheme: Any, values: Any, name: str) -> None:
    x = weight(32, 256, dtype="float32")
    q = bm.quantize(x, scheme)
    (axes,) = bm.plot.histogram(x, q).axes
    found = stems(axes)[:, 0]
    assert all(np.abs(np.asarray(values) - level).min() < 1e-4 for level in found)
    assert 0.6 * len({*map(float, values)}) <= len(found) <= len(values)
    assert axes.get_xlabel() == name


def test_codebooks_without_scales_are_in_the_units_of_the_weights() -> None:
    x = weight(32, 256, dtype="float32")
    q = bm.quantize(x, bm.KMeans(3))
    (axes,) = bm.plot.histogram(x, q).axes
    np.testing.assert_allclose(stems(axes)[:, 0], np.unique(q.dequantize()), rtol=1e-6)
    assert axes.get_xlabel() == "weight"


def test_more_levels_than_can_be_seen_are_a_second_histogram() -> None:
    x = weight(64, 256, dtype="float32")
    q = bm.quantize(x, bm.Affine(16))
    (axes,) = bm.plot.histogram(x, q, bins=64).axes
    weights, found = stairs(axes)
    assert len(axes.collections) == 0
    np.testing.assert_allclose(
        found.get_data().values, np.histogram(units(x, q).found, 64, density=True)[0]
    )
    assert weights.get_data().values.shape == (64,)


def test_levels_that_differ_by_rounding_are_one() -> None:
    scales = np.float32([0.1, 0.3, 1 / 7])
    found = (np.float32(3) * scales).astype(np.float64) / scales
    assert len(np.unique(found)) > 1
    assert len(levels(found).at) == 1


def test_wrong_arguments_are_named() -> None:
    x = weight(4, 64, dtype="float32")
    q = bm.quantize(x, bm.Affine(4))
    with pytest.raises(ValueError, match="x and q have shapes"):
        bm.plot.histogram(x[:2], q)
    with pytest.raises(ValueError, match="bins=0 must be"):
        bm.plot.histogram(x, q, bins=0)
    with pytest.raises(ValueError, match=r"x\.flat\[5\], is nan"):
        bm.plot.codebook([0.0], np.where(np.arange(8) == 5, np.nan, np.ones(8)))
    with pytest.raises(ValueError, match="no QTensor, and no array of finite values"):
        bm.plot.codebook([], x)
    with pytest.raises(ValueError, match="no QTensor, and no array of finite values"):
        bm.plot.codebook("NF4", x)
    with pytest.raises(TypeError, match="q is a ndarray; wanted a QTensor"):
        bm.plot.histogram(q, x)
    with pytest.raises(ValueError, match="bins=10001 must be between 1 and 10000"):
        bm.plot.codebook(q, x, bins=10_001)
    with pytest.raises(ValueError, match="600 values are more than a figure shows"):
        bm.plot.codebook(np.arange(600.0), np.arange(600.0))


# Codebook


def test_codebook_stands_over_the_distribution_with_its_shares_below() -> None:
    x = weight(64, 256, dtype="float32")
    q = bm.quantize(x, bm.KMeans(4))
    above, below = bm.plot.codebook(q, x).axes
    values, counts = np.unique(q.dequantize(), return_counts=True)
    lines = [line.get_xdata()[0] for line in above.lines]
    np.testing.assert_allclose(lines, values, rtol=1e-6)
    np.testing.assert_allclose(stems(below), np.stack([values, counts / x.size], 1), rtol=1e-6)
    assert below.lines[0].get_ydata()[0] == 1 / 16
    heights = stairs(above)[0].get_data().values
    np.testing.assert_allclose(heights, np.histogram(x.astype(np.float64), 200, density=True)[0])


def test_nearest_value_of_a_table_stands_for_each_weight() -> None:
    x = np.array([-1.0, 0.4, 0.5, 0.6, 1.4, 9.0])
    _, below = bm.plot.codebook([1.0, 0.0, 2.0], x).axes
    np.testing.assert_allclose(stems(below), [(0, 3 / 6), (1, 2 / 6), (2, 1 / 6)])


# Errors by layer


def of(name: str, db: float) -> TensorReport:
    """A tensor with this error."""
    measured = Metrics(0.0, db, 1.0, 0.0)
    return TensorReport(name, (8, 8), LayerScheme(bm.Affine(4)), "", 0, 0, measured)


def test_each_tensor_is_a_point_over_the_number_of_its_layer() -> None:
    tensors = [
        of("model.layers.0.mlp.up_proj.weight", 20.0),
        of("model.layers.10.mlp.up_proj.weight", 18.0),
        of("model.layers.2.mlp.up_proj.weight", 19.0),
        of("model.layers.2.mlp.experts.0.down_proj.weight", 15.0),
        of("model.layers.2.mlp.experts.1.down_proj.weight", 16.0),
        of("lm_head.weight", 30.0),
        of("model.layers.3.exact.weight", math.inf),
    ]
    (axes,) = bm.plot.error_by_layer(Report(tuple(tensors), 0, 0)).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {
        "mlp.up_proj": [[0, 20], [2, 19], [10, 18]],
        "mlp.experts.*.down_proj": [[2, 15], [2, 16]],
        "lm_head": [[11, 30]],
    }
    assert [line.get_linestyle() for line in axes.lines] == ["-", "None", "-"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "2", "10", "none"]


def test_report_in_a_folder_is_read(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama())
    report = bm.quantize_checkpoint(src, tmp_path / "q", "W4A16")
    (axes,) = bm.plot.error_by_layer(tmp_path / "q").axes
    drawn = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert drawn == {
        t.name.removeprefix("model.layers.0.").removesuffix(".weight"): [t.sqnr_db]
        for t in report.quantized
    }


def test_many_kinds_share_the_last_ink() -> None:
    tensors = tuple(of(f"layers.0.kind_{i:02}.weight", 20.0 + i) for i in range(12))
    (axes,) = bm.plot.error_by_layer(Report(tensors, 0, 0)).axes
    assert len(axes.lines) == 12
    assert [line.get_color() for line in axes.lines[8:]] == [style.INK] * 4
    assert len(axes.get_legend().get_texts()) == 8


def test_report_that_lost_nothing_has_no_figure() -> None:
    with pytest.raises(ValueError, match="no tensor in the report lost anything"):
        bm.plot.error_by_layer(Report((of("a", math.inf),), 0, 0))


# Frontier

CHOICES = {
    "a": [("W2", 10_000_000, 9.0), ("W4", 20_000_000, 1.0), ("KEEP", 80_000_000, 0.0)],
    "b": [("W2", 10_000_000, 4.0), ("W4", 20_000_000, 3.5), ("KEEP", 80_000_000, 0.0)],
}


def test_frontier_has_a_point_for_each_choice_and_a_star_for_that_which_was_chosen() -> None:
    points = bm.frontier(CHOICES)
    chosen = bm.allocate(CHOICES, 40_000_000)
    (axes,) = bm.plot.frontier(points, chosen).axes
    line, exact, star = axes.lines
    lossy = [point for point in points if point.error > 0]
    assert line.get_xydata().tolist() == [[p.bytes / 1e6, p.error] for p in lossy]
    assert exact.get_xdata()[0] == 160.0
    assert star.get_xydata().tolist() == [[chosen.bytes / 1e6, chosen.error]]
    assert axes.get_yscale() == "log"
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [
        f"best at its size ({len(points)} choices)",
        "nothing is lost",
        f"chosen: {chosen.bytes / 1e6:.3g} MB",
    ]


def test_frontier_without_a_loss_has_no_figure() -> None:
    with pytest.raises(ValueError, match="no point with an error above 0"):
        bm.plot.frontier(bm.frontier({"a": [("KEEP", 10, 0.0)]}))


# Looks


def every_figure() -> dict[str, Any]:
    x = weight(16, 256, dtype="float32")
    q = bm.quantize(x, bm.Affine(4, group_size=64))
    report = Report(tuple(of(f"layers.{i}.m{i % 9}", 20.0) for i in range(18)), 0, 0)
    return {
        "histogram": bm.plot.histogram(x, q),
        "codebook": bm.plot.codebook(bm.quantize(x, bm.KMeans(4)), x),
        "error_by_layer": bm.plot.error_by_layer(report),
        "frontier": bm.plot.frontier(bm.frontier(CHOICES), bm.allocate(CHOICES, 30_000_000)),
    }


@pytest.mark.parametrize("page", PAGES)
def test_texts_and_inks_are_read_on_light_and_dark_pages(page: str) -> None:
    from matplotlib.text import Text

    for colour in (style.INK, *style.SERIES):
        assert contrast(colour, page) > 3, colour
    for name, figure in every_figure().items():
        assert figure.get_facecolor()[3] == 0, name
        assert all(axes.get_facecolor()[3] == 0 for axes in figure.axes), name
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                assert contrast(text.get_color(), page) > 3, (name, text.get_text())


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_figures_are_saved_without_pyplot_or_a_screen(tmp_path: Path, kind: str) -> None:
    code = f"""
import sys, numpy as np, bitmill as bm
assert "matplotlib" not in sys.modules
x = np.random.default_rng(0).standard_normal((8, 64), np.float32)
bm.plot.histogram(x, bm.quantize(x, bm.Affine(4))).savefig({str(tmp_path / "a")!r} + ".{kind}")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / f"a.{kind}").stat().st_size > 1000


def test_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.ones((2, 64), np.float32)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'bitmill\[report\]'"):
        bm.plot.histogram(x, bm.quantize(x, bm.Affine(4)))
