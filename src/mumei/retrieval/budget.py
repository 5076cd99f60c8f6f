"""A time budget for a stage: what is not ready in time is given up, and the search goes on without it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from mumei.core.errors import MumeiError, UsageError

T = TypeVar("T")


class OverBudget(MumeiError, TimeoutError):
    """A stage took longer than its budget."""


@dataclass(frozen=True)
class Budget:
    """Seconds that the slow stages of a search may take.

    Parameters
    ----------
    generate : float
        For all hypothetical documents of a query, the summary included.
    evidence : float
        For finding the sentences that are shown.
    """

    generate: float = 30.0
    evidence: float = 5.0

    def __post_init__(self) -> None:
        for name in ("generate", "evidence"):
            if not getattr(self, name) > 0:
                raise UsageError(
                    f"a budget of {getattr(self, name)} seconds to {name} is not allowed; give more than 0."
                )


def within(seconds: float, what: str, call: Callable[[], T]) -> T:
    """Return `call()` if it is done in time; else raise `OverBudget` and leave it running in the background.

    It ends with the process at the latest. What it finishes before that may be of use: a generation is stored when it comes.
    """
    result: list[Any] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=work, name=f"mumei {what}", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not result:
        raise OverBudget(f"{what} took longer than {seconds:g} s")
    return result[0]
