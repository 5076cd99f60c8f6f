"""Small things said of a text: its sentences, its label, its beginning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(\"'])|(?<=[。！？])")


def sentences(text: str) -> list[str]:
    """Split a text into sentences at ends that a capital, digit or bracket follows, and at Japanese full stops.

    Examples
    --------
    >>> sentences("One is here. Two is, e.g. this one.")
    ['One is here.', 'Two is, e.g. this one.']
    """
    return [s.strip() for s in _SENTENCE.split(text) if s and s.strip()]


def label(item: Mapping[str, Any], kind: str = "text") -> str:
    """Return what a row is called: its title, else how its text begins; a sequence or a table's row by its id."""
    return item["title"] or (shorten(item["text"], 80) if kind == "text" else "") or item["id"]


def shorten(text: str, length: int) -> str:
    """Return the beginning of a text on one line, with an ellipsis where it was cut."""
    text = " ".join(text[: 4 * length].split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
