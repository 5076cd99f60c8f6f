"""TK: what a recipe's tasks promise against what the corpus holds (BigBIO's checks 1 and 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mumei.data.checks.core import Check, Finding, corpus_check
from mumei.data.counts import ALL, counts
from mumei.data.schemas import TASKS

if TYPE_CHECKING:
    from collections import Counter

    from mumei.data.corpus import Corpus

PARTS = {  # task -> the counts that it needs; one of each group has to be there
    "NER": (("entities",),),
    "NED": (("entities",), ("normalized",)),
    "RE": (("entities",), ("relations", "concept_relations")),
    "COREF": (("entities",), ("coreferences",)),
    "EE": (("events",),),
}


def _promised(corpus: Corpus) -> tuple[str, ...]:
    return corpus.recipe.tasks if corpus.recipe else ()


def _lacking(found: Counter[str], task: str) -> str:
    """Return the first thing that a task needs and the counts do not have, or ""."""
    missing = next((group for group in PARTS[task] if not any(found[key] for key in group)), ())
    return " or ".join(missing).replace("_", " ")


def _needs(task: str) -> Callable[[Corpus, Check], Iterator[Finding]]:
    def check_task(corpus: Corpus, check: Check) -> Iterator[Finding]:
        if task not in _promised(corpus):
            return
        for split, found in counts(corpus).items():
            if split != ALL and found["documents"] and (missing := _lacking(found, task)):
                yield check.finding(f"the recipe says {task}, and there are no {missing}", split=split)

    check_task.__qualname__ = f"needs_{task}"
    return check_task


def _register() -> None:
    """Enter TK01 to TK05: the same question of five tasks."""
    for number, task in enumerate(PARTS, 1):
        needed = " and ".join(" or ".join(group).replace("_", " ") for group in PARTS[task])
        corpus_check(
            f"TK{number:02}",
            "warning",
            f"{task} without what it needs",
            explanation=f"A corpus for {task} needs {needed} in every split; a part without labels is for unlabelled testing.",
            example=f"a recipe with the task {task} and a split without {needed.rpartition(' and ')[2]}",
            kinds=("kb",),
        )(_needs(task))


_register()


@corpus_check(
    "TK06",
    "warning",
    "annotations of a task that the recipe does not name",
    explanation="Annotations are there and no task says so: those who choose corpora by task will not find this one.",
    example="relations in a corpus whose tasks are NER alone",
    kinds=("kb",),
)
def unnamed_task(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find parts that only tasks outside the recipe's explain."""
    found = counts(corpus)[ALL]
    tasks = set(_promised(corpus))
    explained = {"entities": {"NER", "NED", "RE", "EE", "COREF"}, "relations": {"RE"}, "concept_relations": {"RE"}}
    explained |= {"normalized": {"NED"}, "events": {"EE"}, "coreferences": {"COREF"}}
    for part, by in explained.items():
        if tasks and found[part] and not tasks & by:
            yield check.finding(f"{found[part]:,} {part.replace('_', ' ')} and no task of {', '.join(sorted(by))}")


@corpus_check(
    "TK07",
    "warning",
    "schema without any task",
    explanation="Each schema serves tasks; a view under a schema that none of the recipe's tasks belongs to is wrong or unnamed.",
    example="a TEXT view in a corpus whose tasks are NER and RE",
)
def schema_without_task(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find a corpus under a schema that its tasks do not need."""
    tasks = _promised(corpus)
    if tasks and corpus.kind not in {TASKS[task] for task in tasks}:
        yield check.finding(f"the schema {corpus.kind} and the tasks {', '.join(tasks)}")


@corpus_check(
    "TK08",
    "error",
    "task that no split can serve",
    explanation="What a task needs is in no split at all: the task is wrong, or the reader lost the annotations.",
    example="the task RE and not one relation in the whole corpus",
    kinds=("kb",),
)
def unserved_task(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find tasks whose annotations are missing altogether."""
    found = counts(corpus)[ALL]
    for task in _promised(corpus):
        if task in PARTS and (missing := _lacking(found, task)):
            yield check.finding(f"the recipe says {task}, and there are no {missing} in any split")


@corpus_check(
    "TK09",
    "info",
    "task without a view",
    explanation="The recipe names a task and has no view under the task's schema, so that it cannot be loaded for it.",
    example="the task TXTCLASS in a recipe with a KB view alone",
)
def task_without_view(corpus: Corpus, check: Check) -> Iterator[Finding]:
    """Find tasks of schemas that the recipe has no view for."""
    if corpus.recipe is None:
        return
    views = corpus.recipe.subset(corpus.subset).views
    for task in corpus.recipe.tasks:
        if TASKS[task] not in views:
            yield check.finding(f"{task} needs the schema {TASKS[task]}; there is {', '.join(views)}")
