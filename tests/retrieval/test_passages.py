"""Sentences, labels and beginnings of texts."""

from __future__ import annotations

import pytest

from mumei.retrieval.passages import label, sentences, shorten


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("One is here. Two is, e.g. this one.", ["One is here.", "Two is, e.g. this one."]),
        ("p was 0.05. (See there.) 12 cases", ["p was 0.05.", "(See there.) 12 cases"]),
        ("一つ。二つ！", ["一つ。", "二つ！"]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_shorten():
    assert shorten("a  b\nc", 10) == "a b c"
    assert shorten("word " * 50, 12) == "word word w…"


def test_label_is_the_title_else_the_beginning_else_the_id():
    item = {"id": "7", "title": "", "text": "Heart failure is common."}
    assert label({**item, "title": "A title"}) == "A title"
    assert label(item) == "Heart failure is common."
    assert label(item, "sequence") == "7"
