"""Checks of corpora, each with a code, and their report. `run_checks(corpus)` runs them; `registry()` lists them.

Groups, a file each: `spans.py` SP (offsets and texts of mentions, passages, sentences), `references.py` RF (ids that refer to
annotations), `identity.py` ID (ids, documents and annotations that occur twice) and RD (what could not be read), `published.py`
CT (counts), `tasks.py` TK (what the tasks promise), `metadata.py` MD (what the recipe says), `answers.py` QA (questions, choices,
answers), `labels.py` LB (types, labels, ids of concepts), `texts.py` TX (empty, damaged, in another language, mark-up),
`leakage.py` LK (the same text in two splits or corpora, near copies). `registry()` has each with its explanation and an example.

BigBIO's suite is in them: its checks of ids (ID01), tasks and their parts (TK01 to TK06), references (RF01 to RF03), passages and
mentions (SP01 to SP05), choices and answers (QA01 to QA03), joiners (LB01, LB02) and metadata (MD01 to MD03), all over all splits
together. The rest is what that suite lacks.
"""

from __future__ import annotations

from mumei.data.checks.core import Check, Finding, chosen, corpus_check, document_check, registry, run_checks
from mumei.data.checks.report import Report

__all__ = ["Check", "Finding", "Report", "chosen", "corpus_check", "document_check", "registry", "run_checks"]
