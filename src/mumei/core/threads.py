"""Numerical libraries on one thread, and worker threads that each run torch on one core.

Where the parts of a job are small, one part a core is faster than all cores on one part: nothing waits at the end of each
product, and a core keeps its own part in its cache.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


def one_thread() -> Any:
    """Return a context in which numerical libraries use one thread."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def torch_pool(threads: int) -> ThreadPoolExecutor:
    """Return this process's pool of that many threads, with one torch thread each; the caller's number is left as it is.

    Parameters
    ----------
    threads : int
        1 or more.
    """
    return _pool(os.getpid(), threads)


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    import torch

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "mumei-torch", initializer=lambda: torch.set_num_threads(1))
    # torch hands the last number set to threads that begin later: set ours again once all of these have set theirs.
    together = Barrier(threads + 1)
    for _ in range(threads):
        pool.submit(together.wait)
    together.wait()
    torch.set_num_threads(before)
    return pool


def in_order(pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], ahead: int) -> Iterator[B]:
    """Yield `work(item)` for each item, in their order, with at most `ahead` of them begun and not yet taken.

    What was not begun is given up where the caller stops early or a part fails.
    """
    waiting: deque[Future[B]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
