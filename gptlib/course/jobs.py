"""Many runs, some at a time, so that neither Ctrl-C nor a kill loses one that has ended.

One job: `results`.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager


def results(function: Callable, tasks: list[tuple], jobs: int) -> Iterator[dict | None]:
    """Call the function with each task, in `jobs` processes; yields results as they are there.

    None is the result of a run that a signal stopped. After it, or after an error, nothing more is
    begun; what runs already is waited for, and then the error is raised.
    """
    if jobs == 1:
        for task in tasks:
            result = function(*task)
            yield result
            if result is None:
                return
        return
    left, error, stopped = iter(tasks), None, False
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, _end_with_owner) as pool:

        def begin(n: int) -> set[Future]:
            with _deaf_children():
                return {pool.submit(function, *task) for task in itertools.islice(left, n)}

        running = begin(jobs)
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                error = error or future.exception()
                if future.exception() is None:
                    stopped = stopped or future.result() is None
                    yield future.result()
            if not (stopped or error):
                running |= begin(jobs - len(running))
    if error:
        raise error


@contextmanager
def _deaf_children() -> Generator[None]:
    """Processes begun inside the block keep a Ctrl-C for later, until `_end_with_owner` listens.

    It would print a traceback from wherever in their imports it found them (POSIX only).
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_owner() -> None:
    """Let a pool's process end when the one that owns the pool was killed, rather than wait on.

    And quietly at Ctrl-C while it does not train; a run in training saves itself.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    owner = multiprocessing.parent_process()
    assert owner is not None  # a pool's process has one

    def watch() -> None:
        owner.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
