"""Nearest known sequences: identities by hand, the fallback without pyhmmer, and phmmer where it is installed."""

from __future__ import annotations

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
