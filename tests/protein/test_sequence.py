from __future__ import annotations

import gzip

import pytest

from mumei.core.errors import DataError
from mumei.protein.sequence import Record, read_alignment, read_fasta, read_sequences, write_fasta


def put(tmp_path, text, name="a.fasta"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.fasta", "a.fasta.gz"])
def test_records_with_wrapped_lines_and_empty_headers(tmp_path, name):
    path = put(tmp_path, "\ufeff>x one two\r\nAC\r\nD\r\n\r\n>\r\nYY\r\n", name)
    assert list(read_fasta(path)) == [Record("x", "one two", "ACD"), Record("2", "", "YY")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ACD\n>x\nA\n", "before any '>'"),
        (">x\nAC1\n", "'1' is no residue"),
        (">x\n>y\nA\n", "'x' has no residues"),
        ("", "no sequence"),
    ],
)
def test_what_is_no_fasta_is_refused_by_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        list(read_fasta(put(tmp_path, text)))


def test_a_cut_gzip_and_a_missing_file_are_told(tmp_path):
    path = put(tmp_path, ">x\n" + "ACDEFG" * 5000, "a.fa.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        list(read_fasta(path))
    with pytest.raises(DataError, match="No such file"):
        list(read_fasta(tmp_path / "absent"))


def test_it_streams(tmp_path):
    path = put(tmp_path, ">a\nA\n>b\nC\n>c\n1\n")
    records = read_fasta(path)
    assert next(records).name == "a"  # before the bad third record is seen


def test_unaligned_sequences_lose_gaps_and_the_last_stop(tmp_path):
    assert [r.sequence for r in read_sequences(put(tmp_path, ">a\nac-D.*\n"))] == ["ACD"]
    with pytest.raises(DataError, match="position 2"):
        list(read_sequences(put(tmp_path, ">a\nA*C\n")))


def test_three_formats_give_one_alignment(tmp_path):
    aligned = put(tmp_path, ">q\nACD-\n>r\nA-DY\n")
    a3m = put(tmp_path, ">q\nACD-\n>r\nAkk-DlY\n", "x.a3m")
    by_content = put(tmp_path, ">q\nACD-\n>r\nAkk-DlY\n", "y.txt")
    stockholm = put(tmp_path, "# STOCKHOLM 1.0\n#=GF ID x\nq AC\nr A.\n\nq D-\nr DY\n//\nrubbish", "z.sto.gz")
    for path in (aligned, a3m, by_content, stockholm):
        found = read_alignment(path)
        assert (found.names, found.rows, found.width, len(found)) == (("q", "r"), ("ACD-", "A-DY"), 4, 2)


def test_lower_case_in_a_rectangle_is_no_insertion(tmp_path):
    assert read_alignment(put(tmp_path, ">q\nacd-\n>r\nACDY\n")).rows == ("ACD-", "ACDY")


def test_rows_of_unequal_length_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"'r' \(number 2\) has 3 columns, the first record has 4"):
        read_alignment(put(tmp_path, ">q\nACD-\n>r\nACD\n"))


def test_written_fasta_is_read_back(tmp_path):
    records = [Record("a", "score=1", "ACDEFGHIKL" * 20), Record("b", "", "Y")]
    assert write_fasta(tmp_path / "o.fasta", iter(records)) == 2
    assert list(read_fasta(tmp_path / "o.fasta")) == records
