# SPDX-License-Identifier: MIT
"""Environment of the benches, to be imported before NumPy and torch, which read it when loaded.

Everybody has one thread. torch takes its outputs in huge pages only if THP_MEM_ALLOC_ENABLE says
so, as NumPy always does; set it to 0 for what torch does on its own.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
