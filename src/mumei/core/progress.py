"""Progress on anything over two seconds: a live bar on a terminal, one plain line per interval elsewhere, silence on request.

All of it goes to standard error, so that standard output stays clean for results and `--json`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

INTERVAL = 5.0  # seconds between plain lines
PATIENCE = 2.0  # a step shorter than this shows no progress at all


def format_seconds(seconds: float) -> str:
    """Return a short duration: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    seconds = max(seconds, 60)  # 59.96 s is a minute, not "60.0 s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


class Task:
    """One running step: call `advance(n)` as work finishes."""

    def __init__(self, label: str, total: int | None, unit: str, stream: TextIO | None, live: Any = None):
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._stream, self._live = stream, live
        self._start = self._last = time.monotonic()
        self._bar = None

    def __call__(self, n: int = 1) -> None:
        """Advance by `n` units: lets a task be given where a callback is wanted."""
        self.advance(n)

    def advance(self, n: int = 1, note: str = "") -> None:
        """Say that `n` more units are done, with an optional short note (a loss, a file name)."""
        self.done += n
        now = time.monotonic()
        if self._live is not None:
            if self._bar is None and now - self._start > PATIENCE:
                self._bar = self._live.add_task(self.label, total=self.total, note="")
            if self._bar is not None:
                self._live.update(self._bar, completed=self.done, note=note)
        elif self._stream is not None and now - self._last >= INTERVAL:
            self._last = now
            self._stream.write(self.line(now, note) + "\n")
            self._stream.flush()

    def line(self, now: float, note: str = "") -> str:
        """Return the plain progress line: label, done of total, rate, time left."""
        elapsed = max(now - self._start, 1e-9)
        rate = self.done / elapsed
        text = f"{self.label}: {self.done:,}"
        if self.total:
            text += f" of {self.total:,} {self.unit} ({100 * self.done / self.total:.0f} %)"
        else:
            text += f" {self.unit}"
        text += f", {rate:,.1f}/s"
        if self.total and rate > 0:
            text += f", {format_seconds(max(self.total - self.done, 0) / rate)} left"
        return text + (f", {note}" if note else "")


class Progress:
    """Makes tasks and prints messages. `quiet=True` prints nothing but errors.

    Parameters
    ----------
    quiet : bool
        No output at all.
    stream : file, optional
        Where to write; standard error by default. A terminal gets live bars, anything else plain lines.
    """

    def __init__(self, quiet: bool = False, stream: TextIO | None = None):
        self.quiet = quiet
        self.stream = stream if stream is not None else sys.stderr

    def say(self, message: str) -> None:
        """Print one line."""
        if not self.quiet:
            self.stream.write(message + "\n")
            self.stream.flush()

    @contextlib.contextmanager
    def task(self, label: str, total: int | None = None, unit: str = "items") -> Iterator[Task]:
        """Open a step; yields a `Task` to advance."""
        if self.quiet:
            yield Task(label, total, unit, None)
        elif self.stream.isatty():
            with self._bars() as live:
                yield Task(label, total, unit, self.stream, live)
        else:
            yield Task(label, total, unit, self.stream)

    def _bars(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        return Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(file=self.stream, markup=False),
            transient=True,
        )


SILENT = Progress(quiet=True)
