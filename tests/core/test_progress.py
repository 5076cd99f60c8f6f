"""Progress: plain lines off a terminal, bars on one, silence on request. Time is a fake clock."""

from __future__ import annotations

import io
import sys

import pytest

from mumei.core import progress
from mumei.core.progress import SILENT, Progress, format_seconds


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress.time, "monotonic", made)
    return made


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.21, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.9, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


def test_plain_lines_give_rate_and_time_left(clock):
    """Expected by hand: 100 of 1,000 in 5 s is 20/s, and 900 more take 45 s."""
    stream = io.StringIO()
    with Progress(stream=stream).task("encode", 1000, "rows") as task:
        clock.now += 4.9
        task(50)
        assert stream.getvalue() == ""
        clock.now += 0.1
        task.advance(50, "loss 0.5")
        clock.now += 1
        task(1)
        clock.now += 4
        task.advance(899)
    assert stream.getvalue().splitlines() == [
        "encode: 100 of 1,000 rows (10 %), 20.0/s, 45.0 s left, loss 0.5",
        "encode: 1,000 of 1,000 rows (100 %), 100.0/s, 0.0 s left",
    ]


def test_a_task_of_unknown_length_and_one_that_has_not_begun(clock):
    stream = io.StringIO()
    with Progress(stream=stream).task("read") as task:
        clock.now += 10
        task(2500)
        clock.now += 5
        task(0)
    assert stream.getvalue().splitlines() == ["read: 2,500 items, 250.0/s", "read: 2,500 items, 166.7/s"]
    with Progress(stream=io.StringIO()).task("x", 10) as task:
        assert task.line(clock.now) == "x: 0 of 10 items (0 %), 0.0/s"
        task(20)
        assert task.line(clock.now + 1).endswith("0.0 s left")


def test_a_terminal_gets_a_bar_for_a_long_step_and_nothing_for_a_short_one(clock):
    long, short = Terminal(), Terminal()
    with Progress(stream=long).task("fit [x]", 10) as task:
        task(1)
        clock.now += 2.5
        task.advance(4, "[loss] 0.5")
        task.advance(1, "[loss] 0.4")
    assert "fit [x]" in long.getvalue()
    assert "6/10" in long.getvalue()
    assert "[loss] 0.4" in long.getvalue()
    with Progress(stream=short).task("fit", 10) as task:
        clock.now += 1
        task(10)
    assert "fit" not in short.getvalue()


def test_quiet_writes_nothing(clock):
    for stream in (io.StringIO(), Terminal()):
        quiet = Progress(quiet=True, stream=stream)
        quiet.say("hello")
        with quiet.task("fit", 10) as task:
            clock.now += 60
            task(5)
        assert stream.getvalue() == ""
        assert task.done == 5
    assert SILENT.quiet


def test_messages_go_to_standard_error(capsys):
    made = Progress()
    assert made.stream is sys.stderr
    made.say("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_an_error_within_a_task_is_passed_on():
    for stream in (io.StringIO(), Terminal()):
        with pytest.raises(KeyError), Progress(stream=stream).task("fit", 10) as task:  # noqa: PT012
            task(1)
            raise KeyError("mine")
