"""The second phase of a method on the training loop: one optimiser, or players that take turns; both with a refresh.

A refresh looks at all rows in blocks of `BLOCK`: Q of every row, its labels, how many of them changed, which clusters emptied,
and what the terms are to remember until the next one (DEC's target P, say). It comes every `refresh` steps, or before each
epoch. Training stops at a refresh where fewer than `tol` of the labels changed; that step makes no update, so the labels that
were judged are those of the fitted model. No true label is ever looked at.

Where the terms remember nothing of single rows (`seen_in_training`), a refresh before each epoch looks at all rows once, at the
start and wherever a cluster may be empty; else it takes the labels that the epoch's own steps gave, which cost nothing. What is
judged then are two passes, the later one up to an epoch older than the model; the fitted model's labels are worked out anew.

All that a killed run needs beside its weights is in `state_dict`, so that a resumed one repeats it bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mumei.cluster.terms import Term, View, full_precision
from mumei.core import seeds
from mumei.core.batches import Rows
from mumei.core.config import TrainConfig
from mumei.core.method import At, Loss, make_optimizer

BLOCK = 1024  # rows embedded and assigned at a time
DRIFT = 64  # rows of a batch that two gradients are compared on
Nets = Mapping[str, Any]


class Clustering(Protocol):
    """What a driver asks of a method: see `mumei.cluster.estimator.Clusterer`."""

    learns: tuple[str, ...]

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return the loss's terms."""
        ...

    def drift_terms(self, settings: Mapping[str, Any]) -> tuple[Sequence[Term], Sequence[Term]] | None:
        """Return the two losses whose gradients are compared at each refresh."""
        ...

    def players(self, settings: Mapping[str, Any]) -> Mapping[str, Player]:
        """Return who takes turns, for `TakingTurns`."""
        ...

    def assign(self, nets: Nets, x: Tensor) -> Tensor:
        """Return the probabilities (b, k) of a block of rows."""
        ...

    def encode(self, nets: Nets, x: Tensor) -> Tensor:
        """Return the embedding (b, latent) of a block of rows."""
        ...

    def remember(self, q: Tensor, settings: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return what the terms need until the next refresh, one row for each row of Q (n, k)."""
        ...

    def seen_in_training(self, settings: Mapping[str, Any]) -> bool:
        """Return whether an epoch's steps see all that a refresh would."""
        ...

    def reseed(self, nets: Nets, cluster: int, z: Tensor) -> None:
        """Give an emptied cluster an embedded row (latent,) to start from."""
        ...


@contextlib.contextmanager
def evaluating(nets: Mapping[str, nn.Module]) -> Iterator[None]:
    """Put networks in evaluation mode (no dropout, fixed batch normalisation) without gradients, and back.

    All is in float32 here, also under a step's mixed precision: what a refresh sees is what the fitted model says.
    """
    before = {name: net.training for name, net in nets.items()}
    for net in nets.values():
        net.eval()
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for name, net in nets.items():
            net.train(before[name])


def in_blocks(function: Any, nets: Mapping[str, nn.Module], rows: Rows, device: Any = "cpu") -> Tensor:
    """Return `function(nets, x)` of all rows, worked out in blocks in evaluation mode, on the CPU."""
    with evaluating(nets):
        parts = [
            function(nets, rows.gather(index, torch.device(device))[0].float()).cpu()
            for index in torch.arange(len(rows)).split(BLOCK)
        ]
    return torch.cat(parts)


def cosine_of_gradients(one: Tensor, other: Tensor, parameters: Sequence[Tensor]) -> float:
    """Return the cosine between the gradients of two scalars; 0 where one of them vanishes."""
    first, second = (_flat_gradient(scalar, parameters) for scalar in (one, other))
    norms = float(first.norm() * second.norm())
    return float(first @ second) / norms if norms > 0 else 0.0


def _flat_gradient(scalar: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    found = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(parameters, found, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).ravel() for p, g in pairs])


class Driver:
    """The refresh and what it keeps; subclasses give `optimizers` and `update`.

    Parameters
    ----------
    owner : Clustering
        The method.
    nets : dict of name to Module
    settings : mapping
        "refresh" (steps, or "epoch"), "tol", "empty" ("reseed" or "keep"), and what the terms read.
    seed : int
    identity : dict
        JSON values that a resumed run must share with this one.
    """

    def __init__(
        self, owner: Any, nets: dict[str, nn.Module], settings: Mapping[str, Any], seed: int, identity: dict[str, Any]
    ):
        self.owner, self.nets, self.settings, self.seed, self.identity = owner, nets, settings, seed, identity
        self.memory: dict[str, Tensor] = {}
        self.labels: Tensor | None = None
        self.clusters = 0
        self.watched: dict[str, float] = {}
        self.counts = {"refreshes": 0, "emptied": 0, "reseeded": 0}
        self.due = False
        self.looks_back = settings["refresh"] == "epoch" and owner.seen_in_training(settings)
        self.seen: Tensor | None = None  # the label that each row had when a step last saw it
        self.fresh = True  # no pass has been compared with another yet

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks."""
        return self.nets

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser over the networks that learn."""
        raise NotImplementedError

    def update(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Make one step."""
        raise NotImplementedError

    def start_epoch(self, at: At) -> None:
        """Have a refresh before the epoch's first step, where none is counted in steps."""
        self.due = self.settings["refresh"] == "epoch"

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Refresh if it is time, stop if nothing changes any more, else make an update."""
        every = self.settings["refresh"]
        if self.due or (every != "epoch" and at.step % every == 0):
            self.due = False
            with full_precision(batch[0]):
                settled = self.refresh(batch, at) if self.seen is None else self._look_back(self.seen, batch, at)
            if settled:
                at.stop()
                with evaluating(at.nets):  # so that running means of normalisation stay too
                    return self.judge(batch, at)
        return self.update(batch, at)

    def view(self, batch: tuple[Tensor, ...], at: At) -> View:
        """Return what the terms see of a batch."""
        return View(at.nets, batch, at, self.memory)

    def judge(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return the values of one batch without an update."""
        loss = self.update(batch, at)
        return Loss(None, {**({} if loss.total is None else {"loss": loss.total.detach()}), **loss.parts})

    def refresh(self, batch: tuple[Tensor, ...], at: At) -> bool:
        """Look at all rows; return whether the labels have settled."""
        q = self._assign_all(at)
        sizes = torch.bincount(q.argmax(1), minlength=q.shape[1])
        empty = torch.nonzero(sizes == 0).ravel().tolist()
        self.counts["emptied"] += len(empty)
        moved = bool(empty) and self.settings["empty"] == "reseed"
        if moved:
            self._reseed(empty, q, sizes, at)
            q = self._assign_all(at)
        labels, self.memory = q.argmax(1), self.owner.remember(q, self.settings)
        if self.looks_back:
            self.seen, self.fresh = labels.clone(), True
        settled = self._settled(labels, sizes, batch, at)
        return settled and not moved

    def _look_back(self, seen: Tensor, batch: tuple[Tensor, ...], at: At) -> bool:
        """Do as `refresh` by the labels of the last epoch's steps; return whether they have settled."""
        sizes = torch.bincount(seen, minlength=self.clusters)
        if not sizes.all():
            return self.refresh(batch, at)
        # Between a look and the pass that follows it rows had half an epoch to change on average: too little to judge by.
        judged, self.fresh = not self.fresh, False
        return self._settled(seen.clone(), sizes, batch, at) and judged

    def _settled(self, labels: Tensor, sizes: Tensor, batch: tuple[Tensor, ...], at: At) -> bool:
        """Keep the labels and what is told of them; return whether fewer than `tol` changed."""
        before, self.labels, self.clusters = self.labels, labels, len(sizes)
        changed = 1.0 if before is None else float((labels != before).float().mean())
        self.counts["refreshes"] += 1
        self.watched = {"changed": changed, "empty": float((sizes == 0).sum()), "smallest": float(sizes.min())}
        self.watched |= self._drift(batch, at)
        return before is not None and changed < self.settings["tol"]

    def _assign_all(self, at: At) -> Tensor:
        return in_blocks(self.owner.assign, at.nets, at.data, at.runtime.device)

    def _reseed(self, empty: list[int], q: Tensor, sizes: Tensor, at: At) -> None:
        """Start each emptied cluster anew at a row of the largest one."""
        rng = seeds.torch_generator(self.seed, "reseed", at.step)
        members = torch.nonzero(q.argmax(1) == sizes.argmax()).ravel()
        drawn = members[torch.randperm(len(members), generator=rng)[: len(empty)]]
        with evaluating(at.nets):
            z = self.owner.encode(at.nets, at.data.gather(drawn, at.runtime.device)[0].float())
            for cluster, point in zip(empty, z, strict=False):
                self.owner.reseed(at.nets, cluster, point)
        self.counts["reseeded"] += min(len(empty), len(drawn))

    def _drift(self, batch: tuple[Tensor, ...], at: At) -> dict[str, float]:
        """Return the feature drift: the cosine of the clustering's and the reconstruction's gradient in the encoder."""
        pair = self.owner.drift_terms(self.settings)
        if pair is None:
            return {}
        parameters = [p for p in at.nets["encoder"].parameters() if p.requires_grad]
        view = self.view(tuple(part[:DRIFT] for part in batch), replace(at, rows=at.rows[:DRIFT]))
        one, other = (sum((t.weight * t(view) for t in terms), torch.zeros(())) for terms in pair)
        return {"feature_drift": cosine_of_gradients(one, other, parameters)}

    def end_epoch(self, at: At, means: Mapping[str, float]) -> dict[str, float]:
        """Return what the last refresh saw."""
        return self.watched

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the weights."""
        kept = {f"memory.{k}": v for k, v in self.memory.items()}
        kept |= {k: v for k, v in (("labels", self.labels), ("seen", self.seen)) if v is not None}
        told = {"clusters": self.clusters, "fresh": self.fresh, "watched": self.watched, "counts": self.counts}
        return {**kept, **told, "settings": self.identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.memory = {k.removeprefix("memory."): v.clone() for k, v in state.items() if k.startswith("memory.")}
        self.labels, self.seen = (state[k].clone() if k in state else None for k in ("labels", "seen"))
        self.clusters, self.fresh = state.get("clusters", 0), state.get("fresh", True)
        self.watched, self.counts = dict(state["watched"]), dict(state["counts"])


class OneOptimizer(Driver):
    """A weighted sum of terms, minimised over the networks that the method's `learns` names."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.terms = list(self.owner.terms(self.settings))

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser over the networks that learn."""
        return {"all": make_optimizer(config, [p for name in self.owner.learns for p in self.nets[name].parameters()])}

    def update(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return the terms and their weighted sum."""
        view = self.view(batch, at)
        total, parts = weighted(self.terms, view)
        if not at.stopping:
            for term in self.terms:
                if term.name in parts:
                    term.after(view)
            if self.seen is not None:
                self.seen[at.rows] = view.log_q.detach().argmax(1).to(self.seen.device)
        return Loss(total, parts)


@dataclass(frozen=True)
class Player:
    """One side of a game: the networks that it moves, the terms that it minimises, and how often it has a turn.

    Parameters
    ----------
    nets : tuple of str
    terms : sequence of Term
    every : int
        It moves at each `every`-th step: 1 for a critic, 5 for a generator that waits for five moves of the critic.
    optimizer : callable, optional
        Takes the parameters and returns an optimiser; by default the one that the settings name.
    """

    nets: tuple[str, ...]
    terms: Sequence[Term]
    every: int = 1
    optimizer: Callable[[list[Any]], torch.optim.Optimizer] | None = None


class TakingTurns(Driver):
    """Two or more optimisers: within a step each player whose turn it is makes an update, in the order that the method gives."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.players: dict[str, Player] = dict(self.owner.players(self.settings))

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser a player."""
        made = {}
        for name, player in self.players.items():
            parameters = [p for net in player.nets for p in self.nets[net].parameters()]
            made[name] = player.optimizer(parameters) if player.optimizer else make_optimizer(config, parameters)
        return made

    def update(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Let the players move; return their losses by name, and the terms as "player.term"."""
        values: dict[str, Tensor | float] = {}
        for name, player in self.players.items():
            if at.step % player.every:
                continue
            view = self.view(batch, at)  # a new one: the networks have moved
            with only(at.nets, player.nets):
                total, parts = weighted(player.terms, view)
                values |= {name: total.detach(), **{f"{name}.{k}": v for k, v in parts.items()}}
                if at.stopping:
                    continue
                at.optimizers[name].zero_grad(set_to_none=True)
                at.backward(total)
            at.optimizers[name].step()
            for term in player.terms:
                if term.name in parts:
                    term.after(view)
        return Loss(None, values)


@contextlib.contextmanager
def only(nets: Mapping[str, nn.Module], chosen: Sequence[str]) -> Iterator[None]:
    """Have gradients for the weights of some networks alone; the others' are constants, which spares their part of the work."""
    held = [p for name, net in nets.items() if name not in chosen for p in net.parameters() if p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def weighted(terms: Sequence[Term], view: View) -> tuple[Tensor, dict[str, Tensor | float]]:
    """Return the weighted sum of the terms that are due for one batch, and each of them by name, detached."""
    due = [term for term in terms if term.due(view.at)]
    values = {term.name: term(view) for term in due}
    total = sum((term.weight * values[term.name] for term in due), torch.zeros((), device=view.x.device))
    return total, {name: value.detach() for name, value in values.items()}
