"""Biomedical corpora from their native files: under BigBIO's harmonised schemas, checked, fast, offline.

`load("ncbi_disease")["train"]` is an Arrow table; `run_checks(load(...))` a report. Importing this package loads nothing heavy.

How to add a reader. Write `readers/<format>.py` with a generator function `read_<format>(files, problems, *, encoding="utf-8",
...)` in the form of `readers/base.py` (`Reader`): the files of ONE split in, records of `documents.py` out, one at a time, with
`file` and `line`. Decode by `SourceFile.text` or `decode`, split by `lines_of` or `blocks`, never by `splitlines`. Give what
cannot be used to `problems.bad` and go on with the next document; give oddities to `problems.note`. Inner ids are
`<document id>_<local id>`. Corpora differ by keyword-only options, each checked by name. Enter it in `readers/__init__.py`
(`READERS`: import string, schema, endings, and a pattern of the first bytes where endings do not suffice). Test it in
`tests/data/readers/test_<format>.py` with small files written there: a plain one, the traps, each error with its line. A format
of rows (tables, objects, elements) needs a function that yields (row, line) only: `row_reader` of `readers/rows.py` makes the
reader, and what a row's fields become is options in the language of `readers/fields.py`.

How to add a recipe. Write `corpora/<name>.toml`, with the fields of `recipes.Recipe` and BigBIO's name of the corpus. `files`
are the published ones with sha256 and https addresses (none where they cannot be fetched or lie packed otherwise); `splits`
name them, `archive!pattern` for members; `[views.kb]` names a reader and its options, one view for each schema, with
`[views.kb.splits.<split>]` those of one split over them; parts with their own configuration are `[subsets.<name>]`. `counts`
are those of the published files, by split, with keys of `counts.py`. The tests over all recipes find the file by themselves:
it loads, its counts are right, its checks run.

How to add a check. In the file of its group in `checks/`, or a new file there (found by itself), put `@document_check(code,
severity, title, explanation=..., example=..., kinds=("kb",))` on a generator over one record that yields (item id, message), or
`@corpus_check(...)` on one over a corpus that yields `check.finding(message, split=..., document=...)`. A code never changes its
meaning. "error" breaks the schema's rules, "warning" is probably wrong, "info" is worth knowing. Test that a planted fault is
found by its code and that sound data give nothing; `tests/data/checks` holds that every code has such a fault.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mumei.data.checks import run_checks
    from mumei.data.corpus import Corpus, corpus_of
    from mumei.data.loading import load

__all__ = ["Corpus", "corpus_of", "load", "run_checks"]
_HOMES = {"Corpus": "corpus", "corpus_of": "corpus", "load": "loading", "run_checks": "checks"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
