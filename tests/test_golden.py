# SPDX-License-Identifier: MIT
"""The golden files are those that their makers listed, and all that the tests should visit."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from golden_files import GOLDEN

MANIFEST = json.loads((GOLDEN / "MANIFEST.json").read_text())
USED = re.compile(
    r"(compressed_tensors|awq_gptq|bitsandbytes|mlx)/|gguf/(tiny|(MXFP4|IQ4_NL|Q4_0|Q8_0)\.)|ort/nbits_|"
    r"input/w_(f32|bf16|gguf|odd|ort)"
)
LISTED = sorted(name for name in MANIFEST if USED.match(name))


def test_golden_folder_holds_what_the_tests_use_of_the_manifest():
    files = [path for path in GOLDEN.rglob("*") if path.suffix in (".npy", ".npz", ".gguf")]
    assert sorted(path.relative_to(GOLDEN).as_posix() for path in files) == LISTED
    assert len(LISTED) == 47 + 4 + 11 + 10 + 5 + 20 + 5


@pytest.mark.parametrize("name", LISTED)
def test_golden_file_has_the_bytes_of_the_manifest(name):
    data = (GOLDEN / name).read_bytes()
    assert [len(data), hashlib.sha256(data).hexdigest()[:16]] == MANIFEST[name]
