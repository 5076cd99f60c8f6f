"""What a design must keep, in a chain's own residue numbers: read, checked against the chain, shown, and made into moves.

    A10-25, A7        residues of chain A by author number, insertion codes too (A52A); without a letter where there is one chain
    A30=DE            the residues that are allowed there; A30=-C all but these
    A10-25=L:-0.5     an energy added for a residue, in the units of the total; negative favours it
    A1-50=B1-50       places that are to have the same residue, one by one

All are lists parted by commas. Whatever names a chain or residue that is not there, or contradicts something else, is an error
that says what it was and what is nearest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mumei.core.errors import UsageError, suggest
from mumei.protein.alphabet import AMINO_ACIDS, CODES, UNKNOWN
from mumei.protein.moves import Moves, Rule, charge_rule, run_rule

CHARGES = [{"D": -1.0, "E": -1.0, "K": 1.0, "R": 1.0}.get(letter, 0.0) for letter in AMINO_ACIDS]
RANGE = re.compile(r"(-?\d+[A-Za-z]?)(?:-(-?\d+[A-Za-z]?))?")


@dataclass(frozen=True)
class Constraints:
    """Wishes as they are written; see the module. `charge` is "low..high" or one number, `longest_run` residues.

    Parameters
    ----------
    fix, allow, bias, tie : str
    without : str
        Residues that no free site may have; cysteine as published.
    charge : str
        Range of the net charge, K and R +1, D and E -1.
    longest_run : int or None
        Residues of one kind in a row at most.
    native_start : bool
        Start from the given sequence, not from drawn residues.
    """

    fix: str = ""
    allow: str = ""
    bias: str = ""
    tie: str = ""
    without: str = "C"
    charge: str = ""
    longest_run: int | None = None
    native_start: bool = False


@dataclass
class Parsed:
    """Constraints of a chain: what each site may be, and a table of what was understood.

    Attributes
    ----------
    table : list of (what, where, means)
    fixed : set of int
        Sites, from 0.
    """

    labels: Sequence[str]
    sequence: str
    table: list[tuple[str, str, str]] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    allowed: Tensor = field(default_factory=lambda: torch.zeros(0))
    limited: set[int] = field(default_factory=set)
    bias: Tensor = field(default_factory=lambda: torch.zeros(0))
    groups: list[set[int]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)

    def moves(self, native_start: bool = False) -> Moves:
        """Return the moves that keep all of it."""
        start = torch.full((len(self.labels),), UNKNOWN)
        for i, letter in enumerate(self.sequence):
            if i in self.fixed or (native_start and letter in CODES and bool(self.allowed[i, CODES[letter]])):
                start[i] = CODES.get(letter, UNKNOWN)
        groups = tuple(tuple(sorted(group)) for group in self.groups if not group & self.fixed)
        for group in groups:  # tied sites start alike or drawn
            if len({int(start[i]) for i in group}) > 1:
                start[list(group)] = UNKNOWN
        return Moves(self.allowed, groups, start, tuple(self.rules))


def parse(constraints: Constraints, labels: Sequence[str], sequence: str) -> Parsed:
    """Read constraints against a chain.

    Parameters
    ----------
    labels : sequence of str
        Of the sites, "A:52A".
    sequence : str
        The given residues, "X" or "-" where there are none.

    Raises
    ------
    UsageError
        Something unknown, or two that contradict each other.
    """
    if len(labels) != len(sequence):
        raise UsageError(f"there are {len(labels)} labels for {len(sequence)} residues; give one for each.")
    made = Parsed(
        labels, sequence, allowed=torch.ones(len(labels), 20, dtype=torch.bool), bias=torch.zeros(len(labels), 20)
    )
    places = Places(labels)
    left_out = _letters(constraints.without, "--without") if constraints.without else []
    made.allowed[:, left_out] = False
    if left_out:
        made.table.append(("without", "all free sites", f"no {_names(left_out)}"))
    for part in _parts(constraints.fix):
        _fix(made, part, places.of(part, "--fix"))
    for part in _parts(constraints.allow):
        _allow(made, part, places)
    for part in _parts(constraints.bias):
        _bias(made, part, places)
    made.groups = [{i} for i in range(len(labels))]
    for part in _parts(constraints.tie):
        _tie(made, part, places)
    _settle(made)
    _rules(made, constraints)
    if constraints.native_start:
        made.table.append(("start", "all free sites", "from the given sequence"))
    return made


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _letters(text: str, option: str) -> list[int]:
    bad = [letter for letter in text.upper() if letter not in CODES]
    if bad or not text:
        raise UsageError(f"{option}: {text!r} has {bad[0] if bad else 'no letter'!r}, which is none of {AMINO_ACIDS}.")
    return sorted({CODES[letter] for letter in text.upper()})


def _names(codes: Sequence[int]) -> str:
    return "".join(AMINO_ACIDS[code] for code in codes)


class Places:
    """Residues by chain and author number."""

    def __init__(self, labels: Sequence[str]):
        self.chains: dict[str, list[str]] = {}
        self.index: dict[tuple[str, str], int] = {}
        for i, label in enumerate(labels):
            chain, _, number = label.rpartition(":")
            self.chains.setdefault(chain, []).append(number)
            self.index[chain, number] = i

    def of(self, text: str, option: str) -> list[int]:
        """Return the sites of "A10-25", from 0."""
        chain, rest = self._chain(text, option)
        found = RANGE.fullmatch(rest)
        if found is None:
            raise UsageError(f"{option}: {text!r} is no residue and no range; write A10, A10-25 or A52A.")
        first = self._one(chain, found[1], text, option)
        last = self._one(chain, found[2], text, option) if found[2] else first
        if last < first:
            raise UsageError(f"{option}: {text!r} ends before it begins; write the lower residue first.")
        return list(range(first, last + 1))

    def _chain(self, text: str, option: str) -> tuple[str, str]:
        for chain in sorted(self.chains, key=len, reverse=True):
            if chain and text.startswith(chain) and RANGE.fullmatch(text[len(chain) :].lstrip(":")):
                return chain, text[len(chain) :].lstrip(":")
        if RANGE.fullmatch(text) and len(self.chains) == 1:
            return next(iter(self.chains)), text
        named = re.match(r"[A-Za-z]*", text)[0]  # type: ignore[index]
        what = f"names chain {named!r}" if named else "names no chain"
        raise UsageError(
            f"{option}: {text!r} {what}; there are: {', '.join(map(repr, self.chains))}.{suggest(named, self.chains)}"
        )

    def _one(self, chain: str, number: str, text: str, option: str) -> int:
        numbers = self.chains[chain]
        number = number if (chain, number) in self.index else number.upper()
        if (chain, number) not in self.index:
            near = suggest(number, numbers) or _nearest(number, numbers)
            raise UsageError(
                f"{option}: {text!r} names residue {number}, which chain {chain!r} does not have ({numbers[0]} to "
                f"{numbers[-1]}).{near}"
            )
        return self.index[chain, number]


def _nearest(number: str, numbers: Sequence[str]) -> str:
    wanted = int(re.match(r"-?\d+", number)[0])  # type: ignore[index]
    by = min(numbers, key=lambda other: abs(int(re.match(r"-?\d+", other)[0]) - wanted))  # type: ignore[index]
    return f" The nearest is {by}."


def _fix(made: Parsed, part: str, sites: list[int]) -> None:
    blank = [made.labels[i] for i in sites if made.sequence[i] not in CODES]
    if blank:
        raise UsageError(f"--fix: {part!r} fixes {blank[0]}, which has no known residue; use --allow there.")
    made.fixed |= set(sites)
    made.table.append(("fix", part, "".join(made.sequence[i] for i in sites)))


def _allow(made: Parsed, part: str, places: Places) -> None:
    where, mark, what = part.partition("=")
    if not mark or not what:
        raise UsageError(f"--allow: {part!r} has no residues; write A30=DE, or A30=-C for all but cysteine.")
    sites = places.of(where, "--allow")
    codes = _letters(what.removeprefix("-"), "--allow")
    row = torch.zeros(20, dtype=torch.bool)
    row[codes] = True
    row = ~row if what.startswith("-") else row
    for i in sites:
        # An allowance overrides what is left out elsewhere, and two of them must agree.
        both = row & made.allowed[i] if i in made.limited or what.startswith("-") else row
        if not bool(both.any()):
            raise UsageError(f"--allow: {part!r} and an earlier allowance leave {made.labels[i]} without any residue.")
        made.allowed[i] = both
        made.limited.add(i)
    made.table.append(("allow", where, _names(torch.where(made.allowed[sites[0]])[0].tolist())))


def _bias(made: Parsed, part: str, places: Places) -> None:
    where, _, what = part.partition("=")
    letters, mark, value = what.partition(":")
    try:
        amount = float(value)
    except ValueError:
        mark = ""
        amount = 0.0
    if not mark or not abs(amount) < 1e6:
        raise UsageError(f"--bias: {part!r} is not understood; write A10-25=L:-0.5 (an energy: negative favours).")
    for i in places.of(where, "--bias"):
        made.bias[i, _letters(letters, "--bias")] += amount
    made.table.append(("bias", where, f"{letters.upper()} {amount:+g}"))


def _tie(made: Parsed, part: str, places: Places) -> None:
    ends = part.split("=")
    if len(ends) < 2:
        raise UsageError(f"--tie: {part!r} ties nothing; write A1-50=B1-50.")
    lists = [places.of(end.strip(), "--tie") for end in ends]
    if len({len(sites) for sites in lists}) > 1:
        sizes = " and ".join(str(len(sites)) for sites in lists)
        raise UsageError(f"--tie: {part!r} ties {sizes} residues; the ranges must be of one length.")
    for together in zip(*lists, strict=True):
        joined = set().union(*(group for group in made.groups if group & set(together)))
        made.groups = [group for group in made.groups if not group & joined] + [joined]
    made.groups.sort(key=min)
    made.table.append(("tie", part, f"{len(lists[0])} groups of {len(lists)}"))


def _settle(made: Parsed) -> None:
    """Bring fixed, allowed and tied sites together, and refuse what cannot be."""
    for i in sorted(made.fixed & made.limited):
        if not bool(made.allowed[i, CODES[made.sequence[i]]]):
            raise UsageError(
                f"{made.labels[i]} is fixed as {made.sequence[i]} and allowed only "
                f"{_names(torch.where(made.allowed[i])[0].tolist())}; leave one of the two out."
            )
    for group in made.groups:
        fixed = sorted(group & made.fixed)
        if not fixed:
            if not bool(made.allowed[sorted(group)].all(0).any()):
                names = ", ".join(made.labels[i] for i in sorted(group))
                raise UsageError(f"{names} are tied and have no allowed residue in common; allow one at all of them.")
            continue
        letters = {made.sequence[i] for i in fixed}
        if len(letters) > 1:
            names = " and ".join(f"{made.labels[i]} ({made.sequence[i]})" for i in fixed[:2])
            raise UsageError(f"{names} are tied and fixed to different residues; leave one of the two out.")
        if len(fixed) < len(group):
            letter = letters.pop()
            for i in group - made.fixed:
                if not bool(made.allowed[i, CODES[letter]]) and i in made.limited:
                    raise UsageError(f"{made.labels[i]} is tied to a fixed {letter}, which --allow does not let it be.")
            made.sequence = "".join(letter if i in group else old for i, old in enumerate(made.sequence))
            made.fixed |= group
    for i in made.fixed:  # a fixed residue is allowed, whatever is left out elsewhere
        made.allowed[i] = False
        made.allowed[i, CODES[made.sequence[i]]] = True


def _rules(made: Parsed, constraints: Constraints) -> None:
    if constraints.charge:
        low, high = _span(constraints.charge)
        charge = torch.tensor(CHARGES)
        table = torch.where(made.allowed, charge, torch.nan)
        least = float(torch.nan_to_num(table, nan=9.0).amin(1).sum())
        most = float(torch.nan_to_num(table, nan=-9.0).amax(1).sum())
        if most < low or least > high:
            raise UsageError(
                f"--net-charge {constraints.charge}: with what is fixed and allowed it can be {least:g} to {most:g}; "
                "widen the range or free residues."
            )
        made.rules.append(charge_rule(low, high, CHARGES))
        made.table.append(("net charge", "all", f"{low:g} to {high:g}"))
    if constraints.longest_run is not None:
        longest = constraints.longest_run
        if longest < 1:
            raise UsageError(f"--longest-run {longest} is not allowed; give 1 or more.")
        run = start = 0
        for i in range(len(made.labels)):
            same = i > 0 and {i - 1, i} <= made.fixed and made.sequence[i] == made.sequence[i - 1]
            run, start = (run + 1, start) if same else (1, i)
            if i in made.fixed and run > longest:
                raise UsageError(
                    f"--longest-run {longest}: the fixed residues from {made.labels[start]} on are a longer run of "
                    f"{made.sequence[i]}; free one of them or allow longer runs."
                )
        made.rules.append(run_rule(longest))
        made.table.append(("longest run", "all", f"{longest} of one residue"))


def _span(text: str) -> tuple[float, float]:
    low, mark, high = text.partition("..")
    try:
        ends = float(low), float(high if mark else low)
    except ValueError:
        ends = 1.0, 0.0
    if ends[0] > ends[1]:
        raise UsageError(f"--net-charge {text!r} is not understood; write -5..2, or one number.")
    return ends


def render(parsed: Parsed) -> str:
    """Return the table as lines, with how many sites are free, fixed and tied."""
    free = len(parsed.labels) - len(parsed.fixed)
    tied = sum(len(group) for group in parsed.groups if len(group) > 1)
    lines = [f"{len(parsed.labels)} sites: {free} free, {len(parsed.fixed)} fixed, {tied} tied"]
    if parsed.table:
        widths = [max(len(row[k]) for row in parsed.table) for k in range(2)]
        lines += [f"  {what:<{widths[0]}}  {where:<{widths[1]}}  {means}" for what, where, means in parsed.table]
    return "\n".join(lines)
