"""The energy of a sequence as named terms with weights, of which single changes can be had without computing all anew.

E(x) = 3 structure + 2 language + 1 n-gram are the released weights (Verkuil and others 2022); lower is better.

structure: the mean of -log p(class) over the target's contacts (`StructureHead.energy`).
language: -log p(x_i | the rest) / L at the residue that is changed. One masked pass has the values of the old residue and of
    the new one. Over a chain only its changes are known; its value for a sequence is the mean over all i, by L masked passes.
    For a Potts model the two agree: the changes are those of its own energy divided by L.
n-gram: the sum over orders of KL(p_n(x) | natural), by counts that a substitution changes in a few places.

A term is anything with the methods of `Term`; `FunctionTerm` makes one of a function of sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mumei.core.errors import NonFiniteError, UsageError
from mumei.protein.models.base import SequenceModel, all_positions

WEIGHTS = {"structure": 3.0, "language": 2.0, "ngram": 1.0}


@dataclass(frozen=True)
class Proposals:
    """Changes to be judged, of rows of the current sequences.

    Parameters
    ----------
    row : Tensor (P,) int64
        Which current sequence.
    group : Tensor (P,) int64
        Which group of tied sites.
    sites : Tensor (P, G) int64
        The group's sites, -1 where there are fewer.
    residue : Tensor (P,) int64
        What all of them become.
    before, after : Tensor (P, L) int64
        The sequences.
    """

    row: Tensor
    group: Tensor
    sites: Tensor
    residue: Tensor
    before: Tensor
    after: Tensor

    def take(self, which: Tensor) -> Proposals:
        """Return some of them."""
        return Proposals(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.row)


class Term(Protocol):
    """A part of the energy. Values are not weighted; `cheap` says that it costs no pass of a network."""

    name: str
    cheap: bool

    def value(self, tokens: Tensor) -> Tensor:
        """Return the value of each sequence from scratch, float64 (B,)."""
        ...

    def start(self, tokens: Tensor) -> Tensor:
        """Take these as the current sequences; return their values, float64 (B,)."""
        ...

    def change(self, proposals: Proposals) -> Tensor:
        """Return value(after) - value(before) of each proposal, float64 (P,)."""
        ...

    def accept(self, proposals: Proposals) -> None:
        """Make these, at most one a row, the current sequences."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what it knows of the current sequences, for a checkpoint."""
        ...

    def restore(self, tokens: Tensor, state: Mapping[str, Tensor]) -> None:
        """Take it back."""
        ...


class LanguageTerm:
    """The language model's term; masked log-probabilities of a row are kept until it changes.

    `conditional` gives the values of all residues at a place, which informed proposals are drawn from.
    """

    cheap = False

    def __init__(self, model: SequenceModel, name: str = "language"):
        self.model, self.name = model, name
        self._known = torch.zeros(0)

    def value(self, tokens: Tensor) -> Tensor:
        """Return -mean log p(x_i | the rest), by L masked passes each, float64 (B,)."""
        logp = self.model.masked_logprobs(tokens, all_positions(tokens))
        return -logp.gather(-1, tokens.to(logp.device)[..., None])[..., 0].double().mean(1).cpu()

    def start(self, tokens: Tensor) -> Tensor:
        """Return zeros: over a chain the term is known up to a constant, and it needs no pass to begin."""
        self._known = torch.full((*tokens.shape, 20), torch.nan)
        return torch.zeros(len(tokens), dtype=torch.float64)

    def conditional(self, tokens: Tensor, rows: Tensor, sites: Tensor) -> Tensor:
        """Return -log p(a | the rest) / L of each residue at a site of a current sequence, float64 (n, 20)."""
        self._fill(tokens, rows, sites)
        return self._known[rows, sites].double() / -tokens.shape[1]

    def change(self, proposals: Proposals) -> Tensor:
        """Return the change of the sites, one after the other: a tied site sees those before it changed already."""
        single = (proposals.sites >= 0).sum(1) == 1
        out = torch.zeros(len(proposals), dtype=torch.float64)
        if bool(single.any()):
            some = proposals.take(single)
            site = some.sites.max(1).values
            self._fill_from(some.row, some.before, site)
            out[single] = self._difference(self._known[some.row, site], some.before, site, some.residue)
        if bool((~single).any()):
            out[~single] = self._tied(proposals.take(~single))
        return out

    def accept(self, proposals: Proposals) -> None:
        """Forget what is known of the rows that change."""
        self._known[proposals.row] = torch.nan

    def state(self) -> dict[str, Tensor]:
        """Return the log-probabilities that are known."""
        return {"known": self._known}

    def restore(self, tokens: Tensor, state: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self._known = state["known"].clone()

    def _fill(self, tokens: Tensor, rows: Tensor, sites: Tensor) -> None:
        self._fill_from(rows, tokens[rows], sites)

    def _fill_from(self, rows: Tensor, before: Tensor, sites: Tensor) -> None:
        """Compute what is not known yet, each masked place of a row once."""
        missing = torch.isnan(self._known[rows, sites, 0])
        if not bool(missing.any()):
            return
        rows, sites, before = rows[missing], sites[missing], before[missing]
        width = before.shape[1]
        _, back = torch.unique(rows * width + sites, return_inverse=True)
        first = torch.full((int(back.max()) + 1,), len(back)).scatter_reduce_(0, back, torch.arange(len(back)), "amin")
        logp = self.model.masked_logprobs(before[first], sites[first][:, None])[:, 0].cpu()
        self._known[rows[first], sites[first]] = logp

    def _difference(self, logp: Tensor, before: Tensor, site: Tensor, residue: Tensor) -> Tensor:
        old = before.gather(1, site[:, None])
        logp = logp.double()
        return (logp.gather(1, old) - logp.gather(1, residue[:, None]))[:, 0] / before.shape[1]

    def _tied(self, proposals: Proposals) -> Tensor:
        total = torch.zeros(len(proposals), dtype=torch.float64)
        now = proposals.before.clone()
        for k in range(proposals.sites.shape[1]):
            there = torch.where(proposals.sites[:, k] >= 0)[0]
            if not len(there):
                continue
            site, residue = proposals.sites[there, k], proposals.residue[there]
            logp = self.model.masked_logprobs(now[there], site[:, None])[:, 0].cpu()
            total[there] += self._difference(logp, now[there], site, residue)
            now[there, site] = residue
        return total


class FunctionTerm:
    """A term of a function of sequences (P, L) int64 to (P,), such as a user's own score; lower is better."""

    cheap = True

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]):
        self.name, self._function = name, function
        self._current = self._last = torch.zeros(0, dtype=torch.float64)

    def value(self, tokens: Tensor) -> Tensor:
        """Return the function's values."""
        found = torch.as_tensor(self._function(tokens)).double().cpu()
        if found.shape != (len(tokens),):
            raise UsageError(f"the term {self.name!r} gave shape {tuple(found.shape)} for {len(tokens)} sequences.")
        return found

    def start(self, tokens: Tensor) -> Tensor:
        """Return their values."""
        self._current = self.value(tokens)
        return self._current.clone()

    def change(self, proposals: Proposals) -> Tensor:
        """Return the change."""
        return self.value(proposals.after) - self._current[proposals.row]

    def accept(self, proposals: Proposals) -> None:
        """Compute the accepted ones again."""
        self._current[proposals.row] = self.value(proposals.after)

    def state(self) -> dict[str, Tensor]:
        """Return the current values."""
        return {"current": self._current}

    def restore(self, tokens: Tensor, state: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self._current = state["current"].clone()


class BiasTerm:
    """A fixed energy of each residue at each site, (L, 20), summed over sites: what `--bias` asks for."""

    cheap = True

    def __init__(self, bias: Tensor, name: str = "bias"):
        self.bias, self.name = bias.double(), name

    def value(self, tokens: Tensor) -> Tensor:
        """Return the sums."""
        return self.bias[torch.arange(tokens.shape[1]), tokens].sum(1)

    def start(self, tokens: Tensor) -> Tensor:
        """Return the sums."""
        return self.value(tokens)

    def conditional(self, tokens: Tensor, rows: Tensor, sites: Tensor) -> Tensor:
        """Return the site's row."""
        return self.bias[sites]

    def change(self, proposals: Proposals) -> Tensor:
        """Return the difference at the sites."""
        sites, there = proposals.sites.clamp(min=0), proposals.sites >= 0
        new = self.bias[sites, proposals.residue[:, None]]
        old = self.bias[sites, proposals.before.gather(1, sites)]
        return ((new - old) * there).sum(1)

    def accept(self, proposals: Proposals) -> None:
        """Nothing is kept."""

    def state(self) -> dict[str, Tensor]:
        """Nothing is kept."""
        return {}

    def restore(self, tokens: Tensor, state: Mapping[str, Tensor]) -> None:
        """Nothing is kept."""


class Energy:
    """The weighted sum of terms.

    Parameters
    ----------
    terms : sequence of Term
    weights : mapping of str to float
        By the terms' names; the released ones where left out, 1 for a term that has none there.
    """

    def __init__(self, terms: Sequence[Any], weights: Mapping[str, float] | None = None):
        self.terms = list(terms)
        names = [term.name for term in self.terms]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"an energy needs terms of different names; given: {names}.")
        given = {**WEIGHTS, **(weights or {})}
        unknown = sorted(set(weights or {}) - set(names))
        if unknown:
            raise UsageError(f"there is a weight for {unknown}, which is no term of this energy; it has {names}.")
        self.weights = torch.tensor([float(given.get(name, 1.0)) for name in names], dtype=torch.float64)
        # Dear terms last: what the cheap ones forbid is not asked.
        self.names = names

    def values(self, tokens: Tensor) -> Tensor:
        """Return each term's unweighted value from scratch, float64 (B, terms)."""
        return torch.stack([term.value(tokens) for term in self.terms], 1)

    def start(self, tokens: Tensor) -> Tensor:
        """Begin with these sequences; return the terms' values as far as a chain knows them, float64 (B, terms)."""
        return torch.stack([term.start(tokens) for term in self.terms], 1)

    def changes(self, proposals: Proposals) -> Tensor:
        """Return each term's change, float64 (P, terms); `NonFiniteError` names the term that gave a NaN."""
        found = torch.stack([term.change(proposals) for term in self.terms], 1)
        if not bool(torch.isfinite(found).all()):
            bad = [
                name for name, column in zip(self.names, found.T, strict=True) if not bool(torch.isfinite(column).all())
            ]
            raise NonFiniteError(
                f"the energy term {bad[0]!r} is not finite for a proposal; look at the model's weights."
            )
        return found

    def total(self, values: Tensor) -> Tensor:
        """Return the weighted sum of values or changes (..., terms)."""
        return values @ self.weights

    def accept(self, proposals: Proposals) -> None:
        """Make these, at most one a row, the current sequences."""
        for term in self.terms:
            term.accept(proposals)

    def conditional(self, tokens: Tensor, rows: Tensor, sites: Tensor) -> Tensor:
        """Return the weighted energy of each residue at a site by the terms that can tell, up to a constant, (n, 20)."""
        total = torch.zeros(len(rows), 20, dtype=torch.float64)
        for term, weight in zip(self.terms, self.weights.tolist(), strict=True):
            if hasattr(term, "conditional"):
                total += weight * term.conditional(tokens, rows, sites)
        return total

    def state(self) -> dict[str, Tensor]:
        """Return what the terms know, as `term/entry`."""
        return {f"{term.name}/{key}": value for term in self.terms for key, value in term.state().items()}

    def restore(self, tokens: Tensor, state: Mapping[str, Tensor]) -> None:
        """Take it back."""
        for term in self.terms:
            start = f"{term.name}/"
            term.restore(tokens, {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})
