"""Readers of columns against readers of documents: the same tables to the byte, the same problems, the same errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import MumeiError
from mumei.core.progress import SILENT
from mumei.data import catalogue, readers
from mumei.data.columns import Bytes, between, kb_batch, regrouped, strings
from mumei.data.documents import Document
from mumei.data.loading import plan_recipe
from mumei.data.readers.base import Problems, files_below
from mumei.data.tables import arrow_schema, to_batch, to_table


def written(batches: list[pa.RecordBatch]) -> bytes:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, arrow_schema(Document), compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def both(name: str, files, keep_going: bool, **options):
    """What the two readers of a format give: (rows or error, problems) each; and how many rows came as columns."""
    found, rows = [], 0
    for read in (readers.reader(name), readers.columns_reader(name)):
        problems = Problems(keep_going)
        try:
            parts = list(read(files, problems, **options))
            rows = sum(part.num_rows for part in parts if isinstance(part, pa.RecordBatch))
            table = pa.Table.from_batches(list(regrouped(parts, Document)), schema=arrow_schema(Document))
            table.validate(full=True)
            found.append((table, problems.found))
        except MumeiError as error:
            found.append((str(error), problems.found))
    return found[0], found[1], rows


def same(name: str, files, **options) -> int:
    for keep_going in (False, True):
        documents, columns, rows = both(name, files, keep_going, **options)
        assert columns == documents
    return rows


@pytest.fixture(scope="session")
def write_once(tmp_path_factory):
    """A function that writes {name: bytes} into a new folder and returns its files."""

    def write(contents: dict[str, bytes]):
        folder = tmp_path_factory.mktemp("columns")
        for name, content in contents.items():
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            (folder / name).write_bytes(content)
        return files_below(folder)

    return write


def test_slices_and_numbers():
    text = Bytes("ab\t12\té\t0123456789\t\t9x".encode())
    tabs = text.where("\t")
    starts, ends = np.append(0, tabs + 1), np.append(tabs, len(text.array))
    assert text.strings(starts, ends).to_pylist() == ["ab", "12", "é", "0123456789", "", "9x"]
    values, good = text.numbers(starts, ends)
    assert good.tolist() == [False, True, False, False, False, False]
    assert values[1] == 12


def test_rows_between_and_in_groups():
    batch = kb_batch(id=strings(["a", "b", "c"]), document_id=strings(["a", "b", "c"]))
    extra = [Document("x", "x"), Document("y", "y")]
    parts = list(between(batch, [(0, extra[:1]), (2, extra[1:])]))
    groups = list(regrouped(parts, Document, 2))
    assert [g.column("id").to_pylist() for g in groups] == [["x", "a"], ["b", "y"], ["c"]]
    plain = [Document(name, name) for name in "xabyc"]
    assert pa.Table.from_batches(groups).equals(to_table(plain, Document))
    assert written(groups) == written([to_batch(plain[n : n + 2], Document) for n in (0, 2, 4)])
    assert list(regrouped([], Document)) == []


# PubTator ------------------------------------------------------------------------------------------------------------

WORD = st.text(st.sampled_from("ab é\u2028|0-:+,\r"), max_size=4)
NUMBER = st.sampled_from(
    ["0", "3", "12", "007", "4294967296", "99999999999", "-1", "x", "1x", " 2", "٣", "²", "+1", ""]
)
SMALL = st.integers(0, 40).map(str)
COLUMN = st.one_of(WORD, SMALL, st.sampled_from(["D1", "MESH:D2", "D1|D2", "-1", "-", "Gene", "c|SUB|A"]))


@st.composite
def pubtator_line(draw, document: str, careful: bool) -> str:
    own = document if careful else draw(st.sampled_from([document, document, "7", ""]))
    number = SMALL if careful else NUMBER
    if draw(st.booleans()):
        columns = [draw(number), draw(number), *draw(st.lists(COLUMN, min_size=2 if careful else 0, max_size=5))]
    else:
        kind = st.sampled_from(["CID", "Bind it", "é"]) if careful else COLUMN
        columns = [draw(kind), *draw(st.lists(COLUMN, min_size=2 if careful else 0, max_size=4))]
    return "\t".join([own, *columns])


@st.composite
def pubtator_file(draw, careful: bool = True) -> str:
    lines: list[str] = []
    for n in range(draw(st.integers(0, 5))):
        document = draw(st.sampled_from([str(n), "1", "a b"]))
        lines.append(f"{document}|t|{draw(WORD)}")
        if draw(st.booleans()):
            lines.append(f"{document}|a|{draw(WORD)}")
        lines += draw(st.lists(pubtator_line(document, careful), max_size=5))
        lines += [""] * draw(st.integers(1 if careful else 0, 3))
    return draw(st.sampled_from(["\n", "\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n"]))


@settings(max_examples=60, deadline=None)
@given(pubtator_file(), pubtator_file(careful=False), st.sampled_from(["|+", ",", ""]))
def test_pubtator(write_once, first, second, joiners):
    files = write_once({"a.txt": first.encode(), "b.txt": second.encode()})
    same("pubtator", files, joiners=joiners, whole=["Gene"], database="MESH")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pubtator_with_damage(write_once, mutate, data):
    same("pubtator", write_once({"a.txt": mutate(data, data.draw(pubtator_file()).encode())}))


def test_plain_pubtator_comes_as_columns(files):
    text = "1|t|Ab\n1|a|cd\n1\t0\t2\tAb\tGene\tD1|D2\n1\tCID\tD1\tD2\tx\n\n2|t|E\n2\t0\t1\tE\tGene\n\n"
    assert same("pubtator", files({"a.txt": text})) == 2
    odd = text + "3|t|x\n3\t0\t+1\tx\tGene\n\n" + text
    assert same("pubtator", files({"a.txt": odd})) == 4


# CoNLL ---------------------------------------------------------------------------------------------------------------

TAGS = {
    "iob1": ["O", "I-A", "B-A", "I-é"],
    "iob2": ["O", "B-A", "I-A", "B-é", "I-é"],
    "iobes": ["O", "B-A", "I-A", "E-A", "S-A", "L-é", "W-é"],
}
TOKEN = st.text(st.sampled_from("ab é\u2028-,."), min_size=1, max_size=4)


@st.composite
def conll_file(draw, scheme: str, separator: str = "\t", careful: bool = True) -> str:
    tags = st.sampled_from(TAGS[scheme] if careful else [*TAGS[scheme], "X", "", "B-", "Q-A", "B-A\tO"])
    tokens = TOKEN.map(lambda t: t.replace(separator, "") or "a") if careful else st.one_of(TOKEN, st.just(""))
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.integers(0, 3)) == 0:
            lines.append(f"-DOCSTART-{draw(st.sampled_from(['', ' (7)', '()', ' (a é)']))}{separator}O")
            lines += [""] * draw(st.integers(0, 2))
        lines += [f"{draw(tokens)}{separator}{draw(tags)}" for _ in range(draw(st.integers(0, 5)))]
        lines += [""] * draw(st.integers(1 if careful else 0, 2))
    return draw(st.sampled_from(["\n", "\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n"]))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(list(TAGS)), st.sampled_from(["marker", "sentence", "file"]), st.booleans())
def test_conll(write_once, data, scheme, document, careful):
    separator = data.draw(st.sampled_from("\t "))
    texts = [data.draw(conll_file(scheme, separator, careful)) for _ in range(2)]
    files = write_once({f"{n}.tsv": text.encode() for n, text in enumerate(texts)})
    options = data.draw(st.sampled_from([{}, {}, {"token": -2, "tag": 1}, {"token": 1, "tag": 0}, {"tag": 2}]))
    same("conll", files, scheme=scheme, document=document, separator=separator, **options)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["marker", "sentence", "file"]))
def test_conll_with_damage(write_once, mutate, data, document):
    text = mutate(data, data.draw(conll_file("iob2")).encode())
    same("conll", write_once({"a.tsv": text}), document=document)


@pytest.mark.parametrize(
    "text", ["-DOCSTART-\tO\n-DOCSTART-\tO\n\n\n-DOCSTART-\tO", "-DOCSTART-\tO\n\n\n\t", "a\tO\n \t\nb\tO\n"]
)
def test_conll_with_markers_and_blanks_amid_a_sentence(files, text):
    same("conll", files({"a.tsv": "", "b.tsv": text}))


def test_conll_markers_are_in_the_first_column_wherever_the_tokens_are(files):
    given = files({"a.tsv": "-DOCSTART-\t(x)\n\nO\ta\nB-X\tb\n\n-DOCSTART-\t(y)\n\nO\tc\n"})
    assert same("conll", given, token=1, tag=0) == 0
    read = list(readers.reader("conll")(given, Problems(), token=1, tag=0))
    assert [(d.id, d.passages[0].text) for d in read] == [("x", ["a b"]), ("y", ["c"])]


@pytest.mark.parametrize("before", ["a\tO\na\tO\n", "\n\n", ""])
def test_conll_with_a_marker_that_follows_no_empty_line(files, before):
    same("conll", files({"a.tsv": before + "-DOCSTART-\tO\n\na\tO\n\nb\tB-X\n-DOCSTART-\tO\n\nc\tO"}))


@pytest.mark.parametrize("document", ["marker", "sentence", "file"])
def test_conll_in_pieces(files, monkeypatch, document):
    """A file that is read in pieces of a few bytes is the same as one that is read at once."""
    from mumei.data.readers import base, conll, conll_columns

    text = (
        "a\tO\n\nb\tB-A\n\n-DOCSTART-\tO\n\nc\tO\nd\tB-é\n\n"
        + 9 * "e\tB-A\nf\tI-A\n\n"
        + "-DOCSTART- (x)\tO\n\ng\tO\n\n"
    )
    given, broken = files({"a.tsv": text}), files({"a.tsv": text.encode() + b"h\xff\tO\n"}, "broken")
    whole = both("conll", given, False, document=document)
    for module in (conll, conll_columns):
        monkeypatch.setattr(module, "blocks", lambda file, encoding: base.blocks(file, encoding, 7))
    assert both("conll", given, False, document=document) == whole
    same("conll", broken, document=document)
    assert whole[2] == {"marker": 4, "sentence": 13, "file": 1}[document]


def test_tag_that_cannot_follow_costs_the_columns_of_its_document_only(files):
    assert same("conll", files({"a.tsv": "a\tO\n\nb\tI-A\n\nc\tB-A\nd\tI-A\n"})) == 2


# BRAT ----------------------------------------------------------------------------------------------------------------

LOCAL = st.sampled_from(["T1", "T2", "T3", "T4", "E1", "E2", "R1"])
KIND = st.sampled_from(["Gene", "é", "A;B"])
PLAIN_LINE = st.one_of(
    st.builds(
        "T{}\t{} {}\t{}".format, st.integers(1, 4), KIND, st.sampled_from(["0 2", "1 3;4 6", "0 1;2 3;4 5"]), WORD
    ),
    st.builds(
        "E{}\tBind:{}{}".format, st.integers(1, 2), LOCAL, st.sampled_from(["", " Theme:T1", " Theme2:E1 Cause:T4 "])
    ),
    st.builds("R{}\tCID Arg1:{} Arg2:{}".format, st.integers(1, 2), LOCAL, LOCAL),
    st.builds("{}\tEquiv {} {}".format, st.sampled_from(["*", "*1"]), LOCAL, LOCAL),
    st.builds(
        "{}\t{} {}{}".format, st.sampled_from(["A1", "M1", "A2"]), KIND, LOCAL, st.sampled_from(["", " high", " a b "])
    ),
    st.builds(
        "N{}\tReference {} {}".format, st.integers(1, 2), LOCAL, st.sampled_from(["MESH:D1", "a:b:c\tname", "x: y"])
    ),
    st.builds(
        "{}\tNotes {}{}".format, st.sampled_from(["#", "#1"]), LOCAL, st.sampled_from(["", "\t", "\tsaid\tmore"])
    ),
)
ODD_LINE = st.sampled_from(
    r"""

T9
T1\tGene 0 1\tx
T5\tGene  0 1\tx
T5\tGene 0 +1\tx
T5\tGene ٣ 4\tx
T5\tGene 0 99999999999\tx
T6\tGene 0 1;\tx
T7\tA B 0 1\tx
E3\tBind
E3\t:T1
E3\tBind:T1  Theme:T1
E3\tBind:T1 :T2
E3\tBind:T1 Theme99999999999:T1
E3\tBind:T1\r
R3\tCID Arg1:T1
R3\tCID\u2003Arg1:T1 Arg2:T2 .
*\tEquiv T1
N3\tReference T1
N3\tReference T1 :x
x
A3\tNeg
A3\tNeg T1\tx
A3\tNeg T1 .
#\tNotes
#\tNotes  T1\tx
#2\tNotes T1 x""".replace(r"\t", "\t")
    .replace(r"\r", "\r")
    .replace(r"\u2003", "\u2003")
    .replace(" .", " ")
    .split("\n")
)


def annotations(careful: bool):
    line = PLAIN_LINE if careful else st.one_of(PLAIN_LINE, PLAIN_LINE, ODD_LINE)
    rows = st.lists(line, max_size=8, unique_by=(lambda row: row.partition("\t")[0]) if careful else None)
    ends = st.sampled_from(["\n", "\n", "\r\n"])
    return st.builds(lambda rows, end, last: end.join(rows) + last, rows, ends, st.sampled_from(["", "\n", "\r\n"]))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans(), st.booleans())
def test_brat(write_once, data, careful, keep_triggers):
    contents: dict[str, str] = {}
    for n in range(data.draw(st.integers(1, 4))):
        contents[f"{n}.txt"] = data.draw(st.sampled_from(["", "\ufeff"])) + data.draw(WORD)
        for suffix in data.draw(st.sampled_from([["ann"], ["a1", "a2"], ["a1"], []] if not careful else [["ann"]])):
            contents[f"{n}.{suffix}"] = data.draw(annotations(careful))
    if not careful:
        contents.pop(data.draw(st.sampled_from(sorted(contents))))
    files = write_once({name: text.encode() for name, text in contents.items()})
    same("brat", files, keep_triggers=keep_triggers, concept_types=data.draw(st.sampled_from([False, False, True])))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_brat_with_damage(write_once, mutate, data):
    text = mutate(data, data.draw(annotations(True)).encode())
    same("brat", write_once({"a.txt": mutate(data, b"Some text."), "a.ann": text, "b.txt": b"c", "b.ann": b""}))


def test_brat_with_an_event_in_a_document_that_turns_out_not_plain(files):
    lines = "E1\tBind:T1 Theme:T1\nT1\tGene 0 2\ta\nN1\tReference T2 MESH:D1"
    same("brat", files({"a.txt": "ab", "a.ann": lines, "b.txt": "c", "b.ann": "T1\tGene 0 1\tc"}))


def test_plain_brat_comes_as_columns(files):
    lines = [
        "T1\tGene 0 1\ta",
        "T2\tGene 0 1;2 3\ta c",
        "T3\tBind 2 3\tc",
        "E1\tBind:T3 Theme:T1 Cause2:T2",
        "R1\tIn Arg1:T1 Arg2:E1",
        "*\tEquiv T1 T2",
        "A1\tNegation E1",
        "N1\tReference T1 MESH:D1\tx",
        "#1\tNotes T1\tsaid",
    ]
    given = {
        "a.txt": "a c",
        "a.ann": "\n".join(lines) + "\n",
        "b.txt": "x",
        "b.a1": lines[0],
        "b.a2": "",
        "c.txt": "",
        "c.ann": "",
    }
    assert same("brat", files(given)) == 3
    given["b.a1"] = "nonsense"
    assert same("brat", files(given)) == 2


# BioC ----------------------------------------------------------------------------------------------------------------

INFON = st.builds(
    '<infon key="{}">{}</infon>'.format,
    st.sampled_from(["type", "identifier", "MESH", "entity1", "entity2", "note"]),
    st.sampled_from(["Gene", "D1|D2", "-1", "", "a&amp;b", "é"]),
)
INFONS = st.lists(INFON, max_size=3).map("".join)
PIECE = st.sampled_from(["ab", "ab cd", "é &lt;x&gt;", "", "ab &#233;"])
LOCATIONS = st.sampled_from(["0 2", "0 2", "3 2", "6 2", "0 1;3 2", "7 99"])


@st.composite
def mention(draw) -> str:
    where = [pair.split() for pair in draw(LOCATIONS).split(";")]
    locations = "".join(f'<location offset="{a}" length="{n}"/>' for a, n in where)
    name, text = (
        draw(st.sampled_from(["1", "2", "3", "4", "T&amp;5"])),
        draw(st.sampled_from(["ab", "ab", "cd", "é", "&lt;"])),
    )
    return f'<annotation id="{name}">{draw(INFONS)}{locations}<text>{text}</text></annotation>'


@st.composite
def bioc_document(draw) -> str:
    parts, at = "", draw(st.sampled_from([0, 0, 0, 3]))
    for _ in range(draw(st.integers(0, 3))):
        text = draw(PIECE)
        mentions = "".join(draw(st.lists(mention(), max_size=3)))
        parts += f"<passage>{draw(INFONS)}<offset>{at}</offset><text>{text}</text>{mentions}</passage>"
        at += len(text) + draw(st.sampled_from([1, 1, 1, 2]))
    for n in range(draw(st.integers(0, 2))):
        refs = draw(st.lists(st.sampled_from(["1", "2"]), max_size=2))
        nodes = "".join(f'<node refid="{ref}" role="r{k}"/>' for k, ref in enumerate(refs))
        parts += f'<relation id="{draw(st.sampled_from(["", f"R{n}"]))}">{draw(INFONS)}{nodes}</relation>'
    odd = draw(st.sampled_from(["", "", "", "<!-- a -->", "<sentence/>"]))
    return f"<document><id>{draw(st.sampled_from(['1', '2', ' é ', '']))}</id>{draw(INFONS)}{parts}{odd}</document>"


@settings(max_examples=120, deadline=None)
@given(st.lists(bioc_document(), max_size=4), st.sampled_from(["</collection>", "", "<document>"]))
def test_bioc_xml(write_once, documents, end):
    text = "<?xml version='1.0'?>\n<collection>" + "\n".join(documents) + end
    same("bioc_xml", write_once({"a.xml": text.encode(), "b.xml": b"<collection></collection>"}), database="x")


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(bioc_document(), min_size=1, max_size=3))
def test_bioc_xml_with_damage(write_once, mutate, data, documents):
    text = "<collection>" + "\n".join(documents) + "</collection>"
    same("bioc_xml", write_once({"a.xml": mutate(data, text.encode())}))


def test_plain_bioc_xml_comes_as_columns(files):
    one = (
        '<document><id>{}</id><infon key="y">2</infon><passage><infon key="type">title</infon><offset>0</offset><text>ab</text>'
        '<annotation id="1"><infon key="type">Gene</infon><infon key="identifier">D1</infon><location offset="0" length="2"/>'
        '<text>ab</text></annotation></passage><relation id="R1"><infon key="type">in</infon><node refid="1" role="a"/>'
        '<node refid="1" role="b"/></relation></document>'
    )
    text = "<collection>" + one.format(1) + one.format(2).replace("<passage>", "<passage><!-- -->") + one.format(3)
    assert same("bioc_xml", files({"a.xml": text + "</collection>"})) == 2


@pytest.mark.parametrize("path", ["bc5cdr/CDR_sample.gold.BioC.xml", "biored/Dev.BioC.XML"])
def test_bioc_xml_of_corpora(corpora_dir, path):
    from mumei.data.readers.base import SourceFile

    assert same("bioc_xml", [SourceFile(str(corpora_dir / path), path)]) > 0


# Corpora -------------------------------------------------------------------------------------------------------------

CORPORA = {
    "pubtator": ["ncbi_disease", "bc5cdr", "biored"],
    "conll": ["jnlpba", "bc2gm"],
    "brat": ["bionlp_st_2013_cg", "anat_em", "seth_corpus"],
}


@pytest.mark.parametrize(("reader", "name"), [(r, n) for r, names in CORPORA.items() for n in names])
def test_corpora(corpora_dir, tmp_path, reader, name):
    plan = plan_recipe(catalogue.find(name), "kb", corpora_dir, {}, SILENT)
    for split, files in plan.open(Path(tmp_path)).items():
        documents, columns, rows = both(reader, files, True, **{**plan.options, **plan.of_split.get(split, {})})
        assert columns == documents, split
        assert rows > 0
        assert written(columns[0].to_batches()) == written(documents[0].to_batches())
