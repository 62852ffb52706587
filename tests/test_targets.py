# SPDX-License-Identifier: MIT
"""Targets: limits kept for any shape, the nearest choice, exact round trips, the named ones."""

from __future__ import annotations

import math
import pickle
import re
from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import bitmill as bm
from bitmill.layouts import Blobs, Integers, Nibbles, Tiles, Words
from bitmill.targets import Target, get, names
from bitmill.targets.options import CHECKS

shapes = st.lists(st.integers(1, 4), max_size=3).flatmap(
    lambda front: st.integers(1, 400).map(lambda length: (*front, length))
)


@st.composite
def any_target(draw: st.DrawFn) -> Target:
    """A target with any limits."""
    alignment = draw(st.sampled_from([1, 3, 4, 8, 16, 32, 64]))
    widths = draw(st.sets(st.integers(2, 8), min_size=1))
    sizes = draw(st.lists(st.none() | st.integers(1, 8), max_size=3))
    return Target(
        tuple(widths),
        alignment,
        draw(st.none() | st.integers(1, 20)),
        draw(st.integers(1, 9)),
        group_size=draw(st.none() | st.integers(1, 200)),
        group_sizes=tuple(size and size * alignment for size in sizes),
        whole_groups=draw(st.booleans()),
        row_scales_from=draw(st.none() | st.integers(2, 8)),
        kinds=(draw(st.sampled_from(["symmetric", "asymmetric", "offset"])),),
    )


def symmetry(kind: str) -> dict[str, bool]:
    """The options for codes of a kind."""
    return {"symmetric": kind == "symmetric", "offset": kind == "offset"}


def chosen(target: Target, shape: tuple[int, ...]) -> bm.Affine:
    """The scheme for the shape; the example is left out if nothing fits."""
    try:
        return target.scheme(shape)
    except ValueError:
        assume(False)
        raise


def values(shape: tuple[int, ...]) -> np.ndarray:
    """Values from 5 to 6, of which a zero in a pad would change range and offset."""
    return np.random.default_rng(0).uniform(5, 6, shape).astype(np.float32)


@given(any_target(), shapes)
def test_limits_are_kept(target, shape):
    scheme = chosen(target, shape)
    groups = scheme.view(shape).params[-1]
    assert scheme.bits in target.supported_bits
    assert scheme.group_size is None or scheme.group_size % target.alignment == 0
    assert target.max_groups is None or groups <= target.max_groups
    assert not target.group_sizes or scheme.group_size in target.group_sizes
    if target.whole_groups and scheme.group_size is not None:
        assert shape[-1] % scheme.group_size == 0
    assert target.why_not(scheme, shape) is None


@given(any_target(), shapes)
def test_what_is_refused_has_no_size_that_fits(target, shape):
    try:
        target.scheme(shape)
    except ValueError as error:
        refused = str(error)
    else:
        return
    assert target.group_sizes
    assert re.match(
        r"this target takes groups of .*, with .*: none fits rows of \d+ weights", refused
    )
    for size in target.group_sizes:
        scheme = bm.Affine(target.width(), group_size=size, **symmetry(target.kinds[0]))
        assert target.why_not(scheme, shape) is not None


@given(any_target(), shapes)
def test_rows_are_padded_to_the_alignment_in_the_packed_array_alone(target, shape):
    scheme = chosen(target, shape)
    layout = target.layout(shape)
    assert layout.padded(shape)[-1] == -(-shape[-1] // target.alignment) * target.alignment
    q = bm.quantize(values(shape), scheme)
    assert (q.shape, q.codes.shape) == (shape, shape)
    assert layout.pack(q.codes).shape == layout.shape(shape)


@given(any_target(), shapes)
def test_round_trip_is_the_unpadded_quantization(target, shape):
    q = bm.quantize(values(shape), chosen(target, shape))
    layout = target.layout(shape)
    codes = layout.unpack(layout.pack(q.codes), shape)
    assert (codes == q.codes).all()
    field = "codes" if "codes" in q.arrays else "packed"
    stored = codes if field == "codes" else bm.pack(codes, q.scheme.bits)
    again = bm.QTensor(q.scheme, q.shape, q.dtype, q.arrays | {field: stored})
    assert again.dequantize().tobytes() == q.dequantize().tobytes()


@given(any_target(), shapes)
def test_statistics_ignore_pads(target, shape):
    """Scale and offset of each group are those of its own values, quantized by themselves."""
    x, scheme = values(shape), chosen(target, shape)
    q = bm.quantize(x, scheme)
    size = scheme.group_size or shape[-1]
    alone = bm.Affine(
        scheme.bits,
        symmetric=scheme.symmetric,
        offset=scheme.offset,
        scale_rule=scheme.scale_rule,
    )
    for i in range(q.scale.shape[-1]):
        group = bm.quantize(x[..., i * size : (i + 1) * size], alone)
        assert (q.scale[..., i] == group.scale[..., 0]).all()
        if scheme.offset:
            assert (q.arrays["offset"][..., i] == group.arrays["offset"][..., 0]).all()


@given(any_target(), shapes)
def test_group_size_is_the_nearest_by_ratio_that_is_permitted(target, shape):
    scheme, length = chosen(target, shape), shape[-1]
    wanted = target.wanted_group_size(scheme.bits)
    most = target.alignment * (length + 200)
    sizes = target.group_sizes or (*range(target.alignment, most + 1, target.alignment), None)
    kind = {"symmetric": scheme.symmetric, "offset": scheme.offset, "bits": scheme.bits}
    permitted = [
        size
        for size in sizes
        if target.why_not(bm.Affine(group_size=size, **kind), shape) is None
        and not (size is None and not target.group_sizes and not target.whole_groups)
    ]
    if wanted is None and target.takes_rows:
        assert scheme.group_size is None
        return

    def distance(size: int | None) -> tuple[Fraction, int]:
        is_size, goal = size or length, wanted or length
        return Fraction(max(is_size, goal), min(is_size, goal)), -is_size

    found = scheme.group_size
    assert found in permitted
    assert distance(found) == min(map(distance, permitted))


@given(st.sampled_from(names()), shapes, st.integers(1, 9))
def test_named_targets_choose_what_they_take_or_say_why_not(name, shape, bits):
    target = get(name)
    try:
        scheme = target.scheme(shape, bits)
    except ValueError as error:
        refused = str(error)
    else:
        refused = None
    if refused is not None:
        assert refused.startswith(f"{name} takes ")
        return
    assert target.why_not(scheme, shape) is None
    layout, codes = target.layout(shape, bits), bm.quantize(values(shape), scheme).codes
    assert (layout.unpack(layout.pack(codes), shape) == codes).all()
    said = target.explain(shape, bits)
    assert (said.scheme, said.layout) == (scheme, layout)
    assert said.groups == scheme.view(shape).params[-1]


# The width


def test_six_between_four_and_eight_goes_to_eight():
    target = Target((4, 8), alignment=32, max_groups=16, target_bits=6)
    assert target.scheme((64, 1024)).bits == 8
    assert target.scheme((64, 1024), bits=5).bits == 4
    assert target.scheme((64, 1024), bits=7).bits == 8


@pytest.mark.parametrize(
    ("supported", "wanted", "found"),
    [((2, 4, 8), 3, 4), ((2, 4, 8), 1, 2), ((2, 3), 8, 3), ((8, 4), 6, 8), ((4, 16), 10, 16)],
)
def test_width_is_the_nearest_and_of_two_the_wider(supported, wanted, found):
    assert Target(supported).width(wanted) == found


def test_sixteen_bits_are_packed_as_integers():
    target = Target((16,), alignment=8)
    assert target.layout((3, 10)) == Integers("int16", multiple=8)
    assert target.layout((3, 10), symmetric=False) == Integers("uint16", multiple=8)


# Group sizes


def test_groups_grow_until_there_are_few_enough():
    target = Target((4,), alignment=32, max_groups=16)
    sizes = [target.scheme((8, length)).group_size for length in (100, 2048, 2049, 4096, 100_000)]
    assert sizes == [128, 128, 160, 256, 6272]


def test_whole_groups_divide_the_row_or_are_the_row():
    target = Target((4,), alignment=8, whole_groups=True)
    sizes = [target.scheme((8, length)).group_size for length in (4096, 96, 1000, 1001)]
    assert sizes == [128, 96, 200, None]


def test_a_row_counts_as_a_group_of_its_length():
    target = Target((4,), group_sizes=(32, None), whole_groups=True)
    assert target.scheme((8, 160)).group_size is None
    assert target.scheme((8, 4096)).group_size == 32


def test_no_row_is_so_short_or_empty_that_nothing_fits():
    target = Target((4,), alignment=32, max_groups=4)
    for shape in [(1,), (0,), (0, 64), (3, 0)]:
        scheme = target.scheme(shape)
        q = bm.quantize(np.zeros(shape, np.float32), scheme)
        layout = target.layout(shape)
        assert layout.unpack(layout.pack(q.codes), shape).shape == shape


def test_what_the_caller_decides_is_left_alone():
    scheme = get("vllm").scheme((64, 256), 4, group_size=32, clip="mse", symmetric=False)
    wanted = bm.Affine(4, group_size=32, clip="mse", symmetric=False, scales="bfloat16")
    assert scheme == wanted
    assert get("mlx").scheme((64, 256), symmetric=False).offset
    assert get("mlx").scheme((64, 256), offset=False).symmetric
    assert get("mlx").scheme((64, 256), narrow_range=True).symmetric
    assert get("mlx").scheme((64, 256), scale_rule="full_range").scale_rule == "full_range"
    asymmetric = Target((4,), kinds=("asymmetric", "offset"))
    assert asymmetric.scheme((64, 256), offset=False) == bm.Affine(
        4, symmetric=False, group_size=128
    )
    assert asymmetric.scheme((64, 256), offset=True).offset
    assert get("vllm").scheme((64, 256), axis=None).axis is None


REFUSED: list[tuple[str, tuple[int, ...], dict[str, Any], str]] = [
    ("vllm", (64, 256), {"group_size": 256}, "groups of 32, 64, 128 or a row, not 256"),
    ("vllm", (64, 300), {"group_size": 128}, "a whole number of groups, not 300 weights in"),
    ("vllm", (8, 64, 256), {}, "2-D weights, not 3-D"),
    ("vllm", (64, 256), {"offset": True, "symmetric": False}, "asymmetric codes, not offset ones"),
    ("vllm", (64, 256), {"scale_rule": "signed_max"}, "absmax or full_range, not signed_max"),
    ("vllm", (64, 256), {"axis": 1}, "scales along rows, not of axis 1"),
    ("transformers", (64, 256), {"symmetric": False}, "symmetric codes, not asymmetric ones"),
    ("onnxruntime", (64, 256), {"group_size": 48}, "16, 32, 64, 128 or 256, not 48"),
    ("onnxruntime", (64, 256), {"group_size": None}, "or 256, not one scale per row"),
    ("onnxruntime", (64, 256), {"scales": "bfloat16"}, "float32 or float16 scales, not bfloat16"),
    ("mlx", (64, 100), {}, "with rows of whole groups: none fits rows of 100 weights"),
    ("gguf-q4_0", (1,) * 4 + (32,), {}, "1-D, 2-D, 3-D or 4-D weights, not 5-D"),
    ("gguf-q4_0", (64, 100), {}, "groups of 32, with rows of whole groups: none fits"),
    ("gguf-q8_0", (64, 64), {"scales": "float32"}, "float16 scales, not float32"),
    (
        "gguf-q8_0",
        (64, 64),
        {"scales": bm.Scales("float16", super_block=64)},
        "one scale per group, no two-level scales",
    ),
]


@pytest.mark.parametrize(("name", "shape", "options", "says"), REFUSED)
def test_the_broken_constraint_is_named(name, shape, options, says):
    with pytest.raises(ValueError, match=f"^{name} takes .*{re.escape(says)}"):
        get(name).scheme(shape, **options)


def test_limits_of_custom_targets_are_named():
    target = Target((4,), alignment=32, max_groups=4, name="a board")
    shape = (8, 1024)
    assert target.why_not(bm.Affine(4, group_size=256), shape) is None
    for scheme, says in [
        (bm.Affine(4, group_size=48), "a board takes groups that are multiples of 32, not 48"),
        (bm.Affine(4, group_size=32), "a board takes at most 4 groups of a row, not 32"),
        (bm.Affine(3), "a board takes 4 bits, not 3"),
        (bm.NF4(), "a board takes affine codes, not NF4"),
        (bm.Float("mxfp4"), "a board takes affine codes, not mxfp4"),
        (bm.Outliers(bm.Affine(4), 0.01), "a board takes affine codes, not Outliers"),
    ]:
        assert target.why_not(scheme, shape) == says


@pytest.mark.parametrize(
    ("shape", "limits"),
    [
        ((8, 1024), "with at most 4 groups of a row"),
        ((8, 100), "with rows of whole groups"),
        ((8, 1000), "with rows of whole groups, with at most 4 groups of a row"),
    ],
)
def test_the_limits_that_leave_no_size_are_named_and_no_others(shape, limits):
    target = Target((4,), 32, 4, group_sizes=(32, 64), whole_groups=True, name="a board")
    said = f"a board takes groups of 32 or 64, {limits}: none fits rows of {shape[1]} weights"
    with pytest.raises(ValueError, match=f"^{said}$"):
        target.scheme(shape)


def test_other_schemes_pass_where_the_runtime_has_them():
    assert get("vllm").why_not(bm.Float("fp8_e4m3"), (64, 256)) is None
    assert get("transformers").why_not(bm.NF4(), (64, 256)) is None
    assert get("vllm").why_not(bm.NF4(), (64, 256)) is not None


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"supported_bits": ()}, ValueError, "supported_bits is empty"),
    ({"supported_bits": 4}, TypeError, "supported_bits=4 is a int; supported_bits takes a tuple"),
    ({"supported_bits": (9,)}, ValueError, "bits=9 must be 2 to 8, or 16"),
    ({"alignment": 0}, ValueError, "alignment=0 must be between 1 and"),
    ({"max_groups": 0}, ValueError, "max_groups=0 must be at least 1"),
    ({"target_bits": 0}, ValueError, "target_bits=0 must be at least 1"),
    ({"target_bits": 4.5}, TypeError, "target_bits=4.5 is a float"),
    ({"group_size": 0}, ValueError, "group_size=0 must be at least 1"),
    ({"alignment": 32, "group_sizes": (48,)}, ValueError, "48, no multiple of alignment=32"),
    ({"whole_groups": 1}, TypeError, "whole_groups=1 is a int"),
    ({"kinds": ("crooked",)}, ValueError, "kinds='crooked' is not one of: symmetric"),
    ({"kinds": "symmetric"}, TypeError, "kinds='symmetric' is a str; kinds takes a tuple"),
    ({"scales": ("float64",)}, ValueError, "scales='float64' is not one of: float32"),
    ({"scale_rules": ("none",)}, ValueError, "scale_rules='none' is not one of: absmax"),
    ({"alignment": 1 << 40}, ValueError, "alignment=1099511627776 must be between 1 and"),
    ({"group_sizes": 32}, TypeError, "group_sizes=32 is a int; group_sizes takes a tuple"),
    ({"ranks": 2}, TypeError, "ranks=2 is a int; ranks takes a tuple"),
    ({"ranks": (0,)}, ValueError, "ranks=0 must be at least 1"),
    ({"others": "NF4"}, TypeError, "others='NF4' is a str; others takes a tuple"),
    ({"others": (4,)}, TypeError, "others=4 is a int; others takes a string"),
    ({"formats": "native"}, TypeError, "formats='native' is a str; formats takes a tuple"),
    ({"formats": ()}, ValueError, "formats is empty; wanted at least one"),
    ({"activation_formats": (None,)}, TypeError, "activation_formats=None is a NoneType"),
    ({"export": 5}, TypeError, "export=5 is a int; export takes a string"),
    ({"packing": "words"}, TypeError, "packing='words' cannot be called; wanted a function"),
    ({"name": None}, TypeError, "name=None is a NoneType; name takes a string"),
    ({"about": 5}, TypeError, "about=5 is a int; about takes a string"),
]


@pytest.mark.parametrize(("options", "error", "says"), WRONG)
def test_what_makes_no_target_is_refused(options, error, says):
    with pytest.raises(error, match=re.escape(says)):
        Target(**{"supported_bits": (4,), **options})


def test_every_option_is_checked():
    assert CHECKS.keys() == {field.name for field in fields(Target)}


# The named ones


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=f"'tpu' is not one of: {', '.join(names())}"):
        get("tpu")
    assert [get(name).name for name in names()] == list(names())


@pytest.mark.parametrize("name", names())
def test_named_targets_can_be_pickled_compared_and_hashed(name):
    target = get(name)
    assert target == get(name)
    assert isinstance(hash(target), int)
    again = pickle.loads(pickle.dumps(target.fitting(4, clip="mse")))
    assert again.scheme((64, 256)) == target.scheme((64, 256), 4, clip="mse")


LAYOUTS = {
    ("vllm", 4): Words(4),
    ("transformers", 8): Words(8),
    ("onnxruntime", 4): Blobs(4, 128),
    ("mlx", 4): Words(4, signed=False, multiple=32),
    ("gguf-q4_0", 4): Nibbles(32),
    ("gguf-q8_0", 8): Integers(multiple=32),
    ("avx512-vnni", 8): Tiles(48, inner=Integers(biased=True, multiple=8)),
    ("avx512-vnni", 4): Tiles(48, inner=Nibbles(8)),
    ("avx2", 8): Tiles(16, inner=Integers(multiple=8)),
    ("arm-dot", 8): Tiles(8, inner=Integers(multiple=8)),
}


@pytest.mark.parametrize(("name", "bits"), LAYOUTS)
def test_named_targets_have_their_layouts(name, bits):
    assert get(name).layout((64, 256), bits) == LAYOUTS[name, bits]


@pytest.mark.parametrize("name", names())
def test_explanations_are_records_and_prose(name):
    said = get(name).explain((60, 4096), 6)
    text = str(said)
    assert text.startswith(f"{name} takes 60x4096 weights as {said.scheme.describe()}")
    assert f"{said.nbytes:,} bytes" in text
    assert all(reason in text for reason in said.reasons)
    assert said.packed == said.layout.shape(said.shape)
    sides = [f for f in said.scheme.layout(said.shape) if f.name not in ("packed", "codes")]
    others = sum(math.prod(f.shape) * (4 if f.dtype == "float32" else 2) for f in sides)
    assert said.nbytes == said.layout.nbytes(said.shape) + others


def test_a_single_number_is_no_weight():
    assert "no single number" in Target((4,)).why_not(bm.Affine(4), ())


def test_explanations_tell_why_codes_and_scales_are_these():
    said = str(get("gguf-q4_0").explain((64, 64)))
    assert "Symmetric codes, float16 scales by the rule signed_max (of signed_max, absmax" in said
    said = str(get("mlx").explain((64, 64), scales="float32"))
    assert "Offset codes (of offset and symmetric), float32 scales (as asked for)." in said
    assert "One scale per row, as wanted for 8 bits." in str(get("avx2").explain((64, 64)))
    said = str(get("transformers").explain((100, 300)))
    assert "Groups of 150: the nearest to 128 of all sizes, with rows of whole groups." in said


def test_explanations_tell_pads_and_what_was_asked_for():
    said = str(get("avx512-vnni").explain((50, 4090), 8, group_size=128))
    assert "Groups of 128, as asked for." in said
    assert "rows padded to 4096 codes, 96 rows" in said
    assert "One scale for the tensor, as asked for." in str(Target((4,)).explain((8, 8), axis=None))
    only = str(get("gguf-q4_0").explain((64, 64), 6))
    assert "4 bits, the only width there is (6 wanted)." in only
