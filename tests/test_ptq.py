# SPDX-License-Identifier: MIT
"""Networks quantized layer by layer, each by what the quantized layers before it leave."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bitmill as bm
from bitmill.post_training import Policy, Rotate, Smooth, Split
from bitmill.post_training.capture import Tokens
from bitmill.post_training.compensate import compensated
from bitmill.post_training.float_layer import FloatLayer

W4 = bm.Affine(4, group_size=32)
STATIC = bm.Affine(8, axis=None, symmetric=False)


def network(seed=0, width=64):
    """Weights and biases of three layers, and inputs."""
    rng = np.random.default_rng(seed)
    layers = {
        name: (
            rng.standard_normal((width, width), np.float32) / np.float32(width**0.5),
            rng.standard_normal(width, np.float32) / 4,
        )
        for name in ("up", "gate", "down")
    }
    return layers, rng.standard_normal((400, width), np.float32)


def forward(linear, x):
    hidden = np.maximum(linear("up", x), 0) * np.tanh(linear("gate", x))
    return linear("down", hidden)


def in_floats(layers):
    return lambda name, x: x @ layers[name][0].T + layers[name][1]


def db(y, got):
    return bm.metrics(y, got).sqnr_db


class Watched:
    """A run of the network that keeps what each layer saw, run by run."""

    def __init__(self, x, batches=1):
        self.batches = np.array_split(x, batches)
        self.seen = []

    def __call__(self, linear):
        seen = {}
        self.seen.append(seen)

        def watched(name, x):
            seen.setdefault(name, []).append(x)
            return linear(name, x)

        for batch in self.batches:
            forward(watched, batch)


def test_each_layer_is_fitted_to_what_the_quantized_ones_before_it_give():
    layers, x = network()
    run = Watched(x)
    made = bm.ptq(layers, run, Policy(W4, refit=True))
    assert len(run.seen) == 2
    assert list(made.layers) == ["up", "gate", "down"]
    hidden = np.maximum(made.layers["up"](x), 0) * np.tanh(made.layers["gate"](x))
    assert np.array_equal(run.seen[1]["down"][0], hidden)
    steps = {step.name: step for step in made.report["down"].steps}
    assert list(steps) == ["inputs", "weights", "activations", "refit"]
    assert "inputs" not in [step.name for step in made.report["up"].steps]
    y = forward(in_floats(layers), x)
    held_out = slice(320, None)
    bias = layers["down"][1]
    got = made.layers["down"](hidden[held_out]) - bias
    assert steps["refit"].sqnr_db == pytest.approx(db(y[held_out] - bias, got), abs=1e-3)
    assert steps["refit"].sqnr_db > steps["activations"].sqnr_db + 0.1


def test_batches_take_a_run_for_each_layer_and_give_the_same():
    layers, x = network()
    run = Watched(x, batches=4)
    policy = Policy(W4, refit=True)
    made, whole = bm.ptq(layers, run, policy), bm.ptq(layers, Watched(x), policy)
    assert len(run.seen) == 1 + 3
    for name, layer in made.layers.items():
        assert np.array_equal(layer.weights.codes, whole.layers[name].weights.codes)
        assert layer.weights.scale.shape == whole.layers[name].weights.scale.shape
    assert db(whole.linear("up", x), made.linear("up", x)) > 25  # other tokens were held out


def test_activations_instead_of_a_run():
    layers, x = network()
    hidden = np.maximum(in_floats(layers)("up", x), 0)
    given = {"up": x, "gate": x.reshape(20, 20, -1), "down": hidden}
    made = bm.ptq(layers, given, Policy(W4, refit=True))
    halves = [
        {name: part for name, part in zip(given, parts, strict=True)}
        for parts in zip(
            *(np.split(np.asarray(v).reshape(400, -1), 2) for v in given.values()), strict=True
        )
    ]
    again = bm.ptq(layers, iter(halves), Policy(W4, refit=True))
    for name in layers:
        steps = [step.name for step in made.report[name].steps]
        assert steps == ["weights", "activations", "refit"]
        assert np.array_equal(again.layers[name].weights.scale, made.layers[name].weights.scale)


ASYMMETRIC = bm.Affine(4, group_size=32, symmetric=False)
WEIGHTS = [bm.Affine(8), W4, ASYMMETRIC, bm.IQ4_NL(), bm.NF4(), bm.Affine(5)]


@pytest.mark.parametrize("activations", ["dynamic", "dynamic_asymmetric", STATIC, None], ids=str)
@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda scheme: scheme.describe())
def test_layers_give_what_their_weights_and_activations_say(weights, activations):
    layers, x = network()
    made = bm.ptq(layers, Watched(x), Policy(weights, activations))
    layer = made.layers["up"]
    if activations is None:
        seen = x
    elif isinstance(activations, str):
        seen = bm.fake_quantize(x, bm.Affine(8, symmetric=activations == "dynamic"))
    else:
        seen = bm.calibrate([x[:320]], STATIC).quantize(x).dequantize()
    wanted = seen.astype(np.float64) @ layer.dequantize().T + layers["up"][1]
    assert np.allclose(layer(x), wanted, atol=2e-5)
    assert np.array_equal(layer(x.reshape(4, 100, 64)).reshape(400, 64), layer(x))
    assert layer(x[:0]).shape == (0, 64)
    assert layer.nbytes == layer.weights.nbytes + layer.bias.nbytes
    has_kernel = weights != bm.Affine(5) and (activations, weights) != (None, bm.Affine(8))
    has_kernel &= weights != bm.NF4() or activations is None
    assert has_kernel == ("matmul_w" in layer.explain())


def with_outliers(x):
    x = x.copy()
    x[:, [3, 40]] *= 80
    return x


@pytest.mark.parametrize("transform", ["smooth", "rotate", "split"])
def test_transformations_help_where_inputs_have_outliers(transform):
    layers, x = network()
    x = with_outliers(x)
    made = bm.ptq({"up": layers["up"]}, {"up": x}, Policy(bm.Affine(8), transforms=[transform]))
    steps = {step.name: step for step in made.report["up"].steps}
    assert steps[transform].kept
    assert steps[transform].sqnr_db > steps["activations"].sqnr_db + 3
    y = x @ layers["up"][0].T + layers["up"][1]
    assert db(y, made.layers["up"](x)) > 30
    assert made.report["up"].last == steps[transform]


def test_the_best_transformation_is_kept_and_the_others_are_told():
    layers, x = network()
    x = with_outliers(x)
    tried = [Smooth(), Smooth(0.8), Rotate(seed=3), Split(20.0)]
    made = bm.ptq({"up": layers["up"]}, {"up": x}, Policy(W4, transforms=tried, refit=True))
    steps = {step.name: step for step in made.report["up"].steps}
    names = ["smooth", "smooth:0.8", "rotate:3", "split:20.0"]
    assert list(steps) == ["weights", "activations", *names, "refit"]
    best = max(("activations", *names), key=lambda name: steps[name].sqnr_db)
    assert [name for name in names if steps[name].kept] == [best]


def test_what_does_not_help_or_apply_is_not_kept():
    layers, x = network(width=44)  # no Hadamard matrix, no outliers
    x = np.clip(x, -3, 3)
    made = bm.ptq({"up": layers["up"]}, {"up": x}, Policy(transforms=["rotate", "split"]))
    assert [step.name for step in made.report["up"].steps] == ["weights", "activations"]
    assert "columns" not in made.layers["up"].explain()


@pytest.mark.parametrize("transform", ["smooth", "rotate", "split"])
def test_float_outputs_stay_behind_a_transformation(transform):
    layers, x = network()
    x = with_outliers(x)
    w = layers["up"][0]
    moved = bm.post_training.transforms.resolve(transform).fit(w, x)
    got = moved.inputs(x).astype(np.float64) @ moved.weight(w).T
    got += 0 if moved.beside(x) is None else moved.beside(x)
    wanted = x.astype(np.float64) @ w.T
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_policies_by_pattern_leave_others_in_float():
    layers, x = network()
    policy = {"gate": Policy(bm.Affine(8), None), "re:(up|gate)$": Policy(W4)}
    made = bm.ptq(layers, Watched(x), policy)
    assert [made.layers[name].weights.scheme for name in ("up", "gate")] == [W4, bm.Affine(8)]
    assert "down" not in made.layers
    assert np.array_equal(made.linear("down", x), in_floats(layers)("down", x))
    assert forward(made.linear, x).shape == (400, 64)
    assert repr(made).startswith("QuantizedNetwork(2 layers, 1 in float")


def test_reports_are_tables_and_json():
    layers, x = network()
    told = []
    made = bm.ptq(
        layers, Watched(x), Policy(W4, refit=True, transforms=["rotate"]), progress=told.append
    )
    lines = str(made.report).splitlines()
    assert lines[0].split() == [
        "layer", "inputs", "weights", "activations", "rotate", "refit", "cosine", "bits",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == ["up", "gate", "down"]
    assert tuple(told) == made.report.layers
    held = json.loads(json.dumps(made.report.to_dict()))
    assert held["down"]["steps"][0]["name"] == "inputs"
    with pytest.raises(KeyError, match="none"):
        made.report["none"]


def test_weights_alone_and_no_bias():
    layers, x = network()
    bare = {name: w for name, (w, _) in layers.items()}
    made = bm.ptq(bare, Watched(x), Policy(W4, None))
    assert [step.name for step in made.report["up"].steps] == ["weights"]
    assert made.layers["up"].bias is None
    refitted = bm.ptq(bare, Watched(x), Policy(bm.Affine(2), None, refit=True))
    assert refitted.layers["down"].bias.shape == (64,)


def test_inputs_that_the_network_reuses_are_copied():
    layers, x = network()
    buffer = np.empty_like(x[:200])

    def run(linear):
        for batch in (x[:200], x[200:]):
            buffer[:] = batch
            linear("up", buffer)
            buffer[:] = 0

    def run_on_copies(linear):
        linear("up", x[:200])
        linear("up", x[200:])

    made, other = (
        bm.ptq({"up": layers["up"]}, each, Policy(W4, refit=True)) for each in (run, run_on_copies)
    )
    assert np.array_equal(made.layers["up"].weights.scale, other.layers["up"].weights.scale)


def test_no_layers_and_no_policy():
    layers, x = network()
    assert bm.ptq({}, {}).layers == {}
    assert bm.ptq(layers, {}, {}).layers == {}
    made = bm.ptq(layers, Watched(x))
    assert made.layers["up"].explain().startswith("matmul_w8a8")


def calls(*names):
    return lambda linear: [linear(name, network()[1]) for name in names]


def test_a_layer_waits_until_all_that_it_sees_is_quantized():
    """What came of "up" before its last call was float."""
    layers, x = network()
    fed = []

    def run(linear):
        hidden = [np.maximum(linear("up", part), 0) for part in np.split(x, 4)]
        fed.append(np.concatenate(hidden))
        return linear("down", fed[-1])

    made = bm.ptq({name: layers[name] for name in ("up", "down")}, run, Policy(W4, refit=True))
    assert len(fed) == 3
    assert np.array_equal(fed[-1], np.maximum(made.linear("up", x), 0))
    assert "inputs" in [step.name for step in made.report["down"].steps]


def test_the_tail_of_each_call_is_held_out():
    layers, x = network()
    parts = [x[:200], x[200:300] * 1e-3, x[300:]]

    def run(linear):
        for part in parts:
            linear("up", part)

    made = bm.ptq({"up": layers["up"]}, run, Policy(W4))
    held_out = np.concatenate([part[-len(part) // 5 :] for part in parts])
    y, b = held_out @ layers["up"][0].T, layers["up"][1]
    wanted = db(y, made.linear("up", held_out) - b)
    assert made.report["up"].last.sqnr_db == pytest.approx(wanted, abs=1e-3)


def test_calls_of_one_token():
    layers, x = network()

    def run(linear):
        for row in x[:20]:
            linear("up", row)

    made = bm.ptq({"up": layers["up"]}, run, Policy(W4, refit=True))
    assert np.isfinite(made.report["up"].last.sqnr_db)


def batches():
    for part in np.split(network()[1], 2):
        yield {"up": part}


def a_run_that_yields(linear):
    for part in np.split(network()[1], 2):
        yield linear("up", part)


@pytest.mark.parametrize("calibration", [batches, a_run_that_yields])
def test_functions_that_yield(calibration):
    layers, _ = network()
    made = bm.ptq({"up": layers["up"]}, calibration, Policy(W4))
    assert made.layers["up"].weights.shape == (64, 64)


def runs_of(*sizes):
    """Each time other numbers of calls, of so many tokens."""
    left = list(sizes)

    def run(linear):
        for tokens in left.pop(0):
            linear("up", network()[1][:tokens])

    return run


def shuffling():
    rng = np.random.default_rng(0)
    return lambda linear: linear("up", rng.permuted(network()[1], axis=0))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (runs_of([100, 100], [100]), "2 times at first, and 1 now"),
        (runs_of([100], [100, 100]), "1 times at first, and 2 now"),
        (runs_of([100], [90]), "100 tokens at first, and 90 others now"),
        (shuffling(), "in the same order"),
    ],
)
def test_runs_that_differ_are_said(run, message):
    with pytest.raises(ValueError, match=message):
        bm.ptq({"up": network()[0]["up"]}, run)


def test_rows_beyond_what_integers_hold():
    w = np.random.default_rng(0).standard_normal((2, 65_800), np.float32)
    made = bm.ptq({"a": w}, {"a": w}, Policy(bm.Affine(4)))
    assert made.layers["a"].explain().startswith("float32 products")


def test_errors_name_the_layer():
    layers, x = network()
    x[7, 3] = np.nan
    with pytest.raises(ValueError, match="cannot be quantized") as caught:
        bm.ptq(layers, Watched(x))
    assert caught.value.__notes__ == ["in layer 'up'"]
    with pytest.raises(ValueError, match="at least 2") as caught:
        bm.ptq({"up": layers["up"]}, {"up": x[:1]})
    assert caught.value.__notes__ == ["in layer 'up'"]
    with pytest.raises(ValueError, match="bias has shape") as caught:
        bm.ptq({"up": (layers["up"][0], np.ones(3, np.float32))}, {})
    assert caught.value.__notes__ == ["in layer 'up'"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Policy(4), TypeError, "scheme is a int"),
        (lambda: Policy(activations="static"), ValueError, "activations"),
        (lambda: Policy(activations=bm.Affine(8)), ValueError, "axis=None"),
        (lambda: Policy(activations=bm.Affine(4, axis=None)), ValueError, "wanted bm.Affine"),
        (lambda: Policy(transforms="smooth"), TypeError, "wanted a list"),
        (lambda: Policy(transforms=["hadamard"]), ValueError, "rotate"),
        (lambda: Policy(transforms=[Smooth]), TypeError, "wanted smooth, rotate, split"),
        (lambda: Policy(transforms=["rotate", Rotate()]), ValueError, "a name twice"),
        (lambda: Smooth(1.5), ValueError, "alpha"),
        (lambda: Smooth("a"), TypeError, "alpha"),
        (lambda: Rotate(-1), ValueError, "seed"),
        (lambda: Rotate(1.5), TypeError, "seed"),
        (lambda: Split(0), ValueError, "threshold"),
        (lambda: Policy(refit=1), TypeError, "refit"),
        (lambda: bm.ptq({}, {}, "all"), TypeError, "policy is a str"),
        (lambda: bm.ptq({}, {}, {"re:(": Policy()}), ValueError, "not a regex"),
        (lambda: bm.ptq({}, {}, {"up": 4}), TypeError, "wanted a Policy"),
        (lambda: bm.ptq({}, {}, {"up": Policy()}), ValueError, "match no layer: 'up'"),
        (lambda: bm.ptq([], {}), TypeError, "layers is a list"),
        (lambda: bm.ptq({1: np.ones((2, 2))}, {}), TypeError, "name 1"),
        (lambda: bm.ptq({"a": (np.ones((2, 2)), None, 0)}, {}), ValueError, "weight"),
        (lambda: bm.ptq({}, {}, held_out=2), ValueError, "held_out"),
    ],
)
def test_arguments_that_do_not_fit_are_said(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_weights_make_up_for_inputs_that_were_changed():
    layers, x = network()
    coarse = {"down": Policy(W4, compensate=True), "Linear": Policy(bm.Affine(2))}
    made = bm.ptq(layers, Watched(x), coarse)
    steps = {step.name: step for step in made.report["down"].steps}
    assert list(steps) == ["inputs", "compensate", "weights", "activations"]
    assert steps["compensate"].sqnr_db > steps["inputs"].sqnr_db + 0.2
    plain = bm.ptq(layers, Watched(x), coarse | {"down": Policy(W4)})
    assert made.report["down"].last.sqnr_db > plain.report["down"].last.sqnr_db
    unchanged = bm.ptq({"up": layers["up"]}, {"up": x}, Policy(W4, compensate=True))
    assert "compensate" not in [step.name for step in unchanged.report["up"].steps]


@pytest.mark.parametrize("tokens", [2, 30, 400])
@pytest.mark.parametrize("noise", [0, 0.1])
def test_no_row_is_worse_on_held_out_tokens_for_being_compensated(tokens, noise):
    layers, x = network()
    w, b = layers["up"]
    rng = np.random.default_rng(5)
    seen = (x + noise * rng.standard_normal(x.shape))[:tokens].astype(np.float32)
    seen[:, 7] = 0
    y, cut = x[:tokens] @ w.T + b, max(1, tokens * 3 // 4)
    given = FloatLayer(w, b)
    made = compensated(given, Tokens(seen[:cut], y[:cut]), Tokens(seen[cut:], y[cut:]))
    before, after = (
        np.square(each(seen[cut:]) - y[cut:], dtype=np.float64).sum(axis=0)
        for each in (given, made)
    )
    assert (after <= before * (1 + 1e-6) + 1e-9).all()
    assert np.allclose(made.weight[:, 7], w[:, 7])
    if noise and tokens == 400:
        assert after.sum() < before.sum()
