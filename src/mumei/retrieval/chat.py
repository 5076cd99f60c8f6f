"""Text from any server that speaks OpenAI's protocol: a hosted model, vLLM, llama.cpp, Ollama, LM Studio.

HyDE samples N texts a prompt (Gao, Ma, Lin and Callan 2022). Where a server makes N at once (`n`) that is one request; many
servers ignore `n`, so what came back is counted and the rest asked for, each with a seed derived from the sample's number.
A server that honours the seed thus gives the same texts again; whether it does is the server's affair: store them
(`generation_store`) to be sure. Requests of one call run beside each other in an event loop in a thread of its own, so that
a deadline holds to the moment and the call works within notebooks, which have a loop already.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from mumei.core.errors import UsageError
from mumei.core.seeds import child, seed32
from mumei.retrieval.chat_choices import Choice, read_choices, usage
from mumei.retrieval.chat_http import Answer, Failure, Key, check_base_url, check_secure, post
from mumei.retrieval.generators import (
    Call,
    Generated,
    GeneratorEmpty,
    GeneratorError,
    GeneratorRefusal,
    GeneratorTimeout,
    OnText,
    check_request,
    totals,
)

RESERVED = ("model", "messages", "prompt", "n", "seed", "temperature", "max_tokens", "max_completion_tokens", "stream")
BACKOFF = 0.5  # seconds before the second attempt, doubled for each further one
LONGEST_BACKOFF = 30.0
GRACE = 2.0  # seconds past the deadline in which the thread may end by itself


@dataclass
class _Job:
    """One `generate` call while it runs."""

    prompts: list[str]
    first: int
    n: int
    temperature: float
    max_tokens: int
    seed: int
    ends: float  # on the clock of time.monotonic
    on_text: OnText | None
    key: Key
    made: list[dict[int, Generated]] = field(default_factory=list)
    failed: dict[int, GeneratorError] = field(default_factory=dict)
    fatal: Exception | None = None
    task: asyncio.Task[None] | None = None
    client: Any = None
    slots: Any = None

    @property
    def left(self) -> float:
        return self.ends - time.monotonic()

    def finished(self) -> list[list[str]]:
        return [[texts[k].text for k in sorted(texts)] for texts in self.made]


class ChatGenerator:
    r"""A language model behind an OpenAI-compatible server.

    Parameters
    ----------
    base_url : str
        Address up to the route, often ending in /v1. A key over plain http to another machine is refused.
    model : str
        As the server names it.
    key_env : str or None
        Environment variable that holds the key, read at each call and never kept; unset or None: no key is sent.
    timeout : float
        Seconds for one request, from connecting to the last byte.
    retries : int
        Further attempts after 429, 500, 502, 503, 504, no connection or no answer in time, and after an empty text.
    max_concurrent : int
        Requests under way at once.
    requests_per_minute : float, optional
        Requests are spaced evenly to stay below it.
    style : {"chat", "completion"}
        /chat/completions or /completions.
    system : str, optional
        System message of the chat style.
    extra : mapping, optional
        Further fields of the request body, such as `{"top_p": 0.95, "stop": ["\n\n\n"]}`.
    deadline : float, optional
        Seconds for one `generate` call in all; None waits as long as the attempts take.
    limit : int
        Bytes of an answer that are read.
    allow_insecure : bool
        Send the key over plain http all the same.
    backoff, longest_wait : float
        Seconds before the second attempt; a Retry-After beyond `longest_wait` is an error at once.

    Attributes
    ----------
    name : str
        `openai:MODEL@BASE_URL`, which `open_generator` takes.
    log : list of Call
        Every request with its attempts, tokens and milliseconds.
    notes : list of str
        What was done differently: a server that ignores `n`, texts that were cut.

    Raises
    ------
    UsageError
        An argument is not allowed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_env: str | None = "OPENAI_API_KEY",
        timeout: float = 60.0,
        retries: int = 4,
        max_concurrent: int = 4,
        requests_per_minute: float | None = None,
        style: str = "chat",
        system: str | None = None,
        extra: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        limit: int = 2_000_000,
        allow_insecure: bool = False,
        backoff: float = BACKOFF,
        longest_wait: float = 120.0,
    ):
        self.base_url = check_base_url(base_url)
        if not isinstance(model, str) or not model.strip():
            raise UsageError(f"model={model!r} is not allowed; give the model's name as the server knows it.")
        if style not in ("chat", "completion"):
            raise UsageError(f"style={style!r} is not allowed; give 'chat' or 'completion'.")
        if style == "completion" and system:
            raise UsageError("a system message belongs to style='chat'; put it into the prompt for 'completion'.")
        _check_numbers(timeout=timeout, limit=limit, max_concurrent=max_concurrent, longest_wait=longest_wait)
        _check_numbers(optional=True, requests_per_minute=requests_per_minute, deadline=deadline)
        _check_numbers(zero=True, retries=retries, backoff=backoff)
        given = [name for name in RESERVED if extra and name in extra]
        if given:
            raise UsageError(f"extra may not hold {', '.join(given)}: generate() sets it (and nothing is streamed).")
        try:
            json.dumps(dict(extra or {}), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UsageError(f"extra={extra!r:.200} cannot be sent as JSON ({error}).") from None
        self.model, self.style, self.system, self.key_env = model, style, system, key_env
        self.extra = {k: v for k, v in (extra or {}).items() if v is not None}
        self.timeout, self.retries, self.max_concurrent = float(timeout), int(retries), int(max_concurrent)
        self.requests_per_minute, self.deadline, self.limit = requests_per_minute, deadline, int(limit)
        self.allow_insecure, self.backoff, self.longest_wait = allow_insecure, float(backoff), float(longest_wait)
        check_secure(self.base_url, Key.read(key_env), allow_insecure)
        self.name = f"openai:{model}@{self.base_url}"
        self.log: list[Call] = []
        self.notes: list[str] = []
        self._lock = threading.Lock()
        self._next = 0.0  # no request before this moment, on the clock of time.monotonic
        self._most: int | None = None  # texts that the server makes a request at most, once known
        self._tokens_field = "max_tokens"
        self._tls: Any = None  # certificates take 40 ms to read: once a generator

    @property
    def parameters(self) -> dict[str, Any]:
        """What shapes the texts beside the call's own arguments: part of a stored text's key."""
        return {"style": self.style, "system": self.system, **self.extra}

    def totals(self) -> str:
        """Return one line that sums the log up."""
        return totals(self.log)

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
        deadline: float | None = None,
    ) -> list[list[str]]:
        """Return n texts for each prompt, without blanks at their ends; temperature 0 asks once and repeats the text.

        Parameters
        ----------
        prompts : sequence of str
            m prompts.
        n, temperature, max_tokens, seed
            As the protocol says; a text cut at `max_tokens` is taken and noted.
        queries : sequence of str, optional
            Not used.
        first : int
            Number of the first sample: its seed is derived from `seed` and this number.
        on_text : callable, optional
            Called from the working thread as each text is finished, with the prompt's place, the sample's number and the text.
        deadline : float, optional
            Seconds for this call, in place of the generator's own.

        Returns
        -------
        list of m lists of n str

        Raises
        ------
        GeneratorError
            A subclass says what failed, `finished` holds the texts made until then. After a refusal or an empty text the
            other prompts are still answered.
        """
        prompts = check_request(prompts, n, temperature, max_tokens, seed, queries, first)
        _check_numbers(optional=True, deadline=deadline)
        key = Key.read(self.key_env)
        check_secure(self.base_url, key, self.allow_insecure)
        if not prompts:
            return []
        seconds = deadline if deadline is not None else self.deadline
        ends = math.inf if seconds is None else time.monotonic() + seconds
        job = _Job(prompts, int(first), int(n), float(temperature), int(max_tokens), int(seed), ends, on_text, key)
        job.made = [{} for _ in prompts]
        if not _run_apart(lambda: self._work(job), job):
            job.fatal = job.fatal or self._out_of_time(job)
        self._raise(job, seconds)
        return job.finished()

    def _raise(self, job: _Job, seconds: float | None) -> None:
        """Raise the worst of what failed, with what was finished."""
        if job.fatal is not None and not isinstance(job.fatal, GeneratorError):
            raise job.fatal  # for example a full disk, in `on_text`
        error = job.fatal or next(iter(job.failed.values()), None)
        if error is None:
            return
        finished = job.finished()
        done = sum(len(texts) for texts in finished)
        asked = job.n * len(job.prompts)
        within = f" within {seconds:g} s" if isinstance(error, GeneratorTimeout) and seconds is not None else ""
        tail = f" {done} of {asked} texts were finished{within}." if asked > 1 or within else ""
        message = str(error) if str(error).endswith(".") else f"{error}."
        raise type(error)(f"{message}{tail}", finished=finished, failed=dict(job.failed)) from None

    def _out_of_time(self, job: _Job) -> GeneratorTimeout:
        return GeneratorTimeout(f"{self.name}: the deadline of this call has passed")

    async def _work(self, job: _Job) -> None:
        """Answer all prompts; stop at the deadline or at the first failure that concerns the server."""
        import httpx

        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "mumei",
            **job.key.headers(),
        }
        job.task = asyncio.current_task()
        job.slots = asyncio.Semaphore(self.max_concurrent)
        pool = httpx.Limits(max_connections=self.max_concurrent)
        self._tls = self._tls or httpx.create_ssl_context()
        async with httpx.AsyncClient(
            headers=headers, timeout=self.timeout, limits=pool, verify=self._tls
        ) as job.client:
            tasks = [asyncio.create_task(self._fill(job, place)) for place in range(len(job.prompts))]
            left = None if math.isinf(job.left) else max(job.left, 0.0)
            try:
                _, waiting = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_EXCEPTION)
                if waiting and job.fatal is None:
                    job.fatal = self._out_of_time(job)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill(self, job: _Job, place: int) -> None:
        """Make the samples of one prompt; failures go into the job, those of the server end it by raising."""
        wanted = list(range(job.first, job.first + (1 if job.temperature == 0 else job.n)))
        try:
            if self._most is None and len(wanted) > 1:
                # What this server makes a request is not known yet: ask for all and count.
                wanted = await self._chunk(job, place, wanted)
            size = self._most or max(len(wanted), 1)
            parts = [wanted[i : i + size] for i in range(0, len(wanted), size)]
            found = await asyncio.gather(*(self._chunks(job, place, part) for part in parts), return_exceptions=True)
            errors = [e for e in found if isinstance(e, BaseException)]
            if errors:
                raise min(errors, key=lambda e: isinstance(e, (GeneratorRefusal, GeneratorEmpty)))
            if job.temperature == 0:
                self._repeat(job, place)
        except (GeneratorRefusal, GeneratorEmpty) as error:
            job.failed[place] = error  # this prompt's own: the others go on
        except Exception as error:
            job.fatal = job.fatal or error
            raise

    async def _chunks(self, job: _Job, place: int, wanted: list[int]) -> None:
        while wanted:
            wanted = await self._chunk(job, place, wanted)

    def _repeat(self, job: _Job, place: int) -> None:
        """Fill the samples of a greedy text, which are all the same."""
        text = job.made[place][job.first]
        for k in range(job.first + 1, job.first + job.n):
            self._keep(job, place, k, text)

    async def _chunk(self, job: _Job, place: int, wanted: list[int]) -> list[int]:
        """Ask for samples in one request and, one by one, for those that came back empty; return what is still missing."""
        choices = await self._ask(job, place, wanted[0], len(wanted), 0)
        if len(choices) < len(wanted):
            if self._most is None or len(choices) < self._most:
                self._most = len(choices)
                self._note(
                    f"the server makes {len(choices)} of {len(wanted)} texts asked for (n): the rest by more requests"
                )
        missing = wanted[len(choices) :]
        refusal = None
        for k, choice in zip(wanted, choices, strict=False):
            if choice.refusal:
                refusal = refusal or choice.refusal
            elif choice.text:
                self._keep(job, place, k, choice.generated)
            else:
                await self._again(job, place, k, choice)
        if refusal:
            raise self._refusal(job, place, refusal)
        return missing

    async def _again(self, job: _Job, place: int, k: int, choice: Choice) -> None:
        """Ask for a sample anew after an empty text, with further seeds."""
        draw = random.Random(child(job.seed, "empty", place, k))  # noqa: S311
        for attempt in range(1, self.retries + 1):
            await self._sleep(job, self._pause(attempt, draw))
            choice = (await self._ask(job, place, k, 1, attempt))[0]
            if choice.refusal:
                raise self._refusal(job, place, choice.refusal)
            if choice.text:
                self._keep(job, place, k, choice.generated)
                return
        why = f", cut at max_tokens={job.max_tokens} before any text: give more" if choice.finish == "length" else ""
        raise GeneratorEmpty(
            f"{self.name} gives an empty text for the prompt {job.prompts[place][:60]!r}, sample {k}, "
            f"{self.retries + 1} times{why}"
        )

    def _refusal(self, job: _Job, place: int, said: str) -> GeneratorRefusal:
        return GeneratorRefusal(f"{self.name} refuses the prompt {job.prompts[place][:60]!r}: {said[:200]}")

    def _keep(self, job: _Job, place: int, k: int, made: Generated) -> None:
        job.made[place][k] = made
        if job.on_text is not None:
            job.on_text(place, k, made)

    async def _ask(self, job: _Job, place: int, k: int, count: int, again: int) -> list[Choice]:
        """Send one request, with retries; return its choices, `count` at most; log it."""
        seed = job.seed if k == 0 and again == 0 and job.seed < 2**31 else seed32(job.seed, "sample", k, again)
        draw = random.Random(child(seed, "backoff", place))  # noqa: S311
        began, attempts = time.perf_counter(), 0
        while True:
            attempts += 1
            body = self._body(job, job.prompts[place], count, seed)
            answer = await self._attempt(job, body)
            if isinstance(answer, Answer):
                answer = read_choices(answer.content, self.style, count, f"{self.base_url}")
            if not isinstance(answer, Failure):
                return self._settle(answer, seed, began, attempts)
            if answer.status == 400 and (adapted := self._adapt(answer.said, body, count)):
                count = adapted
                continue
            if not answer.again or attempts > self.retries:
                raise self._logged(answer.error, began, attempts)
            wait = self._pause(attempts, draw)
            if answer.after is not None:
                wait = max(wait, answer.after)
                self._hold(answer.after)
            if wait > self.longest_wait or wait >= job.left:
                raise self._logged(self._too_long(answer, wait, job), began, attempts)
            await self._sleep(job, wait)

    def _settle(
        self, found: tuple[list[Choice], Mapping[str, Any]], seed: int, began: float, attempts: int
    ) -> list[Choice]:
        """Log a request that was answered; return its choices with their share of tokens and time."""
        choices, content = found
        milliseconds = 1000 * (time.perf_counter() - began)
        asked, made = usage(content)
        cut = sum(c.finish == "length" for c in choices)
        texts = sum(bool(c.text) for c in choices)
        note = f"{cut} of {len(choices)} texts cut at max_tokens" if cut else ""
        self.log.append(Call("ok", attempts, milliseconds, texts, asked, made, note))
        if cut:
            self._note("some texts were cut at max_tokens")
        share = None if made is None else round(made / len(choices))
        cost = {"tokens": share, "milliseconds": milliseconds / len(choices), "seed": seed}
        return [replace(c, generated=replace(c.generated, **cost)) for c in choices]

    def _logged(self, error: GeneratorError, began: float, attempts: int) -> GeneratorError:
        """Log a request that failed for good; return its error with the number of attempts."""
        self.log.append(Call(error.reason, attempts, 1000 * (time.perf_counter() - began), 0))
        return type(error)(f"{error}, after {attempts} attempts") if attempts > 1 else error

    def _too_long(self, failure: Failure, wait: float, job: _Job) -> GeneratorError:
        if wait > self.longest_wait:
            return type(failure.error)(
                f"{failure.error}; it asks to wait {wait:,.0f} s, longer than longest_wait={self.longest_wait:g}"
            )
        return type(failure.error)(f"{failure.error}; the next attempt, in {wait:.1f} s, would pass the deadline")

    def _adapt(self, said: str, body: Mapping[str, Any], count: int) -> int:
        """Change what a server does not take, once each; return how many texts to ask for now, 0 where nothing helps."""
        message = said.lower()
        if "max_tokens" in body and "max_completion_tokens" in message:
            self._tokens_field = "max_completion_tokens"
            self._note("the server wants max_completion_tokens in place of max_tokens")
            return count
        if count > 1 and re.search(r"(?<![a-z])n(?![a-z])\W|completion choice|multiple (choices|completions)", message):
            self._most = 1
            self._note("the server makes one text a request: n texts by n requests")
            return 1
        return 0

    def _body(self, job: _Job, prompt: str, count: int, seed: int) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, **self.extra, "seed": seed, "temperature": job.temperature}
        body[self._tokens_field] = job.max_tokens
        if count > 1:
            body["n"] = count
        if self.style == "completion":
            return {**body, "prompt": prompt}
        system = [{"role": "system", "content": self.system}] if self.system else []
        return {**body, "messages": [*system, {"role": "user", "content": prompt}]}

    async def _attempt(self, job: _Job, body: dict[str, Any]) -> Answer | Failure:
        if job.fatal is not None:
            raise job.fatal
        route = "chat/completions" if self.style == "chat" else "completions"
        async with job.slots:
            await self._turn(job)
            return await post(
                job.client, f"{self.base_url}/{route}", body, job.key, timeout=self.timeout, limit=self.limit
            )

    async def _turn(self, job: _Job) -> None:
        """Wait for this request's moment: evenly spaced below the rate, and not while the server asked to wait."""
        with self._lock:
            now = time.monotonic()
            moment = max(now, self._next)
            if self.requests_per_minute:
                self._next = moment + 60.0 / self.requests_per_minute
        await self._sleep(job, moment - now)

    def _hold(self, seconds: float) -> None:
        """Let no request begin within the next seconds."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + min(seconds, self.longest_wait))

    async def _sleep(self, job: _Job, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)
        if job.fatal is not None:
            raise job.fatal

    def _pause(self, attempt: int, draw: random.Random) -> float:
        """Return the seconds before the next attempt: doubled each time, the upper half of it drawn by chance."""
        return min(self.backoff * 2 ** (attempt - 1), LONGEST_BACKOFF) * (0.5 + 0.5 * draw.random())

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _check_numbers(*, optional: bool = False, zero: bool = False, **given: Any) -> None:
    for name, value in given.items():
        if optional and value is None:
            continue
        allowed = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not allowed or value < 0 or (value == 0 and not zero):
            raise UsageError(f"{name}={value!r} is not allowed; give a number {'of 0 or more' if zero else 'above 0'}.")


def _run_apart(make: Callable[[], Coroutine[Any, Any, None]], job: _Job) -> bool:
    """Run a coroutine in an event loop in a thread of its own; False where it does not end within the deadline.

    The thread is left to itself then: a system's look-up of a host name cannot be interrupted.
    """
    result: Future[None] = Future()
    loops: list[asyncio.AbstractEventLoop] = []

    def work() -> None:
        try:
            with asyncio.Runner() as runner:
                loops.append(runner.get_loop())
                runner.run(make())
                result.set_result(None)  # before the runner ends, which waits for what cannot be interrupted
        except BaseException as error:  # noqa: BLE001 (handed to the caller's thread)
            result.set_exception(error) if not result.done() else None

    thread = threading.Thread(target=work, name="mumei-chat", daemon=True)
    thread.start()
    try:
        result.exception(None if math.isinf(job.left) else max(job.left, 0.0) + GRACE)
    except TimeoutError:
        return False
    except BaseException:  # Ctrl-C: stop the requests too
        if loops and job.task is not None:
            loops[0].call_soon_threadsafe(job.task.cancel)
        raise
    thread.join(GRACE)
    if (error := result.exception()) is not None and job.fatal is None:
        raise error
    return True
