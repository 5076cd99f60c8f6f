"""The page of a report: everything found is on it, escaped; no script and no outside request."""

from __future__ import annotations

import re

from mumei.data.checks import run_checks
from mumei.data.checks.page import context, write_page
from mumei.data.corpus import corpus_of
from mumei.data.documents import Document
from mumei.data.overlap import matrix
from mumei.data.schemas import Entity, Passage


def corpus(name, text, said):
    document = Document("d1", "PMID-77", [Passage("d1_t", "title", [text], [(0, len(text))])], file="a.ann", line=3)
    document.entities = [Entity("d1_T1", "Gene", [said], [(0, 4)])]
    return corpus_of({"train": [document]}, "kb", name=name)


def test_a_page_of_two_corpora(tmp_path):
    one, other = corpus("<one>", "BRCA1 <b>grows</b>.", "<sc>"), corpus("two", "BRCA1 grows.", "BRCA")
    reports = [run_checks(one, skip=["TX"]), run_checks(other)]
    path = tmp_path / "page.html"
    assert (
        write_page(reports, path, shared=matrix([one, other]), failed=[("three", "no <file>")], described=["a & b"])
        == path
    )
    page = path.read_text()
    assert page.rstrip().endswith("</html>")
    assert "<script" not in page
    assert "<sc>" not in page
    assert "&#39;&lt;sc&gt;&#39; is said to be at 0-4" in page
    assert "a.ann:3, document d1, d1_T1" in page
    assert "three could not be loaded: no &lt;file&gt;" in page
    assert re.search(r"&lt;one&gt; train</td><td[^>]*>two train</td><td[^>]*>1<", page)
    assert not re.search(r'(src|href)="(?!#)', page)


def test_numbers_of_the_page():
    one, other = corpus("one", "BRCA1 grows.", "brca"), corpus("two", "BRCA1 grows.", "BRCA1")
    shown = context([run_checks(one), run_checks(other)], shared=matrix([one]))
    assert {what: number for number, what in shown["facts"]}["corpora without an error"] == "0 of 2"
    assert shown["corpora"][0]["totals"] == [1, 0, 0]
    assert shown["corpora"][0]["keys"] == ["documents", "passages", "entities"]
    assert [s["name"] for s in shown["corpora"][0]["splits"]] == ["train"]
    assert shown["shared"] == []
    assert context([run_checks(one)])["name"] == "one"
