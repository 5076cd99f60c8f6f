"""BERT encoders under OpenVINO and ONNX Runtime: the embedded MiniLM, or any BERT folder with mean or first-token pooling.

The graph is written by `mumei.nn.bert_graph` and kept in the cache folder under a key of the weights and the versions, whole or
not at all. Texts of a batch have one length, so nothing is padded and nothing masked. Each core works on a batch of its own:
that is faster than all cores on one batch, whose shares are too small at a width of 384.

Number types: float32; bfloat16 (OpenVINO, `INFERENCE_PRECISION_HINT`); int8, where the dense layers' products are 8-bit with
one scale a weight column and attention, norms and sums stay in floating point. The ranges of activations in int8:

- OpenVINO: one range a product, the smallest and largest input seen by the float32 network on calibration texts. By default
  these are random tokens of the vocabulary, from a fixed seed, in texts of 4 tokens up to the cut: on medical abstracts their
  ranges served as well as those of real texts (mean cosine to float32 .9938 against .9942), in any language and with no text
  to carry. A text's vector does not depend on other texts.
- ONNX Runtime: measured at each call, over the whole batch; so a batch is one text, whose vector then depends on it alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from mumei.core.cpu import multiplies_bfloat16
from mumei.core.errors import MissingExtraError, UsageError, unknown
from mumei.core.fetch import cache_folder
from mumei.core.files import atomic_open, make_folder, sha256_file
from mumei.core.threads import in_order
from mumei.retrieval.batching import (
    TOKENS_PER_BATCH,
    Batch,
    check_max_tokens,
    check_texts,
    group_by_equal_length,
    token_batches,
)
from mumei.retrieval.recipes import Recipe, find_recipe

if TYPE_CHECKING:
    import numpy as np

FIRST_CALL = Lock()
EMBEDDED_CUT = 256  # tokens, as for the torch runtime


class RuntimeEncoder:
    """What both runtimes share: reading the folder, tokenising, batches, pooling and unit length.

    Parameters
    ----------
    folder : path, optional
        A BERT folder in Hugging Face's layout; the embedded all-MiniLM-L6-v2 by default.
    dtype : str
        "auto", or one of the class's `dtypes`.
    max_tokens : int, optional
        Longer texts are cut there, special tokens included; by default what the folder says, 256 for the embedded model.
    threads : int, optional
        Cores to use; by default `OMP_NUM_THREADS`, else the cores that this process may run on.
    calibration : sequence of str, optional
        Texts that static int8 ranges are measured on; a hundred are plenty. By default, random tokens.
    cache : path, optional
        Where graphs are kept; `MUMEI_CACHE` or the user's cache folder by default.

    Raises
    ------
    MissingExtraError
        The runtime is not installed.
    UsageError
        `dtype` is not one of the runtime's, or `max_tokens` or `threads` is too small.
    DataError
        The folder does not hold a BERT with GELU, or pools in another way.
    """

    runtime = ""
    dtypes: tuple[str, ...] = ()

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        dtype: str = "auto",
        max_tokens: int | None = None,
        threads: int | None = None,
        calibration: Sequence[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
    ):
        from mumei.nn.bert_shape import BertShape
        from mumei.retrieval.encoders import embedded_model

        if dtype not in ("auto", *self.dtypes):
            raise unknown(f"dtype for {self.runtime}", dtype, ("auto", *self.dtypes))
        if threads is not None and threads < 1:
            raise UsageError(f"threads={threads} is not allowed; give 1 or more.")
        self._require()
        self._embedded = folder is None
        self.folder = embedded_model() if folder is None else Path(folder)
        shape = BertShape.read(self.folder)
        self.recipe = Recipe("mean", True) if folder is None else find_recipe(str(self.folder), self.folder)
        cut = EMBEDDED_CUT if folder is None else min(self.recipe.max_tokens or shape.positions, shape.positions)
        self.max_tokens = check_max_tokens(cut if max_tokens is None else max_tokens)
        if self.max_tokens > shape.positions:
            raise UsageError(f"max_tokens={max_tokens} is more than the model's {shape.positions} positions.")
        self.dim = shape.width
        self.normalized = self.recipe.normalize
        self.threads = threads or default_threads()
        self._calibration = None if calibration is None else check_texts(calibration)
        if self._calibration == []:
            raise UsageError("calibration is empty; give some texts, or leave it out.")
        self._cache = cache_folder() if cache is None else Path(cache)
        self._special = calibration is not None or max_tokens is not None
        self._wanted = dtype

    def _require(self) -> None:
        """Raise `MissingExtraError` where the runtime is not installed."""
        raise NotImplementedError

    @cached_property
    def dtype(self) -> str:
        """The number type in use."""
        return self._automatic() if self._wanted == "auto" else self._wanted

    def _automatic(self) -> str:
        return "float32"

    @cached_property
    def _weights(self) -> str:
        return sha256_file(self.folder / "model.safetensors")

    @cached_property
    def name(self) -> str:
        """What made the vectors: model, number type and runtime, cut; vectors of different names must not be mixed."""
        which = "all-MiniLM-L6-v2" if self._embedded else f"bert-{self._weights[:12]}"
        texts = "" if self._calibration is None or self.dtype != "int8" else f"-{_digest(*self._calibration)}"
        pooled = "" if self._embedded else f"/{self.recipe.pooling}{'' if self.normalized else '-unnormalised'}"
        prefixes = "" if self.recipe.symmetric else f"/{_digest(self.recipe.document_prefix, self.recipe.query_prefix)}"
        return f"{which}/{self.dtype}-{self.runtime}{texts}/{self.max_tokens}{pooled}{prefixes}"

    @property
    def spec(self) -> str | None:
        """The name by which `text_encoder` makes it again on any machine; None where it was given more than a name says."""
        if self._special:
            return None
        return f"{'minilm' if self._embedded else self.folder}@{self.runtime}:{self.dtype}"

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer

    def _tokenise(self, texts: list[str]) -> list[list[int]]:
        return [e.ids for e in self._tokenizer.encode_batch_fast(texts)]

    @cached_property
    def _network(self) -> Callable[[Iterator[Batch]], Iterator[tuple[list[int], np.ndarray]]]:
        """Maps batches to rows and their vectors, as they are finished."""
        raise NotImplementedError

    def _group(self, batch_size: int | None) -> Callable[[list[int], list[list[int]]], Iterator[Batch]]:
        return partial(group_by_equal_length, batch_size=batch_size, budget=TOKENS_PER_BATCH)

    def encode(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode n texts to float32 (n, dim); of unit length where `normalized`. `batch_size` limits the texts of a batch."""
        return self._encode(items, self.recipe.document_prefix, batch_size, progress)

    def encode_queries(
        self, items: Sequence[str], *, batch_size: int | None = None, progress: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Encode n questions to float32 (n, dim): with the model's own prefix for them, if it has one."""
        return self._encode(items, self.recipe.query_prefix, batch_size, progress)

    def _encode(
        self,
        items: Sequence[str],
        prefix: str,
        batch_size: int | None,
        progress: Callable[[int], Any] | None,
    ) -> np.ndarray:
        import numpy as np

        texts = [prefix + text for text in check_texts(items)]
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows, pooled in self._network(token_batches(texts, self._tokenise, self._group(batch_size))):
            if self.normalized:
                pooled = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
            vectors[rows] = pooled
            if progress is not None:
                progress(len(rows))
        return vectors

    def _kept(self, make: Callable[[], bytes], *parts: object) -> Path:
        """Return the file of the graph that `make` gives, from the cache where it lies there under these parts."""
        from mumei.nn.bert_graph import VERSION

        key = _digest(self._weights, VERSION, self.recipe.pooling, *parts, length=16)
        path = make_folder(self._cache / "networks") / f"{key}.onnx"
        if not path.exists():
            content = make()
            with atomic_open(path) as handle:
                handle.write(content)
        return path


class OpenVinoEncoder(RuntimeEncoder):
    """A BERT encoder under OpenVINO on the CPU; see `RuntimeEncoder` for the parameters.

    "auto" is bfloat16 where it is the faster one, float32 elsewhere. int8 is the fastest, at a mean cosine of about
    .993 to float32: choose it where the measured quality of retrieval allows.
    """

    runtime = "openvino"
    dtypes = ("float32", "bfloat16", "int8")

    def _require(self) -> None:
        from importlib.util import find_spec

        if find_spec("openvino") is None:
            raise MissingExtraError("the openvino runtime", "openvino", "openvino")

    def _automatic(self) -> str:
        return "bfloat16" if self._fast_bfloat16 else "float32"

    @cached_property
    def _core(self) -> Any:
        import openvino

        return openvino.Core()

    @cached_property
    def _fast_bfloat16(self) -> bool:
        return multiplies_bfloat16() and "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def _options(self, hint: str) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": self.threads,  # one core each
            "INFERENCE_NUM_THREADS": self.threads,
            "ENABLE_CPU_PINNING": False,  # other work on the machine would wait for a pinned core
        }

    @cached_property
    def _compiled(self) -> Any:
        import openvino

        from mumei.nn.bert_graph import bert_onnx

        make: Callable[[], bytes] = partial(bert_onnx, self.folder, pooling=self.recipe.pooling, extra=self.runtime)
        if self.dtype == "int8":
            texts = ("random",) if self._calibration is None else tuple(self._calibration)
            parts = ("static", self.max_tokens, openvino.__version__, *texts)
            path = self._kept(lambda: make(products="static", ranges=self._ranges()), *parts)  # type: ignore[call-arg]
        else:
            path = self._kept(make, "float")
        half = self.dtype == "bfloat16" or (self.dtype == "int8" and self._fast_bfloat16)
        return self._core.compile_model(str(path), "CPU", self._options("bf16" if half else "f32"))

    def _ranges(self) -> dict[str, tuple[float, float]]:
        """Return each dense layer's smallest and largest input on the calibration texts."""
        import numpy as np

        from mumei.nn.bert_graph import probe_onnx

        names, graph = probe_onnx(self.folder, extra=self.runtime)
        probe = self._core.compile_model(self._core.read_model(graph), "CPU", self._options("f32"))
        if self._calibration is None:
            tokens = random_tokens(self._tokenizer, self.max_tokens)
        else:
            prefixes = (self.recipe.document_prefix, self.recipe.query_prefix)
            tokens = self._tokenise([prefixes[i % 2] + text for i, text in enumerate(self._calibration)])
        found = [probe([np.array([ids], dtype=np.int64)])[0] for ids in tokens]
        low, high = np.min(found, axis=0)[:, 0], np.max(found, axis=0)[:, 1]
        return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}

    @cached_property
    def _network(self) -> Callable[[Iterator[Batch]], Iterator[tuple[list[int], np.ndarray]]]:
        # Requests wait in threads of ours. A callback into Python would be freed in a thread of OpenVINO's, which waits for the
        # interpreter's lock while the model's destructor, holding it, waits for that thread: for ever.
        from queue import SimpleQueue

        import numpy as np

        idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.threads):
            idle.put(self._compiled.create_infer_request())
        # OpenVINO's Python part sets itself up in the first call, and two first calls at once wait for each other.
        with FIRST_CALL:
            self._compiled.create_infer_request().infer({0: np.zeros((1, 4), dtype=np.int64)})

        def infer(batch: Batch) -> tuple[list[int], np.ndarray]:
            request = idle.get()
            try:
                request.infer({0: np.array(batch[1], dtype=np.int64)})
                return batch[0], request.get_output_tensor(0).data.copy()
            finally:
                idle.put(request)

        return partial(_by_threads, infer, self.threads)


class OnnxRuntimeEncoder(RuntimeEncoder):
    """A BERT encoder under ONNX Runtime on the CPU; see `RuntimeEncoder` for the parameters.

    "auto" is float32. int8 measures the ranges of activations at each call, so `calibration` is not used.
    """

    runtime = "onnxruntime"
    dtypes = ("float32", "int8")

    def _require(self) -> None:
        from importlib.util import find_spec

        if find_spec("onnxruntime") is None:
            raise MissingExtraError("the onnxruntime runtime", "onnxruntime", "onnxruntime")

    def _group(self, batch_size: int | None) -> Callable[[list[int], list[list[int]]], Iterator[Batch]]:
        return super()._group(1 if self.dtype == "int8" else batch_size)

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        from mumei.nn.bert_graph import bert_onnx

        products = "dynamic" if self.dtype == "int8" else "float"
        path = self._kept(
            lambda: bert_onnx(self.folder, pooling=self.recipe.pooling, products=products, extra=self.runtime), products
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the calling thread's own core
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    @cached_property
    def _network(self) -> Callable[[Iterator[Batch]], Iterator[tuple[list[int], np.ndarray]]]:
        session = self._session

        def infer(batch: Batch) -> tuple[list[int], np.ndarray]:
            import numpy as np

            return batch[0], session.run(None, {"ids": np.array(batch[1], dtype=np.int64)})[0]

        return partial(_by_threads, infer, self.threads)


def _by_threads(
    infer: Callable[[Batch], tuple[list[int], np.ndarray]], threads: int, batches: Iterator[Batch]
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield `infer(batch)` of each batch, so many at a time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(pool, infer, batches, 2 * threads + 1)


RUNTIMES: dict[str, type[RuntimeEncoder]] = {"openvino": OpenVinoEncoder, "onnxruntime": OnnxRuntimeEncoder}


def default_threads() -> int:
    """Return `OMP_NUM_THREADS`, or the number of cores that this process may run on."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def random_tokens(tokenizer: Any, longest: int, rounds: int = 8) -> list[list[int]]:
    """Return texts of random tokens, special tokens around them: lengths 4, 8, 16 ... up to `longest`, `rounds` of each."""
    from mumei.core.seeds import numpy_generator

    words = [i for word, i in sorted(tokenizer.get_vocab(with_added_tokens=False).items()) if not word.startswith("[")]
    ends = tokenizer.encode("").ids  # BERT's: one token before the text, one after it
    first, last = ends[:1], ends[1:]
    lengths = [n for n in (4 * 2**i for i in range(20)) if n < longest] + [longest]
    draw = numpy_generator(0, "mumei.retrieval", "calibration")
    return [
        [*first, *draw.choice(words, max(1, n - len(ends))).tolist(), *last] for _ in range(rounds) for n in lengths
    ]


def _digest(*parts: object, length: int = 8) -> str:
    state = hashlib.blake2b(digest_size=length)
    for part in parts:
        content = str(part).encode()
        state.update(len(content).to_bytes(8, "little") + content)
    return state.hexdigest()
