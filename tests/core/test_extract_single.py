"""A single compressed file becomes one file, under the same limits as an archive."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError
from mumei.core.extract import safe_extract

PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
TEXT = b">P69905 hemoglobin\nMVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHFDLSH\n" * 40


@pytest.mark.parametrize("content", [TEXT, b"", b"x", bytes(600)], ids=["text", "empty", "short", "zeros"])
@pytest.mark.parametrize("kind", PACK)
def test_one_file_of_the_archives_name(tmp_path, kind, content):
    archive = tmp_path / f"human.fasta.{kind}"
    archive.write_bytes(PACK[kind](content))
    out = safe_extract(archive, tmp_path / "out")
    assert [p.name for p in out.iterdir()] == ["human.fasta"]
    assert (out / "human.fasta").read_bytes() == content


@pytest.mark.parametrize("kind", PACK)
def test_a_tar_under_a_name_that_does_not_say_so_is_a_tar(tmp_path, kind):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("inside")
        member.size = len(TEXT)
        tar.addfile(member, io.BytesIO(TEXT))
    archive = tmp_path / f"data.{kind}"
    archive.write_bytes(PACK[kind](buffer.getvalue()))
    assert (safe_extract(archive, tmp_path / "out") / "inside").read_bytes() == TEXT


@pytest.mark.parametrize("name", ["data.tar.gz", "data", "data.tgz"])
def test_a_name_that_says_tar_or_nothing_is_no_single_file(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(TEXT))
    with pytest.raises(DataError, match="cannot unpack"):
        safe_extract(tmp_path / name, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", PACK)
def test_a_bomb_is_refused_and_nothing_is_left(tmp_path, kind):
    """100 MB of zeros; gz holds them in about 97 kB, a thousandth."""
    archive = tmp_path / f"bomb.{kind}"
    archive.write_bytes(PACK[kind](bytes(100_000_000)))
    with pytest.raises(DataError, match="max_ratio"):
        safe_extract(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [archive.name]
    with pytest.raises(DataError, match="max_bytes"):
        safe_extract(archive, tmp_path / "out", max_bytes=20_000_000, max_ratio=1e9)
    assert [p.name for p in tmp_path.iterdir()] == [archive.name]


@given(kind=st.sampled_from(sorted(PACK)), cut=st.integers(0, 10**6), flip=st.none() | st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_cut_or_altered_file_is_an_error_or_what_was_packed(tmp_path_factory, kind, cut, flip):
    """A flipped header byte may change nothing (a time, a name); anything else is a `DataError` and leaves nothing."""
    folder = tmp_path_factory.mktemp("single")
    packed = bytearray(PACK[kind](TEXT))
    if flip is None:
        packed = packed[: cut % len(packed)]
    else:
        packed[flip % len(packed)] ^= 1 + cut % 255
    (folder / f"a.{kind}").write_bytes(packed)
    try:
        out = safe_extract(folder / f"a.{kind}", folder / "out")
    except DataError:
        assert [p.name for p in folder.iterdir()] == [f"a.{kind}"]
    else:
        assert flip is not None
        assert (out / "a").read_bytes() == TEXT
