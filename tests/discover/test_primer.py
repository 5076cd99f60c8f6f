"""The embedded corpus: its schema, and that it reads as a source."""

from __future__ import annotations

import re

from mumei.discover.primer import PASSAGES, load_passages, load_questions
from mumei.discover.sources import Item, open_source

_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def test_passages_follow_the_schema():
    passages = load_passages()
    assert len(passages) >= 240
    assert len({p["id"] for p in passages}) == len(passages)
    assert len({p["text"] for p in passages}) == len(passages)
    for passage in passages:
        assert set(passage) == {"id", "title", "text", "theme", "lang"}
        assert all(isinstance(v, str) and v.strip() == v and v for v in passage.values())
        assert passage["lang"] in ("en", "ja")
        assert bool(_JAPANESE.search(passage["text"])) == (passage["lang"] == "ja")


def test_themes_and_languages():
    passages = load_passages()
    assert len({p["theme"] for p in passages}) >= 8
    assert sum(p["lang"] == "ja" for p in passages) >= 20


def test_passages_have_two_to_five_sentences():
    """Sentences counted by their final marks: a full stop before a capital or the end, or a Japanese one."""
    for passage in load_passages():
        end = r"。" if passage["lang"] == "ja" else r"[.!?](?=\s+[A-Z]|\s*$)"
        assert 2 <= len(re.findall(end, passage["text"])) <= 5, passage["id"]


def test_questions_are_judged_on_passages_that_exist():
    known = {p["id"] for p in load_passages()}
    questions = load_questions()
    assert len(questions) >= 48
    assert len({q["id"] for q in questions}) == len(questions)
    for question in questions:
        assert set(question) == {"id", "text", "lang", "relevant"}
        assert question["relevant"]
        assert set(question["relevant"]) <= known
        assert set(question["relevant"].values()) <= {1, 2}
        assert 2 in question["relevant"].values()
        assert bool(_JAPANESE.search(question["text"])) == (question["lang"] == "ja")


def test_the_primer_is_a_source_without_problems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = open_source("primer")
    rows = list(source.rows())
    assert (source.kind, source.name, source.total_hint) == ("text", "primer", len(rows))
    assert all(isinstance(row, Item) for row in rows)
    assert [row.id for row in rows] == [p["id"] for p in load_passages()]
    assert source.files() == [PASSAGES]
    (tmp_path / "primer").write_text('{"text": "a file of that name comes first"}\n')
    assert len(list(open_source("primer").rows())) == 1
