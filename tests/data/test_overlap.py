"""Shared documents: hashes, PubMed ids, the matrix, against counting by brute force and the known overlap of real corpora."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.data.corpus import corpus_of
from mumei.data.documents import Document, LabelledText, Question
from mumei.data.overlap import Matrix, content_hash, fingerprint, fingerprints, matrix, normal, pmid, shared, text_hash
from mumei.data.schemas import Passage

LONG = "The tumour suppressor gene is silenced in one of three patients with the familial form of the disease. " * 3


def document(name, *texts, **metadata):
    passages = [Passage(f"{name}_{i}", "x", [text], [(0, len(text))]) for i, text in enumerate(texts)]
    return Document(name, name, passages, metadata=metadata)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.sampled_from([" ", "\n", "\u2028", "-", ", ", "\u00a0"]))
def test_blanks_case_and_signs_change_nothing(text, between):
    assert normal(between.join(text)) == normal(text) or "\u0300" <= max(text, default="")
    assert normal(text) == "".join(c for c in normal(text) if c.isalnum() or not c.isascii())


def test_hashes():
    assert text_hash(LONG) == text_hash(LONG.upper().replace(" ", "\r\n"))
    assert text_hash(LONG) != text_hash(LONG + "not")
    assert text_hash("Results. And more.") == b""
    question = Question("q", "q", "q", LONG, "yesno", ["yes"], "", ["yes"])
    assert content_hash(question) == text_hash(LONG + "yes")


@pytest.mark.parametrize(
    ("name", "said", "pubmed", "found"),
    [
        ("PMID-10923035", {}, False, "10923035"),
        ("PMID10923035", {}, False, "10923035"),
        ("0010923035", {}, True, "10923035"),
        ("10923035", {}, False, ""),
        ("x", {"pmid": "10923035"}, False, "10923035"),
        ("10923035_s1", {}, True, ""),
        ("123456789", {}, True, ""),
        ("0", {}, True, ""),
    ],
)
def test_pubmed_ids(name, said, pubmed, found):
    assert pmid(document(name, LONG, **said), pubmed) == found


def test_questions_about_one_document_are_not_one():
    question = Question("q", "q", "PMID-77", LONG, "yesno", ["yes"], "", ["yes"])
    assert fingerprint(question).pmid == ""
    assert fingerprint(document("PMID-77", LONG)).pmid == "77"


def test_a_passage_stands_for_its_document():
    one, other = document("1", "A title of its own.", LONG), document("2", "Another title.", LONG)
    assert content_hash(one) != content_hash(other)
    (found,) = shared([fingerprint(one, "a", "train")], [fingerprint(other, "b", "test")])
    assert (found.one.id, found.other.id, found.by) == ("1", "2", "text")


def test_the_matrix_is_what_counting_gives():
    a = corpus_of({"train": [document(f"PMID-{i}", f"{i} {LONG}") for i in range(1, 7)]}, "kb", name="a")
    b = corpus_of(
        {
            "train": [document(f"PMID-{i}", f"{i} other {LONG}") for i in range(5, 9)],
            "test": [document("9", f"3 {LONG}"), document("10", "short")],
        },
        "kb",
        name="b",
    )
    found = matrix([a, b])
    assert found == Matrix([("a", "train"), ("b", "train"), ("b", "test")], [[6, 2, 1], [2, 4, 0], [1, 0, 2]])
    prints = {place: [] for place in found.places}
    for p in [*fingerprints(a), *fingerprints(b)]:
        prints[p.corpus, p.split].append(set(p.keys))
    for i, one in enumerate(found.places):
        for j, other in enumerate(found.places):
            if i != j:
                assert found.cells[i][j] == sum(any(k & t for t in prints[other]) for k in prints[one])
    assert list(found.rows()) == [(("a", "train"), ("b", "train"), 2), (("a", "train"), ("b", "test"), 1)]


def test_texts_of_two_schemas():
    text = LabelledText("1", "1", LONG, ["a"])
    assert content_hash(text) == content_hash(document("2", LONG))
