"""A fuzzer of the readers: `python tests/data/fuzz.py READER ... --seconds 300 [--seed 0] [--keep FOLDER]`.

Valid small inputs (those of the readers' own tests) are changed at random: bytes, lines, words and numbers, files left out and
put in, parts within archives. Every case is read, stored, harmonised, and one in `CHECKED` is checked and counted. What may come
out is records, the same ones whether or not the reading goes on after a problem, or a `MumeiError`; anything else is a failure,
and so is a case that takes more than `CPU` seconds or more memory than `MEMORY`. A case follows from reader, seed and number
alone: `--first N --seconds 0` makes the case N again. Exit code 1 where there is a failure; one JSON line a reader on standard
output.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from readers import (
    test_articles,
    test_bioc,
    test_brat,
    test_docx,
    test_elements,
    test_json,
    test_parallel,
    test_pubtator,
    test_sentences_xml,
    test_xlsx,
)

from mumei.core.errors import MumeiError
from mumei.data import readers
from mumei.data.bigbio import to_bigbio
from mumei.data.checks import run_checks
from mumei.data.corpus import corpus_of
from mumei.data.documents import RECORDS
from mumei.data.readers.base import Problems, files_below
from mumei.data.stats import statistics
from mumei.data.tables import to_table

CPU = (
    10.0  # seconds that a case may take: checks of 30,000 documents, made by repeating one, take four on a busy machine
)
MEMORY = 512 << 20  # bytes that may come to what the process has at the start
CHECKED = 25
LONGEST = 200_000  # bytes of a changed file
PIECES = [
    *(b"\x00 \xff \r \n \r\n \" ' < > & &#0; &amp; ] } [ { ( ) \t , ; : | + - . / \\ * # = % ! ? _ ~ $ ^ ` @").split(
        b" "
    ),
    *(
        s.encode()
        for s in ("\u2028", "\x85", "\ufeff", "\u00b2", "\u0663", "\U0001f600", "e\u0301", "\u202e", "\x0b", "\x1f")
    ),
    *(
        b"\xed\xa0\x80",
        b"\xc3",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"<!--",
        b"]]>",
        b"<![CDATA[",
        b"<?x",
        b"&x;",
        b"\\ud800",
        b"\\u0000",
    ),
    *(
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b"{}",
        b"[]",
        b'""',
        b"O",
        b"B-",
        b"I-x",
        b"|t|",
        b"|a|",
        b"-DOCSTART-",
        b"T1",
        b"E1",
    ),
]
NUMBERS = [
    *(b"0 -1 1 2 -0 +1 01 1.5 1e3 1e309 1_0 2147483647 2147483648 -2147483649 9223372036854775808").split(),
    *(b"9" * 30, b"9" * 5000, "\u0663".encode(), "\u00b2".encode(), b"", b"0x10", b"NaN", b"inf"),
]
NESTED = [*b'[ { {"a": <a> ( < (( {x} a. \\ &lt; , | x'.split(), b"\t", b"\n", b";0 1"]
Seed = tuple[dict[str, bytes], dict[str, Any]]


def seeds() -> dict[str, list[Seed]]:
    """Return valid inputs by reader: files, and the options that they are read with."""

    def of(files: dict[str, str | bytes], **options: Any) -> Seed:
        return {n: c.encode() if isinstance(c, str) else c for n, c in files.items()}, options

    collection = test_bioc.COLLECTION.format(test_bioc.DOCUMENT)
    bioc = json.dumps({"source": "x", "documents": [test_bioc.as_json(test_bioc.DOCUMENT)]})
    marks = {"disorder": ["(", ")"], "drug": ["[", "]"], "body": ["{", "}"]}
    rows = '{"id": 1, "text": "a\\u00e9", "labels": ["x", "y"]}\n\n{"id": "2", "text": "b", "labels": "x"}\n'
    pairs = {"id": "@pid", "premise": "a", "hypothesis": {"path": "c", "join": " "}, "label": "@value"}
    quoted = {
        "schema": "pairs",
        "fields": {"text_1": "a", "text_2": "b", "label": {"path": "n", "map": {"1": "yes", "2": "no"}}},
    }
    choice = {
        "question": "q",
        "type": {"value": "multiple_choice"},
        "choices": {"all": ["a", "b"]},
        "answer": {"at": "k", "of": ["a", "b"]},
    }
    chosen = (
        '{"q": "Why?", "a": "x", "b": "y", "k": 0, "id": "1"}\n{"q": "How?", "a": "x", "b": "y", "k": "1", "id": "2"}\n'
    )
    iob = "-DOCSTART- O\n\nA B-x\nb I-x\n\nc O\nd B-y\n\n-DOCSTART- O\n\ne B-x\n"
    return {
        "brat": [
            of(
                {
                    "d/x.txt": test_brat.TEXT,
                    "d/x.a1": test_brat.A1,
                    "d/x.a2": test_brat.A2,
                    "y.txt": "\ufeffab",
                    "y.ann": "T1\tX 1 2\ta\n",
                }
            ),
            of(
                {"all.tab": "x\tab cd\ny\tef\n", "x.ann": 'T1\tC1 0 2\tab\n#1\tAnnotatorNotes T1\ta "D"\n'},
                texts="all.tab",
                concept_types=True,
            ),
        ],
        "pubtator": [
            of({"a.txt": test_pubtator.PLAIN}, database="MESH"),
            of({"a.txt": test_pubtator.PLAIN.replace("\n", "\r\n")}),
        ],
        "bioc_json": [of({"a.json": bioc}), of({"a.jsonl": json.dumps(test_bioc.as_json(test_bioc.DOCUMENT)) + "\n"})],
        "bioc_xml": [of({"a.xml": collection}), of({"a.xml": collection.replace("\n", "")})],
        "conll": [
            of({"a.tsv": iob.replace(" ", "\t")}),
            of({"a.iob": "A NN B-x\nb VB E-x\n\nc NN S-y\n"}, scheme="iobes", separator=" ", document="sentence"),
            of({"a.conll": "A\tI-x\nb\tB-x\n\nc\tO\n"}, scheme="iob1", document="file"),
        ],
        "ddi": [of({"a.xml": test_sentences_xml.DDI})],
        "ppi": [
            of({"a.xml": test_sentences_xml.PPI}),
            of({"a.xml": test_sentences_xml.PPI}, concept_type="p", database="d", inclusive=True),
        ],
        "tac": [of({"a.xml": test_sentences_xml.TAC})],
        "inline": [
            of({"a.txt": "Take [ flytande medicin ] for ( pain ).\n\nt ({hair} me) x\n"}, marks=marks),
            of({"a.txt": "a <b>c</b> d <e>f <b>g</b></e>\n"}, marks={"x": ["<b>", "</b>"], "y": ["<e>", "</e>"]}),
        ],
        "jats": [of({"a.nxml": test_articles.ARTICLE})],
        "medline": [of({"a.xml": test_articles.PUBMED})],
        "csv": [
            of({"a.csv": 'id,text,labels\n1,"a, ""b""\nc",x\n\n2,5" long,y\n'}, schema="text"),
            of({"a.tsv": "a\tb\tn\nx\ty\t1\nz\tw\t2\n"}, **quoted),
        ],
        "docx": [of({"a.docx": test_docx.document()}, schema="text")],
        "json": [
            of(
                {"a.json": f'{{"v": [1], "rows": [{rows.strip().replace(chr(10) * 2, ",")}]}}'},
                schema="text",
                records="rows",
            ),
            of(
                {"a.json": test_json.KEYED.replace('"text"', '{"id": 2}')},
                schema="text",
                records="*",
                fields={"text": "id", "labels": {"path": "x", "default": []}},
            ),
        ],
        "jsonl": [of({"a.jsonl": rows}, schema="text"), of({"a.jsonl": chosen}, schema="qa", fields=choice)],
        "parallel": [of({"text/1.txt": "a\nb\n", "labels/1.txt": "<x< y,z\n"}, **test_parallel.MARKS)],
        "xlsx": [of({"a.xlsx": test_xlsx.book()}, schema="text", fields={"labels": "labels"})],
        "xml": [
            of(
                {"a.xml": test_elements.TEXT.replace('<c n="3"/>', "")},
                schema="te",
                record="pair",
                fields=pairs,
                keep={"@pid": 1},
            )
        ],
    }


# ------------------------------------------------------------------------------------------------------------- changes


def changed(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    """Return bytes with one to four changes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(CHANGES)(rng, content, words)[:LONGEST]
    return content


def _span(rng: random.Random, content: bytes, longest: int = 40) -> tuple[int, int]:
    start = rng.randint(0, len(content))
    return start, min(len(content), start + rng.randint(1, longest))


def _flip(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    at = rng.randrange(len(content) or 1)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def _leave_out(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + content[end:]


def _cut(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    return content[: rng.randint(0, len(content))]


def _put_in(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    at = rng.randint(0, len(content))
    return content[:at] + rng.choice(rng.choice((PIECES, NUMBERS, words))) + content[at:]


def _nest(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    at = rng.randint(0, len(content))
    return (
        content[:at] + rng.choice((*NESTED, rng.choice(words))) * rng.choice((2, 10, 300, 3000, 30_000)) + content[at:]
    )


def _again(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    start, end = _span(rng, content, 400)
    return content[:end] + content[start:end] * rng.choice((1, 1, 1, 50)) + content[end:]


def _lines(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    lines = content.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 1:
        del lines[one]
    else:
        lines.insert(one, lines[other])
    return b"\n".join(lines)


def _word(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    found = list(re.finditer(rb"[\w.-]+|\W", content))
    if not found:
        return rng.choice(words)
    one = rng.choice(found)
    return content[: one.start()] + rng.choice(words) + content[one.end() :]


def _number(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    found = list(re.finditer(rb"\d+", content))
    if not found:
        return content
    one = rng.choice(found)
    near = str(int(one[0][:18]) + rng.choice((-1, 1, 7, -7))).encode()
    return content[: one.start()] + rng.choice((near, rng.choice(NUMBERS))) + content[one.end() :]


CHANGES: list[Callable[[random.Random, bytes, list[bytes]], bytes]] = [
    *(_flip, _leave_out, _cut, _put_in, _put_in, _nest, _again, _lines, _lines, _word, _word, _number, _number)
]


def _in_archive(rng: random.Random, content: bytes, words: list[bytes]) -> bytes:
    """Return an archive with a part of it changed, left out or named otherwise; a broken one is changed as it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = [(i.filename, archive.read(i)) for i in archive.infolist()]
    except Exception:  # bytes that an earlier change made
        parts = []
    if not parts:
        return changed(rng, content, words)
    at = rng.randrange(len(parts))
    name, part = parts[at]
    kind = rng.randrange(8)
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts[at] = (rng.choice(parts)[0], part)
    else:
        own = re.findall(rb"[\w.-]+", part) or [b"x"]
        parts[at] = (name, changed(rng, part, own))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in dict(parts).items():
            archive.writestr(name, part)
    return out.getvalue()


def case(reader: str, seed: int, number: int) -> Seed:
    """Return the case of a number."""
    rng = random.Random(f"{reader} {seed} {number}")
    files, options = rng.choice(SEEDS[reader])
    files = dict(files)
    words = WORDS[reader]
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(list(files))
        kind = rng.randrange(40)
        if kind == 0 and len(files) > 1:
            del files[name]
        elif kind == 1:
            files[rng.choice((*files, "z/" + name, name + "x", "z" + name[-4:]))] = files[name]
        elif zipfile.is_zipfile(io.BytesIO(files[name])) and kind < 32:
            files[name] = _in_archive(rng, files[name], words)
        else:
            files[name] = changed(rng, files[name], words)
    return files, options


# ----------------------------------------------------------------------------------------------------------- one case


class Hang(BaseException):
    """A case that takes too long."""


class Wrong(Exception):
    """What is wrong with what came out."""


def attempt(reader: str, folder: Path, options: dict[str, Any], check: bool) -> str:
    """Read a case; return "read", "refused" or "unstorable", and let everything else out."""
    read, files = readers.reader(reader), files_below(folder)
    kept, problems = None, Problems(keep_going=True)
    try:
        kept = list(read(files, problems, **options))
    except MumeiError:
        pass
    if not all(p.file and p.message for p in problems.found):
        raise Wrong("a problem without file or message")
    try:
        strict = list(read(files, Problems(), **options))
    except MumeiError as error:
        if kept is not None and not problems.skipped:
            raise Wrong(f"refused only where it does not go on: {error}") from error
        strict = None
    if strict is not None and (kept != strict or problems.skipped):
        raise Wrong("other records where it goes on")
    if not kept:
        return "refused"
    kind = readers.schema_of(reader, options.get("schema", ""))
    try:
        table = to_table(kept, RECORDS[kind])
    except MumeiError:
        return "unstorable"
    to_bigbio(table, kind)
    if check:
        corpus = corpus_of({"train": kept}, kind)
        run_checks(corpus).lines()
        statistics(corpus).lines()
    return "read" if strict is not None else "refused"


def _write(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            path.write_bytes(content)


def place(error: BaseException) -> str:
    """Return where of mumei's files an exception came from, which tells failures apart."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/mumei/" in f.filename]
    return f"{frames[-1].filename.rpartition('/mumei/')[2]}:{frames[-1].lineno}" if frames else "elsewhere"


def run(reader: str, seconds: float, seed: int, first: int, keep: Path | None) -> dict[str, Any]:
    """Fuzz one reader for some seconds; the seeds themselves come first and have to be read."""
    said: Counter[str] = Counter()
    failures: dict[str, dict[str, Any]] = {}
    began, number, slowest = time.monotonic(), first - len(SEEDS[reader]), 0.0
    while number < first or time.monotonic() - began < seconds or (first and number == first):
        files, options = SEEDS[reader][number - first] if number < first else case(reader, seed, number)
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            _write(files, Path(folder))
            start = time.process_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, CPU)
            try:
                outcome = attempt(reader, Path(folder), options, number < first or number % CHECKED == 0)
                if number < first and outcome != "read":
                    raise Wrong(f"a valid input is {outcome}")
            except (Exception, Hang) as error:  # anything is a finding here
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                outcome, key = "failed", f"{type(error).__name__} at {place(error)}"
                if key not in failures:
                    failures[key] = {"case": number, "message": str(error)[:300], "count": 0}
                    if keep is not None:
                        _write(files, keep / f"{reader}-{len(failures)}")
                failures[key]["count"] += 1
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            slowest = max(slowest, time.process_time() - start)
        said[outcome] += number >= first
        number += 1
    return {
        "reader": reader,
        "seconds": round(time.monotonic() - began, 1),
        "cases": max(0, number - first),
        "slowest": round(slowest, 2),
        **said,
        "failures": failures,
    }


def _stop(*_: Any) -> None:
    raise Hang(f"more than {CPU} seconds of CPU")


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)


def _words(given: Iterable[Seed]) -> list[bytes]:
    found = {
        w
        for files, _ in given
        for c in files.values()
        if not c.startswith(b"PK")
        for w in re.findall(rb"[\w.-]+|\W+", c)
    }
    return sorted(found) or [b"x"]


SEEDS = seeds()
WORDS = {name: _words(given) for name, given in SEEDS.items()}


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    signal.signal(signal.SIGVTALRM, _stop)
    missing = set(readers.READERS) - set(SEEDS)
    if missing:
        print(f"no input for the readers {sorted(missing)}", file=sys.stderr)
        return 1
    bad = False
    for number, reader in enumerate(given.readers or readers.READERS):
        attempt_seeds = (
            run(reader, 0, given.seed, 0, None) if number == 0 else {}
        )  # everything imported before the limit
        if number == 0:
            _limit_memory()
        found = run(reader, given.seconds, given.seed, given.first, given.keep)
        bad |= bool(found["failures"] or attempt_seeds.get("failures"))
        print(json.dumps(found), flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
