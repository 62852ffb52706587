# SPDX-License-Identifier: MIT
"""Checkpoints with random faults: bitmill must refuse them, or read what safetensors reads.

    python tests/long/mutate_checkpoints.py [--count 200000] [--seed 0]     some minutes, one core

Each is written to memory (/dev/shm), opened, and its tensors are read, in a second and 2 GiB.
What is accepted must be what the safetensors package finds in the same files, and where the index
says; what is refused must be refused by that package too, but for the reasons that are documented.
The first failure ends the run: it names the seed of the checkpoint, and its files are kept.

    python tests/long/mutate_checkpoints.py --only "0 4711" --keep folder    that one alone
"""

from __future__ import annotations

import argparse
import faulthandler
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from mutations import Mutator
from second_reader import STRICTER, refusal, they_accept

MEMORY = 2 << 30


class WrongVerdictError(Exception):
    """What is wrong with a verdict."""


def judge(src: Path) -> str:
    """The verdict on the checkpoint at `src`; raises what must not be raised."""
    try:
        error = refusal(src)
    except AssertionError as difference:
        raise WrongVerdictError(f"safetensors reads something else: {difference}") from None
    if error is None:
        return "accepted: file" if src.is_file() else "accepted: folder"
    if "\n" in error or len(error) > 600 or not error.startswith(str(src)):
        raise WrongVerdictError(f"an error that is long or names no file: {error}")
    if src.is_dir():
        return "refused: folder"
    if not they_accept(src.read_bytes()):
        return "refused: file, as by safetensors"
    if not STRICTER.search(error):
        raise WrongVerdictError(f"safetensors accepts it: {error}")
    return "refused: file, for a reason that is bitmill's own"


def too_long(*_: Any) -> None:
    """At the alarm."""
    raise TimeoutError("it takes over a second")


def run(seeds: list[str], folder: Path) -> tuple[Counter[str], float]:
    """The verdicts on the checkpoints of these seeds, and the time that the longest took."""
    verdicts: Counter[str] = Counter()
    longest = 0.0
    for seed in seeds:
        try:
            src = Mutator(seed).write(folder)
            faulthandler.dump_traceback_later(10, exit=True)  # should the alarm not be heard
            signal.setitimer(signal.ITIMER_REAL, 1)
            start = time.perf_counter()
            verdicts[judge(src)] += 1
            longest = max(longest, time.perf_counter() - start)
        except BaseException:
            print(f'FAILED: the checkpoint of --only "{seed}"', flush=True)
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
    return verdicts, longest


def main() -> int:
    """Run as told; 0 if all verdicts are right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="SEED", help="one checkpoint, as a failure names it")
    parser.add_argument("--keep", metavar="FOLDER", default="failed_checkpoint", type=Path)
    args = parser.parse_args()
    seeds = [args.only] if args.only else [f"{args.seed} {i}" for i in range(args.count)]

    faulthandler.enable()
    signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    start = time.perf_counter()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        try:
            verdicts, longest = run(seeds, Path(folder))
        except Exception:
            traceback.print_exc(limit=-8)
            shutil.copytree(folder, args.keep, dirs_exist_ok=True)
            print(f"its files are in {args.keep}")
            return 1
        if args.only:
            shutil.copytree(folder, args.keep, dirs_exist_ok=True)
    for verdict, count in sorted(verdicts.items()):
        print(f"{count:8} {verdict}")
    print(f"{len(seeds):8} in {time.perf_counter() - start:.0f} s; longest {1e3 * longest:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
