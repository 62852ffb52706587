# SPDX-License-Identifier: MIT
"""The compiled module: no instruction outside its ISA, small, private, true to its stubs."""

from __future__ import annotations

import ast
import inspect
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bitmill
from bitmill import _core

ROOT = Path(__file__).parent.parent
MODULE = Path(_core.__file__)
OBJECTS = sorted(
    path
    for path in ROOT.glob("build/**/CMakeFiles/bitmill_*.dir/csrc/kernels/*.o")
    if ROOT / "build/sanitize" not in path.parents  # these call what checks them
)
REQUIRED = os.environ.get("BITMILL_REQUIRE_ALL") == "1"

AVX = re.compile(r"^v(?!err|erw|mcall|mload|mrun|msave|mmcall)[a-z]")
BMI = re.compile(
    r"^(andn|bextr|bls[ir]|blsmsk|bzhi|mulx|p(dep|ext)|rorx|s[ahl]rx|shlx|lzcnt|movbe)[lqw]?$"
)
AVX512_ONLY = re.compile(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2\d|3[01])")
ISA_OF = re.compile(r"bitmill::(scalar|avx2|avx512)::")


def tool(name: str) -> str:
    """Path of a binutils program; without it the test is skipped, or fails if all are required."""
    found = shutil.which(name)
    if found is None or sys.platform != "linux" or platform.machine() != "x86_64":
        assert not REQUIRED, f"{name} on x86-64 Linux is needed (Debian: binutils)"
        pytest.skip(f"needs {name} on x86-64 Linux")
    return found


def disassemble(path: Path):
    """(demangled function, mnemonic, operands) for every instruction of a file."""
    command = [tool("objdump"), "-d", "-C", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    function = ""
    for line in text.splitlines():
        if header := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
            function = header[1]
        elif code := re.match(r"^ +[0-9a-f]+:\t(\S+)\s*(.*)$", line):
            yield function, code[1], code[2]


def strays(path: Path, isa_of) -> list[str]:
    """Instructions that the ISA of their function does not have."""
    found = []
    for function, mnemonic, operands in disassemble(path):
        isa = isa_of(function)
        vector = AVX.match(mnemonic) or "%ymm" in operands
        bad = {
            "scalar": vector or BMI.match(mnemonic) or AVX512_ONLY.search(operands),
            "avx2": AVX512_ONLY.search(operands),
            "avx512": None,
        }[isa]
        if bad:
            found.append(f"{function}: {mnemonic} {operands}")
    return found


def isa_of_symbol(function: str) -> str:
    match = ISA_OF.search(function)
    return match[1] if match else "scalar"


def test_no_instruction_leaves_its_isa_in_the_installed_module():
    functions = {isa_of_symbol(f) for f, _, _ in disassemble(MODULE)}
    assert functions == {"scalar", "avx2", "avx512"}, "the module has no symbol table"
    assert strays(MODULE, isa_of_symbol) == []


def test_the_disassembly_test_can_fail():
    # Read as if it all were baseline code, the vector code must be found.
    found = strays(MODULE, lambda function: "scalar")
    assert any("avx2::" in line for line in found)
    assert any("avx512::" in line for line in found)
    assert strays(MODULE, lambda function: "avx2") != []


def test_objects_of_an_isa_keep_to_it_and_share_nothing():
    if not OBJECTS:
        assert not REQUIRED, "no build tree: pip install . makes one below build/"
        pytest.skip("no build tree")
    nm = tool("nm")
    for path in OBJECTS:
        isa = re.search(r"bitmill_(\w+)\.dir", str(path))[1]
        assert strays(path, lambda function, isa=isa: isa) == [], path
        lines = subprocess.run([nm, str(path)], capture_output=True, text=True, check=True).stdout
        kinds = [line.split()[-2:] for line in lines.splitlines()]
        # A weak symbol could become the copy that the whole process runs.
        shared = [name for kind, name in kinds if kind in "ABCDGRSTVWuvw"]
        assert [name[-6:] for name in shared] == ["tableE"], f"{path}: {shared}"
        undefined = {name for kind, name in kinds if kind == "U"}
        assert undefined <= {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_"}, path


def test_module_is_below_two_megabytes(tmp_path):
    # What is loaded counts: the names of the kernels stay in the file for profilers.
    stripped = tmp_path / "stripped.so"
    subprocess.run([tool("strip"), "-o", str(stripped), str(MODULE)], check=True)
    assert stripped.stat().st_size < 2_000_000


def test_module_needs_only_the_system_libraries():
    text = subprocess.run(
        [tool("objdump"), "-p", str(MODULE)], capture_output=True, text=True, check=True
    ).stdout
    needed = set(re.findall(r"NEEDED\s+(\w+)", text))
    assert needed <= {"libstdc", "libm", "libgcc_s", "libc", "libpthread", "ld"}


def test_stubs_name_the_functions_and_arguments_of_the_module():
    tree = ast.parse((Path(bitmill.__file__).parent / "_core.pyi").read_text())
    stubs = {
        node.name: [a.arg for a in node.args.args]
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    module = {name: f for name, f in vars(_core).items() if inspect.isbuiltin(f)}
    assert sorted(stubs) == sorted(module)
    for name, arguments in stubs.items():
        signature = module[name].__doc__.splitlines()[0]
        assert re.findall(r"(\w+): ", signature) == arguments, signature
