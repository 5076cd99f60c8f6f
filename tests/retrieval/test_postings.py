"""Word counts against Python's Counter, joining against counting at once, and damaged folders."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError
from mumei.retrieval.postings import Postings

texts = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=8), max_size=12)


def as_counts(postings: Postings) -> list[Counter]:
    rows = [Counter() for _ in range(postings.rows)]
    for word, number in postings.vocabulary.items():
        for i in range(postings.starts[number], postings.starts[number + 1]):
            rows[postings.rows_of[i]][word] = int(postings.counts[i])
    return rows


@given(texts)
def test_counts_are_those_of_a_counter(split):
    found = Postings.count(split)
    assert as_counts(found) == [Counter(words) for words in split]
    assert found.lengths.tolist() == [len(words) for words in split]
    assert {w: found.document_frequency(w) for w in "abcdefgh"} == {w: sum(w in t for t in split) for w in "abcdefgh"}


@given(texts, texts)
def test_joined_equals_counted_at_once(left, right):
    joined = Postings.count(left).joined(Postings.count(right))
    assert as_counts(joined) == [Counter(words) for words in left + right]
    assert joined.rows == joined.check() == len(left) + len(right)
    for number in range(len(joined.vocabulary)):
        here = joined.rows_of[joined.starts[number] : joined.starts[number + 1]]
        assert (np.diff(here) > 0).all()


def test_a_folder_gives_back_what_was_written(tmp_path):
    before = Postings.count([["heart", "heart", "肺炎"], [], ["valve"]])
    before.write(tmp_path)
    after = Postings.open(tmp_path)
    assert as_counts(after) == as_counts(before)
    assert after.tokens == 4


@pytest.mark.parametrize("name", ["vocabulary.json", "starts.npy", "rows_of.npy", "counts.npy", "lengths.npy"])
def test_a_missing_or_short_file_is_an_error(tmp_path, name):
    Postings.count([["heart", "valve"], ["heart"]]).write(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-5])
    with pytest.raises(ArtifactError, match="make the index anew"):
        Postings.open(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        Postings.open(tmp_path)


def test_numbers_that_cannot_be_right_are_found(tmp_path):
    Postings.count([["heart", "valve"], ["heart"]]).write(tmp_path)
    np.save(tmp_path / "counts.npy", np.array([1, 7, 1], dtype=np.int32))
    with pytest.raises(ArtifactError, match="cannot be right"):
        Postings.open(tmp_path).check()
