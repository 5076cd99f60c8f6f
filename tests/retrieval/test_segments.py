"""Segments: merged in order, few in number, each row rewritten a few times at most."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core.errors import ArtifactError
from mumei.retrieval import segments


@given(st.lists(st.integers(1, 40_000), max_size=150) | st.lists(st.just(1), max_size=2000))
def test_small_segments_stay_few_and_whole_ones_are_left_alone(batches):
    sizes: list[int] = []
    for rows in batches:
        count = segments.to_merge(sizes, rows)
        merged = sizes[len(sizes) - count :]
        assert all(size < segments.WHOLE for size in merged)
        sizes = [*sizes[: len(sizes) - count], rows + sum(merged)]
    assert sum(sizes) == sum(batches)
    small = [size for size in sizes if size < segments.WHOLE]
    whole = len(sizes) - len(small)
    # Runs of small ones lie between whole ones: under FAN a tier (3 tiers) in each run that a whole batch has cut off.
    assert len(small) <= 3 * (segments.FAN - 1) * (whole + 1)


def test_a_row_is_rewritten_a_few_times():
    """Batches of 100 rows, a million in all: each is written once and then once a tier, of which there are 3 below whole."""
    sizes, written = [], 0
    for _ in range(10_000):
        count = segments.to_merge(sizes, 100)
        sizes = [*sizes[: len(sizes) - count], 100 + sum(sizes[len(sizes) - count :])]
        written += sizes[-1]
    assert written / sum(sizes) < 6
    assert len(sizes) < math.ceil(1_000_000 / segments.WHOLE) + 3 * segments.FAN


def test_written_segments_map_back(tmp_path):
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    entry = segments.write_segment(tmp_path / "vectors-000000.npy", [rows[:5], rows[5:]], 20, 3)
    assert (np.load(tmp_path / "vectors-000000.npy") == rows).all()
    segment = segments.map_segment(tmp_path, {**entry, "rows": 7}, 3)
    assert (segment.vectors == rows[:7]).all()
    assert entry["norm"] == pytest.approx(np.linalg.norm(rows, axis=1).max(), rel=1e-6)
    segment.release(0, 7)
    assert (segment.vectors == rows[:7]).all()


@pytest.mark.parametrize("change", [-1, 1, -100, -1000])
def test_a_file_that_is_cut_or_too_long_is_named(tmp_path, change):
    path = tmp_path / "vectors-000000.npy"
    entry = segments.write_segment(path, [np.ones((20, 3), np.float32)], 20, 3)
    content = path.read_bytes()
    path.write_bytes(content + b"x" if change > 0 else content[:change] if -change < len(content) else b"")
    with pytest.raises(ArtifactError, match=r"vectors-000000.npy is damaged.*Restore it"):
        segments.map_segment(tmp_path, entry, 3)


def test_deleted_rows_are_kept_as_bits(tmp_path):
    dead = np.random.default_rng(0).random(77) < 0.3
    segments.write_deleted(tmp_path / "deleted-000001.npy", dead)
    assert (segments.read_deleted(tmp_path, "deleted-000001.npy", 77) == dead).all()
    grown = segments.read_deleted(tmp_path, "deleted-000001.npy", 100)
    assert (grown[:77] == dead).all()
    assert not grown[77:].any()
    (tmp_path / "deleted-000001.npy").write_bytes(b"")
    with pytest.raises(ArtifactError, match="which rows were deleted is lost"):
        segments.read_deleted(tmp_path, "deleted-000001.npy", 77)
