"""Which column is the id, the title and the text: by name, then by what the first rows hold. Every guess is echoed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from mumei.core.errors import DataError, UsageError, suggest
from mumei.discover.sources.kinds import Columns, Options, Record

ID_NAMES = (
    "id _id pmid pubmed_id pmcid doc_id docid document_id documentid uid uuid identifier accession corpus_id cord_uid "
    "article_id abstract_id passage_id sample_id cell_id key"
).split()
TITLE_NAMES = "title name heading headline subject article_title document_title doc_title".split()
TEXT_NAMES = (
    "text abstract body content contents passage document full_text fulltext abstract_text description sentence "
    "sentences article note notes report summary paragraph contexts question comment narrative"
).split()
LABEL_NAMES = "label labels class classes target targets".split()
_WORDS = frozenset("id pmid pmcid title text abstract body content passage sentence".split())
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?", "-", "."))
_SURE = TEXT_NAMES[:6]  # a column of words with such a name is the text, whatever stands beside it
_PROSE = 25  # mean characters from which a column of words counts as text
_SENTENCE = 4  # mean words from which it does too
_NUMERIC = 0.95  # share of filled cells that must be numbers


def normal(name: str) -> str:
    """Return a column name in lower case with runs of other characters as one underscore."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).rstrip("_")


def gather(records: Iterable[Record]) -> dict[str, list[Any]]:
    """Turn sampled records into columns: name to values, None where a record lacks one."""
    rows = [r.values for r in records if r.values is not None]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def number(value: Any) -> float | None:
    """Return a cell as a number; NaN for a missing one, None for anything else."""
    if value is None:
        return float("nan")
    if isinstance(value, (bool, int, float)):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    if not isinstance(value, str):
        return None
    try:
        return float(value) if "_" not in value else None
    except ValueError:
        return float("nan") if value.strip().lower() in _MISSING else None


def is_numeric(values: Sequence[Any]) -> bool:
    """Tell whether nearly all filled cells are numbers, and at least half of the cells are filled."""
    numbers = [number(v) for v in values]
    filled = [n for n in numbers if n is None or n == n]
    found = sum(n is not None for n in filled)
    return bool(filled) and found >= _NUMERIC * len(filled) and 2 * len(filled) >= len(values)


def _strings(values: Sequence[Any]) -> list[str]:
    out = []
    for value in values:
        if isinstance(value, list):
            value = " ".join(v for v in value if isinstance(v, str))
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str) and value.strip():
            out.append(value)
    return out


def _mean_length(values: Sequence[Any]) -> float:
    found = _strings(values)
    return sum(map(len, found)) / len(found) if found else 0.0


def _is_prose(values: Sequence[Any]) -> bool:
    found = _strings(values)
    spaced = sum(" " in text.strip() for text in found)
    if not found or len(found) * 2 < len(values) or 2 * spaced < len(found):
        return False
    words = sum(len(text.split()) for text in found) / len(found)
    return _mean_length(values) >= _PROSE or words >= _SENTENCE


def _is_distinct(values: Sequence[Any]) -> bool:
    """Tell whether values hardly repeat, as ids do."""
    return len(set(map(str, values))) >= 0.9 * len(values)


def _by_name(names: Iterable[str], wanted: Sequence[str]) -> str | None:
    """Return the column whose name is earliest in `wanted`, or has one of the telling words in it."""
    by_normal: dict[str, str] = {}
    for name in names:
        by_normal.setdefault(normal(name), name)
    for name in wanted:
        if name in by_normal:
            return by_normal[name]
    for name in wanted:
        for key, original in by_normal.items():
            if name in _WORDS and name in key.split("_"):
                return original
    return None


def check_given(options: Options, names: Sequence[str], where: str) -> None:
    """Raise `UsageError` for a given column that does not exist, with the closest one and the list."""
    for role in ("id_column", "title_column", "text_column"):
        given = getattr(options, role)
        if given is not None and given not in names:
            option = "--" + role.replace("_", "-")
            raise UsageError(
                f"{where} has no column {given!r} ({option}).{suggest(given, names)} Its columns: {listed(names)}."
            )


def listed(names: Sequence[str], most: int = 30) -> str:
    """Return a short list of names for a message."""
    return ", ".join(map(str, names[:most])) + (f", ... ({len(names)} in all)" if len(names) > most else "") or "(none)"


def choose(sample: dict[str, list[Any]], options: Options, where: str) -> Columns | None:
    """Choose id, title and text columns; None says that the columns are numbers and make a table.

    Parameters
    ----------
    sample : dict
        Column name to the values of the first rows.
    options : Options
        What the caller gave.
    where : str
        The source, for messages.

    Raises
    ------
    UsageError
        A given column does not exist.
    DataError
        No column holds text and none holds numbers.
    """
    names = list(sample)
    check_given(options, names, where)
    numeric = {name for name in names if is_numeric(sample[name])}
    words = [name for name in names if name not in numeric and _strings(sample[name])]
    how = {role: "given" for role in ("id", "title", "text") if getattr(options, f"{role}_column") is not None}
    chosen = Columns(options.id_column, options.title_column, options.text_column, how)
    if chosen.id is None:
        distinct = [n for n in names if n != chosen.text and (normal(n) in ID_NAMES or _is_distinct(sample[n]))]
        chosen.id = _guess(chosen, "id", distinct, ID_NAMES)
    if chosen.title is None:
        chosen.title = _guess(chosen, "title", [n for n in words if n not in (chosen.id, chosen.text)], TITLE_NAMES)
    if chosen.text is None:
        free = [n for n in words if n not in (chosen.id, chosen.title)]
        chosen.text = _guess_text(chosen, sample, free, numeric - {chosen.id}, where)
    return chosen if chosen.text is not None else None


def _guess(chosen: Columns, role: str, names: Sequence[str], wanted: Sequence[str]) -> str | None:
    found = _by_name(names, wanted)
    if found is not None:
        chosen.how[role] = "guessed"
    return found


def _guess_text(
    chosen: Columns, sample: dict[str, list[Any]], free: list[str], numeric: set[str], where: str
) -> str | None:
    """Guess the text column; None for a numeric table. A lone title column serves as the text."""
    named = _guess(chosen, "text", [n for n in free if normal(n) not in LABEL_NAMES], TEXT_NAMES)
    if named is not None and (normal(named) in _SURE or _is_prose(sample[named]) or not numeric):
        return named
    longest = sorted(free, key=lambda name: -_mean_length(sample[name]))
    prose = [name for name in longest if _is_prose(sample[name])]
    if (
        not prose
        and chosen.title is not None
        and chosen.how.get("title") == "guessed"
        and _is_prose(sample[chosen.title])
    ):
        prose, chosen.title = [chosen.title], None
    if not prose and numeric and 2 * len(numeric) >= len(numeric) + len(free):
        return None
    guess = next(iter([*prose, *longest]), None)
    if guess is None and chosen.title is not None and not numeric:
        guess, chosen.title = chosen.title, None
    if guess is None and not numeric:
        raise DataError(
            f"{where} has no column with text. Its columns: {listed(list(sample))}. "
            "Name the one to read with --text-column."
        )
    if guess is not None:
        chosen.how["text"] = "guessed"
    return guess
