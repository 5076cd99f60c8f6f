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


@pytest.fixture(scope="session")
def mutate():
    """A function that changes bytes in one to four places, as hypothesis draws: cut, bytes left out, bytes put in."""
    from hypothesis import strategies as st

    pieces = [
        b"\x00",
        b"\xff",
        b"\r",
        b"\n",
        b'"',
        b"<",
        b"&#0;",
        b"]",
        b"}",
        b"\t",
        b",",
        "\u2028".encode(),
        b"\xed\xa0\x80",
    ]

    def change(data, content: bytes) -> bytes:
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content)))
            kind = data.draw(st.sampled_from(["cut", "leave out", "put in", "again"]))
            if kind == "cut":
                content = content[:at]
            elif kind == "leave out":
                content = content[:at] + content[at + data.draw(st.integers(1, 9)) :]
            elif kind == "put in":
                content = content[:at] + data.draw(st.sampled_from(pieces)) + content[at:]
            else:
                content = content[:at] + content[data.draw(st.integers(0, at)) :]
        return content

    return change


@pytest.fixture(scope="session")
def survives(tmp_path_factory):
    """A function that reads {name: bytes} both ways: a `MumeiError`, or the same problems kept with file and place."""
    from mumei.core.errors import MumeiError
    from mumei.data.readers.base import Problems, files_below

    def read(reader, contents: dict[str, bytes], **options):
        folder = tmp_path_factory.mktemp("fuzz")
        for name, content in contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        given, problems = files_below(folder), Problems(keep_going=True)
        kept = list(reader(given, problems, **options))
        assert all(p.file for p in problems.found)
        try:
            assert list(reader(given, Problems(), **options)) == kept
            assert problems.skipped == 0
        except MumeiError:
            assert problems.skipped > 0
        return kept

    return read
