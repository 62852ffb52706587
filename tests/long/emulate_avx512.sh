#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The tests with the avx512 kernels on a CPU that has AVX2 alone (GCC): csrc/simd/avx512.hpp is
# compiled against tests/long/emulate, which makes its intrinsics of AVX2.
#   bash tests/long/emulate_avx512.sh [pytest arguments, default: the tests that run every ISA]
# Builds in build/emulate, or $BITMILL_EMULATE_BUILD, and only what has changed since.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=${BITMILL_EMULATE_BUILD:-$PWD/build/emulate}
if [ ! -e "$work/venv/ready" ]; then
  python3 -m venv --clear "$work/venv"
  "$work/venv/bin/pip" install --quiet 'scikit-build-core>=0.11' 'pybind11>=3.0' cmake ninja \
    'numpy>=2.0' 'ml_dtypes>=0.5' 'rich>=13.0' 'pytest>=8.0' 'hypothesis>=6.100' 'safetensors>=0.5'
  touch "$work/venv/ready"
fi
. "$work/venv/bin/activate"
pip install --quiet --no-deps --no-build-isolation -Cbuild-dir="$work/build" \
  -Ccmake.define.BITMILL_EMULATE_AVX512="$PWD/tests/long/emulate" .

g++ -std=c++17 -O2 -mavx2 -mfma -mf16c -mbmi -mbmi2 -mlzcnt -ffp-contract=off -Wno-psabi \
  -isystem tests/long/emulate tests/long/emulate/check.cpp -o "$work/check"
"$work/check" > "$work/check.txt" || { grep FAILED "$work/check.txt"; exit 1; }
python - <<'PYTHON'
from bitmill import _core

assert "avx512" in _core.isas(), _core.isas()
PYTHON
[ $# -gt 0 ] || set -- $(grep -lw isa tests/test_*.py)
# One test wants to see instructions of AVX-512 in the module, and here there are none.
python -m pytest -q -p no:cacheprovider "$@" \
  --deselect tests/test_objects.py::test_the_disassembly_test_can_fail \
  --deselect tests/test_objects.py::test_module_is_below_two_megabytes
