"""Which column is the id, the title and the text: as given, by its name, or the one that reads most like text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mumei.core.errors import DataError, UsageError, suggest

IDS = ("id", "_id", "pmid", "doc_id", "docid", "document_id", "uid", "uuid", "identifier", "key", "accession", "name")
TITLES = ("title", "heading", "headline", "subject", "article_title")
TEXTS = (
    "text",
    "abstract",
    "body",
    "content",
    "contents",
    "passage",
    "document",
    "note",
    "notes",
    "description",
    "summary",
)


@dataclass(frozen=True)
class Columns:
    """The columns in use; `id` and `title` may be None. `described` echoes the choice."""

    id: str | None
    title: str | None
    text: str
    described: str


def choose_columns(
    sample: Sequence[Mapping[str, Any]],
    where: str,
    id_column: str | None,
    title_column: str | None,
    text_column: str | None,
) -> Columns:
    """Choose columns from a sample of rows.

    Raises
    ------
    UsageError
        A given column is not there.
    DataError
        No column holds text.
    """
    names = list(dict.fromkeys(name for row in sample for name in row))
    for given in (id_column, title_column, text_column):
        if given is not None and given not in names:
            raise UsageError(f"{where} has no column {given!r}.{suggest(given, names)} Columns: {', '.join(names)}.")
    text = text_column or guess_text(sample)
    if text is None:
        raise DataError(
            f"{where} has no column of text. Columns: {', '.join(names) or '(none)'}. "
            "Name one with --text-column, or give a table of numbers."
        )
    title = title_column or next((n for n in _match(names, TITLES) if n != text), None)
    identity = id_column or next((n for n in _match(names, IDS) if n not in (text, title)), None)
    parts = [
        f"{role}={value!r} ({'given' if given else 'guessed'})" if value else f"{role}=(none)"
        for role, value, given in (
            ("id", identity, id_column),
            ("title", title, title_column),
            ("text", text, text_column),
        )
    ]
    return Columns(identity, title, text, "columns: " + ", ".join(parts))


def guess_text(sample: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the column with a text's name, else the one of the longest prose, else None."""
    names = list(dict.fromkeys(name for row in sample for name in row))
    return _named(names, TEXTS, sample) or _wordiest(names, sample)


def _match(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    lowered = {name.strip().lower(): name for name in names}
    return [lowered[w] for w in wanted if w in lowered]


def _named(names: Sequence[str], wanted: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str | None:
    return next(
        (
            n
            for n in _match(names, wanted)
            if any(isinstance(row.get(n), str) and not is_number(row[n]) for row in sample)
        ),
        None,
    )


def _wordiest(names: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the column of the longest strings on average, if they hold more than one word on average."""
    best, longest = None, 0.0
    for name in names:
        values = [row[name] for row in sample if isinstance(row.get(name), str) and not is_number(row[name])]
        if (
            values
            and sum(map(len, values)) / len(sample) > longest
            and sum(" " in v.strip() for v in values) * 2 > len(values)
        ):
            best, longest = name, sum(map(len, values)) / len(sample)
    return best


def is_number(value: Any) -> bool:
    """Whether a cell is a number or empty."""
    if value is None or isinstance(value, (int, float)):
        return True
    try:
        float(value or 0)
    except (TypeError, ValueError):
        return False
    return True


def as_text(value: Any) -> str:
    """Return a cell as text: lists of strings are joined, None is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return " ".join(as_text(v) for v in value)
    if isinstance(value, dict):
        return " ".join(as_text(v) for v in value.values())
    return str(value)
