"""Output: what reaches a terminal is harmless, what `--json` prints is one valid document."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.cli.output import Output, clean, plain, to_json, write_line

FORBIDDEN = {
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
}
FORBIDDEN -= {"\n", "\t"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("", ""),
        ("plain\ttext\nline", "plain\ttext\nline"),
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]0;new title\x07shown", "shown"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("cut\x1b[", "cut"),
        ("cut\x1b", "cut"),
        ("\x1bc reset", " reset"),
        ("over\rwritten", "over\nwritten"),
        ("dos\r\nline", "dos\nline"),
        ("bell\x07 null\x00 del\x7f", "bell null del"),
        ("reversed\u202etxt", "reversedtxt"),
        ("心不全 β α", "心不全 β α"),
        ("[bold]markup[/bold]", "[bold]markup[/bold]"),
    ],
)
def test_clean_examples(dirty, expected):
    """The expected text is what a person would want to read, written by hand."""
    assert clean(dirty) == expected


@given(st.text(st.characters(exclude_categories=())) | st.text("\x1b[]m;0\x07\\\x9b\x9d a\n\r"))
def test_clean_leaves_nothing_that_acts_on_a_terminal(text):
    cleaned = clean(text)
    assert not FORBIDDEN & set(cleaned)
    assert clean(cleaned) == cleaned


@given(VALUES)
def test_json_is_valid_harmless_and_says_the_same(value):
    """Read back by the standard library; strict, so NaN would raise."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = to_json(value)
    assert json.loads(text, parse_constant=refuse) == plain(value)
    assert not FORBIDDEN & set(text)
    assert to_json(value, ascii_only=True).isascii()


def test_plain_takes_what_commands_return():
    np = pytest.importorskip("numpy")
    value = {
        1: np.float32(0.5),
        "array": np.arange(3),
        "nan": np.array([math.nan, 1.0]),
        "path": Path("a") / "b",
        "set": {3, 1, 2},
        "tuple": (1, None, True),
    }
    expected = {"1": 0.5, "array": [0, 1, 2], "nan": [None, 1.0], "path": str(Path("a/b")), "set": [1, 2, 3]}
    assert plain(value) == {**expected, "tuple": [1, None, True]}


def test_plain_refuses_what_has_no_json_form():
    with pytest.raises(TypeError, match="holds a object"):
        plain({"x": object()})


def test_result_prints_one_document_or_the_text(capsys):
    Output(json=True).result({"a": [1, math.inf]}, "text")
    assert json.loads(capsys.readouterr().out) == {"a": [1, None]}
    Output().result({"a": 1}, "title \x1b[2Jhere")
    assert capsys.readouterr().out == "title here\n"


def test_result_renders_rich_without_markup(capsys):
    from rich.text import Text

    Output().result({}, Text("[red]not markup[/red] :smile:"))
    assert capsys.readouterr().out == "[red]not markup[/red] :smile:\n"


def test_quiet_silences_progress_only(capsys):
    Output(quiet=True).progress().say("note")
    Output(quiet=True).result({}, "result")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("result\n", "")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_line_fits_any_encoding(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    write_line("心 \udc80", stream)
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding).endswith("\\udc80\n")  # type: ignore[attr-defined]


def test_json_on_an_ascii_stream_stays_valid(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    Output(json=True).result({"é": "心\udc80"}, "")
    stream.flush()
    assert json.loads(stream.buffer.getvalue()) == {"é": "心\udc80"}  # type: ignore[attr-defined]


def test_path_is_relative_where_shorter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Output().path(tmp_path / "out") == "out"
    assert Output().path("/x") == "/x"
    assert Output().path("a\x1b[0mb") == "ab"
