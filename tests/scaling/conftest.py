"""Hoffmann's runs and other shared tables, where they lie beside the checkout."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np
import pytest


@dataclass
class Points:
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray


@pytest.fixture(scope="session")
def scaling_data(data_dir):
    folder = data_dir / "scaling"
    if not folder.is_dir():
        pytest.skip(f"no scaling data at {folder}")
    return folder


@pytest.fixture(scope="session")
def rows(scaling_data):
    """Rows of a table as dictionaries of text."""

    def read(name):
        with open(scaling_data / name, newline="") as handle:
            return list(csv.DictReader(handle))

    return read


@pytest.fixture(scope="session")
def hoffmann(rows):
    """The 240 runs that the replication fits: its five outliers are left out."""
    kept = [r for r in rows("chinchilla_fig4.csv") if r["outlier"] == "0"]
    assert len(kept) == 240
    return Points(*(np.array([float(r[k]) for r in kept]) for k in ("N", "D", "loss")))
