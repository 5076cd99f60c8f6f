"""The index of ids against a dictionary of lists."""

from __future__ import annotations

from collections import defaultdict
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError
from mumei.retrieval import ids as module
from mumei.retrieval.ids import IdIndex, hash_ids


def names(start=0):
    numbers = count(start)
    return lambda: f"ids-{next(numbers):04d}.npy"


def test_hashes_are_those_of_blake2b():
    # blake2b with 8 bytes of "a", as b2sum --length=64 prints it
    assert hash_ids(["a"])[0] == int.from_bytes(bytes.fromhex("40f89e395b66422f"), "little")
    assert len(np.unique(hash_ids([str(i) for i in range(10_000)]))) == 10_000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=9), max_size=9), st.integers(1, 9), st.integers(1, 7))
def test_candidates_are_all_rows_of_a_hash(tmp_path_factory, batches, least, chunk):
    folder = tmp_path_factory.mktemp("ids")
    index, name, expected, row = IdIndex(folder), names(), defaultdict(list), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        for batch in batches:
            index = index.extended(np.array(batch, dtype=np.uint64)).written(name, least)
            for value in batch:
                expected[value].append(row)
                row += 1
    assert len(index) == row
    for opened in (index, IdIndex(folder, index.runs)):
        which, rows = opened.candidates(np.arange(14, dtype=np.uint64))
        found = defaultdict(list)
        for value, at in zip(which.tolist(), rows.tolist(), strict=True):
            found[value].append(at)
        assert {v: sorted(r) for v, r in found.items()} == {
            v: [r for r in rs if r < len(opened)] for v, rs in expected.items() if min(rs) < len(opened)
        }
        for run in opened._open:
            assert (np.diff(run[0].astype(object)) >= 0).all()
            assert sorted(run[1].tolist()) == list(range(int(run[1].min()), int(run[1].max()) + 1))


def test_there_are_few_runs(tmp_path):
    index, name = IdIndex(tmp_path), names()
    for i in range(100):
        index = index.extended(hash_ids([f"{i}-{j}" for j in range(10)])).written(name, 10)
    assert len(index.runs) < 12
    assert sum(run["rows"] for run in index.runs) == len(index) == 1000


def test_a_damaged_run_says_how_to_mend_it(tmp_path):
    index = IdIndex(tmp_path).extended(hash_ids(["a", "b"])).written(names(), 1)
    (tmp_path / index.runs[0]["file"]).write_bytes(b"\x93NUMPY")
    with pytest.raises(ArtifactError, match="rebuild"):
        IdIndex(tmp_path, index.runs).candidates(hash_ids(["a"]))
    np.save(tmp_path / index.runs[0]["file"], np.zeros((2, 3), dtype=np.uint64))
    with pytest.raises(ArtifactError, match="is not what was written"):
        IdIndex(tmp_path, index.runs).candidates(hash_ids(["a"]))
