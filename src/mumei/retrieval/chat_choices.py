"""Reads what an OpenAI-compatible server put into its answer: texts, refusals, why they ended, what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mumei.retrieval.chat_http import Failure
from mumei.retrieval.generators import Generated, GeneratorMalformed, clean


@dataclass(frozen=True)
class Choice:
    """One choice of an answer: a text, an empty text, or a refusal in the model's words."""

    generated: Generated
    refusal: str = ""

    @property
    def text(self) -> str:
        """The text, without blanks at its ends."""
        return self.generated.text

    @property
    def finish(self) -> str:
        """Why the text ended, as the server says."""
        return self.generated.finish


def read_choices(
    content: dict[str, Any], style: str, count: int, where: str
) -> tuple[list[Choice], Mapping[str, Any]] | Failure:
    """Return at most `count` choices of an answer, in the server's order of index, and the answer; or what is wrong with it."""
    choices = content.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(c, dict) for c in choices):
        said = content.get("error")
        what = f"an error in place of choices: {said!r:.200}" if said else f"no choices: {json.dumps(content)[:80]!r}"
        return Failure(GeneratorMalformed(f"{where} answers 200 with {what}"))
    indices = [c.get("index") for c in choices]
    if all(isinstance(i, int) for i in indices):
        choices = sorted(choices, key=lambda c: c["index"])
    found = [_choice(c, style) for c in choices[:count]]
    if any(c is None for c in found):
        return Failure(
            GeneratorMalformed(f"{where} answers with a choice that has no {'message' if style == 'chat' else 'text'}")
        )
    return [c for c in found if c is not None], content


def _choice(choice: dict[str, Any], style: str) -> Choice | None:
    finish = str(choice.get("finish_reason") or "stop")
    if style == "chat":
        message = choice.get("message")
        if not isinstance(message, dict):
            return None
        text, refusal = _joined(message.get("content")), message.get("refusal")
    else:
        text, refusal = choice.get("text"), None
    if not isinstance(text, str):
        return None
    if isinstance(refusal, str) and refusal.strip():
        return Choice(Generated("", finish=finish), refusal.strip())
    if finish == "content_filter":
        return Choice(Generated("", finish=finish), "a content filter removed the text")
    return Choice(Generated(clean(text).strip(), finish=finish))


def _joined(content: Any) -> str | None:
    """Return a message's content as one text: a str, a list of parts, or nothing."""
    if isinstance(content, list):
        return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return "" if content is None else content


def usage(content: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the tokens of the prompt and of the texts, None where the server does not count them."""
    given = content.get("usage")
    if not isinstance(given, dict):
        return None, None
    counts = [given.get(k) for k in ("prompt_tokens", "completion_tokens")]
    asked, made = (c if isinstance(c, int) and not isinstance(c, bool) and c >= 0 else None for c in counts)
    return asked, made
