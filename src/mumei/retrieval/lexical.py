"""Lexical search by bm25s (BM25 of Lucene's form, k1 = 0.9, b = 0.4), with character bigrams for scripts without spaces.

Source: Robertson and Zaragoza 2009, "The probabilistic relevance framework: BM25 and beyond"; k1 and b as in Anserini.
Departure: above `SHARD` rows the index is a list of shards, each with its own document frequencies and mean length, so that
building it needs the memory of one shard; scores of large random shards agree closely but not to the bit.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mumei.core.errors import ArtifactError
from mumei.core.files import TEMPORARY, make_folder, read_json, replace_folder, storage_error, write_json

SHARD = 131_072
K1, B = 0.9, 0.4

# Han, hiragana, katakana, hangul, Thai: no spaces between words (or, in Korean, long agglutinated ones).
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f"
_TOKEN = re.compile(rf"[{_UNSPACED}]+|[^\W{_UNSPACED}]+(?:[-'’.][^\W{_UNSPACED}]+)*")
_UNSPACED_RUN = re.compile(rf"[{_UNSPACED}]")
STOP_WORDS = frozenset(
    "a an and are as at be been but by can did do does for from had has have how if in into is it its may more most not of on"
    " or our than that the their them then there these they this those to was we were what when where which while who whom"
    " whose why will with would you your".split()
)


def tokens(text: str, stem: bool = True) -> list[str]:
    """Split a text for lexical search: lower-case words without stop words; character bigrams in unspaced scripts.

    Compounds are kept whole and in parts ("beta-blocker" gives "beta-blocker", "beta", "blocker"). `stem=False` leaves plurals
    and compounds as they are written, for showing.

    Examples
    --------
    >>> tokens("The BRCA1 gene"), tokens("肺炎治療")
    (['brca1', 'gene'], ['肺炎', '炎治', '治療'])
    """
    found: list[str] = []
    for word in _TOKEN.findall(text.lower()):
        if _UNSPACED_RUN.match(word):
            found.extend(word[i : i + 2] for i in range(max(len(word) - 1, 1)))
        elif not stem and word not in STOP_WORDS:
            found.append(word)
        elif word not in STOP_WORDS:
            found.append(_stem(word))
            parts = re.split(r"[-'’.]", word)
            if len(parts) > 1:
                found.extend(_stem(p) for p in parts if len(p) > 1 and p not in STOP_WORDS)
    return found


def _stem(word: str) -> str:
    """Cut a plural's s and nothing else: biomedical names do not survive more."""
    if len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-3] + "y" if word.endswith("ies") else word[:-1]
    return word


class LexicalIndex:
    """A BM25 index in a folder; `build` makes it from a stream of texts, `open` maps it from the disk."""

    def __init__(self, shards: list[tuple[int, Any]], rows: int):
        self._shards, self._rows = shards, rows

    def __len__(self) -> int:
        return self._rows

    @classmethod
    def build(
        cls, texts: Iterable[str], folder: Path | str, *, progress: Any = None, shard: int = SHARD
    ) -> LexicalIndex:
        """Index a stream of texts into a folder, which appears whole or not at all.

        Parameters
        ----------
        texts : iterable of str
            One per row, in order.
        folder : path
            Replaced if it exists.
        progress : callable, optional
            Called with the number of texts read since the last call.
        """
        folder = Path(folder)
        make_folder(folder.parent)
        temporary = make_folder(folder.parent / f"{TEMPORARY}{secrets.token_hex(6)}-{folder.name}")
        try:
            sizes = _write_shards(iter(texts), temporary, progress, shard)
            write_json(temporary / "lexical.json", {"format": 1, "shards": sizes, "k1": K1, "b": B})
            replace_folder(temporary, folder)
        except OSError as error:
            raise storage_error(error, folder) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path | str) -> LexicalIndex:
        """Open an index; raise `ArtifactError` where there is none."""
        import bm25s

        folder = Path(folder)
        try:
            sizes = read_json(folder / "lexical.json")["shards"]
            shards, first = [], 0
            for i, rows in enumerate(sizes):
                path = folder / f"shard-{i:04d}"
                shards.append((first, bm25s.BM25.load(str(path), mmap=False) if path.exists() else None))
                first += rows
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"no lexical index at {folder} ({error}); run discover again to make it.") from error
        return cls(shards, first)

    def search(self, query: str, k: int) -> tuple[list[int], list[float]]:
        """Return the row numbers and BM25 scores of at most k rows that share a token with the query, best first."""
        words = tokens(query)
        found: list[tuple[float, int]] = []
        for first, index in self._shards:
            if index is None:
                continue
            known = [w for w in words if w in index.vocab_dict]
            if known:
                scores = index.get_scores(known)
                best = scores.argsort(kind="stable")[::-1][: k + 1]
                found.extend((float(scores[i]), first + int(i)) for i in best if scores[i] > 0)
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        return [row for _, row in found[:k]], [score for score, _ in found[:k]]


def _write_shards(texts: Any, folder: Path, progress: Any, shard: int) -> list[int]:
    import bm25s

    sizes: list[int] = []
    while True:
        vocabulary: dict[str, int] = {}
        rows = [_ids(text, vocabulary, progress) for text in islice(texts, shard)]
        if not rows:
            return sizes
        if vocabulary:
            index = bm25s.BM25(k1=K1, b=B, method="lucene")
            tokenized = bm25s.tokenization.Tokenized(ids=rows, vocab=vocabulary)
            with _quiet():
                index.index(tokenized, show_progress=False)
                index.save(str(folder / f"shard-{len(sizes):04d}"))
        sizes.append(len(rows))


def _ids(text: str, vocabulary: dict[str, int], progress: Any) -> list[int]:
    if progress is not None:
        progress(1)
    return [vocabulary.setdefault(word, len(vocabulary)) for word in tokens(text)]


@contextlib.contextmanager
def _quiet() -> Any:
    """Silence bm25s's debug logger for the time of a call."""
    import logging

    logger = logging.getLogger("bm25s")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def overlap(query: str, text: str) -> Sequence[str]:
    """Return the query's tokens that a text has too, in the query's order, each once."""
    here = set(tokens(text))
    return list(dict.fromkeys(word for word in tokens(query) if word in here))
