"""Licences of corpora: what each allows, and whether corpora under several may be put together.

Names are SPDX ids where there is one, else short names ("GENIA", "PhysioNet"). `licence(name)` takes other spellings of the
same ("CC BY 4.0", "GPL-3"), and anything else as a licence that nothing is known of.

A mix is taken for an adaptation of all its parts, which is the strictest reading of the licences, and no legal advice. Its
rules: terms that forbid changes forbid the mix; two share-alike terms go together only where one lets its material be passed on
under the other (CC BY-SA 3.0 to 4.0 to GPL-3.0; CC BY-NC-SA 3.0 to 4.0); share-alike terms that allow trade do not go with terms
that forbid it; and what may not be passed on, or has no stated terms, makes the mix one that may not be passed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

OPEN = "open"  # asks for all licences that `is_open`
AGREEMENT = "use needs an agreement, and the data may not be passed on"
UNKNOWN = "no terms are stated, so that nothing is known to be allowed"
CUSTOM = "it has terms of its own, which have to be read"


@dataclass(frozen=True)
class Licence:
    """What a licence says.

    Parameters
    ----------
    name : str
        SPDX id, or a short name.
    attribution, share_alike, noncommercial, no_derivatives : bool
        What it asks for, or forbids.
    caution : str
        Why data under it may not simply be passed on, "" where they may.
    spdx : bool
        Whether `name` is an SPDX id.
    """

    name: str
    attribution: bool = True
    share_alike: bool = False
    noncommercial: bool = False
    no_derivatives: bool = False
    caution: str = ""
    spdx: bool = True

    @property
    def known(self) -> bool:
        """Whether its terms are known."""
        return self.caution not in (UNKNOWN, CUSTOM)


def _creative_commons() -> Iterable[Licence]:
    for version in ("1.0", "2.0", "2.5", "3.0", "4.0"):
        for kind in ("BY", "BY-SA", "BY-NC", "BY-NC-SA", "BY-ND", "BY-NC-ND"):
            parts = kind.split("-")
            yield Licence(f"CC-{kind}-{version}", True, "SA" in parts, "NC" in parts, "ND" in parts)
    yield Licence("CC-BY-3.0-US")


_ALL = (
    *_creative_commons(),
    *(Licence(name, attribution=False) for name in ("CC0-1.0", "CC-PDM-1.0", "Unlicense")),
    *(Licence(name) for name in ("MIT", "Apache-2.0", "ISC", "BSD-2-Clause", "BSD-3-Clause", "ODC-By-1.0")),
    *(Licence(name, share_alike=True) for name in ("GPL-3.0-only", "GPL-3.0-or-later", "GPL-2.0-only", "ODbL-1.0")),
    Licence("GFDL", share_alike=True, spdx=False),
    Licence("NCBI", attribution=True, spdx=False),  # a work of the United States' government
    *(Licence(name, caution=CUSTOM, spdx=False) for name in ("GENIA", "NLM", "CSIRO", "mixed", "custom")),
    *(Licence(name, caution=AGREEMENT, spdx=False) for name in ("DUA", "PhysioNet", "UMLS", "no-redistribution")),
    Licence("unknown", caution=UNKNOWN, spdx=False),
)
LICENCES: Mapping[str, Licence] = {item.name: item for item in _ALL}
_OTHER_NAMES = {
    "gpl3": "GPL-3.0-only",
    "gpl30": "GPL-3.0-only",
    "gplv3": "GPL-3.0-only",
    "apache2": "Apache-2.0",
    "cc0": "CC0-1.0",
    "publicdomain": "CC-PDM-1.0",
    "gfdl13": "GFDL",
    "": "unknown",
    "none": "unknown",
}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_PLAIN = {**{_plain(name): name for name in LICENCES}, **_OTHER_NAMES}


def licence(name: str) -> Licence:
    """Return what is known of a licence, by its SPDX id, short name or another spelling; never an error.

    Examples
    --------
    >>> licence("CC BY-NC 4.0").noncommercial, licence("gpl-3").name, licence("house rules").known
    (True, 'GPL-3.0-only', False)
    """
    found = _BY_PLAIN.get(_plain(name))
    return LICENCES[found] if found else Licence(name, caution=CUSTOM, spdx=False)


def is_open(name: str) -> bool:
    """Whether a licence lets data be used for anything, trade included, and be passed on."""
    found = licence(name)
    return not (found.noncommercial or found.no_derivatives or found.caution)


# Share-alike terms -> those under which their material may be passed on too.
_ONWARD = {
    "CC-BY-SA-2.0": ("CC-BY-SA-2.5", "CC-BY-SA-3.0", "CC-BY-SA-4.0"),
    "CC-BY-SA-2.5": ("CC-BY-SA-3.0", "CC-BY-SA-4.0"),
    "CC-BY-SA-3.0": ("CC-BY-SA-4.0",),
    "CC-BY-SA-4.0": ("GPL-3.0-only", "GPL-3.0-or-later"),
    "CC-BY-NC-SA-2.0": ("CC-BY-NC-SA-2.5", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0"),
    "CC-BY-NC-SA-2.5": ("CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0"),
    "CC-BY-NC-SA-3.0": ("CC-BY-NC-SA-4.0",),
    "GPL-3.0-or-later": ("GPL-3.0-only",),
}


def onward(name: str) -> set[str]:
    """Return the share-alike terms that a licence's material can end up under, itself included."""
    found, rest = {name}, [name]
    while rest:
        new = [n for n in _ONWARD.get(rest.pop(), ()) if n not in found]
        found.update(new)
        rest += new
    return found


def conflict(one: Licence, other: Licence) -> str:
    """Return why data under two licences may not be put together, or "".

    Examples
    --------
    >>> conflict(licence("CC-BY-SA-3.0"), licence("CC-BY-4.0")), conflict(licence("CC-BY-SA-3.0"), licence("GPL-3.0-only"))
    ('', '')
    >>> conflict(licence("CC-BY-SA-4.0"), licence("CC-BY-NC-4.0"))
    'CC-BY-SA-4.0 wants the whole under its own terms, and CC-BY-NC-4.0 forbids trade'
    """
    for item in (one, other):
        if item.no_derivatives:
            return f"{item.name} forbids changed copies"
    if one.share_alike and other.share_alike:
        both = onward(one.name) & onward(other.name)
        return "" if both else f"{one.name} and {other.name} each want the whole under their own terms"
    for shared, nc in ((one, other), (other, one)):
        if shared.share_alike and nc.noncommercial and not shared.noncommercial:
            return f"{shared.name} wants the whole under its own terms, and {nc.name} forbids trade"
    return ""


@dataclass(frozen=True)
class Verdict:
    """What the licences of a mix come to: `conflicts` forbid it, `cautions` have to be known, `terms` bind the whole."""

    conflicts: tuple[str, ...]
    cautions: tuple[str, ...]
    terms: tuple[str, ...]

    @property
    def may_be_shared(self) -> bool:
        """Whether the mix may be passed on, under `terms`."""
        return not self.conflicts and not self.cautions


def judge(licences: Mapping[str, str]) -> Verdict:
    """Return what the licences of corpora, corpus -> licence, come to when the corpora are put together."""
    held: dict[str, list[str]] = {}
    for corpus, name in licences.items():
        held.setdefault(licence(name).name, []).append(corpus)
    found = [licence(name) for name in sorted(held)]
    conflicts = [
        f"{why} ({', '.join(held[a.name])} with {', '.join(held[b.name])})"
        for a, b in combinations(found, 2)
        if (why := conflict(a, b))
    ]
    conflicts += [f"{a.name} forbids changed copies ({', '.join(held[a.name])})" for a in found if a.no_derivatives]
    if not conflicts:
        conflicts = _no_common_terms(found)
    cautions = [f"{item.name}: {item.caution} ({', '.join(held[item.name])})" for item in found if item.caution]
    return Verdict(tuple(dict.fromkeys(conflicts)), tuple(cautions), _terms(found))


def _no_common_terms(found: list[Licence]) -> list[str]:
    """Return a conflict where each two share-alike licences agree and all of them together do not."""
    alike = [onward(item.name) for item in found if item.share_alike]
    if not alike or set.intersection(*alike):
        return []
    return [f"no terms are left for all of {', '.join(item.name for item in found if item.share_alike)} together"]


def _terms(found: list[Licence]) -> tuple[str, ...]:
    alike = [onward(item.name) for item in found if item.share_alike]
    common = sorted(set.intersection(*alike), key=lambda name: (len(onward(name)) * -1, name)) if alike else []
    terms = [f"the whole under {common[0]}"] if common else []
    terms += ["its sources named"] if any(item.attribution for item in found) else []
    terms += ["no trade"] if any(item.noncommercial for item in found) else []
    return tuple(terms)
