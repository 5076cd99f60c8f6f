"""DOCX: a table written by hand with what Word does to cells, and files that are none or broken."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, ReadError
from mumei.data.readers.docx import docx_rows, read_docx

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def cell(content: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr><w:p><w:pPr><w:tab/></w:pPr>{content}</w:p></w:tc>"


def run(text: str) -> str:
    return f"<w:r><w:rPr/><w:t>{text}</w:t></w:r>"


MERGED, WIDE = '<w:vMerge w:val="restart"/>', '<w:gridSpan w:val="2"/>'
DELETED = "<w:del><w:r><w:delText>old</w:delText></w:r></w:del>"
TABLE = "".join(
    [
        "<w:tbl><w:tblPr/>",
        f"<w:tr>{cell(run('text'))}{cell(run('lab') + run('els'))}</w:tr>",
        f"<w:tr>{cell(run(' a'), MERGED)}{cell(run('x') + '<w:r><w:tab/><w:t>y</w:t><w:br/></w:r>' + run('z'))}</w:tr>",
        f"<w:tr>{cell('', '<w:vMerge/>')}{cell('<w:ins>' + run('new') + '</w:ins>' + DELETED)}</w:tr>",
        f"<w:tr>{cell('')}{cell('')}</w:tr>",
        f"<w:tr>{cell(run('wide') + '</w:p><w:p>' + run('second'), WIDE)}</w:tr>",
        f"<w:sdt><w:sdtContent><w:tr>{cell(run('b'))}",
        f"<w:tc><w:p/><w:tbl><w:tr>{cell(run('inner'))}</w:tr></w:tbl><w:p>{run('q')}</w:p></w:tc>",
        "</w:tr></w:sdtContent></w:sdt></w:tbl>",
    ]
)
DOCUMENT = f"<w:document {W}><w:body><w:p/>{TABLE}<w:tbl><w:tr>{cell(run('n'))}</w:tr></w:tbl></w:body></w:document>"


def document(content: str | bytes = DOCUMENT, name: str = "word/document.xml", **more: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        for part, text in more.items():
            archive.writestr(part, text)
    return out.getvalue()


def rows(files, content: bytes, **options):
    (file,) = files({"a.docx": content})
    return list(docx_rows(file, Problems(), **options))


def test_table_by_hand(files):
    assert rows(files, document()) == [
        ({"text": "a", "labels": "x\ty\nz"}, 2),
        ({"text": "a", "labels": "new"}, 3),
        ({"text": "wide\nsecond", "labels": ""}, 5),
        ({"text": "b", "labels": "q"}, 6),
    ]
    assert rows(files, document(), table=2, columns=["n"]) == [({"n": "n"}, 1)]
    found = list(read_docx(files({"a.docx": document()}), Problems(), schema="text"))
    assert [(r.id, r.text, r.line) for r in found][:2] == [("a_1", "a", 2), ("a_2", "a", 3)]


def test_main_part_by_its_relation(files):
    rels = (
        '<Relationships><Relationship Id="r" Target="word/other.xml" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>'
    )
    found = rows(files, document(DOCUMENT, "word/other.xml", **{"_rels/.rels": rels}), table=2, columns=["n"])
    assert found == [({"n": "n"}, 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text", "it is no file of a current office program"),
        (document(name="other.xml"), "there is no part word/document.xml"),
        (document("<w:document>"), r"a.docx!word/document.xml:1: the XML is broken"),
        (document(f"<w:document {W}/>"), "a.docx: it has 0 tables, and table 1 is asked for"),
        (
            document(DOCUMENT.replace('gridSpan w:val="2"', 'gridSpan w:val="0"')),
            "a.docx:5: row 5 has a cell over '0' columns",
        ),
        (document(DOCUMENT.replace('gridSpan w:val="2"', 'gridSpan w:val="9999999999"')), "row 5 has a cell over"),
        (document(DOCUMENT.replace('gridSpan w:val="2"', 'gridSpan w:val="3"')), "a.docx:5: has 3 cells, expected 2"),
    ],
)
def test_broken_files_say_where(files, content, message):
    with pytest.raises(ReadError, match=message):
        rows(files, content)


def test_options_that_cannot_be_used(files):
    with pytest.raises(UsageError, match="table has to be a number from 1 on"):
        rows(files, document(), table=0)
    with pytest.raises(ReadError, match="it has 2 tables, and table 3"):
        rows(files, document(), table=3)


@settings(max_examples=120, deadline=None)
@given(data=st.data(), whole=st.booleans())
def test_mutated_files(data, whole, mutate, survives):
    content = mutate(data, document()) if whole else document(mutate(data, DOCUMENT.encode()))
    survives(read_docx, {"a.docx": content}, schema="text")
