# SPDX-License-Identifier: MIT
"""`--dask ADDRESS`: the workers of a running scheduler do the work."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from bitmill.checkpoint import CheckpointError


def add_dask(parser: Any) -> None:
    """Add `--dask`."""
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="let the workers of this dask scheduler (tcp://host:port) do the work: they must see "
        "the same files (pip install 'bitmill[dask]')",
    )


@contextmanager
def dask_executor(args: argparse.Namespace) -> Iterator[Executor | None]:
    """The executor that `--dask` asks for, if it does; failures of dask become CheckpointErrors."""
    if args.dask is None:
        yield None
        return
    try:
        import distributed
    except ImportError:
        raise CheckpointError("--dask needs distributed: pip install 'bitmill[dask]'") from None
    try:
        client: Any = distributed.Client  # which has no types
        with client(args.dask, set_as_default=False, timeout=10) as connected:
            yield connected.get_executor(pure=False)
    except (distributed.scheduler.KilledWorker, distributed.CancelledError) as error:
        raise CheckpointError(f"{args.dask}: {error}") from error
