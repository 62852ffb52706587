# SPDX-License-Identifier: MIT
"""Storage formats, one module each.

A format says which schemes and shapes it holds (`why_not`), which tensors stand for a weight
(`tensors`) and what describes them to a loader (`config`).
"""
