"""What the protein tests share: the data folder where it is, and a PDB file of given lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("MUMEI_PROTEIN_DATA", "/work/shared/data/protein"))


@pytest.fixture
def data():
    if not DATA.is_dir():
        pytest.skip(f"the protein files are not at {DATA}")
    return DATA


@pytest.fixture
def write_pdb(tmp_path):
    def write(lines, name="made.pdb"):
        path = tmp_path / name
        path.write_text("\n".join([*lines, "END", ""]))
        return path

    return write
