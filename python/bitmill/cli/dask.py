# SPDX-License-Identifier: MIT
"""`--dask ADDRESS`: the workers of a running scheduler do the work."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import Any

from bitmill import __version__
from bitmill.checkpoint import CheckpointError

_ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?[^/]+:\d{1,5}")
_PATIENCE = 10
"""Seconds to wait for the scheduler, and for its first worker."""
_LOGS = ("distributed", "distributed.client", "distributed.scheduler", "tornado.application")


def add_dask(parser: Any) -> None:
    """Add `--dask`."""
    parser.add_argument(
        "--dask",
        type=_address,
        metavar="ADDRESS",
        help="let the workers of this dask scheduler (tcp://host:port) do the work: they must see "
        "the same files (pip install 'bitmill[dask]')",
    )


def _address(text: str) -> str:
    if _ADDRESS.fullmatch(text) is None:  # a client that is given one like it does not end well
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as tcp://host:8786")
    return text


@contextmanager
def dask_executor(args: argparse.Namespace) -> Iterator[Executor | None]:
    """The executor that `--dask` asks for, if it does; failures of dask become CheckpointErrors."""
    if args.dask is None:
        yield None
        return
    try:
        import distributed
        from distributed.comm.core import CommClosedError
    except ImportError:
        raise CheckpointError("--dask needs distributed: pip install 'bitmill[dask]'") from None
    client: Any = distributed.Client  # which has no types
    with _quiet():
        try:
            with client(args.dask, set_as_default=False, timeout=_PATIENCE) as connected:
                _check_workers(connected, args.dask)
                yield Workers(connected)
        except distributed.KilledWorker as error:
            raise _failure(f"{args.dask}: {error}", error) from error
        except (CommClosedError, CancelledError) as error:
            raise _failure(f"{args.dask}: the scheduler is gone, or gave up", error) from error


def _failure(text: str, cause: Exception) -> CheckpointError:
    """An error with the notes of its cause."""
    error = CheckpointError(text)
    for note in getattr(cause, "__notes__", ()):
        error.add_note(note)
    return error


class Workers(Executor):
    """The workers of a scheduler. That of distributed waits forever if the scheduler is lost."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A worker's result of the call, which is another one than all that were equal to it."""
        theirs = self._client.submit(function, *args, pure=False, **kwargs)
        ours: Future[Any] = Future()
        ours.add_done_callback(lambda _: theirs.release())
        self._client.loop.add_callback(_pass_on, theirs, ours)
        return ours


async def _pass_on(theirs: Any, ours: Future[Any]) -> None:
    """What came of a call, unless nobody waits for it any more."""
    with suppress(InvalidStateError):
        try:
            ours.set_result(await theirs)
        except asyncio.CancelledError:  # the client is closed; results are not waited for like this
            ours.set_exception(CancelledError())
            raise
        except Exception as error:
            ours.set_exception(error)


def _check_workers(client: Any, address: str) -> None:
    """Raise unless there are workers, and all have this version of bitmill: bytes depend on it."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        raise CheckpointError(f"{address}: the scheduler has no workers") from None
    try:
        versions = set(client.run(_version).values())
    except Exception as error:  # of any kind: it comes as the worker can send it
        raise CheckpointError(f"{address}: its workers cannot run bitmill: {error}") from error
    if others := versions - {__version__}:
        found = ", ".join(sorted(others))
        raise CheckpointError(f"{address}: its workers have bitmill {found}; this is {__version__}")


def _version() -> str:
    return __version__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep distributed from telling in many lines what we say in one."""
    loggers = [logging.getLogger(name) for name in _LOGS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
