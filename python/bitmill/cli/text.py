# SPDX-License-Identifier: MIT
"""Text that comes from files and from the layers below, made fit to be shown."""

from __future__ import annotations

import re

_OPTIONS = {
    "overwrite=True": "--overwrite",
    "scales=": "--scale-dtype ",
    "on_unsupported='keep' or 'fallback'": "--on-unsupported keep or fallback",
    "on_unsupported='keep'": "--on-unsupported keep",
    "scale_dtype=": "--scale-dtype",
    "split_fused=True": "--split-fused",
    "on_nonfinite='keep'": "--on-nonfinite keep",
    "max_memory=": "--max-memory ",
    "clip='mse'": "--clip mse",
    "budget=": "--budget ",
}
"""What errors of the layers below tell to pass, and what it is called here."""
_OPTION = re.compile(rf"(?<![^ (])({'|'.join(_OPTIONS)})")


def one_line(error: BaseException) -> str:
    """The text of an error without line breaks; for one of the system, what failed and where."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        paths = [str(path) for path in (error.filename, error.filename2) if path is not None]
        text = ": ".join((*([" -> ".join(paths)] if paths else []), error.strerror))
    text = "; ".join((text, *getattr(error, "__notes__", ())))
    text = _OPTION.sub(lambda found: _OPTIONS[found[0]], text)
    return printable(" ".join(text.split()))


def printable(text: object) -> str:
    """`text` with control characters escaped: names come from files, and terminals obey them.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
