"""LTVAE: a variational autoencoder whose prior is a latent tree, so that one code has several clusterings.

Source: Li, Chen, Poon and Zhang 2019, "Learning Latent Superstructures in Variational Autoencoders for Deep Multidimensional
Clustering". The prior p(z) is that of `latent_tree.py`: discrete facets joined in a tree, each with some of z's dimensions. The
bound is

    L(x) = E log p(x|z) + E log p(z) + H(q(z|x)),   log p(z) by message passing, z one sample

Three updates take turns: the networks by gradient, the tree's parameters by stepwise EM on each batch's z, and the tree's
structure by a climb on the codes of a sample of rows, every `structure_every` refreshes. The first facet has n_clusters states
and gives the labels, argmax p(y_0|m(x)); `facets_` tells which dimensions and how many states the facets have, and
`predict_facets` gives the labels of them all.

Departures: the search for a structure is small, see `structure.py`: dimensions move between facets by BIC, the tree over facets
is Chow and Liu's; no EAST search of pouch latent trees. Leaves are independent given their facet, where the paper's have a full
covariance within a pouch; the authors' program holds variances fixed, here EM learns them. The paper reports the facet that
fits the true labels best; here it is always the first, whose states are the wanted clusters: nothing is chosen by labels.
The autoencoder is trained end to end. `preset="paper"` has the rates, batch size, 10 epochs between searches and a fifth of the
rows for them of the authors' program for MNIST. The robust default trains for fewer steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from mumei.cluster.drivers import in_blocks
from mumei.cluster.latent_tree import LatentTree
from mumei.cluster.run import Run
from mumei.cluster.structure import Facet, climb, fit_facet, make_tree
from mumei.cluster.terms import Term
from mumei.cluster.variational import LatentDriver, NegativeLogLikelihood, VariationalClusterer
from mumei.core import seeds
from mumei.core.batches import Rows
from mumei.core.config import at_least
from mumei.core.errors import UsageError
from mumei.core.method import At
from mumei.vae.likelihoods import LOG_2PI
from mumei.vae.objective import reparameterise


@dataclass
class TreePrior(Term):
    """-log p(z) - H(q(z|x)); the tree then takes the batch's z into its statistics."""

    name: ClassVar[str] = "tree"

    def __call__(self, view: Any) -> Tensor:
        """Return the mean over rows, in nats."""
        entropy = 0.5 * (1.0 + LOG_2PI + view.moments[1]).sum(1)
        return -(view.nets["head"].log_prob(view.z) + entropy).mean()

    def after(self, view: Any) -> None:
        """Make a step of EM."""
        view.nets["head"].absorb(view.z.detach())


def search(head: LatentTree, z: np.ndarray, n_clusters: int, seed: int, weights: np.ndarray | None = None) -> bool:
    """Give a tree the structure that the codes z (n, d) suggest, and its statistics, beginning from the one that it has.

    A tree whose structure is not bettered keeps its statistics, or gets those of `weights`.

    Parameters
    ----------
    head : LatentTree
    z : ndarray (n, d)
    n_clusters : int
    seed : int
    weights : ndarray (n, n_clusters), optional
        What p(y_0|z) begins with, all dimensions in one facet; without it the tree's own.

    Returns
    -------
    bool
        Whether a better structure was found.
    """
    facet = np.zeros(z.shape[1], dtype=np.int64) if weights is not None else head.facet.numpy()
    if weights is None:
        with torch.no_grad():
            every = [part.double().numpy() for part in head.posteriors(torch.from_numpy(z))[0]]
        states = head.states.tolist()
    else:
        every, states = [weights], [n_clusters]
    columns = [tuple(np.flatnonzero(facet == f).tolist()) for f in range(len(every))]
    begun = [fit_facet(z, own, every[f][:, : states[f]]) for f, own in enumerate(columns)]
    found = climb(z, begun, n_clusters, seed)
    bettered = [f.columns for f in found] != columns
    if bettered or weights is not None:
        head.place(make_tree(z, found if bettered else [Facet(columns[0], every[0], 0.0)], n_clusters))
    return bettered


class TreeDriver(LatentDriver):
    """One optimiser; a refresh may begin with a search for a structure."""

    def refresh(self, batch: tuple[Tensor, ...], at: At) -> bool:
        """Look for a structure if it is time, then at all rows."""
        count = self.counts["refreshes"]
        if count and count % self.settings["structure_every"] == 0:
            head = cast("LatentTree", at.nets["head"])
            seed = seeds.child(self.seed, "structure", at.step)
            z = sampled_codes(at.nets, at.data, chosen_rows(len(at.data), self.settings, seed), seed)
            search(head, z, head.counts.shape[0], seed)
        return super().refresh(batch, at)


def chosen_rows(rows: int, settings: Mapping[str, Any], seed: int) -> np.ndarray:
    """Return the numbers of those rows that a search looks at: `structure_share` of them, at least `structure_least`, or all."""
    most = max(int(settings["structure_share"] * rows), settings["structure_least"])
    return seeds.sample_rows(rows, most, seed, "structure")


def sampled_codes(nets: Mapping[str, nn.Module], data: Rows, chosen: np.ndarray, seed: int) -> np.ndarray:
    """Return samples of q(z|x) (n, latent) for the chosen rows: what the prior is a prior of."""
    part = Rows(tuple(array[chosen] for array in data.arrays))
    moments = in_blocks(lambda nets, x: torch.cat(nets["vae"].encode(x), 1), nets, part)
    mean, log_variance = moments.chunk(2, 1)
    return reparameterise(mean, log_variance, 1, seeds.torch_generator(seed, "codes"))[0].numpy()


@dataclass(kw_only=True, eq=False, repr=False)
class LTVAE(VariationalClusterer):
    """A variational autoencoder with a latent tree as prior: several clusterings, of which the first gives the labels.

    Parameters
    ----------
    structure_every : int, optional
        Refreshes between two searches for a structure.
    em_rate : float, optional
        rho of stepwise EM, in (0, 1].
    others
        Those of `mumei.cluster.variational.VariationalClusterer`; `LTVAE.presets()` shows what a preset sets.

    Examples
    --------
    >>> X = np.concatenate([np.zeros((20, 4)), np.ones((20, 4))]) + np.random.default_rng(0).normal(0, 0.1, (40, 4))
    >>> model = LTVAE(n_clusters=2, hidden=(16,), n_latent=2, pretrain_epochs=60, epochs=2, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [20, 20]
    """

    structure_every: int | None = None
    em_rate: float | None = None

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {"structure_every": 10, "em_rate": 0.01, "structure_share": 0.1, "structure_least": 2000},
        "paper": {
            "structure_every": 10,
            "em_rate": 0.01,
            "structure_share": 0.2,
            "structure_least": 1000,
            "likelihood": {"name": "gaussian", "variance": 1.0},
            "batch_size": 128,
            "pretrain_epochs": 50,
            "pretrain_schedule": "constant",
            "epochs": 210,
            "learning_rate": 1e-4,
            "schedule": "constant",
            "tol": 0.0,
            "empty": "keep",
        },
    }
    LEAST: ClassVar[dict[str, float]] = {
        **VariationalClusterer.LEAST,
        "structure_every": 1,
        "em_rate": 0.0,
        "structure_share": 0.0,
        "structure_least": 1,
    }
    learns: ClassVar[tuple[str, ...]] = ("vae",)
    driver_class: ClassVar[type[LatentDriver]] = TreeDriver

    def make_head(self, run: Run, latent: int) -> nn.Module:
        """Return the tree."""
        rate = run.settings["em_rate"]
        at_least("em_rate", rate, 0.0, strictly=True)
        if rate > 1.0:
            raise UsageError(f"em_rate={rate!r} is not allowed; give a number above 0 and at most 1.")
        return LatentTree(run.n_clusters, latent, rate)

    def initialise(self, nets: dict[str, nn.Module], run: Run) -> np.ndarray | None:
        """Cluster the codes, all dimensions in one facet, then look for a structure; return the labels it began with."""
        labels = super().initialise(nets, run)
        if labels is not None:
            chosen = chosen_rows(len(labels), run.settings, run.seed)
            z = sampled_codes(nets, run.rows, chosen, run.seed)
            search(
                cast("LatentTree", nets["head"]), z, run.n_clusters, run.seed, np.eye(run.n_clusters)[labels[chosen]]
            )
        return labels

    def place(self, nets: dict[str, nn.Module], start: Any) -> None:
        """The initial clustering reaches the tree by its labels."""

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return the two parts of -L."""
        return [NegativeLogLikelihood(), TreePrior()]

    @property
    def facets_(self) -> list[dict[str, Any]]:
        """The facets: "dimensions" of the embedding, number of "states" and "parent" (None for the first)."""
        head = cast("LatentTree", self.net_["head"])
        facet, parent, states = head.facet.tolist(), head.parent.tolist(), head.states.tolist()
        return [
            {
                "dimensions": [d for d, own in enumerate(facet) if own == f],
                "states": states[f],
                "parent": None if f == 0 else parent[f],
            }
            for f in range(head.facets())
        ]

    def predict_facets(self, X: Any) -> np.ndarray:
        """Return the labels of rows in each facet, int64 (n, F); the first column is that of `predict`."""
        rows = self._seen(X)

        def every(nets: Mapping[str, Any], x: Tensor) -> Tensor:
            alone = nets["head"].posteriors(self.encode(nets, x))[0]
            return torch.stack([part.argmax(1) for part in alone], 1)

        return in_blocks(every, cast("Any", self.net_), rows).numpy()
