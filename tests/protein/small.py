"""Small models that the design tests share: a random Potts model with a random head and target, and natural frequencies."""

from __future__ import annotations

import numpy as np
import torch

from mumei.protein.energy import Energy, LanguageTerm
from mumei.protein.energy_ngram import NgramTerm
from mumei.protein.energy_structure import StructureTerm
from mumei.protein.models.ngram import Ngram
from mumei.protein.models.potts import Potts
from mumei.protein.projection import StructureHead
from mumei.protein.targets import N_CLASSES, Target


def potts(length, seed=0, strength=0.3):
    g = torch.Generator().manual_seed(seed)
    j = torch.randn(length, length, 21, 21, generator=g) * strength
    j = (j + j.permute(1, 0, 3, 2)) / 2
    j[range(length), range(length)] = 0
    return Potts(torch.randn(length, 21, generator=g), j, range(length), "potts:small")


def head(n_maps, backend="potts", seed=0):
    g = torch.Generator().manual_seed(seed)
    weights = {kind: torch.randn(c, n_maps, generator=g) * 0.3 for kind, c in N_CLASSES.items()}
    return StructureHead(weights, {kind: torch.zeros(c) for kind, c in N_CLASSES.items()}, backend)


def target(length, seed=0):
    points = np.random.default_rng(seed).normal(size=(length, 3)).cumsum(0) * 3
    return Target.from_distances(np.linalg.norm(points[:, None] - points[None], axis=-1))


def frequencies(orders=(1, 2, 3), seed=0):
    rng = np.random.default_rng(seed)
    return {n: rng.dirichlet(np.ones(20**n)) for n in orders}


def ngram(q=None):
    return Ngram({n: torch.from_numpy(f) for n, f in (q or frequencies()).items()})


def energy(length=12, model=None, **weights):
    model = model or potts(length)
    backend = model.name.partition(":")[0]
    terms = [
        NgramTerm(ngram()),
        LanguageTerm(model),
        StructureTerm(model, head(model.n_maps, backend), target(length)),
    ]
    return Energy(terms, weights)


def esm2(seed=0, layers=2, dim=16, heads=2):
    from mumei.protein.models.esm2 import Esm2Model
    from mumei.protein.models.esm2_network import Esm2, Esm2Shape

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Esm2(Esm2Shape(layers=layers, dim=dim, heads=heads, ffn=4 * dim))
    return Esm2Model(network, "esm2:small")
