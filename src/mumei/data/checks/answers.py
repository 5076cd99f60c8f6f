"""QA: questions, choices and answers (BigBIO's check 9, and what it lacks)."""

from __future__ import annotations

from collections.abc import Iterator

from mumei.data.checks.core import document_check
from mumei.data.documents import Question
from mumei.data.schemas import NULL, QA_TYPES

WITH_CHOICES = ("yesno", "multiple_choice")
_KIND = ("qa",)


def is_missing(text: str) -> bool:
    """Whether a text says nothing."""
    return not text.strip() or text == NULL


@document_check(
    "QA01",
    "error",
    "choices of a question whose type has none",
    explanation="Questions of the types yesno and multiple_choice have choices, others none.",
    example="type factoid with the choices ['yes', 'no']",
    kinds=_KIND,
)
def needless_choices(question: Question) -> Iterator[tuple[str, str]]:
    """Find choices that the type does not have."""
    if question.choices and question.type in QA_TYPES and question.type not in WITH_CHOICES:
        yield "choices", f"{len(question.choices)} choices of a question of type {question.type}"


@document_check(
    "QA02",
    "error",
    "no choices of a question whose type needs them",
    explanation="A question of type yesno or multiple_choice names what can be chosen.",
    example="type multiple_choice with choices []",
    kinds=_KIND,
)
def missing_choices(question: Question) -> Iterator[tuple[str, str]]:
    """Find types without their choices."""
    if question.type in WITH_CHOICES and not question.choices:
        yield "choices", f"a question of type {question.type} without choices"


@document_check(
    "QA03",
    "error",
    "answer that is none of the choices",
    explanation="Where there are choices, each answer is one of them, letter for letter.",
    example="answer 'Yes' with the choices ['yes', 'no']",
    kinds=_KIND,
)
def other_answer(question: Question) -> Iterator[tuple[str, str]]:
    """Find answers outside the choices."""
    for answer in question.answer if question.choices else ():
        if answer not in question.choices:
            yield "answer", f"{answer[:60]!r} is none of {', '.join(repr(c[:30]) for c in question.choices[:6])}"


@document_check(
    "QA04",
    "error",
    "unknown type of question",
    explanation=f"The types in use are {', '.join(QA_TYPES)}; readers of the schema know no others.",
    example="type 'boolean'",
    kinds=_KIND,
)
def question_type(question: Question) -> Iterator[tuple[str, str]]:
    """Find other types."""
    if question.type not in QA_TYPES:
        yield "type", f"{question.type!r} is none of {', '.join(QA_TYPES)}"


@document_check(
    "QA05",
    "warning",
    "question without an answer",
    explanation="Nothing can be learnt from it, or scored; a test part whose answers are kept back is to be expected.",
    example="answer []",
    kinds=_KIND,
)
def unanswered(question: Question) -> Iterator[tuple[str, str]]:
    """Find questions with no answer, or a blank one."""
    if not question.answer or any(is_missing(answer) for answer in question.answer):
        yield "answer", "no answer" if not question.answer else "a blank answer"


@document_check(
    "QA06",
    "error",
    "empty question",
    explanation="A question without words cannot be answered, and is mostly a field that was not read.",
    example="question ''",
    kinds=_KIND,
)
def empty_question(question: Question) -> Iterator[tuple[str, str]]:
    """Find questions that ask nothing."""
    if is_missing(question.question):
        yield "question", "there is no question"


@document_check(
    "QA07",
    "warning",
    "choice given twice",
    explanation="Two choices with the same words, or one without any: the answer cannot be told from its double.",
    example="choices ['yes', 'no', 'yes']",
    kinds=_KIND,
)
def repeated_choices(question: Question) -> Iterator[tuple[str, str]]:
    """Find choices that occur again or are blank."""
    seen: set[str] = set()
    for choice in question.choices:
        plain = choice.strip().casefold()
        if not plain or plain in seen:
            yield "choices", f"{choice[:60]!r} {'occurs again' if plain else 'is blank'}"
        seen.add(plain)
