"""Mixtures of corpora: chosen by task, language, licence and size, without shared documents, sampled by a stated formula.

Rates are those of Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
section 3.5.2: with e_m records in corpus m, a cap K and a temperature T,

    r_m = min(e_m, K)^(1/T) / sum_n min(e_n, K)^(1/T)

which is proportional to size for T = 1 without a cap, and equal for T = infinity. Departures: the rates are turned into whole
numbers by largest remainders (Hamilton's method), so that a mixture is a fixed set of records and not a stream of draws; and
without `repeat` no record is taken twice: a corpus whose share is more than it has gives all of it, and the rest is shared
among the others at their rates.

A document that two corpora have (`mumei.data.overlap`) is taken from the first of them; one that is in the validation or test
part of any of them is not taken at all. Licences that contradict each other stop the mixing (`mumei.data.licences`).
`mumei.data.mixture` renders a mixture as instructions and writes it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from mumei.core import seeds
from mumei.core.errors import DataError, UsageError, unknown
from mumei.core.progress import SILENT, Progress
from mumei.data.catalogue import catalogue, configs
from mumei.data.corpus import Corpus, corpus_of
from mumei.data.documents import Record, with_id
from mumei.data.licences import Verdict, judge
from mumei.data.overlap import fingerprint, fingerprints
from mumei.data.recipes import Subset
from mumei.data.schemas import SOURCE, TASKS

PROTECTED = ("validation", "test")


def select(
    task: str | None = None,
    language: str | None = None,
    licence: str | None = None,
    *,
    schema: str | None = None,
    smallest: int | None = None,
    largest: int | None = None,
) -> list[str]:
    """Return the names of configurations that can be loaded and fit all that is given, for `load`.

    Parameters
    ----------
    task, language, licence, schema
        As in `mumei.data.catalogue.catalogue`.
    smallest, largest : int, optional
        Bounds of the number of documents, all splits; a configuration whose recipe gives no number fits none.

    Examples
    --------
    >>> select(task="EE", licence="GENIA", largest=600)
    ['bionlp_st_2013_cg_bigbio_kb']
    """
    fitting = {known.name: known for known in catalogue(task, language, licence, schema=schema, has_recipe=True)}
    schemas = {TASKS[task.upper()]} if task else set(TASKS.values())
    schemas &= {schema.lower().removeprefix("bigbio_")} if schema else schemas
    found = []
    for config in configs():
        known, part = fitting.get(config.recipe.name), config.recipe.subset(config.subset)
        if known is None or config.schema == SOURCE or config.schema not in schemas:
            continue
        if not any(TASKS[t] == config.schema for t in known.tasks):
            continue
        if (not language or _speaks(part.languages, language)) and _fits(documents(part), smallest, largest):
            found.append(config.name)
    return found


def _speaks(codes: Sequence[str], language: str) -> bool:
    from mumei.data.languages import NAMES

    return any(language.lower() in (code, NAMES.get(code, "").lower()) for code in codes)


def _fits(number: int | None, smallest: int | None, largest: int | None) -> bool:
    if smallest is None and largest is None:
        return True
    return number is not None and (smallest or 0) <= number <= (math.inf if largest is None else largest)


def documents(part: Subset) -> int | None:
    """Return how many documents a recipe says there are, all splits together, or None where it does not say."""
    whole = part.counts.get("all", {}).get("documents")
    given = [part.counts.get(split, {}).get("documents") for split in part.splits]
    if whole is not None:
        return whole
    return None if None in given else sum(number for number in given if number is not None)


def rates(sizes: Sequence[int], *, cap: int | None = None, temperature: float = 1.0) -> list[float]:
    """Return the rate of each corpus, by its number of records; see the formula above.

    Examples
    --------
    >>> rates([900, 100]), rates([900, 100], cap=300), rates([900, 100], temperature=2)
    ([0.9, 0.1], [0.75, 0.25], [0.75, 0.25])
    """
    if cap is not None and cap < 1:
        raise UsageError(f"cap is {cap}; it has to be at least 1 record.")
    if not temperature > 0:
        raise UsageError(f"temperature is {temperature}; it has to be more than 0 (1: proportional; inf: equal).")
    held = [size if cap is None else min(size, cap) for size in sizes]
    largest = max(held, default=0)
    # By the largest, so that no power overflows.
    weights = [(size / largest) ** (1 / temperature) if size else 0.0 for size in held]
    return [weight / sum(weights) for weight in weights] if largest else [0.0] * len(held)


def allocate(shares: Sequence[float], size: int, limits: Sequence[int] | None = None) -> list[int]:
    """Return whole numbers that sum to `size`, by largest remainders; none above its limit.

    Parameters
    ----------
    shares : sequence of float
        Rates; they need not sum to 1.
    size : int
        The sum wanted.
    limits : sequence of int, optional
        The most that each may get; what is over goes to the others at their rates.

    Raises
    ------
    UsageError
        The limits of all that have a rate sum to less than `size`.

    Examples
    --------
    >>> allocate([0.5, 0.3, 0.2], 8), allocate([0.5, 0.3, 0.2], 8, [2, 9, 9])
    ([4, 2, 2], [2, 4, 2])
    """
    found, left = [0] * len(shares), size
    rest = [i for i, share in enumerate(shares) if share > 0]
    most = None if limits is None else sum(limits[i] for i in rest)
    if size < 0 or (size and not rest) or (most is not None and size > most):
        raise UsageError(f"{size:,} records are asked for, and there are {most or 0:,}.")
    while limits is not None:
        whole = sum(shares[i] for i in rest)
        full = [i for i in rest if left * shares[i] / whole >= limits[i]]
        if not full:
            break
        for i in full:
            found[i] = limits[i]
            left -= limits[i]
        rest = [i for i in rest if i not in full]
    whole = sum(shares[i] for i in rest)
    exact = {i: left * shares[i] / whole for i in rest}
    for i in rest:
        found[i] = math.floor(exact[i])
    over = size - sum(found)
    for i in sorted(rest, key=lambda i: (found[i] - exact[i], i))[:over]:
        found[i] += 1
    return found


@dataclass(frozen=True)
class Share:
    """What a corpus gives to a mixture.

    Parameters
    ----------
    corpus, licence : str
    records : int
        In the split.
    repeated, protected : int
        Left out, since an earlier corpus has them, or a validation or test part.
    rate : float
        The formula's.
    taken : int
        Records taken, repetitions counted.
    """

    corpus: str
    licence: str
    records: int
    repeated: int
    protected: int
    rate: float
    taken: int

    @property
    def usable(self) -> int:
        """How many records can be taken."""
        return self.records - self.repeated - self.protected


@dataclass(frozen=True)
class Mix:
    """A mixture: `shares` say what came from where, `notes` what has to be known, `parts` are the corpora that were mixed."""

    name: str
    records: list[Record]
    parts: list[Corpus]
    shares: list[Share]
    verdict: Verdict
    notes: list[str]
    seed: int

    @cached_property
    def corpus(self) -> Corpus:
        """The mixture as a corpus of one split, "train"; `UsageError` where its records are of several schemas."""
        one_schema(self.parts)
        first = self.parts[0]
        return corpus_of({"train": self.records}, first.kind, name=self.name, schema=first.schema)

    def lines(self) -> list[str]:
        """Return what to tell a user, line by line."""
        said = [f"{len(self.records):,} records of {len(self.shares)} corpora, seed {self.seed}"]
        for share in self.shares:
            said.append(
                f"  {share.corpus} ({share.licence}): {share.taken:,} of {share.usable:,}, rate {share.rate:.4f}"
            )
        return said + [f"  {note}" for note in self.notes]


@dataclass
class _Pool:
    """The records of one corpus that may be taken, by their row."""

    corpus: Corpus
    records: int
    rows: list[int] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def mix(
    corpora: Sequence[Corpus],
    *,
    size: int | None = None,
    cap: int | None = None,
    temperature: float = 1.0,
    repeat: bool = False,
    split: str = "train",
    protect: Sequence[str] = PROTECTED,
    dedupe: bool = True,
    licences: Literal["refuse", "flag"] = "refuse",
    seed: int = 0,
    several_schemas: bool = False,
    name: str = "mix",
    progress: Progress = SILENT,
) -> Mix:
    """Mix corpora.

    Parameters
    ----------
    corpora : sequence of Corpus
        In the order in which they keep the documents that they share.
    size : int, optional
        Records of the mixture; by default all that may be taken, or with a cap as many of each as it allows.
    cap, temperature
        See `rates`.
    repeat : bool
        Whether a corpus whose share is more than it has is taken several times.
    split : str
        The split that is mixed.
    protect : sequence of str
        Splits whose documents, in any of the corpora, are not taken.
    dedupe : bool
        Whether documents that an earlier corpus has are left out.
    licences : str
        "refuse" to mix what contradicts itself, or "flag" it in the notes.
    seed : int
        Of the choice and the order. A corpus's records are chosen by its name and the seed alone, and a larger number of
        them holds the smaller one.
    several_schemas : bool
        Whether the corpora may be of several schemas: their records can be instructions then (`mumei.data.mixture`), and no
        corpus.
    name : str
        Of the mixture.
    progress : Progress
        Where to show progress.

    Returns
    -------
    Mix
        Records have ids `<corpus>/<id>`, and `corpus` and `licence` in their metadata.

    Raises
    ------
    UsageError
        Several schemas, a split that a corpus lacks, a size that cannot be had, or licences that contradict each other.
    """
    names = [corpus.name for corpus in corpora]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"give at least one corpus, and each once; these are {', '.join(names) or 'none'}.")
    if not several_schemas:
        one_schema(corpora)
    held = {corpus.name: corpus.recipe.licence if corpus.recipe else "unknown" for corpus in corpora}
    verdict = judge(held)
    if licences not in ("refuse", "flag"):
        raise unknown("way to treat licences", licences, ("refuse", "flag"))
    if verdict.conflicts and licences == "refuse":
        raise UsageError(
            f"the licences of these corpora do not go together: {'; '.join(verdict.conflicts)}. Leave some out, or, for a "
            "mixture that is not passed on, ask for licences='flag' (--licences flag)."
        )
    pools = _pools(corpora, split, protect, dedupe, progress)
    sizes = [len(pool.rows) for pool in pools]
    if not any(sizes):
        raise DataError(f"nothing is left to mix of {', '.join(held)}: all records are left out.")
    if size is None and temperature != 1:
        raise UsageError("a temperature needs a size: without one everything is taken, at any temperature.")
    shares = rates(sizes, cap=cap, temperature=temperature)
    wanted = sum(min(n, cap or n) for n in sizes) if size is None else size
    numbers = allocate(shares, wanted, None if repeat else sizes)
    given = [
        Share(
            pool.corpus.name,
            held[pool.corpus.name],
            pool.records,
            pool.left_out["repeated"],
            pool.left_out["protected"],
            r,
            n,
        )
        for pool, r, n in zip(pools, shares, numbers, strict=True)
    ]
    records = [
        record
        for pool, n in zip(pools, numbers, strict=True)
        for record in _taken(pool, split, n, seed, held[pool.corpus.name])
    ]
    order = seeds.numpy_generator(seed, "mix", "order").permutation(len(records))
    mixed = [records[i] for i in order]
    return Mix(name, mixed, list(corpora), given, verdict, _notes(given, verdict, wanted), seed)


def one_schema(corpora: Sequence[Corpus]) -> None:
    """Raise `UsageError` where corpora are of several schemas."""
    kinds = {corpus.kind: corpus.name for corpus in corpora}
    if len(kinds) > 1:
        told = ", ".join(f"{name} is {kind}" for kind, name in kinds.items())
        raise UsageError(
            f"only corpora of one schema make one corpus ({told}); choose by schema or task, or mix them as instructions "
            "(--prompts)."
        )


def _pools(
    corpora: Sequence[Corpus], split: str, protect: Sequence[str], dedupe: bool, progress: Progress
) -> list[_Pool]:
    kept_back = [s for s in protect if s != split]
    guarded = {
        key
        for corpus in corpora
        for p in fingerprints(corpus, [s for s in kept_back if s in corpus.splits])
        for key in p.keys
    }
    seen: set[str | bytes] = set()
    pools = []
    for corpus in corpora:
        pool, own = _Pool(corpus, corpus.source(split).num_rows), set()
        pubmed = bool(corpus.recipe and corpus.recipe.pubmed)
        with progress.task(f"Comparing {corpus.name}", pool.records, "records") as task:
            for row, record in enumerate(corpus.records(split)):
                task.advance()
                keys = set(fingerprint(record, pubmed=pubmed).keys)
                why = "protected" if keys & guarded else "repeated" if dedupe and keys & seen else ""
                pool.left_out[why] += bool(why)
                own |= keys
                if not why:
                    pool.rows.append(row)
        seen |= own
        pools.append(pool)
    return pools


def _taken(pool: _Pool, split: str, number: int, seed: int, licence: str) -> list[Record]:
    """Return `number` records of a corpus: whole rounds through it, and the first ones of a shuffle."""
    if not number:
        return []
    rounds, rest = divmod(number, len(pool.rows))
    order = seeds.numpy_generator(seed, "mix", pool.corpus.name).permutation(len(pool.rows))[:rest]
    times = Counter(dict.fromkeys(pool.rows, rounds))
    times.update(pool.rows[i] for i in order)
    found = []
    for row, record in enumerate(pool.corpus.records(split)):
        for copy in range(1, times[row] + 1):
            again = with_id(record, f"{pool.corpus.name}/{record.id}" + (f".{copy}" if copy > 1 else ""))
            again.metadata = {**record.metadata, "corpus": pool.corpus.name, "licence": licence}
            again.split = "train"
            found.append(again)
    return found


def _notes(shares: list[Share], verdict: Verdict, size: int) -> list[str]:
    said = [f"licences contradict each other: {conflict}" for conflict in verdict.conflicts]
    said += [f"licence of {caution}" for caution in verdict.cautions]
    if verdict.conflicts or verdict.cautions:
        said.append("the mixture may not be passed on as it is")
    elif verdict.terms:
        said.append(f"whoever passes the mixture on is bound to: {', '.join(verdict.terms)}")
    for share in shares:
        if share.protected:
            said.append(f"{share.protected:,} records of {share.corpus} are in a part kept for testing; left out")
        if share.repeated:
            said.append(f"{share.repeated:,} records of {share.corpus} are in a corpus named before it; left out")
        if share.usable and share.taken > share.usable:
            said.append(f"{share.corpus} is taken {share.taken / share.usable:.1f} times over")
        elif share.taken and share.taken < math.floor(size * share.rate):
            said.append(f"{share.corpus} gives all of its {share.taken:,} records, less than its rate asks for")
    return said
