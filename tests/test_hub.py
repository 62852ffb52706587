# SPDX-License-Identifier: MIT
"""Sources on the Hugging Face hub, with a stand-in for the hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bitmill.cli import main
from bitmill.cli.hub import local
from checkpoints import contents, llama, make
from conftest import needs

REPOSITORY = "bitmill-tests/tiny-llama"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_WEIGHTS = ("pytorch_model.bin", "tiny.gguf", "original/consolidated.00.pth")
PACKAGE = "huggingface_hub"


class Hub(ThreadingHTTPServer):
    """The files of a folder as one repository, and a list of what was asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def fetched(self) -> set[str]:
        """The files whose content was asked for."""
        prefix = f"/{REPOSITORY}/resolve/"
        paths = (path for method, path in self.asked if method == "GET" and path.startswith(prefix))
        return {path.removeprefix(prefix).partition("/")[2] for path in paths}


class _Handler(BaseHTTPRequestHandler):
    """As much of the hub's API as `snapshot_download` asks for."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((self.command, path))
        api, pages = f"/api/models/{REPOSITORY}", f"/{REPOSITORY}/resolve/"
        name = path.removeprefix(pages).partition("/")[2]
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in self.server.files]
            self._json({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings})
        elif path in (f"{api}/tree/main", f"{api}/tree/{COMMIT}"):
            self._json([_entry(name, data) for name, data in self.server.files.items()])
        elif path.startswith(pages) and name in self.server.files:
            self._file(self.server.files[name])
        elif path.startswith(f"{api}/"):
            self._send(404, b"not of this stand-in", {})
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, data: bytes) -> None:
        headers = {
            "ETag": f'"{_blob_id(data)}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        asked = self.headers.get("Range")
        if asked is None:
            return self._send(200, data, headers)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {begin}-{end}/{len(data)}"
        return self._send(206, data[begin : end + 1], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _blob_id(data: bytes) -> str:
    """The name that git has for this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(data), "oid": _blob_id(data)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint in two shards, with small files beside it."""
    path = make(tmp_path / "here", llama(), shards=2)
    for name in ("tokenizer.json", "tokenizer.model", "README.md", "chat_template.jinja"):
        (path / name).write_text(f"content of {name}")
    return path


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    """The checkpoint and weights of other kinds on a hub of our own."""
    needs(PACKAGE)
    for name in OTHER_WEIGHTS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"weights of {name}")
    with Hub(folder) as server:
        for name in OTHER_WEIGHTS:
            (folder / name).unlink()
        (folder / "original").rmdir()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def process(cwd: Path, endpoint: str, *args: object) -> subprocess.CompletedProcess[str]:
    """`bitmill quantize ARGS` in a folder, with a cache of its own and a hub at `endpoint`."""
    command = [sys.executable, "-m", "bitmill", "quantize", *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=environment(cwd, endpoint), **CAPTURE)


CAPTURE: dict[str, Any] = {"capture_output": True, "text": True}


def environment(cwd: Path, endpoint: str) -> dict[str, str]:
    """The variables of this process, but nothing that leads to the real hub."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HF_") and not name.lower().endswith("_proxy")
    }
    home = {"HF_HOME": str(cwd / "hf"), "HF_ENDPOINT": endpoint, "HF_HUB_ETAG_TIMEOUT": "5"}
    return {**kept, **home, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The only line on stderr of a run that failed."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_repository_gives_the_bytes_of_the_local_folder(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    done = process(tmp_path, hub.url, REPOSITORY, "fetched")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("written to fetched\n")
    assert process(tmp_path, hub.url, folder, "local").returncode == 0
    assert contents(tmp_path / "fetched") == contents(tmp_path / "local")


def test_only_safetensors_and_small_files_are_fetched(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    assert process(tmp_path, hub.url, REPOSITORY, "dst").returncode == 0
    assert hub.fetched == set(contents(folder))
    assert not any(name in path for name in OTHER_WEIGHTS for _, path in hub.asked)


def test_second_run_takes_the_files_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    assert process(tmp_path, hub.url, REPOSITORY, "a").returncode == 0
    assert hub.fetched
    hub.asked.clear()
    assert process(tmp_path, hub.url, REPOSITORY, "b").returncode == 0
    assert not hub.fetched
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_json_of_a_fetched_source_is_alone_on_stdout(hub: Hub, tmp_path: Path) -> None:
    done = process(tmp_path, hub.url, REPOSITORY, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["tensors"]) == len(llama())


def test_folder_of_the_same_name_comes_first(hub: Hub, folder: Path, tmp_path: Path) -> None:
    (tmp_path / REPOSITORY).parent.mkdir()
    folder.rename(tmp_path / REPOSITORY)
    assert process(tmp_path, hub.url, REPOSITORY, "dst").returncode == 0
    assert hub.asked == []


@pytest.mark.parametrize("name", [f"./{REPOSITORY}", f"../{REPOSITORY}", f"{REPOSITORY}/", "tiny"])
def test_what_can_only_be_a_path_is_not_looked_for_on_the_hub(
    hub: Hub, tmp_path: Path, name: str
) -> None:
    done = process(tmp_path, hub.url, name, "dst")
    assert one_line(done).endswith(": No such file or directory\n")
    assert hub.asked == []


def test_unknown_repository_is_one_line(hub: Hub, tmp_path: Path) -> None:
    said = one_line(process(tmp_path, hub.url, "bitmill-tests/nothing", "dst"))
    assert said.startswith(
        "bitmill: bitmill-tests/nothing: no such file or folder, and fetching it from the hub "
        "failed: "
    )
    assert "failed: RepositoryNotFoundError: 404 Client Error" in said
    assert not (tmp_path / "dst").exists()


def test_unreachable_hub_is_one_line(tmp_path: Path) -> None:
    needs(PACKAGE)
    said = one_line(process(tmp_path, "http://127.0.0.1:9", REPOSITORY, "dst"))
    assert said.startswith(
        f"bitmill: {REPOSITORY}: no such file or folder, and fetching it from the hub failed: "
    )
    assert "refused" in said
    assert not (tmp_path / "dst").exists()


def test_repository_without_safetensors_is_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.files = {name: data for name, data in hub.files.items() if not name.endswith("safetensors")}
    done = process(tmp_path, hub.url, REPOSITORY, "dst")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "\nbitmill: " in f"\n{done.stderr}"


def test_without_the_package_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{PACKAGE!r}] = None\nfrom bitmill.cli import main\n"
    code += "sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "quantize", REPOSITORY, "dst"]
    done = subprocess.run(command, cwd=tmp_path, **CAPTURE)
    assert one_line(done) == (
        f"bitmill: {REPOSITORY}: no such file or folder; to fetch it from the Hugging Face hub: "
        "pip install 'bitmill[hub]'\n"
    )


def test_local_sources_do_without_the_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    assert main(["quantize", str(folder), str(tmp_path / "dst")]) == 0


def test_local_leaves_paths_as_they_are(folder: Path) -> None:
    for name in (str(folder), ".", "nowhere", "a/b/c", "/a/b", "org/name.with spaces"):
        assert local(name) == Path(name)
