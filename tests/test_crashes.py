# SPDX-License-Identifier: MIT
"""Runs that are killed, and runs whose system calls fail: no input is lost, no output is wrong."""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import pieces
from bitmill.checkpoint.read import CONFIG, WEIGHTS
from bitmill.checkpoint.target import WORK
from checkpoints import contents, file_size_limit, llama, make
from commands import run
from conftest import SEED
from crashes import LAST, Case, Ended, Runs, compiler_or_skip, sample, strace_or_skip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and follows Linux's calls")

SMALL = ("--max-shard-size", "100KB")
ONE_BY_ONE = (*SMALL, "--max-memory", "9MB")  # the journal is written after each piece
NOBODY = 65534


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs of some hundred pieces."""
    with Runs(tmp_path_factory.mktemp("runs")) as started:
        yield started


@pytest.fixture(scope="module")
def short_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs of some twenty pieces, of which strace follows each call."""
    strace_or_skip()
    with Runs(tmp_path_factory.mktemp("short"), piece=1 << 15) as started:
        yield started


def source(folder: Path, tensors: dict[str, np.ndarray] | None = None) -> Path:
    """A sharded source with files beside the weights."""
    src = make(folder, tensors or llama(), shards=2)
    (src / "sub").mkdir()
    (src / "sub" / "notes.txt").write_bytes(bytes(range(256)) * 50)
    (src / "tokenizer.json").write_text("{}")
    return src


def old_target(folder: Path) -> Path:
    """Another checkpoint, with more shards, and a file that is nobody's business."""
    old = make(folder, llama(), shards=5)
    (old / "mine.txt").write_text("mine")
    return old


def overwriting(folder: Path) -> Case:
    """A conversion that replaces another checkpoint."""
    return Case(
        source(folder / "src"),
        folder / "dst",
        (*ONE_BY_ONE, "--overwrite"),
        old=old_target(folder / "old"),
    )


# Kills


def nan_kept(folder: Path) -> Case:
    """A conversion that finds a weight which it must keep, late."""
    tensors = llama()
    tensors["model.layers.0.mlp.down_proj.weight"][-1, -1] = np.nan
    options = (*SMALL, "--scheme", "W8A8", "--on-nonfinite", "keep")
    return Case(source(folder / "src", tensors), folder / "dst", options)


def plain(folder: Path) -> Case:
    """A conversion into a folder that is not there, nor the one that it is in."""
    return Case(source(folder / "src"), folder / "new" / "dst", SMALL)


@pytest.mark.parametrize("kind", [plain, overwriting, nan_kept])
def test_killed_runs_are_continued_to_the_same_bytes(
    runs: Runs, tmp_path: Path, kind: Callable[[Path], Case]
) -> None:
    case = kind(tmp_path).prepare(runs)
    rng, kills = random.Random(SEED), 0
    while kills < 7:
        kills += case.chain(runs, rng, most=7)


def points(calls: Mapping[str, int]) -> list[tuple[str, int]]:
    """Some of each call, the first and the last among them: its name and number."""
    more = {"write": 9, "rename": 8}  # pieces, the journal, small files, and what is printed
    return [
        (call, n) for call in calls for n in sample(more.get(call, 3), range(1, calls[call] + 1))
    ]


def test_a_run_can_be_killed_before_any_call(short_runs: Runs, tmp_path: Path) -> None:
    case = overwriting(tmp_path).prepare(short_runs)
    calls = short_runs.run(case.argv, trace="%file,%desc").calls
    assert {"openat", "write", "ftruncate", "fsync", "rename", "mkdir", "unlink"} <= calls.keys()
    del calls["read"]  # one is interrupted when strace comes: they cannot be counted
    for call, n in points(calls):
        case.reset()
        broken = short_runs.run(case.argv, inject=f"{call}:signal=SIGKILL:when={n}", trace=call)
        assert broken.code == -9, (call, n)
        case.check(broken)
        case.finish(short_runs)


@pytest.mark.parametrize("first", ["5GB", "110KB"])
@pytest.mark.parametrize("then", ["5GB", "110KB"])
@pytest.mark.parametrize("failing", [CONFIG, "bitmill_report.json"])
def test_what_was_half_overwritten_still_goes(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, then: str, failing: str
) -> None:
    dst = make(tmp_path / "dst", llama(), shards=3)
    before, real = set(contents(dst)), os.replace

    def fail(partial: Path, final: Path) -> None:
        if final.name == failing:
            raise PermissionError(errno.EACCES, "Permission denied")
        real(partial, final)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError):
        bm.quantize_checkpoint(src, dst, "W4A16", overwrite=True, max_shard_size=first)
    monkeypatch.undo()
    report = bm.quantize_checkpoint(src, dst, "W4A16", overwrite=True, max_shard_size=then)
    bm.quantize_checkpoint(src, tmp_path / "new", "W4A16", max_shard_size=then)
    assert contents(dst) == contents(tmp_path / "new")
    assert {*report.replaced, *report.removed} == before
    assert set(report.replaced) <= set(contents(dst))


# Calls that fail


def test_a_call_that_fails_is_no_success_unless_all_is_right(
    short_runs: Runs, tmp_path: Path
) -> None:
    case = overwriting(tmp_path).prepare(short_runs)
    calls = short_runs.run(case.argv, trace="%file,%desc").calls
    del calls["read"]
    errors = itertools.cycle(["ENOSPC", "EIO"])
    for (call, n), error in zip(points(calls), errors, strict=False):
        case.reset()
        broken = short_runs.run(case.argv, inject=f"{call}:error={error}:when={n}", trace=call)
        assert broken.was_hit
        case.check(broken)
        case.finish(short_runs, checks_work=call != "fsync")


def test_what_a_failed_sync_may_have_lost_is_done_anew(short_runs: Runs, tmp_path: Path) -> None:
    case = plain(tmp_path).prepare(short_runs)
    broken = short_runs.run(case.argv, inject="fsync:error=EIO:when=1", trace="fsync")
    assert broken.code == 1
    (lost,) = re.findall(rf"{WORK}/([^:]*): Input/output error", broken.errors)
    assert lost.endswith("-00001-of-00002.safetensors"[-20:])
    assert not (case.dst / WORK / lost).exists()
    case.check(again := short_runs.run(case.argv))
    assert 0 < again.worked < case.pieces
    assert contents(case.dst) == case.wanted


@pytest.mark.parametrize("call", ["read", "write", "fsync"])
def test_interrupted_calls_are_made_again(short_runs: Runs, tmp_path: Path, call: str) -> None:
    case = plain(tmp_path).prepare(short_runs)
    ended = short_runs.run(case.argv, inject=f"{call}:error=EINTR:when=2+2", trace=call)
    assert ended.was_hit
    case.check_end(ended)


def test_interrupted_opening_is_tried_again(short_runs: Runs, tmp_path: Path) -> None:
    case = plain(tmp_path).prepare(short_runs)
    opened = [
        line for line in short_runs.run(case.argv, trace="openat").log if line.startswith("openat(")
    ]
    # Python does not try again to list a folder.
    files = [n for n, line in enumerate(opened, 1) if "O_DIRECTORY" not in line]
    for n in sample(5, files):
        case.reset()
        ended = short_runs.run(case.argv, inject=f"openat:error=EINTR:when={n}", trace="openat")
        assert ended.was_hit
        case.check_end(ended)


@pytest.mark.parametrize("most", [97, 4097])
def test_calls_that_do_less_than_they_are_asked_are_made_again(tmp_path: Path, most: int) -> None:
    code, library = Path(__file__).with_name("short_calls.c"), tmp_path / "short.so"
    build = [compiler_or_skip(), f"-DMOST={most}", "-shared", "-fPIC", "-o", library, code, "-ldl"]
    subprocess.run(build, check=True)
    case, nan = plain(tmp_path / "plain"), nan_kept(tmp_path / "nan").src
    stopped = ("quantize", nan, tmp_path / "stopped")
    journal = tmp_path / "stopped" / WORK / "journal.jsonl"
    with Runs(tmp_path / "log", piece=1 << 20) as runs:
        case.prepare(runs)
        assert runs.run(stopped).code == 1
        wanted = journal.read_bytes()
    shutil.rmtree(tmp_path / "stopped")
    with Runs(tmp_path / "log", piece=1 << 20, env={"LD_PRELOAD": str(library)}) as shortened:
        case.check_end(shortened.run(case.argv))
        assert shortened.run(stopped).code == 1
        assert journal.read_bytes() == wanted != b""


def test_files_that_may_not_grow_fail_and_are_continued(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 10)
    command = ("quantize", src, tmp_path / "dst", *SMALL)
    said = []
    for limit in (1000, 110_000):  # too little for a shard, and for the journal
        with file_size_limit(limit):
            assert run(*command) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        (name,) = re.findall(rf"^bitmill: .*{WORK}/(\S+): File too large", last)
        said.append(name.partition("-")[2] or name)
    assert said == ["model-00001-of-00002.safetensors", "journal.jsonl"]
    assert os.listdir(tmp_path / "dst") == [WORK]
    assert run(*command) == run("quantize", src, tmp_path / "new", *SMALL) == 0
    assert contents(tmp_path / "dst") == contents(tmp_path / "new")


# The order of calls


def paths_of(line: str) -> list[str]:
    """The paths that strace names in a line, of descriptors too."""
    return re.findall(r'\d+<([^>]*)>|"(/[^"]*)"', line) and [
        a or b for a, b in re.findall(r'\d+<([^>]*)>|"(/[^"]*)"', line)
    ]


def where(ended: Ended, call: str, path: Path, said: str = "") -> list[int]:
    """The numbers of the lines in which a call takes a path and says something."""
    return [
        number
        for number, line in enumerate(ended.log)
        if line.startswith(f"{call}(") and str(path) in paths_of(line) and said in line
    ]


@pytest.mark.parametrize("kind", [plain, overwriting])
def test_data_are_on_the_disk_before_names_and_the_config_is_last(
    short_runs: Runs, tmp_path: Path, kind: Callable[[Path], Case]
) -> None:
    case = kind(tmp_path).prepare(short_runs)
    ended = short_runs.run(case.argv, trace="write,pwrite64,sendfile,ftruncate,fsync,rename,unlink")
    journal, work = case.dst / WORK / "journal.jsonl", case.dst / WORK
    (commit,) = where(ended, "write", journal, r"{\"commit\"")
    (synced,) = where(ended, "fsync", journal)
    (folder,) = where(ended, "fsync", work)
    assert commit < synced < folder
    renames: dict[str, int] = {}
    for number, line in enumerate(ended.log):
        if not line.startswith("rename("):
            continue
        partial, final = map(Path, paths_of(line))
        if final.parent == work:  # what tells of an earlier checkpoint goes first
            assert folder < number
            assert not renames
            continue
        renames[final.relative_to(case.dst).as_posix()] = number
        writes = [
            number
            for call in ("write", "pwrite64", "sendfile", "ftruncate")
            for number in where(ended, call, partial)
        ]
        (sync,) = where(ended, "fsync", partial)
        assert max(writes) < sync < commit
        assert number > folder
        assert min(n for n in where(ended, "fsync", final.parent) if n > number)
    made = {name for name in case.wanted if name != "mine.txt"}
    assert renames.keys() == made
    named = max(number for name, number in renames.items() if name not in LAST)
    last = min(renames[name] for name in LAST)
    for parent in (case.dst, case.dst / "sub"):
        assert any(named < number < last for number in where(ended, "fsync", parent))
    gone = [n for name in case.before for n in where(ended, "unlink", case.dst / name)]
    assert len(gone) == len(case.before.keys() - case.wanted.keys() - set(LAST))
    assert all(named < number < last for number in gone)


# Rights and paths


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_files_have_the_rights_that_the_umask_leaves(
    runs: Runs, tmp_path: Path, umask: int, mode: int
) -> None:
    src = source(tmp_path / "src")
    os.chmod(src / "tokenizer.json", 0o400)
    assert runs.run(("quantize", src, tmp_path / "dst", *SMALL), umask=umask).code == 0
    found = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "dst").rglob("*.*")}
    assert found == dict.fromkeys(found, mode)
    assert len(found) == 8


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user can go into."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    ("dst", "message"),
    [
        ("closed", "closed/.bitmill: Permission denied"),
        ("closed/new", "closed/new: Permission denied"),
        ("open/" + 300 * "x", "File name too long"),
        ("open/file/new", "Not a directory"),
    ],
)
def test_target_that_cannot_be_made_is_one_line(
    runs: Runs, open_folder: Path, dst: str, message: str
) -> None:
    src = source(open_folder / "src")
    (open_folder / "closed").mkdir(mode=0o555)
    (open_folder / "open").mkdir()
    os.chmod(open_folder / "open", 0o777)
    (open_folder / "open" / "file").write_text("x")
    before = sorted(open_folder.rglob("*"))
    user = NOBODY if os.geteuid() == 0 else None
    ended = runs.run(("quantize", src, open_folder / dst, *SMALL), user=user)
    assert (ended.code, ended.worked) == (1, 0)
    assert re.fullmatch(rf"bitmill: .*{re.escape(message)}\n", ended.errors), ended.errors
    assert sorted(open_folder.rglob("*")) == before
    as_user = runs.run(("quantize", src, open_folder / "open" / "new" / "dst"), user=user)
    assert as_user.code == 0, as_user.errors


def test_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    runs: Runs, open_folder: Path
) -> None:
    src, dst = source(open_folder / "src"), open_folder / "dst"
    (dst / "sub").mkdir(parents=True)
    user = NOBODY if os.geteuid() == 0 else None
    for folder in (dst, dst / "sub"):
        (folder / WEIGHTS).write_text("mine")
        os.chmod(folder, 0o333)
        ended = runs.run(("quantize", src, dst), user=user)
        os.chmod(folder, 0o755)
        assert (ended.code, ended.worked) == (1, 0), ended.errors
        assert ended.errors == f"bitmill: {folder}: Permission denied\n"
        assert contents(dst) == {(folder / WEIGHTS).relative_to(dst).as_posix(): b"mine"}
        (folder / WEIGHTS).unlink()
