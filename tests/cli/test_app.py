"""The command line's promises: exit codes, one message, no traceback, JSON errors, suggestions."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mumei import __version__
from mumei.cli import app, doctor
from mumei.core.errors import DataError, MissingExtraError, NonFiniteError, StorageError, UsageError

MUMEI = [sys.executable, "-c", "from mumei.cli.app import main; raise SystemExit(main())"]


@pytest.fixture
def failing(monkeypatch, tmp_path):
    """Return a function that makes `mumei doctor` raise, with log files going to `tmp_path / "log"`."""
    monkeypatch.setattr("platformdirs.user_log_dir", lambda *a, **k: str(tmp_path / "log"))

    def arrange(error: BaseException) -> None:
        def raising():
            raise error

        monkeypatch.setattr(doctor, "examine", raising)

    return arrange


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["-h"], ["--quiet"], ["doctor", "--help"], ["--json", "doctor", "-h"]]
)
def test_help_is_printed_and_exits_0(arguments, capsys):
    assert app.main(arguments) == 0
    printed = capsys.readouterr()
    assert "Usage: mumei" in printed.out
    assert printed.err == ""


def test_help_names_every_command(capsys):
    app.main(["--help"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in app.COMMANDS)


def test_version(capsys):
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"mumei {__version__}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["docter"], "unknown command 'docter'. Did you mean"),
        (["Discover"], "Did you mean 'discover'"),
        ([""], "unknown command ''. Allowed: "),
        (["--versoin"], "unknown option '--versoin'. Did you mean '--version'"),
        (["doctor", "--jsno"], "--json"),
        (["doctor", "stray"], "stray"),
        (["doctor", "--json=perhaps"], "perhaps"),
        (["doctor", "--no-json"], "--no-json"),
    ],
)
def test_usage_errors_exit_2_and_suggest(arguments, said, capsys):
    assert app.main(arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.startswith("mumei: ")
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_a_wrong_option_points_to_the_commands_help(capsys):
    app.main(["doctor", "--nonsense"])
    assert capsys.readouterr().err.rstrip().endswith("See: mumei doctor --help")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (DataError("bad row"), "data", 1),
        (UsageError("bad word"), "usage", 2),
        (StorageError("full"), "storage", 1),
        (NonFiniteError("NaN"), "non_finite", 1),
        (MissingExtraError("it", "pkg", "text"), "missing_extra", 1),
        (OSError(errno.ENOSPC, "No space left on device", "x.bin"), "storage", 1),
        (PermissionError(errno.EACCES, "Permission denied", "y.bin"), "storage", 1),
        (MemoryError(), "memory", 1),
        (KeyboardInterrupt(), "interrupted", 130),
        (ZeroDivisionError("division by zero"), "bug", 1),
    ],
)
def test_every_failure_has_a_kind_a_code_and_a_json_form(failing, error, kind, code, capsys):
    failing(error)
    assert app.main(["doctor", "--json"]) == code
    printed = capsys.readouterr()
    body = json.loads(printed.out)["error"]
    assert (body["kind"], body["exit_code"]) == (kind, code)
    assert printed.err == f"mumei: {body['message']}\n"
    assert "Traceback" not in printed.err


def test_a_full_disk_says_what_to_do(failing, capsys):
    failing(OSError(errno.ENOSPC, "No space left on device", "x.bin"))
    app.main(["doctor"])
    assert "x.bin: the disk is full; free some space" in capsys.readouterr().err


def test_an_interrupt_says_what_was_kept(failing, capsys):
    error = KeyboardInterrupt()
    error.add_note("42 of 100 notes are encoded and kept.")
    failing(error)
    assert app.main(["doctor"]) == 130
    said = capsys.readouterr().err
    assert "42 of 100 notes are encoded and kept." in said
    assert "Run the same command again" in said


def test_a_bug_is_one_line_with_a_log(failing, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("MUMEI_DEBUG", raising=False)
    failing(ZeroDivisionError("division\nby zero"))
    assert app.main(["doctor", "--quiet"]) == 1
    said = capsys.readouterr().err
    (log,) = (tmp_path / "log").iterdir()
    assert said.count("\n") == 1
    assert said.startswith("mumei: ZeroDivisionError: division. ")
    assert str(log) in said
    assert "This is a bug" in said
    written = log.read_text()
    assert "Traceback (most recent call last)" in written
    assert "mumei doctor --quiet" in written


def test_a_bug_with_debug_shows_the_traceback(failing, capsys, monkeypatch):
    monkeypatch.setenv("MUMEI_DEBUG", "1")
    failing(ZeroDivisionError("x"))
    assert app.main(["doctor"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_bug_without_a_place_for_the_log_still_ends_well(failing, capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("platformdirs.user_log_dir", lambda *a, **k: str(tmp_path / "file" / "log"))
    failing(RuntimeError())
    assert app.main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert "RuntimeError: (no message)" in said
    assert "No log could be written" in said


def test_an_odd_argument_cannot_break_the_log(failing, tmp_path):
    failing(RuntimeError("name \udc80"))
    app.explain(RuntimeError("name \udc80"), ["discover", "file\udc80"])
    (log,) = (tmp_path / "log").iterdir()
    assert "\\udc80" in log.read_text()


def test_messages_are_cleaned_of_terminal_escapes(failing, capsys):
    failing(DataError("row '\x1b[2J\x1b]0;owned\x07title' is bad"))
    app.main(["doctor"])
    assert capsys.readouterr().err == "mumei: row 'title' is bad\n"


def test_a_commands_own_exit_code_is_returned(monkeypatch, capsys):
    report = {"ok": False, "verdict": "Not ready."}
    monkeypatch.setattr(doctor, "examine", lambda: report)
    assert app.main(["doctor", "--quiet"]) == 1
    assert capsys.readouterr().out == "Not ready.\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        (["--json"], []),
        (["--json", "--help"], ["--help"]),
        (["--json", "--quiet", "doctor", "x"], ["doctor", "--json", "--quiet", "x"]),
        (["doctor", "--json"], ["doctor", "--json"]),
        (["discover", "--", "--json"], ["discover", "--", "--json"]),
        (["search", "ws", "--", "--json"], ["search", "query", "ws", "--", "--json"]),
        (["--json", "search", "--quiet", "prompts"], ["search", "prompts", "--json", "--quiet"]),
        (["search", "--help"], ["search", "--help"]),
        (["search"], ["search"]),
    ],
)
def test_hoist(given, expected):
    assert app.hoist(given) == expected


def test_json_after_the_end_of_options_is_text(capsys):
    """`--json` behind `--` is an argument, so the error is not printed as JSON."""
    assert app.main(["nothing", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_a_reader_that_leaves_ends_the_command_in_silence():
    """The reading end is closed before anything is written: a write then raises BrokenPipeError in the child."""
    reading, writing = os.pipe()
    os.close(reading)
    code = (
        "import sys; from mumei.cli import app, doctor\n"
        "doctor.examine = lambda: {'ok': True, 'verdict': 'x' * 1_000_000}\n"
        "sys.exit(app.main(['doctor', '--quiet']))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (app.BROKEN_PIPE, "")


def test_a_reader_that_leaves_the_help_ends_it_in_silence():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*MUMEI, "--help"], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (app.BROKEN_PIPE, "")


@pytest.mark.skipif(os.name == "nt", reason="closing an inherited stream needs a POSIX system")
@pytest.mark.parametrize(
    ("arguments", "closed", "code"),
    [("--version", 1, 0), ("nothing", 2, 2), ("nothing --json", 1, 2), ("--help", 2, 0)],
)
def test_a_closed_stream_changes_nothing_else(arguments, closed, code):
    """The stream is closed before Python starts, so that `sys.stdout` or `sys.stderr` is None in the child."""
    start = "import os, sys; os.close(int(sys.argv[1])); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    command = [sys.executable, "-c", start, str(closed), *MUMEI[1:], *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_ends_with_130_and_no_traceback():
    """A real SIGINT, sent when the child says that it is inside a command."""
    code = (
        "import sys, time; from mumei.cli import app, doctor\n"
        "def wait():\n"
        "    print('inside', flush=True); time.sleep(60)\n"
        "doctor.examine = wait\n"
        "sys.exit(app.main(['doctor']))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "inside\n"
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == app.INTERRUPTED
    assert said.startswith("mumei: interrupted. ")
    assert said.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which only Linux has")
def test_a_full_disk_under_standard_output_is_one_message():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*MUMEI, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("mumei: cannot write")
    assert "disk is full" in done.stderr
    assert done.stderr.count("\n") == 1
