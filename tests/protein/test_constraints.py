"""Constraints: what is understood, what a run then keeps, and what each mistake is told."""

from __future__ import annotations

import pytest
import small
import torch

from mumei.core.errors import UsageError
from mumei.protein.alphabet import CODES, decode
from mumei.protein.constraints import Constraints, parse, render
from mumei.protein.energy import BiasTerm, Energy
from mumei.protein.sampler import Sampler, Settings
from mumei.protein.schedule import Schedule

SEQUENCE = "MKTAYIAKQRQISFVKSHFS"
LABELS = [f"A:{i}" for i in (*range(1, 6), "5A", *range(6, 10))] + [f"B:{i}" for i in range(1, 11)]


def parsed(**options):
    return parse(Constraints(**options), LABELS, SEQUENCE)


def test_fixed_allowed_biased_and_tied_places():
    made = parsed(fix="A2-3,A5A", allow="A1=DE,B10=-KR", bias="A6-7=LV:-0.5", tie="A7-9=B1-3")
    assert made.fixed == {1, 2, 5}
    assert [a for a in range(20) if made.allowed[0, a]] == [CODES["D"], CODES["E"]]
    assert int(made.allowed[19].sum()) == 17  # no cysteine, lysine, arginine
    assert made.bias[6, CODES["L"]] == -0.5
    assert made.bias.count_nonzero() == 4
    moves = made.moves()
    assert (7, 10) in moves.groups
    assert len(moves.groups) == 20 - 3 - 3
    text = render(made)
    assert "20 sites: 17 free, 3 fixed, 6 tied" in text
    assert "KT" in text


def test_a_run_keeps_all_of_them():
    made = parsed(
        fix="A2-3", allow="A1=DE", tie="A7-9=B1-3", charge="-2..-1", longest_run=2, bias="A4=W:-50", native_start=True
    )
    moves = made.moves(native_start=True)
    energy = Energy([BiasTerm(made.bias), *small.energy(20).terms])
    sampler = Sampler(energy, moves, Schedule(1.0), Settings(400, 4, "informed", "best", 4, 0, 100), 0).run()
    for row in sampler.best:
        text = decode(row)
        assert text[1:3] == "KT"
        assert text[0] in "DE"
        assert text[7:10] == text[10:13]
        assert "C" not in text
        assert text[3] == "W"
        assert -2 <= sum({"D": -1, "E": -1, "K": 1, "R": 1}.get(c, 0) for c in text) <= -1
        assert all(text[i : i + 3] != text[i] * 3 for i in range(18))


def test_native_start_begins_there_and_ties_pass_on_what_is_fixed():
    made = parsed(native_start=True)
    assert decode(made.moves(native_start=True).starts(1, 0)[0]) == SEQUENCE
    made = parsed(fix="A1", tie="A1=B5")
    assert made.fixed == {0, 14}
    assert decode(made.moves().starts(1, 0)[0])[14] == "M"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fix": "C3"}, "names chain 'C'; there are: 'A', 'B'"),
        ({"fix": "3"}, "names no chain"),
        ({"fix": "A90"}, "residue 90, which chain 'A' does not have"),
        ({"fix": "A5-2"}, "ends before it begins"),
        ({"fix": "A-"}, "A-"),
        ({"allow": "A3"}, "has no residues"),
        ({"allow": "A3=DZ"}, "'Z', which is none of"),
        ({"allow": "A3=D,A3=E"}, "without any residue"),
        ({"fix": "A3", "allow": "A3=D"}, "fixed as T and allowed only D"),
        ({"bias": "A3=L"}, "not understood"),
        ({"bias": "A3=L:x"}, "not understood"),
        ({"tie": "A1-3=B1-2"}, "ties 3 and 2 residues"),
        ({"tie": "A1-3"}, "ties nothing"),
        ({"fix": "A1,B1", "tie": "A1=B1"}, "fixed to different residues"),
        ({"allow": "A1=D,B1=E", "tie": "A1=B1"}, "no allowed residue in common"),
        ({"fix": "A1", "allow": "B1=E", "tie": "A1=B1"}, "tied to a fixed M"),
        ({"charge": "30..40"}, "it can be -20 to 20"),
        ({"charge": "5..2"}, "not understood"),
        ({"longest_run": 0}, "give 1 or more"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(UsageError) as error:
        parsed(**options)
    assert message in str(error.value)


def test_fixed_runs_and_unknown_residues_are_told():
    with pytest.raises(UsageError, match="longer run of A"):
        parse(Constraints(fix="A1-3", longest_run=2), ["A:1", "A:2", "A:3", "A:4"], "AAAK")
    with pytest.raises(UsageError, match="no known residue"):
        parse(Constraints(fix="2"), [":1", ":2"], "AX")
    with pytest.raises(UsageError, match="nothing to design"):
        parse(Constraints(fix="1-2"), [":1", ":2"], "AK").moves()
    assert torch.equal(parse(Constraints(fix="1"), [":1", ":2"], "CK").moves().starts(1, 0)[0, :1], torch.tensor([1]))
