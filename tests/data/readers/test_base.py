"""Files, encodings and line ends; the traps of annotation text."""

from __future__ import annotations

import gc
import pickle

import pytest

from mumei.core.errors import UsageError
from mumei.data.readers.base import (
    Problems,
    ReadError,
    SourceFile,
    blocks,
    collector_paused,
    decode,
    files_below,
    lines_of,
)


def test_lines_end_at_lf_only():
    text = "a\u2028b\x0bc\x0cd\x85e\u2029f\x1cg\r\nsecond\rstill second\n"
    assert lines_of(text) == ["a\u2028b\x0bc\x0cd\x85e\u2029f\x1cg", "second\rstill second"]
    assert lines_of("") == []
    assert lines_of("\n\n") == ["", ""]


def test_decode_drops_the_mark_and_names_the_line():
    assert decode(b"\xef\xbb\xbfa", "x") == "a"
    assert decode("é".encode("cp1252"), "x", "cp1252") == "é"
    with pytest.raises(ReadError, match=r"x:3: byte 0xe9 is not utf-8.*encoding='windows-1252'") as caught:
        decode("a\nb\né".encode("cp1252"), "x")
    assert (caught.value.file, caught.value.line) == ("x", 3)
    with pytest.raises(UsageError, match="unknown encoding 'utf-9'"):
        decode(b"a", "x", "utf-9")


def test_error_survives_a_process_border():
    error = ReadError("bad", "f", 3, "d")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "f:3, document d: bad"
    assert again.line == 3


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blocks_give_the_whole_file_with_right_lines(tmp_path, size, end):
    lines = ["a", "", "b", "é", "", "", "c\u2028", "", "d"]
    path = tmp_path / "f"
    path.write_bytes(end.join(line.encode() for line in lines))
    found = list(blocks(SourceFile(str(path), "f"), size=size))
    assert "".join(text for text, _ in found).encode() == path.read_bytes()
    seen = 1
    for text, first in found:
        assert first == seen
        seen += text.count("\n")
    assert len(found) > 1 or size == 1000


def test_blocks_take_other_encodings(tmp_path):
    path = tmp_path / "f"
    path.write_bytes("a\n\nb".encode("utf-16"))
    assert list(blocks(SourceFile(str(path), "f"), "utf-16", size=2)) == [("a\n\nb", 1)]
    path.write_bytes(b"a\n\nb\n\xe9\n\n")
    with pytest.raises(ReadError, match="f:4: byte 0xe9"):
        list(blocks(SourceFile(str(path), "f"), size=2))
    with pytest.raises(ReadError, match="cannot be read"):
        list(blocks(SourceFile(str(tmp_path / "none"), "none")))


def test_files_below_are_sorted_and_clean(files, tmp_path):
    found = files({"b/2.txt": "", "a.txt": "", ".hidden": "", "__MACOSX/x.txt": "", "b/.DS_Store": "", "b/10.txt": ""})
    assert [f.name for f in found] == ["a.txt", "b/10.txt", "b/2.txt"]
    assert files_below(tmp_path / "in", "z.zip!")[0].name == "z.zip!a.txt"
    assert SourceFile("p", "z.zip!b/2.x.txt").stem == "2.x"


def test_problems_raise_or_are_kept():
    with pytest.raises(ReadError, match="f:1, document d: wrong"):
        Problems().bad("wrong", "f", 1, "d")
    kept = Problems(keep_going=True)
    kept.bad("wrong", "f", 1, "d")
    kept.note("odd", "f")
    assert kept.skipped == 1
    assert len(kept.found) == 2


def test_collector_comes_back():
    def fail():
        with collector_paused():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()
