"""Answers: reasons, notes, and the sentences shown."""

from __future__ import annotations

import pytest

from mumei.core.errors import UsageError
from mumei.discover import Searcher, discover
from mumei.discover.answer import sentences, shorten

pytestmark = pytest.mark.usefixtures("word_encoder")


@pytest.fixture
def searcher(notes, tmp_path):
    discover(notes, out=tmp_path / "ws", clusters=3)
    return Searcher(tmp_path / "ws")


def test_hits_carry_their_reasons(searcher):
    searcher.warm_up()
    answer = searcher.ask("vaccine antibody", top=5)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3, 4, 5]
    first = answer["hits"][0]
    assert first["title"].startswith("virus")
    assert "similarity" in first["why"]
    assert "words: vaccine" in first["why"]
    assert first["sentence"] in first["text"]
    assert any(word in first["sentence"] for word in ("vaccine", "antibody"))
    assert answer["hits"] == sorted(answer["hits"], key=lambda h: -h["score"])
    assert searcher.ranked("vaccine antibody", 5) == [hit["row"] for hit in answer["hits"]]


def test_a_question_outside_the_collection_is_called_weak(searcher):
    assert any("weak" in note for note in searcher.ask("zebra stripes")["notes"])


def test_bad_questions_are_refused(searcher):
    with pytest.raises(UsageError, match="empty"):
        searcher.ask("  ")
    with pytest.raises(UsageError, match="--top 0"):
        searcher.ask("heart", top=0)


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
