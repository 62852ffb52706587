# SPDX-License-Identifier: MIT
"""The command line: what it does, prints and returns."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, open_checkpoint
from bitmill.checkpoint.target import WORK
from bitmill.cli import demo, quantize
from checkpoints import llama, make, weight
from commands import run

COLUMNS = ["tensor", "bytes", "shape", "max error", "scheme", "bits/weight", "SQNR dB"]


def process(*args: object, shell: str = 'exec "$@"', **env: str) -> subprocess.CompletedProcess:
    """`bitmill ARGS` as a process of its own, started by a line of shell."""
    command = ["sh", "-c", shell, "sh", sys.executable, "-m", "bitmill", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env)


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed to stderr."""
    return capsys.readouterr().err


def weights_of(folder: Path) -> dict[str, object]:
    """The `weights` of the configuration of a quantized folder."""
    config = json.loads((folder / "config.json").read_text())
    return config["quantization_config"]["config_groups"]["group_0"]["weights"]


def test_version_names_the_instruction_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    usable = ", ".join(bm.isas())
    assert capsys.readouterr().out == (f"bitmill {bm.__version__}, {bm.isa()} (usable: {usable})\n")


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ([], (4, True, "group", 128)),
        (["--scheme", "W4A16"], (4, True, "group", 128)),
        (["--scheme", "W8A16"], (8, True, "channel", None)),
        (["--scheme", "W4A16", "--group-size", "none"], (4, True, "channel", None)),
        (["--scheme", "W8A16", "--group-size", "32"], (8, True, "group", 32)),
        (["--bits", "3"], (3, True, "group", 128)),
        (["--bits", "8", "--asymmetric"], (8, False, "channel", None)),
        (["--bits", "5", "--asymmetric", "--group-size", "64"], (5, False, "group", 64)),
    ],
)
def test_options_choose_the_scheme(
    src: Path, tmp_path: Path, options: list[str], weights: tuple[object, ...]
) -> None:
    assert run("quantize", src, tmp_path / "dst", *options) == 0
    found = weights_of(tmp_path / "dst")
    keys = ("num_bits", "symmetric", "strategy", "group_size")
    assert tuple(found.get(key) for key in keys) == weights


def test_patterns_scale_dtype_and_threads_reach_the_plan(src: Path, tmp_path: Path) -> None:
    options = ["--ignore", "re:.*q_proj", "--ignore", "re:.*k_proj", "--include", "lm_head"]
    options += ["--scale-dtype", "float16", "--scale-rule", "full_range", "--clip", "minmax"]
    options += ["--threads", "1"]
    assert run("quantize", src, tmp_path / "dst", *options) == 0
    found = {info.name: info.dtype for _, info in open_checkpoint(tmp_path / "dst").tensors()}
    scales = {name: dtype for name, dtype in found.items() if name.endswith("_scale")}
    assert scales == {
        "model.layers.0.mlp.down_proj.weight_scale": "F16",
        "lm_head.weight_scale": "F16",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheme", "W4A16", "--bits", "4"], "--bits: not allowed with argument --scheme"),
        (["--scheme", "W3A16"], "argument --scheme: invalid choice: 'W3A16'"),
        (["--bits", "9"], "argument --bits: invalid choice: 9"),
        (["--bits", "1"], "argument --bits: invalid choice: 1"),
        (["--asymmetric"], "--asymmetric goes with --bits (and there is"),
        (["--group-size", "0"], "'0' is not a whole number of at least 1"),
        (["--group-size", "many"], "'many' is not a whole number of at least 1"),
        (["--threads", "5000"], "argument --threads: 5000 is more than 1024"),
        (["--threads", "-1"], "'-1' is not a whole number of at least 1"),
        (["--scale-dtype", "int8"], "argument --scale-dtype: invalid choice: 'int8'"),
        (["--ignore", "re:["], "'re:[' is not a regex"),
        (
            ["--clip", "best"],
            "argument --clip: clip='best' is not one of: minmax, mse, percentile,",
        ),
        (
            ["--bits", "4", "--asymmetric", "--scale-rule", "signed_max"],
            "--scale-rule signed_max does not go with asymmetric codes",
        ),
        (["more"], "unrecognized arguments: more"),
    ],
)
def test_wrong_usage_is_exit_code_2_before_any_file_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run("quantize", tmp_path / "nowhere", tmp_path / "dst", *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [("", "dst"), ("src", "")])
def test_empty_path_is_wrong_usage(
    src: Path, args: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", *args, "--overwrite") == 2
    assert re.search(r"argument (SRC|DST): is empty \('.' is the current folder\)", error(capsys))
    assert sorted(path.name for path in src.iterdir()) == ["config.json", "model.safetensors"]


def test_option_before_the_paths_takes_one_pattern(src: Path, tmp_path: Path) -> None:
    assert run("quantize", "--ignore", "re:.*down_proj", src, tmp_path / "dst") == 0
    names = {info.name for _, info in open_checkpoint(tmp_path / "dst").tensors()}
    assert "model.layers.0.mlp.down_proj.weight" in names


def test_no_command_is_wrong_usage() -> None:
    assert run() == 2


def test_bad_source_target_or_data_is_exit_code_1_and_one_line(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = make(tmp_path / "nan", {"a\x1b[2J.weight": np.full((2, 128), np.nan, np.float32)})
    large = make(tmp_path / "large", {"a.weight": np.full((2, 128), 1e30, np.float32)})
    (tmp_path / "empty").mkdir()
    for args, message in [
        ((tmp_path / "nowhere", tmp_path / "dst"), f"{tmp_path}/nowhere: No such file"),
        ((tmp_path / "empty", tmp_path / "dst"), "holds no *.safetensors file"),
        ((src, src), "overlaps the source"),
        ((src, broken), f"{broken}: is not empty; name another folder, or pass --overwrite"),
        ((src, tmp_path / "dst", "--group-size", "100"), "rows of 256 weights are not a whole"),
        ((src, tmp_path / "dst", "--ignore", "nothing"), "nothing matches 'nothing'"),
        (
            (src, tmp_path / "dst", "--ignore", "Linear"),
            "nothing to quantize: all is ignored, or to be kept",
        ),
        (
            (large, tmp_path / "dst", "--scale-dtype", "float16"),
            "overflows float16: use --scale-dtype 'float32' or 'bfloat16'",
        ),
        ((broken, tmp_path / "dst"), r"tensor 'a\x1b[2J.weight': x has 256 values"),
    ]:
        assert run("quantize", *args) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"bitmill: [^\n\x1b]*\n", err)
        assert message in err
        assert not (tmp_path / "dst").exists()


def test_overwrite_replaces_the_target_and_says_what_it_replaced(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", src, tmp_path / "dst", "--max-shard-size", "110kB") == 0
    assert run("quantize", src, tmp_path / "dst", "--bits", "2") == 1
    assert "replaced" not in capsys.readouterr().out
    assert run("quantize", src, tmp_path / "dst", "--bits", "2", "--overwrite") == 0
    assert weights_of(tmp_path / "dst")["num_bits"] == 2
    out = capsys.readouterr().out
    assert "replaced: bitmill_report.json, bitmill_manifest.json, config.json\n" in out
    shards = ", ".join(f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    assert f"removed: {shards}, model.safetensors.index.json\n" in out


def test_table_names_each_quantized_tensor_and_the_totals(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", src, tmp_path / "dst") == 0
    out, err = capsys.readouterr()
    header, *rows = out.partition("\n\n")[0].splitlines()
    assert re.split(r" {2,}", header) == COLUMNS
    x = llama()["model.layers.0.self_attn.q_proj.weight"]
    scheme = bm.Affine(4, group_size=128, clip="mse", scales="bfloat16")
    lost = bm.metrics(x, bm.quantize(x, scheme))
    (row,) = (row for row in rows if "q_proj" in row)
    name, size, shape, largest, *described, bits, sqnr = row.split()
    assert (name, shape) == ("model.layers.0.self_attn.q_proj.weight", "256x256")
    assert (size, largest) == ("33,808", f"{lost.max_abs:.3g}")
    assert " ".join(described) == scheme.describe()
    assert (bits, sqnr) == ("4.127", f"{lost.sqnr_db:.2f}")
    assert len(rows) == 3
    assert "kept unchanged: 1 tensor, 32.8 kB (lm_head)" in out
    assert "quantized: 3 of 9 tensors, SQNR " in out
    before, after = ((folder / "model.safetensors").stat().st_size for folder in _folders(src))
    assert f"weights: {before:,} -> {after:,} bytes, {before / after:.2f}x smaller, in " in out
    assert out.endswith(f"written to {tmp_path / 'dst'}\n")
    assert all(re.match(r" *\d+%  [\d.]+ GB/s  \d+ s left  ", line) for line in err.splitlines())
    assert err.splitlines()[-1].startswith("100%")


def _folders(src: Path) -> tuple[Path, Path]:
    return src, src.parent / "dst"


def test_names_are_whole_where_no_terminal_cuts_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "model." + "deep." * 60 + "[bold]q_proj.weight"
    src = make(tmp_path / "src", {name: weight(4, 128), "a\x1b[2Jb.weight": weight(4, 128)})
    assert run("quantize", src, tmp_path / "dst") == 0
    out = capsys.readouterr().out
    assert name in out
    assert "a\\x1b[2Jb.weight" in out
    assert "\x1b" not in out


def test_one_long_name_does_not_push_the_others_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = make(
        tmp_path / "src", {f"{'n' * 300}.weight": weight(4, 128), "a.weight": weight(4, 128)}
    )
    assert run("quantize", src, tmp_path / "dst") == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("a.weight"))
    assert len(row) < 130


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (40, ["tensor", "bits/weight", "SQNR dB"]),
        (66, ["tensor", "scheme", "bits/weight", "SQNR dB"]),
        (80, ["tensor", "max error", "scheme", "bits/weight", "SQNR dB"]),
        (200, COLUMNS),
    ],
)
def test_narrow_terminal_folds_names_and_leaves_out_columns(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, columns: list[str]
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    assert run("quantize", src, tmp_path / "dst") == 0
    header, *rows = terminal.getvalue().partition("\n\n")[0].splitlines()
    assert re.split(r" {2,}", header) == columns
    assert max(map(len, (header, *rows))) <= width
    names = "".join(re.split(r" {2,}", row)[0] for row in rows)
    assert "model.layers.0.self_attn.q_proj.weight" in names


def test_mean_is_over_what_lost_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exact, lossy = np.zeros((4, 128), np.float32), weight(4, 128, dtype="float32")
    src = make(tmp_path / "src", {"a.weight": exact, "b.weight": lossy}, config=None)
    assert run("quantize", src, tmp_path / "dst") == 0
    q = bm.quantize(lossy, bm.Affine(4, group_size=128, clip="mse"))
    lost = bm.metrics(lossy, q).sqnr_db
    said = f"SQNR {lost:.2f} dB (mean by size), least {lost:.2f} dB (b.weight), 1 exact\n"
    assert f"quantized: 2 of 2 tensors, {said}" in capsys.readouterr().out
    src = make(tmp_path / "zeros", {"a.weight": exact})
    assert run("quantize", src, tmp_path / "dst2") == 0
    assert "quantized: 1 of 1 tensors, 1 exact\n" in capsys.readouterr().out


def test_names_that_stdout_cannot_encode_are_escaped(tmp_path: Path) -> None:
    src = make(tmp_path / "src", {"π.weight": weight(4, 128)})
    done = process("quantize", src, tmp_path / "dst", PYTHONIOENCODING="ascii")
    assert (done.returncode, "\\u03c0.weight" in done.stdout) == (0, True)
    assert "\\u03c0.weight" in done.stderr


def test_health_and_notes_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = weight(4, 128, dtype="float32")
    x[0] = 2e-45
    x[1] = np.abs(x[1])
    src = make(tmp_path / "src", {"a.weight": x}, config=None)
    (tmp_path / "src" / "model.gguf").write_text("x")
    assert run("quantize", src, tmp_path / "dst", "--scale-rule", "signed_max") == 0
    out = capsys.readouterr().out
    assert "health: 1 underflowed scales, in 1 of 1 tensors, most in a.weight (1)\n" in out
    assert re.search(r"health: \d negative scales, in 1 of 1 tensors, most in a.weight", out)
    assert "note: scale rule signed_max gives negative scales" in out
    assert "not copied: model.gguf" in out


def test_bar_on_a_terminal_names_tensor_speed_and_time_left(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    assert run("quantize", src, tmp_path / "dst") == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"model\.norm\.weight .*100%.* (bytes|.B)/s .*0:00:00", shown)


def test_ctrl_c_is_exit_code_130_and_leaves_what_can_be_continued(
    src: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quantize.ProgressDisplay, "__call__", interrupt)
    assert run("quantize", src, tmp_path / "dst") == 130
    assert capsys.readouterr().err == "bitmill: interrupted; run the same again to continue\n"
    assert os.listdir(tmp_path / "dst") == [WORK]


def test_sigterm_is_exit_code_143_and_leaves_what_can_be_continued(
    src: Path, tmp_path: Path
) -> None:
    code = """
import os, signal, sys
from bitmill.cli import main, quantize
quantize.ProgressDisplay.__call__ = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", code, "quantize", src, tmp_path / "dst"]
    done = subprocess.run(command, capture_output=True, text=True)
    said = "bitmill: terminated; run the same again to continue\n"
    assert (done.returncode, done.stderr) == (143, said)
    assert os.listdir(tmp_path / "dst") == [WORK]


def test_ctrl_c_is_heeded_while_the_command_is_imported() -> None:
    late = "{'rich', 'argparse', 'bitmill.checkpoint'}"
    code = f"import sys, bitmill.cli; print({late} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_stop_the_work(src: Path, tmp_path: Path, closed: str) -> None:
    done = process("quantize", src, tmp_path / "dst", shell=f'exec "$@" {closed}')
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert len(open_checkpoint(tmp_path / "dst").files) == 1
    assert process("quantize", src, tmp_path / "no", shell=f'exec "$@" {closed}').returncode == 0
    assert process("quantize", src, src, shell=f'exec "$@" {closed}').returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is of Linux")
def test_stdout_that_is_full_is_one_line_and_progress_that_is_full_nothing(
    src: Path, tmp_path: Path
) -> None:
    done = process("quantize", src, tmp_path / "a", shell='exec "$@" >/dev/full')
    assert done.returncode == 1
    assert done.stderr.endswith("bitmill: No space left on device\n")
    assert process("quantize", src, tmp_path / "b", shell='exec "$@" 2>/dev/full').returncode == 0


def test_reader_that_leaves_early_is_no_failure(src: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bitmill", "quantize", str(src), str(tmp_path / "dst")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # before the first line is printed, as `| true` does
        err = process.stderr.read().decode()
        assert process.wait() == 0
    assert "Traceback" not in err
    assert "Broken" not in err
    assert (tmp_path / "dst" / "config.json").is_file()


def test_reader_of_the_progress_that_leaves_does_not_stop_the_work(
    src: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "bitmill", "quantize", str(src), str(tmp_path / "dst")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 0
    assert (tmp_path / "dst" / "config.json").is_file()


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("quantize", "--help") == 0
    out = capsys.readouterr().out
    options = "scheme bits asymmetric group-size clip scale-rule scale-dtype ignore include threads"
    for option in (*options.split(), "overwrite"):
        assert f"--{option}" in out


def test_import_of_bitmill_does_not_import_the_command_line() -> None:
    code = "import sys, bitmill; print({'rich', 'argparse', 'bitmill.cli'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "set()\n"


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HIDDEN": 128, "INTERMEDIATE": 256, "VOCABULARY": 32}.items():
        monkeypatch.setattr(demo, name, value)


@pytest.mark.usefixtures("small_demo")
def test_demo_keeps_both_checkpoints_if_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("demo", "--keep", tmp_path / "kept") == 0
    out = capsys.readouterr().out
    assert "read back: all 28 quantized tensors are those of bitmill.quantize, bit for bit" in out
    assert "GB/s" in out
    assert f"kept: {tmp_path / 'kept'}" in out
    for name, count in (("llama-bf16", 2), ("llama-W4A16", 1)):
        assert len(open_checkpoint(tmp_path / "kept" / name).files) == count
    assert run("demo", "--keep", tmp_path / "kept") == 1


@pytest.mark.usefixtures("small_demo")
def test_demo_removes_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo") == 0
    found = re.search(r"removed: (\S+) ", capsys.readouterr().out)
    assert found
    assert not Path(found[1]).exists()


@pytest.mark.usefixtures("small_demo")
def test_demo_notices_a_wrong_code(tmp_path: Path) -> None:
    assert run("demo", "--keep", tmp_path) == 0
    path = next((tmp_path / "llama-W4A16").glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    info = next(i for _, i in open_checkpoint(path).tensors() if i.name.endswith("weight_packed"))
    data[info.begin] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="differs from its source"):
        demo.compare(
            bm.load_checkpoint(tmp_path / "llama-bf16"),
            bm.load_checkpoint(tmp_path / "llama-W4A16"),
        )
