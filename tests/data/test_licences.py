"""Licences: what they allow together, against Creative Commons' published table of compatible licences."""

from __future__ import annotations

from itertools import product

import pytest

from mumei.data.licences import conflict, judge, licence, onward

KINDS = ("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0")
# The chart of creativecommons.org, "Can I combine material under different licenses": rows and columns as in KINDS.
CHART = ["yyyyyn", "yyyyyn", "yyynnn", "yynyyn", "yynyyn", "nnnnnn"]


@pytest.mark.parametrize(("row", "column"), list(product(range(6), range(6))))
def test_the_published_chart(row, column):
    may = CHART[row][column] == "y"
    assert (conflict(licence(KINDS[row]), licence(KINDS[column])) == "") == may


def test_versions_of_share_alike():
    assert onward("CC-BY-SA-3.0") == {"CC-BY-SA-3.0", "CC-BY-SA-4.0", "GPL-3.0-only", "GPL-3.0-or-later"}
    assert conflict(licence("CC-BY-SA-3.0"), licence("CC-BY-SA-4.0")) == ""
    assert conflict(licence("GFDL"), licence("CC-BY-SA-4.0"))
    assert conflict(licence("GPL-2.0-only"), licence("GPL-3.0-only"))
    assert conflict(licence("CC-BY-NC-SA-3.0"), licence("CC-BY-SA-3.0"))
    assert conflict(licence("GPL-3.0-only"), licence("CC-BY-NC-4.0"))


def test_verdicts():
    found = judge({"a": "CC-BY-SA-3.0", "b": "CC BY-SA 4.0", "c": "MIT"})
    assert found.terms == ("the whole under CC-BY-SA-4.0", "its sources named")
    assert found.may_be_shared
    assert judge({"a": "CC0-1.0"}).terms == ()
    assert judge({"a": "CC-BY-NC-4.0", "b": "MIT"}).terms == ("its sources named", "no trade")
    found = judge({"a": "?", "b": "house rules", "c": "DUA"})
    assert found.conflicts == ()
    assert len(found.cautions) == 3
    assert not found.may_be_shared
    (only,) = judge({"a": "CC-BY-ND-4.0"}).conflicts
    assert only == "CC-BY-ND-4.0 forbids changed copies (a)"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("cc by 4.0", "CC-BY-4.0"),
        ("GPL-3", "GPL-3.0-only"),
        ("Apache 2", "Apache-2.0"),
        ("none", "unknown"),
        ("?", "unknown"),
    ],
)
def test_other_spellings(given, name):
    assert licence(given).name == name


def test_an_unknown_name_is_kept():
    assert licence("House rules").name == "House rules"
    assert not licence("House rules").known
    assert not licence("House rules").spdx
