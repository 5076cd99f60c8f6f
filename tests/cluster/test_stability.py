"""Agreement between runs and the choice of one."""

from __future__ import annotations

import numpy as np
import pytest

from mumei.cluster.stability import agreement, choose_run, consensus_matrix
from mumei.core.errors import DataError, UsageError

RUNS = np.array([[0, 0, 1, 1, 2, 2], [1, 1, 2, 2, 0, 0], [0, 0, 1, 1, 1, 2], [0, 1, 0, 1, 0, 1]])


def test_renamed_groups_agree_fully():
    table = agreement(RUNS)
    assert table[0, 1] == 1.0
    assert np.array_equal(table, table.T)
    assert 0 < table[0, 2] < 1
    with pytest.raises(DataError, match="as a row"):
        agreement(RUNS[0])


def test_consensus_counts_runs_in_which_two_rows_are_together():
    matrix, index = consensus_matrix(RUNS)
    expected = [[np.mean([run[i] == run[j] for run in RUNS]) for j in range(6)] for i in range(6)]
    np.testing.assert_allclose(matrix, expected)
    assert index.tolist() == list(range(6))
    assert consensus_matrix(RUNS, sample=3)[0].shape == (3, 3)


def test_the_medoid_or_the_least_loss_is_kept():
    losses = [4.0, 3.0, 2.0, 1.0]
    chosen, report = choose_run(RUNS, losses)
    assert (chosen, report["select"]) == (0, "consensus")
    assert choose_run(RUNS, losses, "loss")[0] == 3
    assert choose_run(RUNS[2:], losses[2:])[1]["select"] == "loss"
    pairs = [agreement(RUNS)[i, j] for i in range(4) for j in range(i)]
    assert report["mean_ari"] == pytest.approx(np.mean(pairs))
    assert report["least_ari"] == pytest.approx(min(pairs))
    assert choose_run(RUNS[:1], [1.0])[1]["mean_ari"] is None
    with pytest.raises(UsageError, match="consensus"):
        choose_run(RUNS, losses, "best")
