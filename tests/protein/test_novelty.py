"""Nearest known sequences: identities by hand, the fallback without pyhmmer, and phmmer where it is installed."""

from __future__ import annotations

import random

import pytest

from mumei.core.errors import DataError, UsageError
from mumei.protein import novelty
from mumei.protein.novelty import identity, nearest

LONG = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVVHSLAKWKRQTLGQHDFSAGEGLYTHMKALRPDEDRLSPLHSVYVDQWD"
KNOWN = [
    ("self", LONG),
    ("other", "GSHMEEPQSDPSVEPPLSQETFSDLWKLLPENNVLSPLPSQAMDDLMLSPDDIEQWFTEDPGPDEAPRMPEAAPPVAPAPAAPTPAAPAPAPSWPL"),
]


def test_identity_by_hand():
    assert identity("ACDEFGHIKL", "ACDEFGHIKL") == 1.0
    assert identity("ACDEFGHIKL", "ACDEWGHIKL") == 0.9
    assert identity("ACDEFGHIKL", "ACDEFWWGHIKL") == 1.0  # a gap is no pair
    assert identity("AAAA", "WWWW") == 0.0
    assert identity("XXXX", "XXXX") == 0.0


@pytest.mark.parametrize("method", ["kmer", "phmmer"])
def test_the_nearest_is_found(method):
    if method == "phmmer":
        pytest.importorskip("pyhmmer", reason="needs pyhmmer")
    mutated = LONG[:50] + "W" + LONG[51:]
    found, how = nearest(
        [("same", LONG), ("near", mutated), ("new", "WHWHWHCCYWMWHCYFWMHCWYHWMCFYW")], KNOWN, method=method
    )
    assert how == ("phmmer" if method == "phmmer" else "shared words of 5")
    assert [f.name for f in found] == ["self", "self", ""]
    assert found[0].identity == 1.0
    assert found[1].identity == pytest.approx(1 - 1 / len(LONG), abs=1e-9)
    assert found[2].identity == 0.0
    assert (found[0].e_value is not None) == (method == "phmmer")


def test_without_pyhmmer_the_fallback_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(novelty.util, "find_spec", lambda name: None)
    path = tmp_path / "known.fasta"
    path.write_text(f">self\n{LONG}\n")
    assert nearest([("a", LONG)], path)[1] == "shared words of 5"
    with pytest.raises(ImportError, match="pyhmmer"):
        nearest([("a", LONG)], path, method="phmmer")


def test_bad_input():
    with pytest.raises(DataError, match="no known"):
        nearest([("a", LONG)], [])
    with pytest.raises(UsageError, match="method"):
        nearest([("a", LONG)], KNOWN, method="blast")


def test_candidates_are_those_of_counting_every_word(monkeypatch):
    draw = random.Random(3)
    texts = ["".join(draw.choice("ACDX*") for _ in range(draw.randint(1, 40))) for _ in range(60)]
    monkeypatch.setattr(novelty, "BLOCK", 100)
    index = novelty._Words(texts[:20], [novelty.Record(str(i), "", text) for i, text in enumerate(texts)])
    words = [{text[i : i + novelty.WORD] for i in range(len(text) - novelty.WORD + 1)} for text in texts]
    for q in range(20):
        shared = [len(words[q] & other) for other in words]
        best = sorted((i for i in range(len(texts)) if shared[i]), key=lambda i: (-shared[i], i))
        assert index.candidates(q) == best[: novelty.CANDIDATES]


def test_identities_side_by_side_are_those_one_by_one():
    draw = random.Random(4)
    texts = ["".join(draw.choice("ACDX") for _ in range(draw.randint(1, 30))) for _ in range(40)]
    for first in texts[:5]:
        assert novelty.identities(first, texts) == [identity(first, text) for text in texts]
    assert novelty.identities("ACD", []) == []
