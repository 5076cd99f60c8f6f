"""The structure head: a linear map from a model's pair maps to distances and angles of residues (Verkuil and others 2022).

Distance and omega are the same for (i, j) and (j, i) and come from A + A^T; theta and phi come from A as it is. Each has a
weight for every map and a bias; there is no APC, and the sequence is not masked. The fit is a multinomial logistic regression
for each kind, which is convex: 20 to 100 chains suffice. Maps are read as the model streams them and are never held together.

The energy of a backbone is E_struct of the paper's code: the mean of -log(p + 1e-8) of the target's distance class over the
target's contacts, the diagonal included. Only those pairs of the maps are projected, each unordered pair once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mumei.core import seeds
from mumei.core.artifact import Saveable, State
from mumei.core.errors import DataError, UsageError, unknown
from mumei.protein.lbfgs import minimise
from mumei.protein.models.base import SequenceModel, checked
from mumei.protein.models.esm2_weights import read_torch
from mumei.protein.targets import CONTACT_CLASSES, KINDS, MISSING, N_CLASSES, SYMMETRIC, Target, contacts_of

FLOOR = 1e-8
Example = tuple[SequenceModel, Tensor, Target]


class StructureHead(Saveable):
    """Weights (classes, maps) and biases (classes,) by kind; made by `fit`, `from_public` or `default`.

    Parameters
    ----------
    weights, biases : dict of kind to Tensor
    backend : str
        The models it fits, as their names begin ("esm2", "potts").
    about : dict
        Of the fit.
    """

    def __init__(
        self, weights: dict[str, Tensor], biases: dict[str, Tensor], backend: str, about: dict[str, Any] | None = None
    ):
        for kind in KINDS:
            if kind not in weights or weights[kind].shape[0] != N_CLASSES[kind] or len(biases[kind]) != N_CLASSES[kind]:
                raise DataError(
                    f"a structure head needs weights of {N_CLASSES[kind]} classes for {kind!r}; give all four kinds."
                )
        self.weights = {kind: weights[kind].float() for kind in KINDS}
        self.biases = {kind: biases[kind].float() for kind in KINDS}
        self.backend, self.about = backend, dict(about or {})
        self.n_maps = self.weights["distance"].shape[1]

    @classmethod
    def example(cls) -> Self:
        """Return one with made-up weights for three maps, for the conformance checks."""
        weights = {kind: torch.linspace(-1.0, 1.0, 3 * N_CLASSES[kind]).reshape(-1, 3) for kind in KINDS}
        return cls(weights, {kind: torch.zeros(N_CLASSES[kind]) for kind in KINDS}, "example")

    def logprobs(
        self, model: SequenceModel, tokens: Tensor, lengths: Tensor | None = None, kinds: Iterable[str] = KINDS
    ) -> dict[str, Tensor]:
        """Return log p(class | sequence) for every pair, by kind, float32 (B, classes, L, L).

        Beyond a sequence's length the values are those of the bias and mean nothing.
        """
        kinds = tuple(kinds)
        for kind in kinds:
            if kind not in KINDS:
                raise unknown("kind of pair class", kind, KINDS)
        self._check(model)
        stacked = torch.cat([self.weights[kind] for kind in kinds]).to(model.device)
        total, place = None, 0
        for maps in model.pair_maps(tokens, lengths):
            b, m, n, _ = maps.shape
            part = (stacked[:, place : place + m] @ maps.reshape(b, m, n * n)).view(b, -1, n, n)
            total, place = part if total is None else total.add_(part), place + m
        assert total is not None  # n_maps is at least 1
        out = {}
        for kind, logits in zip(kinds, total.split([N_CLASSES[kind] for kind in kinds], 1), strict=True):
            logits = logits + logits.transpose(-1, -2) if kind in SYMMETRIC else logits
            out[kind] = torch.log_softmax(logits + self.biases[kind].to(model.device)[:, None, None], 1)
        return out

    def contact_probability(self, model: SequenceModel, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return p(nearer than 7.97 A) for every pair, (B, L, L)."""
        return self.logprobs(model, tokens, lengths, ("distance",))["distance"][:, :CONTACT_CLASSES].exp().sum(1)

    def energy(
        self, model: SequenceModel, tokens: Tensor, target: Target | Tensor, lengths: Tensor | None = None
    ) -> Tensor:
        """Return E_struct of each sequence against a target, float32 (B,); lower is better.

        Parameters
        ----------
        tokens : Tensor (B, L)
        target : Target, or Tensor int64 (L, L) or (B, L, L)
            A structure for all, or distance classes, of which 0..5 are contacts and -1 is unknown. A sequence whose target
            has no contact gets 0.
        lengths : Tensor (B,), optional
            Where sequences differ in length; pairs beyond are not counted.
        """
        self._check(model)
        tokens, lengths = checked(model, tokens, lengths)
        pairs, classes, counts = _wanted_pairs(target, tokens, lengths)
        weight, logits, place = self.weights["distance"].to(model.device), None, 0
        for maps in model.pair_maps(tokens, lengths):
            picked = _pick(maps, pairs)  # (B, m, P)
            part = weight[:, place : place + maps.shape[1]] @ picked
            logits, place = part if logits is None else logits.add_(part), place + maps.shape[1]
        assert logits is not None  # n_maps is at least 1
        logp = torch.log_softmax(logits + self.biases["distance"].to(model.device)[:, None], 1)
        chosen = logp.gather(1, classes.clamp(min=0).expand(len(tokens), -1)[:, None])[:, 0]
        lost = -torch.log(chosen.exp() + FLOOR) * counts
        return lost.sum(1) / counts.sum(1).clamp(min=1)

    def _check(self, model: SequenceModel) -> None:
        backend = model.name.partition(":")[0]
        if model.n_maps != self.n_maps or backend != self.backend:
            raise UsageError(
                f"the structure head is for {self.backend!r} models with {self.n_maps} maps; {model.name!r} has {model.n_maps}. "
                "Fit a head on this model: StructureHead.fit, with some chains of known structure."
            )

    @classmethod
    def fit(
        cls,
        examples: Iterable[Example],
        *,
        l2: float = 1e-4,
        max_iter: int = 200,
        most_pairs: int = 6000,
        seed: int = 0,
        progress: Callable[[int], Any] | None = None,
    ) -> Self:
        """Fit a head on chains of known structure.

        Parameters
        ----------
        examples : iterable of (model, tokens (L,), Target)
            All models of one backend; each chain's classes that are -1 are left out.
        l2 : float
            Penalty on the squared weights of standardised maps, per pair; biases are free.
        most_pairs : int
            Pairs of a chain that are used: those nearer than 20 A first, and of the others a sample that stands for all.
        progress : callable, optional
            Called with 1 after each chain read, then after each step.

        Raises
        ------
        DataError
            No chain, or models whose maps differ in number.
        """
        rows, about = _Rows(most_pairs, seed), {"chains": 0, "residues": 0, "l2": l2, "models": []}
        backend = ""
        for model, tokens, target in examples:
            if len(tokens) != len(target):
                raise DataError(
                    f"{target.name} has {len(target)} residues and its sequence {len(tokens)}; they must be the same chain."
                )
            name, _, _ = model.name.partition(":")
            if backend and name != backend:
                raise DataError(f"the examples mix models of {backend!r} and {name!r}; a head fits one backend.")
            backend = name
            rows.add(model, tokens, target)
            about["chains"] += 1
            about["residues"] += len(tokens)
            if model.name not in about["models"]:
                about["models"].append(model.name)
            if progress is not None:
                progress(1)
        if not about["chains"]:
            raise DataError("there is no chain to fit a structure head on; give some with a known structure.")
        weights, biases = {}, {}
        for kind in KINDS:
            features, classes, counts = rows.of(kind)
            weights[kind], biases[kind], about[f"loss_{kind}"] = _multinomial(
                features, classes, counts, N_CLASSES[kind], l2, max_iter, progress
            )
        return cls(weights, biases, backend, about)

    @classmethod
    def from_public(cls, path: Path | str) -> Self:
        """Load the authors' `linear_projection_model.pt` for ESM-2 650M: conv1 is distance and omega, conv2 theta and phi."""
        state = read_torch(Path(path)).get("model", {})
        weights, biases = {}, {}
        try:
            for layer, first, second in (("conv1", "distance", "omega"), ("conv2", "theta", "phi")):
                weight, bias = state[f"{layer}.weight"].flatten(1), state[f"{layer}.bias"]
                sizes = [N_CLASSES[first], N_CLASSES[second]]
                weights[first], weights[second] = weight.split(sizes)
                biases[first], biases[second] = bias.split(sizes)
        except (KeyError, AttributeError, RuntimeError, TypeError) as error:
            raise DataError(
                f"{path} is not the public structure head ({error}); it has conv1 and conv2 under 'model'."
            ) from error
        return cls(weights, biases, "esm2", {"source": Path(path).name})

    def state(self) -> State:
        """Return what it is made of."""
        tensors = {f"{kind}.weight": self.weights[kind].contiguous() for kind in KINDS}
        tensors |= {f"{kind}.bias": self.biases[kind].contiguous() for kind in KINDS}
        return State(parameters={"backend": self.backend, "about": self.about}, tensors=tensors)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make it again."""
        weights = {kind: state.tensors[f"{kind}.weight"] for kind in KINDS}
        biases = {kind: state.tensors[f"{kind}.bias"] for kind in KINDS}
        return cls(weights, biases, state.parameters["backend"], state.parameters["about"])


def _wanted_pairs(target: Target | Tensor, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return flat places of contacts (1 or B, P), their classes, and how often each counts: 0 for what fills a row up. Of a
    symmetric target they are those with i <= j, which count twice off the diagonal.
    """
    n, device = tokens.shape[1], tokens.device
    if isinstance(target, Target):
        classes, contacts = target.distance.to(device), target.contacts.to(device)
    else:
        classes = target.to(device)
        contacts = contacts_of(classes)
    if classes.shape not in ((n, n), (len(tokens), n, n)):
        raise UsageError(f"the target has shape {tuple(classes.shape)}; the sequences have {n} residues.")
    shared = classes.ndim == 2
    if shared and not bool((lengths == n).all()):
        classes, contacts, shared = classes.expand(len(tokens), n, n), contacts.expand(len(tokens), n, n), False
    # Classes drawn pair by pair need not be symmetric.
    symmetric = torch.equal(classes, classes.transpose(-1, -2)) and torch.equal(contacts, contacts.transpose(-1, -2))
    wanted = (torch.triu(contacts) if symmetric else contacts).reshape(-1, n, n)
    if not shared:
        inside = torch.arange(n, device=device) < lengths[:, None]
        wanted = wanted & inside[:, :, None] & inside[:, None, :]
    wanted, classes = wanted.flatten(1), classes.reshape(-1, n * n)
    counts = wanted.sum(1)
    width = max(1, int(counts.max()))
    pairs = torch.zeros(len(wanted), width, dtype=torch.int64, device=device)
    taken = torch.arange(width, device=device) < counts[:, None]
    pairs[taken] = wanted.nonzero()[:, 1]
    twice = torch.where((pairs // n != pairs % n) & symmetric, 2.0, 1.0)
    return pairs, classes.gather(1, pairs), twice * taken


def _pick(maps: Tensor, pairs: Tensor) -> Tensor:
    """Return A + A^T of maps (B, m, L, L) at flat places (1 or B, P): (B, m, P)."""
    n, shape = maps.shape[-1], (*maps.shape[:2], -1)
    first, second = pairs // n, pairs % n
    if len(pairs) > 1 or maps.stride(-1) != 1:
        flat = maps.flatten(2)
        return flat.gather(2, pairs[:, None].expand(shape)) + flat.gather(
            2, (second * n + first)[:, None].expand(shape)
        )
    # Maps may lie inside larger ones, of which none but these places is read: a copy would cost four times as much.
    step = maps.stride(-2)
    lines = maps.as_strided((*maps.shape[:2], (n - 1) * step + n), (*maps.stride()[:2], 1))
    first, second = first[0], second[0]
    return lines.index_select(2, first * step + second) + lines.index_select(2, second * step + first)


class _Rows:
    """The pairs that a head is fitted on: of each chain's i <= j both directions of every map, classes and counts."""

    def __init__(self, most: int, seed: int):
        self.most, self.seed = most, seed
        self.forward: list[Tensor] = []  # maps at (i, j), (P, M), and at (j, i)
        self.back: list[Tensor] = []
        self.counts: list[Tensor] = []
        self.classes: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
        self.mirrored: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}

    def add(self, model: SequenceModel, tokens: Tensor, target: Target) -> None:
        n = len(target)
        i, j = torch.triu_indices(n, n)
        distance = target.distance[i, j]
        known = distance != MISSING
        near, far = torch.where(known & (distance < 17))[0], torch.where(known & (distance == 17))[0]
        draw = seeds.numpy_generator(self.seed, "pairs", len(self.counts))
        near, near_count = _some(near, self.most, draw)
        far, far_count = _some(far, max(self.most - len(near), min(len(far), 200)), draw)
        chosen = torch.cat([near, far])
        i, j = i[chosen], j[chosen]
        maps = [m[0].cpu() for m in model.pair_maps(tokens[None])]
        self.forward.append(torch.cat([m[:, i, j] for m in maps]).T)
        self.back.append(torch.cat([m[:, j, i] for m in maps]).T)
        if self.forward[0].shape[1] != self.forward[-1].shape[1]:
            raise DataError(
                f"{model.name!r} has another number of maps than the models before it; a head fits one number."
            )
        count = torch.cat([torch.full((len(near),), near_count), torch.full((len(far),), far_count)])
        self.counts.append(torch.where(i == j, 1.0, 2.0) * count)
        for kind in KINDS:
            self.classes[kind].append(target[kind][i, j])
            self.mirrored[kind].append(target[kind][j, i])

    def of(self, kind: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (P, M), classes (P,) and counts (P,) of a kind, without its unknown classes."""
        forward, back, counts = torch.cat(self.forward), torch.cat(self.back), torch.cat(self.counts)
        classes = torch.cat(self.classes[kind])
        if kind in SYMMETRIC:
            features = forward + back
        else:
            features, counts = torch.cat([forward, back]), torch.cat([counts, counts]) / 2
            classes = torch.cat([classes, *self.mirrored[kind]])
        known = classes != MISSING
        return features[known], classes[known], counts[known]


def _some(places: Tensor, most: int, draw: np.random.Generator) -> tuple[Tensor, float]:
    """Return at most so many of the places, and for how many each stands."""
    if len(places) <= most:
        return places, 1.0
    taken = torch.from_numpy(np.sort(draw.choice(len(places), most, replace=False)))
    return places[taken], len(places) / most


def _multinomial(
    features: Tensor,
    classes: Tensor,
    counts: Tensor,
    n_classes: int,
    l2: float,
    max_iter: int,
    progress: Callable[[int], Any] | None,
) -> tuple[Tensor, Tensor, float]:
    """Return weights (classes, M), biases (classes,) and the cross-entropy of a weighted multinomial regression."""
    if not len(classes):
        return torch.zeros(n_classes, features.shape[1]), torch.zeros(n_classes), 0.0
    total = counts.sum()
    centre = (features * counts[:, None]).sum(0) / total
    spread = ((features - centre).square() * counts[:, None]).sum(0).div(total).sqrt()
    spread = torch.where(spread > 1e-8, spread, torch.inf)  # a constant map gets the weight 0
    x = (features - centre) / spread
    share = counts / total
    m = x.shape[1]
    prior = torch.zeros(n_classes).index_add_(0, classes, share)
    start = torch.cat([torch.zeros(n_classes * m), torch.log(prior.clamp(min=FLOOR))])

    def value(point: Tensor) -> tuple[float, Tensor]:
        weight, bias = point[: n_classes * m].view(n_classes, m), point[n_classes * m :]
        logp = torch.log_softmax(torch.addmm(bias, x, weight.T), 1)
        loss = -(logp.gather(1, classes[:, None])[:, 0] * share).sum() + l2 / 2 * weight.square().sum()
        slope = logp.exp()
        slope[torch.arange(len(classes)), classes] -= 1.0
        slope *= share[:, None]
        return float(loss), torch.cat([(slope.T @ x + l2 * weight).flatten(), slope.sum(0)])

    losses: list[float] = []
    best = minimise(value, start, max_iter=max_iter, tolerance=1e-6, losses=losses, progress=progress)
    weight, bias = best[: n_classes * m].view(n_classes, m) / spread, best[n_classes * m :]
    return weight, bias - weight @ centre, round(losses[-1], 6)
