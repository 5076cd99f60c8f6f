"""TREC's files: judgements (qrels), runs and topics, streamed and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError, UsageError, unknown
from mumei.core.files import atomic_open
from mumei.retrieval.evaluate import order

_TOPIC = re.compile(r"<top>(.*?)(?:</top>|(?=<top>)|\Z)", re.DOTALL)
_NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)")
# A field ends where the next tag of the format begins; other tags, as <b>, belong to the text.
_END = r"\s*(?=</?(?:title|desc|narr|num|smry|con|top)\b|\Z)"
_FIELDS = {
    "title": re.compile(r"<title>\s*(?:Topic:)?\s*(.*?)" + _END, re.DOTALL),
    "description": re.compile(r"<desc>\s*(?:Description:)?\s*(.*?)" + _END, re.DOTALL),
}
_MARKUP = re.compile(r"</?[a-zA-Z]\w*>")


def lines_of(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a text file, packed by gzip, bzip2 or xz or not; blank lines are left out.

    Raises
    ------
    UsageError
        There is no such file.
    DataError
        It is not UTF-8 text (the message names the line), or the packed file is damaged.
    """
    import bz2
    import gzip
    import lzma
    import zlib

    opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(Path(path).suffix, open)
    number = 0
    try:
        with opener(path, "rb") as handle:
            for number, raw in enumerate(handle, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: not UTF-8 text ({error.reason} at byte {error.start} of the line)."
        ) from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path} cannot be read after line {number}: {error}") from error


def _columns(line: str, allowed: tuple[int, ...]) -> list[str]:
    """Split a line at tabs (ids may then hold spaces) or, where that gives another number of columns, at any space."""
    parts = [part.strip() for part in line.split("\t")]
    return parts if len(parts) in allowed and all(parts) else line.split()


def read_qrels(path: Path | str) -> dict[str, dict[str, int]]:
    """Read judgements: TREC's four columns (query, 0, document, grade) or BEIR's three with a header.

    A pair that is judged twice with the same grade counts once.

    Raises
    ------
    DataError
        A line has other columns, a grade is no whole number, or a pair has two grades; the message names the line.
    """
    found: dict[str, dict[str, int]] = {}
    for number, line in lines_of(path):
        parts = _columns(line, (3, 4))
        if number == 1 and parts[-1].lower() in ("score", "relevance", "rel"):
            continue
        if len(parts) not in (3, 4):
            raise DataError(
                f"{path}:{number}: {len(parts)} columns; a judgement has 'query 0 document grade', or 'query document grade'."
            )
        try:
            grade = int(parts[-1]) if "." not in parts[-1] else _whole(parts[-1])
        except (ValueError, OverflowError) as error:
            raise DataError(f"{path}:{number}: the grade {parts[-1]!r} is not a whole number.") from error
        query, document = parts[0], parts[-2]
        judged = found.setdefault(query, {})
        if judged.setdefault(document, grade) != grade:
            raise DataError(
                f"{path}:{number}: document {document!r} has two grades for query {query!r}: {judged[document]}, {grade}."
            )
    return found


def _whole(text: str) -> int:
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def write_qrels(path: Path | str, judgements: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgements in TREC's four columns; an id that holds a space raises `DataError`."""
    _check_words(judgements, "judgements")
    _write(path, (f"{q} 0 {d} {g}" for q, judged in judgements.items() for d, g in judged.items()))


def read_run(path: Path | str, k: int | None = None) -> dict[str, dict[str, float]]:
    """Read a run, {query id: {document id: score}}, in TREC's six columns (query, Q0, document, rank, score, name).

    Parameters
    ----------
    path : path
        Its lines may come in any order.
    k : int, optional
        Keep the best k of each query; all by default.

    Raises
    ------
    DataError
        A line has other columns, a score is no number, or a document comes twice for a query; the message names the line.
    """
    found: dict[str, dict[str, float]] = {}
    for number, query, document, score in _hits(path):
        _put(found.setdefault(query, {}), document, score, f"{path}:{number}", query)
    return found if k is None else {query: _best(ranking, k) for query, ranking in found.items()}


def stream_run(path: Path | str, k: int | None = None) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield (query id, {document id: score}) of a run whose lines are grouped by query, holding one query at a time.

    `evaluate` takes what this yields: a run of any size is measured in the memory of its longest ranking.

    Parameters
    ----------
    path : path
    k : int, optional
        Yield the best k of each query; all by default.

    Raises
    ------
    DataError
        As `read_run`; or a query comes back after another one: such a file is for `read_run`.
    """
    done: set[str] = set()
    current, ranking = None, {}
    for number, query, document, score in _hits(path):
        if query != current:
            if query in done:
                raise DataError(
                    f"{path}:{number}: query {query!r} comes back after another one; sort the lines by query."
                )
            if current is not None:
                yield current, ranking if k is None else _best(ranking, k)
            done.add(query)
            current, ranking = query, {}
        _put(ranking, document, score, f"{path}:{number}", query)
    if current is not None:
        yield current, ranking if k is None else _best(ranking, k)


def _hits(path: Path | str) -> Iterator[tuple[int, str, str, float]]:
    """Yield (line number, query, document, score)."""
    for number, line in lines_of(path):
        parts = _columns(line, (6,))
        if len(parts) != 6:
            raise DataError(f"{path}:{number}: {len(parts)} columns; a run has 'query Q0 document rank score name'.")
        query, _, document, _, text, _ = parts
        try:
            score = _finite(text)
        except ValueError as error:
            raise DataError(f"{path}:{number}: the score {text!r} is not a number.") from error
        yield number, query, document, score


def _put(ranking: dict[str, float], document: str, score: float, where: str, query: str) -> None:
    if document in ranking:
        raise DataError(f"{where}: document {document!r} comes twice for query {query!r}.")
    ranking[document] = score


def _best(ranking: Mapping[str, float], k: int) -> dict[str, float]:
    return {document: ranking[document] for document in order(ranking)[:k]}


def write_run(path: Path | str, run: Mapping[str, Mapping[str, float]], name: str = "mumei") -> None:
    """Write a run in TREC's six columns, each query's documents best first; an id that holds a space raises `DataError`."""

    def lines() -> Iterator[str]:
        for query, ranking in run.items():
            for rank, document in enumerate(order(ranking), start=1):
                yield f"{query} Q0 {document} {rank} {ranking[document]!r} {name}"

    _check_words(run, "a run")
    if name.split() != [name]:
        raise UsageError(f"a run cannot be named {name!r}: give a name without spaces.")
    _write(path, lines())


def read_topics(path: Path | str, field: str = "title") -> dict[str, str]:
    """Read topics, {query id: text}: TREC's tagged form, or 'id<tab>text' lines.

    Parameters
    ----------
    path : path
    field : {"title", "description"}
        Which part of a tagged topic; one that lacks it gives the other.

    Raises
    ------
    DataError
        A topic has no number or no text, a line has no tab, or an id comes twice; the message names the line.
    """
    if field not in _FIELDS:
        raise unknown("field of the topics", field, _FIELDS)
    numbered = list(lines_of(path))
    tagged = any("<top>" in line for _, line in numbered)
    found: dict[str, str] = {}
    for number, query, text in _tagged(path, numbered, field) if tagged else _tabbed(path, numbered):
        if query in found:
            raise DataError(f"{path}:{number}: the id {query!r} came before; ids must be unique.")
        found[query] = text
    return found


def _tabbed(path: Path | str, numbered: list[tuple[int, str]]) -> Iterator[tuple[int, str, str]]:
    for number, line in numbered:
        query, tab, text = line.partition("\t")
        if not tab or not query.strip():
            raise DataError(f"{path}:{number}: no tab between the query's id and its text.")
        yield number, query.strip(), text.strip()


def _tagged(path: Path | str, numbered: list[tuple[int, str]], field: str) -> Iterator[tuple[int, str, str]]:
    import html

    text = "\n".join(line for _, line in numbered)
    wanted = [_FIELDS[field], *(pattern for name, pattern in _FIELDS.items() if name != field)]
    for topic in _TOPIC.finditer(text):
        at = numbered[text.count("\n", 0, topic.start())][0]
        number = _NUMBER.search(topic[1])
        words = next((m[1] for pattern in wanted if (m := pattern.search(topic[1])) and m[1]), "")
        if number is None or not words:
            raise DataError(f"{path}:{at}: a topic has no <num>, or neither <title> nor <desc>.")
        yield at, number[1], " ".join(html.unescape(_MARKUP.sub(" ", words)).split())


def _check_words(groups: Mapping[str, Iterable[str]], what: str) -> None:
    for query, documents in groups.items():
        for word in (query, *documents):
            if word.split() != [word]:
                raise DataError(f"the id {word!r} holds a space or nothing, which a file of {what} cannot say.")


def _write(path: Path | str, lines: Iterable[str]) -> None:
    with atomic_open(Path(path)) as handle:
        for line in lines:
            handle.write((line + "\n").encode())
