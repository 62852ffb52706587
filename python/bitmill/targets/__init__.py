# SPDX-License-Identifier: MIT
"""What devices and runtimes can do, turned into schemes and packed layouts."""

from bitmill.targets.explain import Explanation
from bitmill.targets.named import get, names
from bitmill.targets.target import Fitting, Target

__all__ = ["Explanation", "Fitting", "Target", "get", "names"]
