# SPDX-License-Identifier: MIT
"""The target folder: what may be written to, and the work under temporary names in it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.journal import Commit, Journal
from bitmill.checkpoint.lock import locked
from bitmill.checkpoint.read import CONFIG, INDEX, weight_files
from bitmill.checkpoint.write import sync, sync_names, write_file

WORK = ".bitmill"
"""The folder in the target that holds an unfinished run: journal, lock, and temporary files."""
_JOURNAL = "journal.jsonl"
_LOCK = "lock"
_OURS = re.compile(r"[0-9a-f]{16}-")
"""How temporary files are called."""


def refuse_overlap(
    path: Path, inputs: Iterable[Path], copied: Iterable[Path], names: Iterable[str]
) -> None:
    """Raise if the target holds an input, or lies in one; links are followed, hard ones too.

    Nor may one of the `names` in it be an input, or a file that is `copied`.
    """
    inputs = list(inputs)
    target = _real(path)
    for source in inputs:
        real = _real(source)
        if target == real or target in real.parents or real in target.parents:
            raise CheckpointError(
                f"{path}: overlaps the source {source}; name a target folder outside of it"
            )
    known = {_identity(source): source for source in (*inputs, *copied) if source.is_file()}
    for name in names:
        final = path / name
        if final.exists() and _identity(final) in known:
            raise CheckpointError(
                f"{final}: is the source {known[_identity(final)]} under another name; name "
                "another target folder"
            )


def refuse_wrong_kinds(path: Path, names: Iterable[str]) -> None:
    """Raise if there is a file where the target folder, or one in it, must be; or a folder where a
    file must be."""
    if os.path.lexists(path) and not path.is_dir():
        raise FileExistsError(errno.EEXIST, "is a file; the target is a folder", str(path))
    work = path / WORK
    if os.path.lexists(work) and (work.is_symlink() or not work.is_dir()):
        raise FileExistsError(errno.EEXIST, "is no folder of ours; remove it", str(work))
    for name in names:
        final = path / name
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder; a file must go there", str(final))
        for parent in final.relative_to(path).parents:
            if (path / parent).exists() and not (path / parent).is_dir():
                raise NotADirectoryError(
                    errno.ENOTDIR, "is a file; a folder must be there", str(path / parent)
                )


def has_work(path: Path) -> bool:
    """Whether a run goes on, or was broken off, if only while it tidied up."""
    return (path / WORK).exists()


def is_unfinished(path: Path) -> bool:
    """Whether a run was begun and did not end, and left something to go on from."""
    return not Journal.read(path / WORK / _JOURNAL).is_empty


def has_pieces(path: Path) -> bool:
    """Whether a run was begun that goes on from pieces of its tensors."""
    return bool(Journal.read(path / WORK / _JOURNAL).pieces)


def other_content(path: Path) -> list[str]:
    """What is in the folder that no unfinished run has put there."""
    commit = Journal.read(path / WORK / _JOURNAL).commit
    own = set(commit.names.values()) if commit else set()
    return [name for name in _files(path) if name not in own]


def already_there(path: Path, what: str) -> FileExistsError:
    """The error for a target that holds something else."""
    return FileExistsError(
        errno.EEXIST, f"{what}; name another folder, or pass overwrite=True", str(path)
    )


def _files(path: Path) -> Iterator[str]:
    """The names of all but folders in a folder, in those in it too, and not in that of our work.

    OSError if one cannot be listed: what is in it might be replaced unseen.
    """
    for folder, subfolders, names in os.walk(path, onerror=_fail):
        here = Path(folder)
        if here == path and WORK in subfolders:
            subfolders.remove(WORK)
        links = [name for name in subfolders if (here / name).is_symlink()]
        yield from ((here / name).relative_to(path).as_posix() for name in (*names, *links))


def _fail(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


class WorkFolder:
    """The target while it is written, by this run alone: files get temporary names in `.bitmill`.

    `commit` gives all of them their names. Left without it, the folder stays as it is, for a later
    run to go on; if nothing was done yet, it goes, with all that was made for it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / WORK
        self.journal = Journal(self.folder / _JOURNAL)
        self._committed = False
        self._staged: dict[Path, str] = {}
        self._made: list[Path] = []
        self._open = ExitStack()

    def __enter__(self) -> WorkFolder:
        self._make(self.folder)
        with self._open:
            self._open.enter_context(locked(self.folder / _LOCK))
            self.journal = Journal.read(self.folder / _JOURNAL)
            self._settle()
            self._open.enter_context(self.journal)
            self._open = self._open.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        is_needed = not (self._committed or self.journal.is_empty)
        try:
            if not is_needed:
                with suppress(OSError):  # then the next run tidies up
                    self._clear()
        finally:
            self._open.close()
        if not is_needed:
            for folder in (self.folder, *reversed(self._made)):
                with suppress(OSError):  # not empty, or gone: somebody else's now
                    folder.rmdir()

    def stage(self, name: str, version: bytes = b"") -> Path:
        """Where to write the file that will be called `name`; another place for each `version`."""
        digest = hashlib.sha256(os.fsencode(name) + b"\0" + version).hexdigest()
        partial = self.folder / f"{digest[:16]}-{name.rpartition('/')[2][:32]}"
        self._staged[partial] = name
        return partial

    def unstage(self) -> None:
        """Forget what was staged; the files stay."""
        self._staged.clear()

    def stage_bytes(self, name: str, content: bytes) -> None:
        """Write `content` as the file that will be called `name`."""
        write_file(self.stage(name), content)

    def remove_others(self, needed: set[str]) -> None:
        """Remove temporary files that are neither staged nor `needed`, to make room."""
        for path in self.folder.iterdir():
            if _OURS.match(path.name) and path not in self._staged and path.name not in needed:
                path.unlink(missing_ok=True)

    def commit(self, *, last: Iterable[str]) -> Commit:
        """Give every staged file its name: all of them are on the disk before the first gets it,
        and all names are before those in `last`, without which the folder is no checkpoint.

        An earlier checkpoint loses these first, so that nobody loads parts of both; then its
        weights go, which would be loaded beside the new ones.
        """
        names = {partial.name: name for partial, name in self._staged.items()}
        obsolete, replaced = self._earlier(set(names.values()))
        for partial in self._staged:
            sync(partial, or_remove=True)
        ordered = tuple(name for name in names.values() if name in replaced)
        commit = Commit(names, tuple(sorted(obsolete)), ordered)
        self.journal.add_commit(commit)
        sync_names(self.folder)
        last = set(last)
        self._set_aside((INDEX, CONFIG))
        self._rename({p: name for p, name in self._staged.items() if name not in last})
        for name in commit.obsolete:
            (self.path / name).unlink(missing_ok=True)
        self._rename({p: name for p, name in self._staged.items() if name in last})
        self._committed = True
        return commit

    def _set_aside(self, names: Iterable[str]) -> None:
        """Take names from files; what has been set aside is removed with the rest of the work."""
        for name in names:
            if (self.path / name).exists():
                aside = hashlib.sha256(f"earlier {name}".encode()).hexdigest()[:16]
                os.replace(self.path / name, self.folder / f"{aside}-{name}")
        sync_names(self.path)

    def _earlier(self, names: set[str]) -> tuple[set[str], set[str]]:
        """Of an earlier checkpoint: what must go, and which of the new names were taken by it.

        If a commit was broken off, some of that is gone already, perhaps the index that told of the
        rest: then its record tells.
        """
        obsolete = weight_files(self.path)
        if os.path.lexists(self.path / CONFIG):  # which is set aside, and tells of no other weights
            obsolete.add(CONFIG)
        replaced = {name for name in names if os.path.lexists(self.path / name)}
        if (broken := self.journal.commit) is not None:
            obsolete |= {*broken.obsolete}
            obsolete |= {name for name in broken.replaced if not (self.path / name).exists()}
            replaced |= {*broken.replaced, *broken.obsolete} & names
        return obsolete - names, replaced

    def _rename(self, names: dict[Path, str]) -> None:
        folders = set()
        for partial, name in names.items():
            final = self.path / name
            self._make(final.parent)
            os.replace(partial, final)
            folders.add(final.parent)
        for folder in folders | {folder.parent for folder in self._made}:
            sync_names(folder)

    def _settle(self) -> None:
        """End a commit that was broken off: after its last name, or else as if it had not begun."""
        commit = self.journal.commit
        if commit is None:
            return
        pairs = [
            (self.folder / partial, self.path / name) for partial, name in commit.names.items()
        ]
        renamed = [(p, final) for p, final in pairs if not p.exists() and final.exists()]
        if len(renamed) == len(pairs):
            self._clear()
            self.journal = Journal(self.journal.path)
            return
        for partial, final in renamed:
            os.rename(final, partial)

    def _make(self, folder: Path) -> None:
        """Create a folder, and those it lies in."""
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            try:
                path.mkdir()
            except FileExistsError:  # another process was faster
                if not path.is_dir():
                    raise
            else:
                self._made.append(path)

    def _clear(self) -> None:
        """Remove all of ours but the lock, which is held; the journal last: it says all is done."""
        others = [path for path in self.folder.iterdir() if _OURS.match(path.name)]
        for path in (*others, self.folder / _JOURNAL):
            path.unlink(missing_ok=True)


def _real(path: Path) -> Path:
    """Where it is, behind all links; links in a circle stay."""
    return Path(os.path.realpath(path))


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
