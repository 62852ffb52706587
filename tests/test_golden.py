# SPDX-License-Identifier: MIT
"""The golden files are those that their makers listed, and all that the tests should visit."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from golden_files import GOLDEN

MANIFEST = json.loads((GOLDEN / "MANIFEST.json").read_text())
USED = re.compile(r"compressed_tensors/(pack|int8)_|ort/nbits_|input/w_(f32|bf16|odd|ort)")
LISTED = sorted(name for name in MANIFEST if USED.match(name))


def test_golden_folder_holds_the_integer_formats_of_the_manifest():
    here = [p.relative_to(GOLDEN).as_posix() for p in GOLDEN.rglob("*.np[yz]")]
    assert sorted(here) == LISTED
    assert len(LISTED) == 40 + 20 + 4


@pytest.mark.parametrize("name", LISTED)
def test_golden_file_has_the_bytes_of_the_manifest(name):
    data = (GOLDEN / name).read_bytes()
    assert [len(data), hashlib.sha256(data).hexdigest()[:16]] == MANIFEST[name]
