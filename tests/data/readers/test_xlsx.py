"""XLSX: sheets written by hand, the kinds of cells, and files that are none, broken or bombs."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import UsageError
from mumei.data.readers.base import Problems, ReadError
from mumei.data.readers.xlsx import read_xlsx, xlsx_rows

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
BOOK = (
    f'<workbook {MAIN} xmlns:r="{REL}"><sheets>'
    '<sheet name="One" r:id="rId1"/><sheet name="Two" r:id="rId2"/></sheets></workbook>'
)
RELS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{REL}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{REL}/worksheet" Target="/xl/worksheets/sheet2.xml"/>'
    f'<Relationship Id="rId3" Type="{REL}/sharedStrings" Target="sharedStrings.xml"/>'
    f'<Relationship Id="rId4" Type="{REL}/styles" Target="styles.xml"/>'
    f'<Relationship Id="rId5" Type="{REL}/hyperlink" Target="https://example.org" TargetMode="External"/></Relationships>'
)
STRINGS = (
    f"<sst {MAIN}><si><t>text</t></si><si><t>labels</t></si><si><r><t>a </t></r><r><rPr/><t>\u2028b_x000D_</t></r>"
    "<rPh><t>hint</t></rPh></si></sst>"
)
STYLES = (
    f'<styleSheet {MAIN}><numFmts><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
    '<numFmt numFmtId="165" formatCode="[Red]0.0 &quot;days&quot;"/></numFmts>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="22"/><xf numFmtId="20"/>'
    "</cellXfs></styleSheet>"
)
SHEET = (
    f'<worksheet {MAIN}><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
    '<row r="3"><c r="A3" t="s"><v>2</v></c><c r="B3" t="inlineStr"><is><t>x</t></is></c><c r="D3"/></row>'
    '<row r="4"><c r="B4"><v>0.10</v></c></row><row r="5"/></sheetData></worksheet>'
)
CELLS = (
    f'<worksheet {MAIN}><sheetData><row><c t="b"><v>1</v></c><c t="b"><v>0</v></c><c t="str"><f>A1</f><v>sum</v></c>'
    '<c t="e"><v>#N/A</v></c><c s="1"><v>43831</v></c><c s="2"><v>43831</v></c><c s="3"><v>43831.5</v></c>'
    '<c s="4"><v>0.25</v></c><c s="1"><v>59</v></c><c s="1"><v>61</v></c><c r="AB1"><v>1</v></c></row></sheetData></worksheet>'
)
PARTS = {
    "[Content_Types].xml": "<Types/>",
    "xl/workbook.xml": BOOK,
    "xl/_rels/workbook.xml.rels": RELS,
    "xl/sharedStrings.xml": STRINGS,
    "xl/styles.xml": STYLES,
    "xl/worksheets/sheet1.xml": SHEET,
    "xl/worksheets/sheet2.xml": CELLS,
}


NAMES = {  # how tests call the parts
    "types": "[Content_Types].xml",
    "workbook": "xl/workbook.xml",
    "relations": "xl/_rels/workbook.xml.rels",
    "strings": "xl/sharedStrings.xml",
    "styles": "xl/styles.xml",
    "sheet1": "xl/worksheets/sheet1.xml",
    "sheet2": "xl/worksheets/sheet2.xml",
}


def zipped(*members: tuple[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def book(**changed: str | bytes) -> bytes:
    """Return a file with parts changed."""
    return zipped(*(PARTS | {NAMES[name]: content for name, content in changed.items()}).items())


def rows(files, content: bytes, **options):
    (file,) = files({"a.xlsx": content})
    return list(xlsx_rows(file, Problems(), **options))


def test_sheet_by_hand(files):
    assert rows(files, book()) == [
        ({"text": "a \u2028b\r", "labels": "x"}, 3),
        ({"text": "", "labels": "0.10"}, 4),
    ]
    found = list(read_xlsx(files({"a.xlsx": book()}), Problems(), schema="text"))
    assert [(r.id, r.text, r.labels, r.line) for r in found] == [
        ("a_1", "a \u2028b\r", ["x"], 3),
        ("a_2", "", ["0.10"], 4),
    ]


def test_kinds_of_cells(files):
    columns = [str(n) for n in range(28)]
    ((row, line),) = rows(files, book(), sheet="Two", columns=columns)
    assert list(row.values())[:10] == [
        *("true", "false", "sum", "#N/A", "2020-01-01", "43831"),
        *("2020-01-01T12:00:00", "06:00:00", "1900-02-28", "1900-03-01"),
    ]
    assert (row["10"], row["27"], line) == ("", "1", 1)
    old = BOOK.replace("<sheets>", '<workbookPr date1904="1"/><sheets>')
    ((row, _),) = rows(files, book(workbook=old), sheet="Two", columns=columns)
    assert row["4"] == "2024-01-02"  # 1,462 days after the 1900 system's


@pytest.mark.parametrize("part", ["[" * 300, "a/" * 3000 + "b.xml", "\ud7ff" * 200])
def test_a_part_of_a_name_that_no_file_can_have_is_not_there(files, part):
    changed = RELS.replace("worksheets/sheet1.xml", part)
    with pytest.raises(ReadError, match="there is no part"):
        rows(files, book(relations=changed))


@pytest.mark.parametrize("number", ["²", "9" * 5000, "", "-1"])
def test_formats_of_odd_numbers_are_no_dates(files, number):
    styles = STYLES.replace('<xf numFmtId="22"/>', f'<xf numFmtId="{number}"/>')
    assert styles != STYLES
    ((row, _),) = rows(files, book(styles=styles), sheet="Two", columns=[str(n) for n in range(28)])
    assert (row["6"], row["4"]) == ("43831.5", "2020-01-01")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"workbook": "<workbook/>"}, "a.xlsx: it has no sheet"),
        ({"workbook": "<workbook>"}, r"a.xlsx!xl/workbook.xml:1: the XML is broken"),
        ({"workbook": BOOK.replace("rId1", "rId9")}, "it has no sheet"),
        ({"workbook": BOOK.replace("rId1", "rId5")}, "it has no sheet"),
        ({"strings": "<sst/>"}, "a.xlsx:1: row 1: a cell refers to the shared text 0 of 0"),
        (
            {"sheet1": SHEET.replace('r="A3"', 'r="C3"')},
            "row 3: a cell has the reference 'B3', which is none or out of order",
        ),
        ({"sheet1": SHEET.replace('r="A3"', 'r="ZZZ3"')}, "row 3: a cell has the reference 'ZZZ3'"),
        ({"sheet1": SHEET.replace('r="A3"', 'r="3"')}, "row 3: a cell has the reference '3'"),
        ({"sheet1": SHEET.replace("<v>2</v>", "<v>two</v>")}, "row 3: invalid literal"),
        (
            {"sheet1": SHEET.replace('r="B3" t="inlineStr"><is><t>x</t></is>', 's="1"><v>1e9</v>')},
            "the date 1e9, which is none",
        ),
        ({"sheet1": SHEET.replace('<c r="D3"/>', '<c r="D3"><v>1</v></c>')}, "a.xlsx:3: has 4 cells, expected 2"),
        ({"relations": RELS.replace("worksheets/sheet1.xml", "../../../etc/passwd")}, "there is no part"),
        ({"sheet1": '<!DOCTYPE a [<!ENTITY e "x">]><worksheet>&e;</worksheet>'}, "the XML is broken"),
    ],
)
def test_broken_files_say_where(files, changed, message):
    with pytest.raises(ReadError, match=message):
        rows(files, book(**changed))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no file of a current office program"),
        (b"\xd0\xcf\x11\xe0 an old one", "it is no file of a current office program"),
        (zipped(("other.xml", "<a/>")), "there is no part xl/workbook.xml in it"),
        (zipped(("../evil.xml", b"x")), "it cannot be unpacked"),
        (zipped(("/xl/workbook.xml", b"x")), "it cannot be unpacked"),
        (zipped(("xl/workbook.xml", b" " * 60_000_000)), "it cannot be unpacked.*limit"),
        (book()[:-30], "it cannot be unpacked"),
    ],
)
def test_files_that_are_none_or_bombs(files, content, message):
    with pytest.raises(ReadError, match=f"a.xlsx: {message}"):
        rows(files, content)


def test_options_that_cannot_be_used(files):
    with pytest.raises(UsageError, match=r"unknown sheet of a.xlsx 'one'. Did you mean 'One'"):
        rows(files, book(), sheet="one")
    with pytest.raises(UsageError, match="sheet has to be a name"):
        rows(files, book(), sheet=1)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_mutated_files(data, mutate, survives):
    part = data.draw(st.sampled_from([*NAMES, "whole"]))
    if part == "whole":
        content = mutate(data, book())
    else:
        content = book(**{part: mutate(data, PARTS[NAMES[part]].encode())})
    survives(read_xlsx, {"a.xlsx": content}, schema="text")
