"""Having hypothetical documents written: within the time budget, and whatever goes wrong becomes a reason instead of an error."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from mumei.core.errors import DataError, MumeiError, UsageError
from mumei.retrieval.budget import Budget, within
from mumei.retrieval.hyde import Hyde
from mumei.retrieval.prompts import Prompt

SUMMARY_TOKENS = 64
GRACE = 0.85  # share of the budget that a generator is told: what it finished by then is used


@dataclass
class Written:
    """What a generator gave: texts, the question's summary (if the prompt asks for one), and what went wrong (if anything)."""

    texts: list[str] = field(default_factory=list)
    summary: str = ""
    fell_back: str = ""


class Writer:
    """Asks a generator for the hypothetical documents of one question at a time.

    Parameters
    ----------
    generator : Generator
        One's own may raise any exception: it is a reason not to use it, never the end of the search.
    prompt : Prompt
    hyde : Hyde
        How many, how long, how varied.
    budget : Budget
    language : str, optional
    seed : int
    """

    def __init__(
        self, generator: Any, prompt: Prompt, hyde: Hyde, budget: Budget, language: str | None = None, seed: int = 0
    ):
        self.generator, self.prompt, self.hyde, self.budget = generator, prompt, hyde, budget
        self.language, self.seed = language, seed
        self._known = set(inspect.signature(generator.generate).parameters)

    def write(self, question: str, text: str) -> Written:
        """Return the documents for a question; `text` is what is left of it to be searched.

        Raises
        ------
        UsageError
            The generator says that it was set up wrongly.
        """
        try:
            return within(self.budget.generate, "generating (--budget)", lambda: self._write(question, text))
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - a generator of one's own raises what it likes
            reason = (
                str(error) if isinstance(error, MumeiError) else f"the generator raised {type(error).__name__}: {error}"
            )
            finished = [
                t for texts in getattr(error, "finished", []) for t in texts if isinstance(t, str) and t.strip()
            ]
            return Written([] if self.prompt.summarise else finished, fell_back=reason)

    def _write(self, question: str, text: str) -> Written:
        summary = ""
        if self.prompt.summarise:
            answer = self._ask(question, self.prompt.render_summary(text), 1, 0.0, SUMMARY_TOKENS)
            summary = " ".join(answer[0].split())
        prompt = self.prompt.render(summary or text, self.language)
        n = self.hyde.n
        if hasattr(self.generator, "available"):  # texts kept in a file are not repeated to make up a number
            n = max(1, min(n, self.generator.available(question)))
        return Written(self._ask(question, prompt, n, self.hyde.temperature, self.hyde.max_tokens), summary)

    def _ask(self, question: str, prompt: str, n: int, temperature: float, max_tokens: int) -> list[str]:
        options: dict[str, Any] = {"n": n, "temperature": temperature, "max_tokens": max_tokens, "seed": self.seed}
        # Told its deadline, a generator cancels what it sent; given up on by a thread alone, it would go on at a price.
        extra = {"queries": [question], "deadline": GRACE * self.budget.generate}
        options |= {name: value for name, value in extra.items() if name in self._known}
        texts = self.generator.generate([prompt], **options)[0]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(f"the generator {self.generator.name} returned {texts!r:.60}, not {n} texts.")
        return list(texts)
