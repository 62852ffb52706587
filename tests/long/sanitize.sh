#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The tests under AddressSanitizer and UndefinedBehaviorSanitizer (GCC on Linux), every ISA:
#   bash tests/long/sanitize.sh [pytest arguments, default: tests]
#   bash tests/long/sanitize.sh tests/test_kernels.py -k 'matmul or token'
# Builds in build/sanitize, or $BITMILL_SANITIZE_BUILD, and only what has changed since: about a
# quarter of an hour on two cores the first time.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=${BITMILL_SANITIZE_BUILD:-$PWD/build/sanitize}
if [ ! -e "$work/venv/ready" ]; then
  python3 -m venv --clear "$work/venv"
  "$work/venv/bin/pip" install --quiet 'scikit-build-core>=0.11' 'pybind11>=3.0' cmake ninja
  touch "$work/venv/ready"
fi
. "$work/venv/bin/activate"
flags="-g -fno-omit-frame-pointer -fsanitize=address,undefined"
flags="$flags -fsanitize=float-cast-overflow -fno-sanitize-recover=all"
# Not float-divide-by-zero: a quotient by a scale of 0 is infinite, and clamped, by contract.
CXXFLAGS="$flags" LDFLAGS="-fsanitize=address,undefined" \
  pip install --quiet --no-build-isolation -Cbuild-dir="$work/build" \
  -Ccmake.define.BITMILL_OPTIMIZE=-O1 -Ccmake.define.CMAKE_CXX_FLAGS_RELEASE=-O1 '.[test]'

# python does not link libstdc++, and without it the first C++ exception aborts; the real binary, not
# a shim, must get the preload; pytest must not capture the report; tests that fault on purpose must die.
python=$(python3 -c 'import sys; print(sys.executable)')
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)"
export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:halt_on_error=1:abort_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc
"$python" -m pytest -s -x -q -p no:cacheprovider "${@:-tests}"
