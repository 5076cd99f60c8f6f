"""Answers: reasons, notes, and the sentences shown."""

from __future__ import annotations

import pytest

from mumei.core.errors import UsageError
from mumei.discover import Searcher, discover

pytestmark = pytest.mark.usefixtures("word_encoder")


@pytest.fixture
def searcher(notes, tmp_path):
    discover(notes, out=tmp_path / "ws", clusters=3)
    return Searcher(tmp_path / "ws")


def test_hits_carry_their_reasons(searcher):
    answer = searcher.ask("vaccine antibody", top=5)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3, 4, 5]
    first = answer["hits"][0]
    assert first["title"].startswith("virus")
    assert "similarity" in first["why"]
    assert "words: vaccine" in first["why"]
    assert first["sentence"] in first["text"]
    assert any(word in first["sentence"] for word in ("vaccine", "antibody"))
    assert answer["hits"] == sorted(answer["hits"], key=lambda h: -h["score"])
    assert [row for row, _ in searcher.ranked("vaccine antibody", 5)] == [hit["row"] for hit in answer["hits"]]


def test_a_question_outside_the_collection_is_called_weak(searcher):
    assert any("weak" in note for note in searcher.ask("zebra stripes")["notes"])


def test_bad_questions_are_refused(searcher):
    with pytest.raises(UsageError, match="empty"):
        searcher.ask("  ")
    with pytest.raises(UsageError, match="--top 0"):
        searcher.ask("heart", top=0)
