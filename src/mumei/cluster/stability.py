"""How far runs from different seeds agree, and which of them to keep: without labels.

The agreement of two runs is the adjusted Rand index between their labels. "consensus" keeps the run that agrees most with the
others (a medoid), "loss" the one whose last loss is least. Losses of self-training (KL to a target made from the run's own
assignment) say how sure a run is, not how right, so "consensus" is the default where there are three runs or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mumei.cluster.metrics import ari
from mumei.core import seeds
from mumei.core.config import one_of
from mumei.core.errors import DataError

SELECT = ("auto", "consensus", "loss")


def agreement(runs: Any) -> np.ndarray:
    """Return the ARI between the labels of all pairs of runs (m, n), as (m, m)."""
    runs = np.asarray(runs)
    if runs.ndim != 2 or not runs.size:
        raise DataError(f"runs have shape {runs.shape}; give the labels of each run as a row, (m, n).")
    table = np.eye(len(runs))
    for i in range(len(runs)):
        for j in range(i):
            table[i, j] = table[j, i] = ari(runs[i], runs[j])
    return table


def consensus_matrix(runs: Any, *, sample: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return, for a sample of rows, the share of runs in which two rows share a cluster (s, s), and the rows' numbers (s,).

    Examples
    --------
    >>> consensus_matrix([[0, 0, 1], [1, 0, 0]])[0].tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]]
    """
    runs = np.asarray(runs)
    index = np.sort(seeds.numpy_generator(seed, "consensus").permutation(runs.shape[1])[:sample])
    part = runs[:, index]
    return (part[:, :, None] == part[:, None]).mean(0), index


def choose_run(runs: Any, losses: Sequence[float], select: str = "auto") -> tuple[int, dict[str, Any]]:
    """Return the number of the run to keep, and the report.

    Parameters
    ----------
    runs : array (m, n)
        Labels of each run.
    losses : sequence of float (m,)
    select : {"auto", "consensus", "loss"}

    Returns
    -------
    chosen : int
    report : dict
        "ari" (m, m), "mean_ari" of all pairs and "least_ari" (None for one run), "losses", "chosen", "select".
    """
    one_of("select", select, SELECT)
    if select == "auto":
        select = "consensus" if len(losses) > 2 else "loss"
    table = agreement(runs)
    pairs = table[np.triu_indices(len(table), 1)]
    chosen = int(np.argmax(table.sum(1)) if select == "consensus" else np.argmin(losses))
    return chosen, {
        "ari": table.tolist(),
        "chosen": chosen,
        "least_ari": float(pairs.min()) if len(pairs) else None,
        "losses": [float(v) for v in losses],
        "mean_ari": float(pairs.mean()) if len(pairs) else None,
        "select": select,
    }
