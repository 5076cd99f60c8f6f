from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import AMINO_ACIDS, UNKNOWN, batch, decode, encode


@given(st.text(AMINO_ACIDS, min_size=1, max_size=50))
def test_codes_go_there_and_back(sequence):
    assert decode(encode(sequence)) == sequence
    assert decode(encode(sequence.lower())) == sequence


def test_the_order_is_alphabetic_and_full():
    assert list(AMINO_ACIDS) == sorted(AMINO_ACIDS)
    assert len(set(AMINO_ACIDS)) == 20
    assert encode("AY").tolist() == [0, 19]


@pytest.mark.parametrize(
    ("sequence", "message"), [("ACXD", "'X' (unknown) at position 3"), ("U", "selenocysteine"), ("", "empty")]
)
def test_unknown_residues_are_refused_with_their_place(sequence, message):
    with pytest.raises(DataError, match=message.replace("(", r"\(").replace(")", r"\)")):
        encode(sequence)


def test_unknown_residues_can_be_kept_but_signs_cannot():
    assert encode("AXU-", unknown="keep").tolist() == [0, UNKNOWN, UNKNOWN, UNKNOWN]
    with pytest.raises(DataError, match="'5'"):
        encode("A5", unknown="keep")
    with pytest.raises(UsageError, match="refuse"):
        encode("A", unknown="maybe")


def test_a_batch_is_padded_by_unknown():
    tokens, lengths = batch(["ACD", encode("Y")])
    assert tokens.tolist() == [[0, 1, 2], [19, UNKNOWN, UNKNOWN]]
    assert lengths.tolist() == [3, 1]
    with pytest.raises(UsageError, match="list"):
        batch("ACD")
    with pytest.raises(DataError, match="no sequences"):
        batch([])
