"""Batches of texts for encoders: checked, tokenised ahead in a thread, put together by length.

Texts of a batch are of similar or equal length, so that little or nothing is padded, and a batch holds a budget of tokens
instead of a number of texts: its time and memory depend on tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from mumei.core.errors import DataError, UsageError

# A batch is one core's work (four abstracts, whose activations stay in its cache): that is a fifth faster than all cores on one.
TOKENS_PER_BATCH = 1024
TEXTS_PER_TOKENISING = 2048

Batch = tuple[list[int], list[list[int]]]  # rows of the input and their tokens


def check_texts(items: Sequence[str]) -> list[str]:
    """Return the items as a list of str, or raise `DataError` naming the first that is not text."""
    if isinstance(items, str):
        raise DataError("encode() takes a list of texts; a single str was given. Put it in a list.")
    texts = list(items)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"item {i} is {type(text).__name__} ({text!r:.40}), not text; drop it or turn it into a str."
            )
    return texts


def check_max_tokens(max_tokens: int) -> int:
    """Return it, or raise `UsageError` where no token of the text would be left."""
    if max_tokens < 3:
        raise UsageError(f"max_tokens={max_tokens} is too small; give 3 or more (two are special tokens).")
    return max_tokens


def group_by_length(
    rows: list[int], tokens: list[list[int]], batch_size: int | None = None, budget: int = TOKENS_PER_BATCH
) -> Iterator[Batch]:
    """Yield (rows, tokens) batches of similar length, at most `budget` tokens (or one text) and `batch_size` texts each."""
    return _grouped(rows, tokens, batch_size, budget, equal=False)


def group_by_equal_length(
    rows: list[int], tokens: list[list[int]], batch_size: int | None = None, budget: int = TOKENS_PER_BATCH
) -> Iterator[Batch]:
    """Yield batches as `group_by_length` does, but each of texts of one length: nothing has to be padded or masked."""
    return _grouped(rows, tokens, batch_size, budget, equal=True)


def _grouped(
    rows: list[int], tokens: list[list[int]], batch_size: int | None, budget: int, equal: bool
) -> Iterator[Batch]:
    order = sorted(range(len(rows)), key=lambda i: (len(tokens[i]), i))
    batch: list[int] = []
    used = 0
    for i in order:
        full = used + len(tokens[i]) > budget or (batch_size is not None and len(batch) >= batch_size)
        if batch and (full or (equal and len(tokens[i]) != len(tokens[batch[0]]))):
            yield [rows[j] for j in batch], [tokens[j] for j in batch]
            batch, used = [], 0
        batch.append(i)
        used += len(tokens[i])
    if batch:
        yield [rows[j] for j in batch], [tokens[j] for j in batch]


def token_batches(
    texts: list[str],
    tokenise: Callable[[list[str]], list[list[int]]],
    group: Callable[[list[int], list[list[int]]], Iterator[Batch]],
) -> Iterator[Batch]:
    """Yield the batches of texts, tokenising the next texts in a thread while the caller works on these.

    Parameters
    ----------
    texts : list of str
    tokenise : callable
        Turns a list of texts into their token ids.
    group : callable
        Turns rows and their tokens into batches, as `group_by_length` does.
    """
    starts = range(0, len(texts), TEXTS_PER_TOKENISING)
    chunks = [range(i, min(i + TEXTS_PER_TOKENISING, len(texts))) for i in starts]
    with ThreadPoolExecutor(1) as pool:

        def submit(k: int):
            return pool.submit(tokenise, [texts[i] for i in chunks[k]]) if k < len(chunks) else None

        ahead = submit(0)
        for k, chunk in enumerate(chunks):
            tokens = ahead.result()  # type: ignore[union-attr]
            ahead = submit(k + 1)
            yield from group(list(chunk), tokens)
