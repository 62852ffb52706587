#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Proves the quotient without division, on a CPU with FMA: bash tests/long/prove_quotients.sh
set -euo pipefail
cd "$(dirname "$0")"
program=$(mktemp)
trap 'rm -f "$program"' EXIT
g++ -std=c++17 -O2 -mfma -ffp-contract=off prove_quotients.cpp -o "$program"
"$program"
