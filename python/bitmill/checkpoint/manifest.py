# SPDX-License-Identifier: MIT
"""The manifest of a finished target: what was made of what, so that it is not made twice.

`bitmill_manifest.json` names the source files (size, sha256 of the header), each tensor with its
scheme and the digests (`digest.py`) of its data, of its importance if it has one and of the arrays
that stand for it, the files of the target with their sizes, and the version of bitmill. For the
reader it has the command that was given, and what was measured for a budget; a target that was
asked for in other words is the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any

from bitmill import __version__
from bitmill.checkpoint.digest import Joined
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import parse_json
from bitmill.checkpoint.importance import Importance
from bitmill.checkpoint.measured import Sensitivity
from bitmill.checkpoint.output import Output
from bitmill.checkpoint.paths import failing_at, regular_file
from bitmill.checkpoint.plan import Plan
from bitmill.checkpoint.read import Checkpoint
from bitmill.checkpoint.write import json_text

MANIFEST = "bitmill_manifest.json"
VERSION = 1


@dataclass(slots=True)
class Digests:
    """What is known of the pieces of a tensor."""

    source: Joined = field(default_factory=Joined)
    """Of its input."""
    stored: Joined = field(default_factory=Joined)
    """Of what stands for it in the target."""

    def add(self, source: str, stored: str) -> None:
        """Those of the next piece."""
        self.source.add(source)
        self.stored.add(stored)


def expected(
    source: Checkpoint, plan: Plan, output: Output, importance: Importance
) -> dict[str, Any]:
    """The manifest of a target, but for the digests of its tensors, which are not known before."""
    sources = {
        name: {"bytes": header.nbytes, "header_sha256": header.sha256}
        for name, header in source.files.items()
    }
    tensors = {
        tensor.name: {"source": tensor.file, "layer": tensor.layer and tensor.layer.to_dict()}
        | ({"nonfinite": True} if tensor.nonfinite else {})
        | ({"importance": known} if (known := importance.digest(tensor)) else {})
        for tensor in plan.tensors
    }
    return {
        "version": VERSION,
        "bitmill": __version__,
        "command": plan.command,
        "sources": sources,
        "files": output.sizes(),
        "tensors": tensors,
        "sensitivity": plan.sensitivity and plan.sensitivity.to_dict(),
    }


def manifest_text(wanted: Mapping[str, Any], digests: Mapping[str, Digests]) -> bytes:
    """The file, once all digests are known."""
    tensors = {
        name: {
            **said,
            "source_digest": str(digests[name].source),
            "stored_digest": str(digests[name].stored),
        }
        for name, said in wanted["tensors"].items()
    }
    return json_text({**wanted, "tensors": tensors})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest in a folder; None where there is none, or none that can be read."""
    with suppress(OSError, CheckpointError):
        return _read(folder / MANIFEST)
    return None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest tells a reader."""

    bitmill: str
    """The version that made the target."""
    command: str | None
    sources: dict[str, tuple[int, str]]
    """Size and sha256 of the header of each file that was read."""
    tensors: set[str]
    sensitivity: Sensitivity | None


def open_manifest(folder: Path) -> Manifest:
    """The manifest in a folder; CheckpointError if it is damaged, OSError if it is not there."""
    path = folder / MANIFEST
    said = _read(path)
    measured = said.get("sensitivity")
    try:
        return Manifest(
            str(said["bitmill"]),
            None if said.get("command") is None else str(said["command"]),
            {
                str(name): (index(file["bytes"]), str(file["header_sha256"]))
                for name, file in said["sources"].items()
            },
            set(said["tensors"]),
            None if measured is None else Sensitivity.from_dict(measured),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: is damaged: {error!r}") from None


def _read(path: Path) -> dict[str, Any]:
    with failing_at(path):
        said = parse_json(path, regular_file(path).read_bytes())
    if said.get("version") != VERSION:
        raise CheckpointError(f"{path}: no manifest of this bitmill: wanted 'version' {VERSION}")
    return said


def nonfinite_in(manifest: Mapping[str, Any] | None) -> set[str]:
    """Tensors that were to be quantized, and were kept because of NaN or infinities."""
    tensors = manifest.get("tensors") if manifest else None
    found = tensors.items() if isinstance(tensors, dict) else ()
    return {name for name, said in found if isinstance(said, dict) and said.get("nonfinite")}


def differences(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """What of a finished target is not as this run would make it, one by one."""
    if found.get("bitmill") != wanted["bitmill"]:
        yield f"it was made by bitmill {found.get('bitmill')}, this is {wanted['bitmill']}"
    for name, said in wanted["sources"].items():
        if _entry(found, "sources", name) != said:
            yield f"it was not made of this {name} (size or header differ)"
    for name, said in wanted["tensors"].items():
        entry = _entry(found, "tensors", name)
        if entry is None:
            yield f"it was made without {name}"
        elif entry.get("layer") != said["layer"]:
            yield f"{name} is stored in another way"
        elif entry.get("importance") != said.get("importance"):
            yield f"{name} was quantized with another importance, or with none"
    for part in ("sources", "tensors", "files"):
        has = found.get(part)
        for name in sorted(has.keys() - wanted[part].keys()) if isinstance(has, dict) else ():
            yield f"{name} is no part of it any more"
    for name, nbytes in wanted["files"].items():
        if _size(folder / name) != nbytes:
            yield f"{name} has another size, or is gone"


def _entry(manifest: Mapping[str, Any], part: str, name: str) -> dict[str, Any] | None:
    entries = manifest.get(part)
    entry = entries.get(name) if isinstance(entries, dict) else None
    return entry if isinstance(entry, dict) else None


def _size(path: Path) -> int | None:
    with suppress(OSError):
        return os.stat(path).st_size
    return None
