"""Text generators: their errors, the caller's own text, a replayed file, and how one is named in a string or a table.

A generator turns prompts into hypothetical documents (Gao, Ma, Lin and Callan 2022, HyDE). It meets
`core.protocols.Generator`, and beside the protocol's arguments those of this package take three more, all optional:
`queries` (the query behind each prompt, for those that look texts up), `first` (the number of the first sample wanted, so
that a store can ask for samples 2 and 3 alone) and `on_text` (called with each finished text, so that it can be stored
before the call ends). A generator has no tools: a text is data, and nothing here executes or interprets it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mumei.core.errors import DataError, MumeiError, UsageError, suggest, unknown

KINDS = ("openai", "local", "replay", "text")
FEEDBACK = "feedback"  # a name kept for vector feedback, which needs no language model


class GeneratorError(MumeiError, RuntimeError):
    """A generator could not give the texts.

    Parameters
    ----------
    message : str
        What happened and what to do.
    finished : list of list of str, optional
        The texts that were finished before, a list for each prompt, possibly empty.
    failed : dict of int to GeneratorError, optional
        What went wrong with which prompt (by place), where it is known.

    Attributes
    ----------
    reason : str
        One word for the class, stable, to state why a search fell back.
    """

    reason = "failed"

    def __init__(
        self,
        message: str,
        *,
        finished: list[list[str]] | None = None,
        failed: dict[int, GeneratorError] | None = None,
    ):
        super().__init__(message)
        self.finished = finished if finished is not None else []
        self.failed = failed if failed is not None else {}


class GeneratorDown(GeneratorError):
    """The server cannot be reached, or answers 500, 502, 503 or 504 each time."""

    reason = "down"


class GeneratorTimeout(GeneratorError):
    """A request took longer than `timeout`, or the call longer than its deadline."""

    reason = "timeout"


class GeneratorRateLimited(GeneratorError):
    """The server says 429: too many requests, or the quota is used up."""

    reason = "rate-limited"


class GeneratorAuth(GeneratorError):
    """The server says 401 or 403: the key is missing, wrong or has no right to the model."""

    reason = "auth"


class GeneratorRejected(GeneratorError):
    """The server does not take the request (400, 404, a redirect elsewhere): another model name, address or option is needed."""

    reason = "rejected"


class GeneratorRefusal(GeneratorError):
    """The model refuses to answer this prompt, or a content filter removed the text."""

    reason = "refused"


class GeneratorEmpty(GeneratorError):
    """The model gives an empty text each time."""

    reason = "empty"


class GeneratorMalformed(GeneratorError):
    """The answer is not what the protocol says: a web page, broken JSON, no choices, too large."""

    reason = "malformed"


class GeneratorMissing(GeneratorError):
    """There is no text for this query among those given."""

    reason = "missing"


@dataclass(frozen=True)
class Generated:
    """One finished text: what it cost and why it ended ("stop", "length", "given")."""

    text: str
    tokens: int | None = None
    milliseconds: float | None = None
    finish: str = "stop"
    seed: int | None = None


@dataclass(frozen=True)
class Call:
    """One entry of a generator's `log`: a request to a server with its retries, or a batch of a local model.

    `status` is "ok" or an error's `reason`; tokens are None where the server does not count them.
    """

    status: str
    attempts: int
    milliseconds: float
    texts: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    note: str = ""


OnText = Callable[[int, int, Generated], Any]  # place of the prompt, sample number, text


def totals(log: Iterable[Call]) -> str:
    """Return one line that sums a log up.

    Examples
    --------
    >>> totals([Call("ok", 1, 1500.0, 2, 40, 90), Call("down", 5, 500.0, 0)])
    '2 calls (1 failed), 6 attempts, 2 texts, 40 + 90 tokens, 2.0 s'
    """
    calls = list(log)
    failed = sum(c.status != "ok" for c in calls)
    asked, made = (sum(getattr(c, f) or 0 for c in calls) for f in ("prompt_tokens", "completion_tokens"))
    uncounted = sum(c.status == "ok" and c.completion_tokens is None for c in calls)
    return (
        f"{len(calls)} calls ({failed} failed), {sum(c.attempts for c in calls)} attempts, "
        f"{sum(c.texts for c in calls)} texts, {asked:,} + {made:,} tokens"
        f"{f' ({uncounted} calls not counted by the server)' if uncounted else ''}, "
        f"{sum(c.milliseconds for c in calls) / 1000:.1f} s"
    )


def check_request(
    prompts: Sequence[str],
    n: int,
    temperature: float,
    max_tokens: int,
    seed: int = 0,
    queries: Sequence[str] | None = None,
    first: int = 0,
) -> list[str]:
    """Return the prompts as a list, or raise `UsageError` or `DataError` that names the first argument not allowed."""
    texts = _check_texts("prompt", prompts)
    if queries is not None and len(_check_texts("query", queries)) != len(texts):
        raise UsageError(f"{len(queries)} queries were given for {len(texts)} prompts; give one for each.")
    for name, value, least in (("n", n, 1), ("max_tokens", max_tokens, 1), ("seed", seed, 0), ("first", first, 0)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            raise UsageError(f"{name}={value!r} is not allowed; give a whole number of {least} or more.")
    try:
        allowed = math.isfinite(temperature) and temperature >= 0
    except TypeError:
        allowed = False
    if not allowed:
        raise UsageError(f"temperature={temperature!r} is not allowed; give a number of 0 (greedy) or more.")
    return texts


def _check_texts(what: str, items: Sequence[str]) -> list[str]:
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise UsageError(
            f"{what}: a list of texts is wanted, {type(items).__name__} was given. Put a single one in a list."
        )
    texts = list(items)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"{what} {i} is {type(text).__name__} ({text!r:.40}), not text; drop it or turn it into a str."
            )
    return [clean(text) for text in texts]


def clean(text: str) -> str:
    """Return a text that can be stored, sent and encoded: a lone surrogate, which is no character, becomes "?"."""
    return text.encode("utf-8", "replace").decode()


def plain(text: str) -> str:
    """Return a query in the form in which it is looked up: blanks folded, case as it is."""
    return " ".join(clean(text).split())


class Lookup:
    """What `OwnText` and `Replay` share: texts that exist already, repeated in turn where more are wanted than there are.

    A repeat weighs a text against the query when vectors are averaged: ask `available` for how many there are.
    `notes` says for which query texts were repeated.
    """

    name: str

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.log: list[Call] = []  # always empty: nothing is asked

    def lookup(self, query: str) -> list[str]:
        """Return all texts of a query; raise `GeneratorMissing` where there are none."""
        raise NotImplementedError

    def available(self, query: str) -> int:
        """Return how many different texts there are for a query, 0 where there is none."""
        try:
            return len(self.lookup(query))
        except GeneratorMissing:
            return 0

    def generate(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
        queries: Sequence[str] | None = None,
        first: int = 0,
        on_text: OnText | None = None,
    ) -> list[list[str]]:
        """Return n texts for each prompt, looked up by `queries`, or by the prompts where none are given.

        Temperature, max_tokens and seed are checked and make no difference.

        Raises
        ------
        GeneratorMissing
            A query has no text; `finished` holds those before it.
        """
        keys = check_request(prompts, n, temperature, max_tokens, seed, queries, first)
        keys = keys if queries is None else list(queries)
        made: list[list[str]] = []
        for place, key in enumerate(keys):
            try:
                texts = self.lookup(key)
            except GeneratorMissing as error:
                rest: list[list[str]] = [[] for _ in keys[place:]]
                raise GeneratorMissing(str(error), finished=made + rest, failed={place: error}) from None
            made.append([texts[(first + i) % len(texts)] for i in range(n)])
            if first + n > len(texts):
                self._note(f"{key:.60}: {len(texts)} of {first + n} texts wanted, repeated in turn")
            for i, text in enumerate(made[-1]):
                if on_text is not None:
                    on_text(place, first + i, Generated(text, finish="given"))
        return made

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


class OwnText(Lookup):
    """The caller's own hypothetical texts: no language model.

    Parameters
    ----------
    texts : str, sequence of str, or mapping from query to either
        Texts for every prompt, or by query.

    Raises
    ------
    UsageError
        There is no text, or one is empty or not text.

    Examples
    --------
    >>> OwnText("Statins lower LDL cholesterol.").generate(["any prompt"])
    [['Statins lower LDL cholesterol.']]
    """

    def __init__(self, texts: str | Sequence[str] | Mapping[str, str | Sequence[str]]):
        super().__init__()
        self._for_all = [] if isinstance(texts, Mapping) else _own("texts", texts)
        self._by_query: dict[str, list[str]] = {}
        if isinstance(texts, Mapping):
            for query, own in texts.items():
                if not isinstance(query, str):
                    raise UsageError(f"own text: the query {query!r:.60} is not text.")
                self._by_query[plain(query)] = _own(f"the query {query!r:.60}", own)
            if not self._by_query:
                raise UsageError("own text: the table of texts by query is empty; give at least one query.")
        content = json.dumps([self._for_all, self._by_query], sort_keys=True, ensure_ascii=True)
        self.name = f"own-text/{hashlib.blake2b(content.encode(), digest_size=6).hexdigest()}"

    @classmethod
    def example(cls) -> OwnText:
        """Return a small one, for the conformance checks."""
        return cls(["Statins lower LDL cholesterol.", "Insulin lowers the concentration of glucose in blood."])

    def lookup(self, query: str) -> list[str]:
        """Return the texts of a query, or those for every query."""
        found = self._for_all or self._by_query.get(plain(query))
        if found:
            return found
        raise GeneratorMissing(
            f"no own text for the query {query!r:.200}.{suggest(query, self._by_query, 1)} "
            f"Texts are given for {len(self._by_query)} queries."
        )


def _own(what: str, given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or isinstance(texts, bytes) or not texts:
        raise UsageError(f"own text, {what}: give a text or a list of texts, at least one; got {given!r:.60}.")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"own text, {what}: {text!r:.60} is empty or not text.")
    return [clean(text) for text in texts]


class Replay(Lookup):
    """Texts of a JSONL file that somebody generated before: reproducible, free of charge, no language model.

    Each line is an object with `text` and at least one of `query_id`, `query` and `prompt`; `model` and anything else is
    optional. A query may have several lines: its texts stand in the order of the file.

    Parameters
    ----------
    path : path
        The file.
    model : str, optional
        Take only lines of this model.

    Attributes
    ----------
    models : list of str
        The models named in the file.
    notes : list of str
        Lines left out for their empty text, and queries whose texts were repeated.

    Raises
    ------
    DataError
        The file is missing, or a line is not as described; names the line.
    """

    def __init__(self, path: str | os.PathLike[str], *, model: str | None = None):
        super().__init__()
        self.path, self.model = Path(path), model
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot read the replay file {self.path} ({error.strerror or error}); give a JSONL file of generations."
            ) from error
        self._texts: dict[str, list[str]] = {}
        self._queries: dict[str, None] = {}  # what is suggested for a typing error
        self.models: list[str] = []
        for number, line in enumerate(content.splitlines(), start=1):
            if line.strip():
                self._add(number, line)
        if model is not None and model not in self.models:
            raise unknown(f"model in {self.path}", model, self.models)
        if not self._texts:
            raise DataError(f"{self.path} holds no generation; give a file with lines of query_id, query and text.")
        digest = hashlib.blake2b(content, digest_size=6).hexdigest()
        self.name = f"replay/{self.path.name}/{digest}" + (f"/{model}" if model else "")

    def _add(self, number: int, line: bytes) -> None:
        where = f"{self.path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error}); each line must be one object.") from None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise DataError(f"{where}: no 'text'; each line needs 'text' and 'query_id', 'query' or 'prompt'.")
        if isinstance(row.get("query_id"), int):
            row["query_id"] = str(row["query_id"])
        keys = dict.fromkeys(plain(row[k]) for k in ("query_id", "query", "prompt") if isinstance(row.get(k), str))
        if not keys:
            raise DataError(
                f"{where}: none of 'query_id', 'query' and 'prompt'; it cannot be told what the text is for."
            )
        made_by = str(row.get("model") or "")
        if made_by and made_by not in self.models:
            self.models.append(made_by)
        if self.model is not None and made_by != self.model:
            return
        if not row["text"].strip():
            self._note(f"{where}: the text is empty, left out")
            return
        self._queries.update(dict.fromkeys(plain(row[k]) for k in ("query",) if isinstance(row.get(k), str)))
        for key in keys:
            self._texts.setdefault(key, []).append(clean(row["text"]))

    def __len__(self) -> int:
        """Return how many different queries have a text."""
        return len(self._queries) or len(self._texts)

    def lookup(self, query: str) -> list[str]:
        """Return the texts of a query, given by its text or its id."""
        found = self._texts.get(plain(query))
        if found:
            return found
        raise GeneratorMissing(
            f"{self.path} has no text for the query {query!r:.200}.{suggest(query, self._queries or self._texts, 1)} "
            f"It holds {len(self)} queries; the query must be given as it stands there, or by its id."
        )


def open_generator(spec: str | Mapping[str, Any] | Any) -> Any:
    """Return the generator that a string or a table names.

    Parameters
    ----------
    spec : str, mapping or generator
        `"openai:MODEL@BASE_URL"`, `"local:FOLDER_OR_NAME"`, `"replay:FILE"`, `"text:THE TEXT"`; or a table with `kind` and
        the arguments of `ChatGenerator` (`model`, `base_url`, ...), `TransformersGenerator` (`model`, ...), `Replay`
        (`path`, `model`) or `OwnText` (`texts`). A generator is returned as it is.

    Raises
    ------
    UsageError
        An unknown kind or argument, with the closest match; "feedback", which needs no generator; a key in the table.

    Examples
    --------
    >>> open_generator("text:Statins lower LDL cholesterol.").generate(["any prompt"])
    [['Statins lower LDL cholesterol.']]
    """
    if isinstance(spec, str):
        kind, options = _parse(spec)
    elif isinstance(spec, Mapping):
        kind, options = str(spec.get("kind", "")), {str(k): v for k, v in spec.items() if k != "kind"}
    elif hasattr(spec, "generate"):
        return spec
    else:
        raise UsageError(
            f"generator {spec!r:.60}: give a string such as 'local:FOLDER', a table with 'kind', or a generator."
        )
    if kind == FEEDBACK:
        raise UsageError("'feedback' uses no language model: it is a mode of the search, not a text generator.")
    if kind not in KINDS:
        raise unknown("kind of generator", kind, [*KINDS, FEEDBACK])
    maker = _maker(kind)
    _check_options(kind, maker, options)
    return maker(**options)


def _parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Split "kind:rest" into a kind and arguments."""
    kind, colon, rest = spec.partition(":")
    kind, rest = kind.strip().lower(), rest.strip()
    if kind == FEEDBACK or kind not in KINDS:
        return kind, {}
    if not colon or not rest:
        shapes = {"openai": "MODEL@BASE_URL", "local": "FOLDER_OR_NAME", "replay": "FILE", "text": "THE TEXT"}
        raise UsageError(f"generator {spec!r}: write {kind}:{shapes[kind]}.")
    if kind != "openai":
        return kind, {{"local": "model", "replay": "path", "text": "texts"}[kind]: rest}
    # The address begins at the last "@http": model names may hold an "@" themselves.
    at = max(rest.rfind("@http://"), rest.rfind("@https://"))
    if at <= 0:
        raise UsageError(
            f"generator {spec!r}: add the address after an @, for example openai:{rest.partition('@')[0] or 'MODEL'}"
            "@http://127.0.0.1:8080/v1 or @https://api.openai.com/v1. Nothing is sent to a default address."
        )
    return kind, {"model": rest[:at], "base_url": rest[at + 1 :]}


def _maker(kind: str) -> Callable[..., Any]:
    if kind == "openai":
        from mumei.retrieval.chat import ChatGenerator

        return ChatGenerator
    if kind == "local":
        from mumei.retrieval.local import TransformersGenerator

        return TransformersGenerator
    return Replay if kind == "replay" else OwnText


def _check_options(kind: str, maker: Callable[..., Any], options: Mapping[str, Any]) -> None:
    from inspect import signature

    parameters = signature(maker).parameters
    for name in options:
        if name in ("api_key", "key", "token", "authorization"):
            raise UsageError(
                f"generator {kind!r}: {name!r} does not belong in a table or a file. Put the key into an environment "
                "variable and give that variable's name as 'key_env' (OPENAI_API_KEY by default)."
            )
        if name not in parameters:
            raise unknown(f"argument of generator {kind!r}", name, parameters)
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in options]
    if missing:
        raise UsageError(f"generator {kind!r} needs {', '.join(map(repr, missing))}.")
