"""A cache of its own for every test, and the folder of real corpora."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Keep the user's cache out of it."""
    monkeypatch.setenv("MUMEI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MUMEI_OFFLINE", "1")
    monkeypatch.delenv("MUMEI_CORPORA", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def corpora_dir(data_dir: Path) -> Path:
    """The folder of real corpora."""
    folder = data_dir / "bigbio"
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}")
    return folder


@pytest.fixture
def files(tmp_path):
    """A function that writes {name: content} and returns the files in the order of their names."""
    from mumei.data.readers.base import files_below

    def write(contents: dict[str, str | bytes], folder: str = "in"):
        for name, content in contents.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return files_below(tmp_path / folder)

    return write
