"""`mumei data`: listed, shown, loaded, checked and counted by command; what cannot be done is said with the right exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mumei.cli.app import main
from mumei.cli.data import options_of
from mumei.core.errors import UsageError
from mumei.data.stats import nested, statistics
from mumei.data.stats_page import bars, histogram

TEXT = "Cells of the liver and kidney grow.\nTNF activates growth of cells."
ANN = """T1\tTissue 0 18\tCells of the liver
T2\tOrgan 13 18\tliver
T3\tTissue 0 12;23 29\tCells of the kidney
T4\tProtein 36 39\tTNF
T5\tActivation 40 49\tactivates
T6\tGrowth 50 56\tgrowth
E1\tGrowth:T6 Theme:T1
E2\tActivation:T5 Cause:T4 Theme:E1
R1\tPart-of Arg1:T2 Arg2:T1
*\tEquiv T1 T3
A1\tNegation E2
N1\tReference T4 UniProt:P01375\tTNF
#1\tAnnotatorNotes T4\ta cytokine
"""


@pytest.fixture
def brat(tmp_path, monkeypatch) -> Path:
    """A BRAT folder of a training and a test document; the test document's annotations are broken on request."""
    monkeypatch.setenv("MUMEI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MUMEI_OFFLINE", "1")
    monkeypatch.delenv("MUMEI_CORPORA", raising=False)
    for name, text, ann in (("train/d1", TEXT, ANN), ("test/d2", "TNF again.", "T1\tProtein 0 3\tTNF\n")):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_text(text)
        path.with_suffix(".ann").write_text(ann)
    return tmp_path / "corpus"


def run(capsys, *arguments):
    """Return the exit code and the JSON of `mumei data ... --json`."""
    code = main(["data", *map(str, arguments), "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def told(capsys, *arguments):
    """Return the exit code, standard output and standard error of `mumei data ...`."""
    code = main(["data", *map(str, arguments)])
    got = capsys.readouterr()
    return code, got.out, got.err


# --------------------------------------------------------------------------------------------------------- list, show


def test_list_filters_and_says_what_can_be_loaded(capsys):
    code, every = run(capsys, "list")
    assert code == 0
    assert len(every["corpora"]) >= 152
    _, some = run(capsys, "--task", "ee", "--recipes")  # 'list' may be left out
    assert "bionlp_st_2013_cg" in [row["name"] for row in some["corpora"]]
    assert all("EE" in row["tasks"] and row["recipe"] for row in some["corpora"])
    assert some["loadable"] == len(some["corpora"]) < len(every["corpora"])
    _, public = run(capsys, "list", "--public", "--language", "German")
    assert all(row["public"] and "de" in row["languages"] for row in public["corpora"])
    code, out, _ = told(capsys, "list", "--task", "NED")
    assert code == 0
    assert "ncbi_disease" in out
    assert "can be loaded by name" in out


def test_a_filter_that_nothing_has_gets_the_closest(capsys):
    code, said = run(capsys, "list", "--task", "NEER")
    assert code == 2
    assert "'NER'" in said["error"]["message"]


def test_show_says_all_of_a_recipe(capsys):
    code, said = run(capsys, "show", "ncbi_disease")
    assert code == 0
    assert said["configurations"] == ["ncbi_disease_source", "ncbi_disease_bigbio_kb"]
    assert all(len(file["sha256"]) == 64 for file in said["files"])
    _, out, _ = told(capsys, "show", "bionlp_st_2013_cg")
    assert "licence: GENIA" in out
    assert "@inproceedings{pyysalo2013cg" in out
    assert "train: 300 documents, 11,034 entities" in out


def test_show_of_a_path_and_of_one_without_recipe(brat, capsys):
    _, said = run(capsys, "show", brat)
    assert (said["reader"], said["schema"], said["splits"]) == ("brat", "kb", ["train", "test"])
    _, every = run(capsys, "list")
    bare = next(row["name"] for row in every["corpora"] if not row["recipe"])
    code, said = run(capsys, "show", bare)
    assert (code, said["name"], said["recipe"]) == (0, bare, False)
    code, said = run(capsys, "show", "ncbi_diseases")
    assert code == 2
    assert "'ncbi_disease'" in said["error"]["message"]


# --------------------------------------------------------------------------------------------------------------- load


def test_load_counts_by_split(brat, capsys):
    code, said = run(capsys, "load", brat)
    assert code == 0
    assert said["counts"]["train"]["events"] == 2
    assert said["counts"]["all"]["documents"] == 2
    assert said["columns"] == ["id", "document_id", "passages", "entities", "events", "coreferences", "relations"]
    _, source = run(capsys, "load", brat, "--schema", "source", "--split", "test")
    assert "attributes" in source["columns"]
    assert set(source["counts"]) == {"test", "all"}


def test_a_bad_document_stops_or_is_counted(brat, capsys):
    (brat / "test" / "d2.ann").write_text("T1\tProtein zero 3\tTNF\n")
    code, said = run(capsys, "load", brat)
    assert (code, said["error"]["kind"]) == (1, "read")
    assert "test/d2.ann:1" in said["error"]["message"]
    code, said = run(capsys, "load", brat, "--keep-going")
    assert (code, said["skipped_documents"]) == (0, 1)
    code, out, _ = told(capsys, "load", brat, "--keep-going", "--quiet")
    assert code == 0
    assert "1 documents could not be read and are missing:\n  test/d2.ann:1, document d2" in out


def test_options_reach_the_reader(brat, capsys):
    (brat / "test" / "d2.txt").write_bytes("Größe".encode("latin-1"))
    (brat / "test" / "d2.ann").write_text("")
    assert run(capsys, "load", brat)[0] == 1
    code, said = run(capsys, "load", brat, "--option", "encoding=latin-1", "--option", "passage-type=abstract")
    assert code == 0
    assert said["counts"]["all"]["documents"] == 2
    code, said = run(capsys, "load", brat, "--option", "encodin=latin-1")
    assert code == 2
    assert "'encoding'" in said["error"]["message"]
    assert options_of(("a-b=3", "c=x=y")) == {"a_b": 3, "c": "x=y"}
    with pytest.raises(UsageError, match="NAME=VALUE"):
        options_of(("encoding",))


# -------------------------------------------------------------------------------------------------------------- check


def test_check_passes_and_fails_by_its_exit_code(brat, capsys, tmp_path):
    code, said = run(capsys, "check", brat, "--only", "SP,RF", "--skip", "SP08")
    assert (code, said["sound"]) == (0, True)
    assert not any(c["code"] == "SP08" for c in said["reports"][0]["checks"])
    (brat / "test" / "d2.ann").write_text("T1\tProtein 1 4\tTNF\n")
    code, said = run(capsys, "check", brat)
    assert (code, said["sound"]) == (1, False)
    assert "SP05" in {f["code"] for f in said["reports"][0]["findings"]}
    out = tmp_path / "report.html"
    code, text, _ = told(capsys, "check", brat, "--out", out, "--quiet")
    assert code == 1
    assert "SP05 error" in text
    assert "SP05" in out.read_text()


def test_several_corpora_and_one_that_cannot_be_loaded(brat, capsys, tmp_path):
    broken = tmp_path / "empty"
    broken.mkdir()
    code, said = run(capsys, "check", brat, broken)
    assert (code, said["error"]["kind"]) == (1, "data")
    report = tmp_path / "report.json"
    code, said = run(capsys, "check", brat, broken, "--keep-going", "--out", report)
    assert code == 1
    assert list(said["failed"]) == [str(broken)]
    assert len(said["reports"]) == 1
    assert json.loads(report.read_text())["failed"] == said["failed"]
    code, text, _ = told(capsys, "check", brat, broken, "--keep-going", "--quiet")
    assert "not loaded" in text


def test_check_together_finds_a_document_of_both(brat, capsys, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.txt").write_text(TEXT)
    (other / "x.ann").write_text("")
    apart = run(capsys, "check", brat, other, "--only", "LK")[1]
    both = run(capsys, "check", brat, other, "--only", "LK", "--together")[1]
    assert sum(c["found"] for c in apart["reports"][0]["checks"]) == 0
    assert sum(c["found"] for c in both["reports"][0]["checks"]) > 0


def test_check_codes_and_mistakes(brat, capsys):
    code, said = run(capsys, "check", "--codes", "--only", "SP0")
    assert code == 0
    assert {c["code"][:3] for c in said["checks"]} == {"SP0"}
    assert run(capsys, "check")[0] == 2
    assert run(capsys, "check", brat, "--only", "ZZ")[0] == 2
    assert run(capsys, "check", brat, "--out", "report.txt")[0] == 2


# -------------------------------------------------------------------------------------------------------------- stats


def test_stats_count_shapes_types_and_lengths(brat, capsys, tmp_path):
    out = tmp_path / "stats.html"
    code, said = run(capsys, "stats", brat, "--out", out)
    one = said["corpora"][0]
    assert code == 0
    assert one["shapes"] == {"mentions": 5, "nested": 2, "discontinuous": 1, "normalized": 1, "different": 4}
    assert one["types"]["entities"] == {"Protein": 2, "Tissue": 2, "Organ": 1}
    assert one["words"]["train"]["max"] == len(TEXT.split())
    assert one["characters"]["all"]["sum"] == len(TEXT) + len("TNF again.")
    assert one["mentions"]["tnf"] == 2
    page = out.read_text()
    assert "<script" not in page
    assert "discontinuous mentions" in page
    code, text, _ = told(capsys, "stats", brat, "--quiet")
    assert "nested 2" in text
    assert run(capsys, "stats", brat, "--out", "stats.pdf")[0] == 2


def test_stats_of_other_schemas(tmp_path):
    from mumei.data.corpus import corpus_of
    from mumei.data.documents import LabelledText, Question

    texts = [LabelledText("1", "1", "one two", ["a", "b"], split="train"), LabelledText("2", "2", "three", ["a"])]
    found = statistics(corpus_of({"train": texts}, "text"))
    assert found.types() == {"labels": {"a": 2, "b": 1}}
    assert found.lengths()["train"]["mean"] == 1.5
    question = Question("1", "1", "1", "Why not?", "yesno", ["yes", "no"], "Some text here.", ["yes"])
    found = statistics(corpus_of({"test": [question]}, "qa"))
    assert found.lengths()["all"]["max"] == 5
    assert not found.shapes


def test_nested_is_what_all_pairs_say():
    import numpy as np

    rng = np.random.default_rng(0)
    for _ in range(200):
        spans = [(int(a), int(a + w)) for a, w in zip(rng.integers(0, 12, 9), rng.integers(1, 8, 9), strict=True)]
        slow = sum(any(o != s and o[0] <= s[0] and s[1] <= o[1] for o in spans) for s in spans)
        assert nested(spans) == slow, spans


def test_charts_hold_all_their_numbers():
    assert histogram([]) == ""
    drawn = histogram([5] * 98 + [7, 5000])
    assert drawn.count("<rect") == 2
    assert "7 words and more: 2" in drawn
    found = bars([("a", 4), ("", 2), ("c", 1)], most=2)
    assert [row["width"] for row in found["rows"]] == ["100.0", "50.0"]
    assert found["rows"][1]["name"] == "(empty)"
    assert (found["left"], found["left_count"]) == (1, 1)


# ------------------------------------------------------------------------------------------------------------- export


def test_export_writes_and_says_what_has_no_place(brat, capsys, tmp_path):
    code, said = run(capsys, "export", brat, "--format", "conll", "--out", tmp_path / "c")
    assert code == 0
    assert said["not_written"]["discontinuous mentions"] == 1
    assert (tmp_path / "c" / "train.conll").is_file()
    code, text, _ = told(capsys, "export", brat, "--out", tmp_path / "p", "--quiet")
    assert code == 0
    assert "2 documents in 2 files" in text
    assert "licence: unknown; no terms are stated" in text
    code, said = run(capsys, "export", brat, "--out", tmp_path / "p")
    assert (code, said["error"]["kind"]) == (2, "usage")
    code, said = run(capsys, "export", brat, "--format", "brrat", "--out", tmp_path / "q")
    assert code == 2
    assert "'brat'" in said["error"]["message"]


# --------------------------------------------------------------------------------------------------------------- view


def test_view_writes_the_documents_asked_for(brat, capsys, tmp_path):
    out = tmp_path / "view.html"
    code, said = run(capsys, "view", brat, "--document", "d2", "--out", out)
    assert (code, said["documents"], said["of"]) == (0, ["d2"], 2)
    assert "TNF" in out.read_text()
    code, said = run(capsys, "view", brat, "--limit", "1", "--out", out)
    assert said["documents"] == ["d1"]
    code, said = run(capsys, "view", brat, "--document", "d3", "--out", out)
    assert code == 2
    assert "'d1'" in said["error"]["message"]
    assert run(capsys, "view", brat, "--out", "view.pdf")[0] == 2
