"""Text from a language model on this machine, by transformers: decoders (GPT, Llama, Qwen) and encoder-decoders (T5, Flan-T5).

Sampling is by the Gumbel-max trick (Gumbel 1954; Yellott 1977): the largest of `logit / temperature + g`, with g from a
standard Gumbel distribution, is a draw from the softmax. The noise of each row comes from a generator of its own, seeded by
the prompt and the sample's number: nothing global is touched, and a sample is the same whatever is sampled beside it, but
for the rounding of another batch. transformers' `generate` then only has to take the largest.

Departures: of the model's own generation settings only the special tokens are used, so that temperature means the same for
every model; weights are read from safetensors alone and no code out of a model's folder is run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mumei.core.errors import MissingExtraError, UsageError
from mumei.core.seeds import child
from mumei.retrieval.generators import Call, Generated, GeneratorTimeout, OnText, check_request, totals

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16", "float16")
TAIL = 24  # last tokens of a row, in which a stop string is looked for


class TransformersGenerator:
    r"""A language model of a folder or of the Hugging Face hub.

    Parameters
    ----------
    model : str or path
        A folder with `config.json`, a tokenizer and safetensors weights, or a hub name.
    device : str, optional
        As torch names it; a GPU where there is one.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        "auto" is bfloat16 or float32 on a CPU, whichever it multiplies fast, and the weights' own type on a GPU.
    stop : tuple of str
        A text ends before the first of these; the paper's is three newlines.
    top_p : float
        Sample from the most likely tokens that make up this probability; 1 is all of them.
    batch_size : int
        Texts made at once.
    chat : bool, optional
        Whether prompts go into the tokenizer's chat template; by default where it has one.
    system : str, optional
        System message of the chat template.

    Attributes
    ----------
    name : str
        Model, number type; a folder's weights by hash.
    log : list of Call
        Each batch with its tokens and milliseconds.
    notes : list of str
        What was done differently: texts cut at `max_tokens`, or shorter because the model's window is.

    Raises
    ------
    UsageError
        An argument is not allowed, or there is no such model.
    MissingExtraError
        transformers is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str | None = None,
        dtype: str = "auto",
        stop: Sequence[str] = ("\n\n\n",),
        top_p: float = 1.0,
        batch_size: int = 8,
        chat: bool | None = None,
        system: str | None = None,
    ):
        if dtype not in DTYPES:
            raise UsageError(f"dtype={dtype!r} is not allowed; give one of {', '.join(DTYPES)}.")
        if isinstance(stop, str) or not all(isinstance(s, str) and s for s in stop):
            raise UsageError(f"stop={stop!r} is not allowed; give a tuple of texts, none of them empty, or ().")
        if isinstance(top_p, str) or not 0 < top_p <= 1:
            raise UsageError(f"top_p={top_p!r} is not allowed; give a number above 0, up to 1.")
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size} is not allowed; give 1 or more.")
        self.model, self.stop, self.top_p = str(model), tuple(stop), float(top_p)
        self.batch_size, self.system = int(batch_size), system
        self.log: list[Call] = []
        self.notes: list[str] = []
        self._read(device, dtype)
        has_template = bool(getattr(self._tokenizer, "chat_template", None))
        self.chat = has_template if chat is None else chat
        if self.chat and not has_template:
            raise UsageError(f"chat=True, but the tokenizer of {self.model} has no chat template; leave it out.")
        if system and not self.chat:
            raise UsageError("a system message needs a chat template; put it into the prompt.")
        self.name = f"local:{_identity(self.model)}/{self.dtype}"

    def _read(self, device: str | None, dtype: str) -> None:
        try:
            import torch
            from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError("a local language model", "transformers", "text") from error
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        try:
            config = AutoConfig.from_pretrained(self.model, trust_remote_code=False)
            self.encoder_decoder = bool(config.is_encoder_decoder)
            maker = AutoModelForSeq2SeqLM if self.encoder_decoder else AutoModelForCausalLM
            self._tokenizer: Any = AutoTokenizer.from_pretrained(self.model, trust_remote_code=False)
            with _no_bar():
                network: Any = maker.from_pretrained(
                    self.model, dtype=_number_type(dtype, self._device), use_safetensors=True, trust_remote_code=False
                )
        except (OSError, ValueError, KeyError, ImportError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise UsageError(
                f"no language model at {self.model!r}: {said[0]:.200} Give a folder with config.json, a tokenizer and "
                "safetensors weights, or a hub name while the hub can be reached."
            ) from error
        if len(self._tokenizer) == 0:
            raise UsageError(f"the tokenizer of {self.model!r} has no tokens; the folder lacks its files.")
        self._network = network.to(self._device).eval()
        self.dtype = str(self._network.dtype).removeprefix("torch.")
        self._tokens = _special_tokens(self._network.generation_config, self._tokenizer)
        text_config = config.get_text_config(decoder=True)
        self._window: int | None = getattr(text_config, "max_position_embeddings", None)

    @property
    def parameters(self) -> dict[str, Any]:
        """What shapes the texts beside the call's own arguments: part of a stored text's key."""
        return {"stop": list(self.stop), "top_p": self.top_p, "chat": self.chat, "system": self.system}

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
        """Return n texts for each prompt, without blanks at their ends; temperature 0 makes one and repeats it.

        Parameters
        ----------
        prompts : sequence of str
            m prompts.
        n, temperature, max_tokens, seed
            As the protocol says.
        queries : sequence of str, optional
            Not used.
        first : int
            Number of the first sample.
        on_text : callable, optional
            Called as each text is finished, with the prompt's place, the sample's number and the text.
        deadline : float, optional
            Seconds for this call, looked at after each token.

        Returns
        -------
        list of m lists of n str

        Raises
        ------
        UsageError
            A prompt does not fit into the model's window.
        GeneratorTimeout
            The deadline has passed; `finished` holds the texts made until then.
        """
        prompts = check_request(prompts, n, temperature, max_tokens, seed, queries, first)
        ends = None if deadline is None else time.monotonic() + deadline
        numbers = range(first, first + (1 if temperature == 0 else n))
        rows = [
            _Row(place, k, tokens, child(seed, "sample", prompts[place], k))
            for place, tokens in enumerate(self._tokenise(prompts))
            for k in numbers
        ]
        made: list[dict[int, str]] = [{} for _ in prompts]
        late = False
        for batch in _batches(rows, self.batch_size):
            for row, text in self._batch(batch, float(temperature), int(max_tokens), ends):
                for k in range(first, first + n) if temperature == 0 else (row.sample,):
                    made[row.place][k] = text.text
                    if on_text is not None:
                        on_text(row.place, k, text)
            late = ends is not None and time.monotonic() >= ends
            if late:
                break
        texts = [[by_number[k] for k in sorted(by_number)] for by_number in made]
        done = sum(map(len, texts))
        if late and done < n * len(prompts):
            raise GeneratorTimeout(
                f"{self.name}: the deadline of {deadline:g} s has passed. {done} of {n * len(prompts)} texts were finished.",
                finished=texts,
            )
        return texts

    def _tokenise(self, prompts: list[str]) -> list[list[int]]:
        """Return each prompt's tokens, within the chat template where there is one; refuse what the window cannot hold."""
        texts = [self._in_template(p) for p in prompts] if self.chat else prompts
        # A template writes its special tokens itself.
        found = [self._tokenizer(text, add_special_tokens=not self.chat)["input_ids"] for text in texts]
        for i, tokens in enumerate(found):
            if not tokens:
                found[i] = [self._tokens["bos_token_id"] or self._tokens["pad_token_id"]]
            if self._window is not None and len(tokens) >= self._window:
                raise UsageError(
                    f"prompt {i} has {len(tokens)} tokens; {self.model} holds {self._window}, the text included. Shorten it."
                )
        return found

    def _in_template(self, prompt: str) -> str:
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, {"role": "user", "content": prompt}]
        return self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _batch(
        self, rows: list[_Row], temperature: float, max_tokens: int, ends: float | None
    ) -> Iterator[tuple[_Row, Generated]]:
        """Make the texts of a batch; yield those that are finished, which all are but for a deadline."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        began = time.perf_counter()
        tokens, mask = self._padded([row.tokens for row in rows])
        room = self._room(max(len(row.tokens) for row in rows), max_tokens)
        skip = 1 if self.encoder_decoder else tokens.shape[1]  # an answer begins after the start token, or the prompt
        draw = _Draw([row.seed for row in rows], temperature, self.top_p, len(self._tokenizer))
        end = _End(self._decode, self.stop, skip, ends)
        settings = GenerationConfig(do_sample=False, num_beams=1, max_new_tokens=room, use_cache=True, **self._tokens)
        with torch.inference_mode():
            out: Any = self._network.generate(
                input_ids=tokens, attention_mask=mask, generation_config=settings,
                logits_processor=LogitsProcessorList([draw]), stopping_criteria=StoppingCriteriaList([end]),
            )  # fmt: skip
        milliseconds = 1000 * (time.perf_counter() - began)
        found = [
            self._text(row, new, end, milliseconds / len(rows))
            for row, new in zip(rows, out[:, skip:].tolist(), strict=True)
        ]
        cut = sum(text.finish == "length" for text in found)
        if cut and not end.late:
            self._note(
                "some texts were cut at max_tokens" if room == max_tokens else f"some texts were cut at {room} tokens"
            )
        asked, made = sum(len(row.tokens) for row in rows), sum(text.tokens or 0 for text in found)
        kept = [(r, t) for r, t in zip(rows, found, strict=True) if not (end.late and t.finish == "length")]
        status = "timeout" if end.late else "ok"
        self.log.append(
            Call(status, 1, milliseconds, len(kept), asked, made, f"{cut} of {len(found)} texts cut" if cut else "")
        )
        yield from kept

    def _padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens and mask (rows, longest). A decoder goes on at the right end; an encoder counts from the left one."""
        import torch

        longest = max(map(len, rows))
        tokens = torch.full((len(rows), longest), self._tokens["pad_token_id"], dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for i, row in enumerate(rows):
            place = slice(0, len(row)) if self.encoder_decoder else slice(longest - len(row), longest)
            tokens[i, place] = torch.tensor(row)
            mask[i, place] = 1
        return tokens.to(self._device), mask.to(self._device)

    def _room(self, longest: int, max_tokens: int) -> int:
        """Return how many tokens a text may have beside the longest prompt of its batch."""
        if self._window is None:
            return max_tokens
        room = min(max_tokens, self._window - (1 if self.encoder_decoder else longest))
        if room < max_tokens:
            self._note(
                f"the model's window of {self._window} tokens leaves less than max_tokens={max_tokens} to some texts"
            )
        return room

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)

    def _text(self, row: _Row, tokens: list[int], end: _End, milliseconds: float) -> Generated:
        """Return the text of a row's new tokens, up to its end token and before a stop string."""
        eos = self._tokens["eos_token_id"]
        ends = [i for i, t in enumerate(tokens) if t in (eos if isinstance(eos, list) else [eos])]
        used = tokens[: ends[0]] if ends else tokens
        while used and used[-1] == self._tokens["pad_token_id"]:
            used = used[:-1]  # a row that ended at a stop string is padded while others go on
        text = self._decode(used)
        places = [at for at in (text.find(s) for s in self.stop) if at >= 0]
        finish = "stop" if ends or places else "length"
        text = text[: min(places)] if places else text
        if not text.strip():
            self._note("some texts are empty")
        return Generated(text.strip(), len(used), milliseconds, finish, row.seed)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


@dataclass(frozen=True)
class _Row:
    """One sample to make."""

    place: int
    sample: int
    tokens: list[int]
    seed: int


def _batches(rows: list[_Row], size: int) -> Iterator[list[_Row]]:
    """Yield batches of similar length, the same ones in whatever order the prompts came."""
    rows = sorted(rows, key=lambda row: (len(row.tokens), row.tokens, row.sample))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


class _Draw:
    """Adds Gumbel noise to a row's scores, so that the largest is a draw from their softmax."""

    def __init__(self, seeds: list[int], temperature: float, top_p: float, vocabulary: int):
        import torch

        self.temperature, self.top_p, self.vocabulary = temperature, top_p, vocabulary
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (rows, tokens) whose largest is the row's next token."""
        import torch

        scores = scores.float()
        # Networks often have more outputs than the tokenizer has tokens.
        scores[:, self.vocabulary :] = -torch.inf
        if self.temperature == 0:
            return scores
        scores = scores / self.temperature
        if self.top_p < 1:
            ordered, order = scores.sort(dim=-1, descending=True)
            share = ordered.softmax(dim=-1)
            beyond = share.cumsum(dim=-1) - share >= self.top_p
            scores = scores.scatter(1, order, ordered.masked_fill(beyond, -torch.inf))
        # Drawn on the CPU: the same noise on every device. Minus the logarithm of an exponential is a Gumbel variable.
        drawn = torch.stack([torch.empty(scores.shape[1]).exponential_(generator=g) for g in self.generators])
        return scores - drawn.log().to(scores.device)


class _End:
    """Ends a row at a stop string, and all rows at the deadline."""

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...], skip: int, ends: float | None):
        self.decode, self.stop, self.skip, self.ends, self.late = decode, stop, skip, ends, False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return a bool (rows,): which rows have ended."""
        import torch

        if self.ends is not None and time.monotonic() >= self.ends:
            self.late = True
        if self.late or not self.stop:
            return torch.full((len(input_ids),), self.late, dtype=torch.bool, device=input_ids.device)
        # A stop string of k characters lies within the last k tokens or so: the whole text need not be read again.
        tail = max(TAIL, *(2 * len(s) for s in self.stop))
        new = input_ids[:, self.skip :][:, -tail:].tolist()
        ended = [any(s in text for s in self.stop) for text in map(self.decode, new)]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)


def _special_tokens(settings: Any, tokenizer: Any) -> dict[str, Any]:
    """Return the special tokens that generation needs, from the model's settings, else from its tokenizer."""
    found = {
        name: getattr(settings, name, None)
        if getattr(settings, name, None) is not None
        else getattr(tokenizer, name, None)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    }
    eos = found["eos_token_id"]
    if found["pad_token_id"] is None:
        found["pad_token_id"] = (eos[0] if isinstance(eos, list) else eos) or 0  # masked wherever it stands
    forced = getattr(settings, "forced_bos_token_id", None)  # the language of a multilingual model
    return {**found, "forced_bos_token_id": forced} if forced is not None else found


@contextlib.contextmanager
def _no_bar() -> Iterator[None]:
    """Keep transformers from drawing its own progress bar."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _number_type(dtype: str, device: torch.device) -> Any:
    import torch

    from mumei.core.cpu import multiplies_bfloat16

    if dtype == "auto" and device.type == "cpu":
        return torch.bfloat16 if multiplies_bfloat16() else torch.float32
    return dtype if dtype == "auto" else getattr(torch, dtype)


def _identity(model: str) -> str:
    """Return what tells one model from another: a hub name, or a folder's name with a hash of its files.

    Of a file above 2 MB its size, beginning and end are hashed: reading many gigabytes would take longer than a text.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".jinja", ".model")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with open(path, "rb") as handle:
            digest.update(handle.read(1 << 20))
            handle.seek(max(size - (1 << 20), 0))
            digest.update(handle.read())
    return f"{folder.resolve().name}/{digest.hexdigest()}"
