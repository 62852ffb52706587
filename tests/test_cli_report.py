# SPDX-License-Identifier: MIT
"""`bitmill report`: files where they are told to go, and the command that made the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bitmill.checkpoint.manifest import MANIFEST
from checkpoints import contents
from commands import parsed, printed, run


def command_of(folder: Path) -> str:
    """What the manifest tells of how a folder was made."""
    said = json.loads((folder / MANIFEST).read_text())
    return str(said["command"])


@pytest.fixture
def dst(src: Path, tmp_path: Path) -> Path:
    """The small Llama, quantized."""
    assert run("quantize", src, tmp_path / "dst", "--bits", 4) == 0
    return tmp_path / "dst"


def test_page_has_csv_and_json_beside_it(
    src: Path, dst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    capsys.readouterr()
    said = printed(capsys, "report", dst, "--html", tmp_path / "out" / "a.html", "--source", src)
    names = ("a.html", "a.csv", "a.json")
    assert contents(tmp_path / "out").keys() == set(names)
    assert said == "".join(f"written to {tmp_path / 'out' / name}\n" for name in names)
    assert parsed((tmp_path / "out" / "a.json").read_text())["has_source"]


def test_files_go_where_they_are_told_to(dst: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    options = ["--csv", tmp_path / "out" / "b", "--json", tmp_path / "out" / "c"]
    assert run("report", dst, *options) == 0
    assert contents(tmp_path / "out").keys() == {"b", "c"}


def test_json_without_a_name_is_printed(dst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert parsed(printed(capsys, "report", dst, "--json"))["tensors"]


def test_options_that_do_not_go_together_end_the_program(dst: Path, tmp_path: Path) -> None:
    assert run("report", dst, "--source", "x") == 2
    assert run("report", dst, "--html", tmp_path / "a", "--csv", tmp_path / "a") == 2
    assert not (tmp_path / "a").exists()


def test_error_is_one_line(src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", src, "--html", tmp_path / "a.html") == 1
    assert capsys.readouterr().err == (
        f"bitmill: {src}: no folder that 'bitmill quantize' wrote: bitmill_report.json is not in "
        "it\n"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], ""),
        (["--threads", "2", "--max-memory", "64MiB", "--overwrite", "--profile"], ""),
        (["--group-size=none", "--bit", "3"], " --bits 3 --group-size none"),
        (["--bits", "4", "--clip", "percentile:99.9"], " --bits 4 --clip percentile:99.9"),
        (
            ["--ignore", "re:.*down_proj", "--ignore", "lm_head"],
            " --ignore 're:.*down_proj' --ignore lm_head",
        ),
        (["--scheme", "W4A16", "--json"], " --scheme W4A16"),
    ],
)
def test_manifest_has_the_command_without_paths(
    src: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    assert run("quantize", src, tmp_path / "dst", *options) == 0
    assert command_of(tmp_path / "dst") == f"bitmill quantize SRC DST{said}"


def test_files_are_called_by_their_options(src: Path, tmp_path: Path) -> None:
    rules, measured = tmp_path / "rules.toml", tmp_path / "s.json"
    rules.write_text('[rules]\nLinear = "W4A16"\n')
    assert run("quantize", src, tmp_path / "a", "--rules", rules) == 0
    assert command_of(tmp_path / "a") == "bitmill quantize SRC DST --rules RULES"
    assert run("sensitivity", src, "--candidates", "W2,W4,keep", "--out", measured) == 0
    options = ["--budget", "4bpw", "--sensitivity", measured, "--pin", "re:.*q_proj=W2"]
    assert run("quantize", src, tmp_path / "b", *options) == 0
    assert command_of(tmp_path / "b") == (
        "bitmill quantize SRC DST --budget 4bpw --sensitivity SENSITIVITY --pin 're:.*q_proj=W2'"
    )
    for name in ("a", "b"):
        assert str(tmp_path).encode() not in (tmp_path / name / MANIFEST).read_bytes()


def test_what_was_asked_for_in_other_words_is_done_already(
    src: Path, dst: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(dst)
    options = ["--bits", 4, "--group-size", 128, "--threads", 2]
    assert "nothing to do" in printed(capsys, "quantize", src, dst, *options)
    assert contents(dst) == before
