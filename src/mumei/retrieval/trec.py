"""TREC's files: judgements (qrels), runs and topics, streamed and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError, UsageError
from mumei.core.files import atomic_open
from mumei.retrieval.evaluate import order

_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL)
_NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)")
_TITLE = re.compile(r"<title>\s*(?:Topic:)?\s*(.*?)\s*(?=<|\Z)", re.DOTALL)
_DESCRIPTION = re.compile(r"<desc>\s*(?:Description:)?\s*(.*?)\s*(?=<|\Z)", re.DOTALL)


def lines_of(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a text file, packed by gzip, bzip2 or xz or not; blank lines are left out."""
    import bz2
    import gzip
    import lzma

    opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(Path(path).suffix, open)
    try:
        with opener(path, "rt", encoding="utf-8-sig") as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def read_qrels(path: Path | str) -> dict[str, dict[str, int]]:
    """Read judgements: TREC's four columns (query, 0, document, grade) or BEIR's three with a header.

    A pair that is judged twice keeps its last grade.

    Raises
    ------
    DataError
        A line has other columns or a grade that is no whole number; the message names the line.
    """
    found: dict[str, dict[str, int]] = {}
    for number, line in lines_of(path):
        parts = line.split("\t") if "\t" in line else line.split()
        if number == 1 and parts[-1].strip().lower() in ("score", "relevance", "rel"):
            continue
        if len(parts) not in (3, 4):
            raise DataError(
                f"{path}:{number}: {len(parts)} columns; a judgement has 'query 0 document grade', or 'query document grade'."
            )
        try:
            grade = int(parts[-1]) if "." not in parts[-1] else _whole(parts[-1])
        except (ValueError, OverflowError) as error:
            raise DataError(f"{path}:{number}: the grade {parts[-1]!r} is not a whole number.") from error
        found.setdefault(parts[0], {})[parts[-2]] = grade
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
    """Write judgements in TREC's four columns."""
    _write(path, (f"{q} 0 {d} {g}" for q, judged in judgements.items() for d, g in judged.items()))


def read_run(path: Path | str) -> dict[str, dict[str, float]]:
    """Read a run, {query id: {document id: score}}, in TREC's six columns (query, Q0, document, rank, score, name).

    Raises
    ------
    DataError
        A line has other columns, a score is no number, or a document comes twice for a query; the message names the line.
    """
    found: dict[str, dict[str, float]] = {}
    for number, line in lines_of(path):
        parts = line.split("\t") if line.count("\t") == 5 else line.split()
        if len(parts) != 6:
            raise DataError(f"{path}:{number}: {len(parts)} columns; a run has 'query Q0 document rank score name'.")
        query, _, document, _, score, _ = parts
        ranking = found.setdefault(query, {})
        if document in ranking:
            raise DataError(f"{path}:{number}: document {document!r} comes twice for query {query!r}.")
        try:
            ranking[document] = _finite(score)
        except ValueError as error:
            raise DataError(f"{path}:{number}: the score {score!r} is not a number.") from error
    return found


def write_run(path: Path | str, run: Mapping[str, Mapping[str, float]], name: str = "mumei") -> None:
    """Write a run in TREC's six columns, each query's documents best first."""

    def lines() -> Iterator[str]:
        for query, ranking in run.items():
            for rank, document in enumerate(order(ranking), start=1):
                yield f"{query} Q0 {document} {rank} {ranking[document]!r} {name}"

    for query, ranking in run.items():
        for word in (query, *ranking):
            if not word or word.split() != [word]:
                raise DataError(f"the id {word!r} holds a space or nothing, which a run file cannot say.")
    _write(path, lines())


def read_topics(path: Path | str) -> dict[str, str]:
    """Read topics, {query id: title}: TREC's tagged form (the description where there is no title), or 'id<tab>text' lines."""
    lines = [line for _, line in lines_of(path)]
    text = "\n".join(lines)
    if "<top>" not in text:
        pairs = [line.split("\t", 1) for line in lines]
        wrong = next((i for i, pair in enumerate(pairs, start=1) if len(pair) != 2), None)
        if wrong:
            raise DataError(f"{path}: line {wrong} has no tab between the query's id and its text.")
        return {query.strip(): words.strip() for query, words in pairs}
    found = {}
    for body in _TOPIC.findall(text):
        number, title, description = (pattern.search(body) for pattern in (_NUMBER, _TITLE, _DESCRIPTION))
        words = (title and title[1]) or (description and description[1])
        if not number or not words:
            raise DataError(f"{path}: a topic has no <num>, or neither <title> nor <desc>: {body[:60].strip()!r}")
        found[number[1]] = " ".join(words.split())
    return found


def _write(path: Path | str, lines: Iterable[str]) -> None:
    with atomic_open(Path(path)) as handle:
        for line in lines:
            handle.write((line + "\n").encode())
