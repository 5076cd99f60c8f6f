"""The embedded corpus: short biomedical notes and judged questions, see README.md in this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PASSAGES = Path(__file__).with_name("passages.jsonl")
QUESTIONS = Path(__file__).with_name("questions.jsonl")


def load_passages() -> list[dict[str, Any]]:
    """Return the passages: dicts with `id`, `title`, `text`, `theme` and `lang` ("en" or "ja").

    Examples
    --------
    >>> load_passages()[0]["id"]
    'card-001'
    """
    return _load(PASSAGES)


def load_questions() -> list[dict[str, Any]]:
    """Return the questions: dicts with `id`, `text`, `lang` and `relevant`, a dict from passage id to grade (1 or 2).

    Examples
    --------
    >>> load_questions()[0]["relevant"]
    {'card-001': 2, 'card-015': 1}
    """
    return _load(QUESTIONS)


def _load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
