"""The registry of checks, the report, real corpora. Planted faults are in `test_planted.py`."""

from __future__ import annotations

import json

import pytest

from mumei.core.errors import UsageError
from mumei.data import catalogue, load
from mumei.data.checks import registry, run_checks
from mumei.data.corpus import corpus_of
from mumei.data.documents import Argument, Attribute, Coreference, Document, Event, Trigger
from mumei.data.readers.base import Problem
from mumei.data.schemas import Entity, Passage


def sound(name: str = "1") -> Document:
    return Document(
        name,
        name,
        [
            Passage(f"{name}_t", "title", ["A gene."], [(0, 7)]),
            Passage(f"{name}_a", "abstract", ["It grows."], [(8, 17)]),
        ],
        [Entity(f"{name}_T1", "Gene", ["gene"], [(2, 6)]), Entity(f"{name}_T2", "Gene", ["It"], [(8, 10)])],
        [
            Event(
                f"{name}_E1", "Growth", Trigger(["grows"], [(11, 16)], f"{name}_T3"), [Argument("Theme", f"{name}_T1")]
            )
        ],
        [Coreference(f"{name}_C1", [f"{name}_T1", f"{name}_T2"])],
        attributes=[Attribute(f"{name}_A1", "Negation", "", f"{name}_E1")],
        file="x.ann",
        line=1,
    )


def wrong_text(document):
    document.events[0].trigger.text[0] = "grown"


def test_documents_across_splits():
    again = sound("2")
    again.document_id = "1"
    report = run_checks(corpus_of({"train": [sound()], "test": [again]}, "kb"))
    assert [(f.code, f.split, f.document) for f in report.findings] == [("ID02", "test", "2")]


def test_what_was_not_read_is_in_the_report():
    corpus = corpus_of({"train": [sound()]}, "kb")
    corpus.problems = [Problem("cut off", "x.ann", 7, "9"), Problem("odd", "x.ann", 8, "9", skipped=False)]
    report = run_checks(corpus)
    assert [(f.code, f.severity, f.file, f.line) for f in report.findings] == [
        ("RD01", "error", "x.ann", 7),
        ("RD02", "info", "x.ann", 8),
    ]
    assert report.skipped == 1
    assert "  1 documents could not be read and are missing" in list(report.lines())


def test_counts_against_the_recipe():
    corpus = corpus_of({"train": [sound()]}, "kb")
    corpus.recipe = catalogue.recipe("ncbi_disease")
    messages = [f.message for f in run_checks(corpus).findings if f.code == "CT01"]
    assert messages == ["1 documents, expected 593", "2 entities, expected 5,145"]


def test_only_and_skip_take_beginnings():
    corpus = corpus_of({"train": [sound()]}, "kb")
    codes = [c.code for c in run_checks(corpus, only=["SP", "LK"], skip=["SP05", "SP1"]).checks]
    assert codes == ["LK01", "LK03", "SP01", "SP02", "SP03", "SP04", "SP06", "SP07", "SP08", "SP09"]
    assert "LK02" in [c.code for c in run_checks(corpus, only=["LK"], beside=[corpus]).checks]
    with pytest.raises(UsageError, match="unknown check 'SQ'"):
        run_checks(corpus, only=["SQ"])


def test_report_lists_some_and_counts_all():
    spoilt = [sound(str(n)) for n in range(9)]
    for document in spoilt:
        wrong_text(document)
    report = run_checks(corpus_of({"train": spoilt}, "kb"), listed=4)
    assert report.found["SP05"] == 9
    assert len(report.findings) == 4
    lines = list(report.lines(examples=2))
    assert lines[0] == f"memory: 9 documents, {len(report.checks)} checks: 9 errors, 0 warnings, 0 info"
    assert lines[1] == "  SP05 error: text that is not at its offsets (9)"
    assert lines[2] == "    x.ann:1, document 0, 0_E1: 'grown' is said to be at 11-16, where the text has 'grows'"
    assert len(lines) == 4
    content = json.loads(json.dumps(report.to_json()))
    assert content["totals"] == {"error": 9, "warning": 0, "info": 0}
    assert next(c["found"] for c in content["checks"] if c["code"] == "SP05") == 9


def test_every_check_explains_itself():
    for code, check in registry().items():
        assert code[:2].isupper()
        assert code[2:].isdigit()
        assert check.title == check.title.strip() != ""
        assert len(check.explanation) > 40
        assert len(check.example) > 5


def test_real_corpora(corpora_dir):
    """What is known of the files: one document twice, one mention's blanks; two mentions are a letter short, one has a comma."""
    report = run_checks(load("ncbi_disease", folder=corpora_dir), skip=["MD"])
    assert dict(report.found) == {"SP08": 2, "SP09": 1, "SP15": 1, "ID02": 1, "ID03": 1, "RD02": 1}
    assert run_checks(load("bionlp_st_2013_cg", folder=corpora_dir)).is_sound
