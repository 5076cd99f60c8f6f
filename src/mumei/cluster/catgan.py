"""CatGAN: a discriminator that is sure of real rows, and unsure of generated ones.

Source: Springenberg 2016, "Unsupervised and Semi-supervised Learning with Categorical Generative Adversarial Networks". The
discriminator D gives each row a distribution over k clusters. With H the entropy in nats (equations 6 and 7, without labels):

    D:  min  -H(mean_x D(x)) + mean_x H(D(x)) - mean_z H(D(G(z)))     clusters of equal size; sure of rows; unsure of G(z)
    G:  min  mean_z H(D(G(z))) - H(mean_z D(G(z)))                    D is sure of what is made, and all clusters are made

The means are those of the batch. Rows are assigned to argmax D(x).

Departures, `preset="paper"`: the sizes of the networks, noise and dropout are chosen here. Real and generated rows go through D
in one pass, so that its batch normalisation sees at the end what it saw in training. The robust default has small networks and a
rate that falls.

The paper's figures count each cluster as the class that most of its rows have, with more clusters than classes (20 for digits):
that is purity, not accuracy. Which partition is found hangs on the seed more than for other methods: run several
(`n_init`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mumei.cluster.adversarial import AdversarialClusterer, Beside, Code, Game
from mumei.cluster.drivers import Player
from mumei.cluster.run import Run
from mumei.cluster.terms import Term, View
from mumei.core.errors import UsageError
from mumei.core.method import At


class Judged(Beside):
    """A batch beside generated rows, and what the discriminator says of both."""

    @cached_property
    def both(self) -> Tensor:
        """Its log-probabilities (2 b, k): of rows, then of generated rows, all with the input's noise."""
        rows = torch.cat([self.x, self.fake])
        noise = torch.randn(rows.shape, generator=self.at.rng, device=rows.device)
        noisy = rows + self.nets["input"](noise)
        return torch.log_softmax(self.nets["discriminator"](noisy), 1)

    @property
    def real_said(self) -> Tensor:
        """Log-probabilities of rows (b, k)."""
        return self.both[: len(self.x)]

    @property
    def fake_said(self) -> Tensor:
        """Log-probabilities of generated rows (b, k)."""
        return self.both[len(self.x) :]


class Judging(Game):
    """Players that take turns; their terms see what the discriminator says."""

    def view(self, batch: tuple[Tensor, ...], at: At) -> View:
        """Return what the terms see of a batch."""
        return Judged(at.nets, batch, at, self.memory)


def entropy(log_p: Tensor) -> Tensor:
    """Return the mean over rows of the entropy in nats of distributions, given as log-probabilities (b, k).

    Examples
    --------
    >>> entropy(torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log())  # ln 2
    tensor(0.6931)
    """
    return -(log_p.exp() * log_p).sum(1).mean()


def entropy_of_mean(log_p: Tensor) -> Tensor:
    """Return the entropy in nats of the mean of distributions, given as log-probabilities (b, k).

    Examples
    --------
    >>> entropy_of_mean(torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log())  # ln 2
    tensor(0.6931)
    """
    return entropy(log_p.logsumexp(0, keepdim=True) - torch.tensor(float(len(log_p))).log())


@dataclass
class Unsure(Term):
    """mean_x H(D(x)): D's part for rows."""

    name: ClassVar[str] = "unsure"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows, in nats."""
        return entropy(cast("Judged", view).real_said)


@dataclass
class Uneven(Term):
    """-H(mean_x D(x)): D's part for the sizes of clusters."""

    name: ClassVar[str] = "uneven"

    def __call__(self, view: View) -> Tensor:
        """Return it in nats."""
        return -entropy_of_mean(cast("Judged", view).real_said)


@dataclass
class SureOfFake(Term):
    """-mean_z H(D(G(z))): D's part for generated rows."""

    name: ClassVar[str] = "sure_of_fake"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over generated rows, in nats."""
        return -entropy(cast("Judged", view).fake_said)


@dataclass
class UnsureOfFake(Term):
    """mean_z H(D(G(z))): what G minimises."""

    name: ClassVar[str] = "unsure_of_fake"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over generated rows, in nats."""
        return entropy(cast("Judged", view).fake_said)


@dataclass
class UnevenFake(Term):
    """-H(mean_z D(G(z))): G's part for the sizes of clusters."""

    name: ClassVar[str] = "uneven_fake"

    def __call__(self, view: View) -> Tensor:
        """Return it in nats."""
        return -entropy_of_mean(cast("Judged", view).fake_said)


class Noise(nn.Module):
    """Noise of a given deviation out of noise of deviation 1.

    Parameters
    ----------
    deviation : float
    """

    def __init__(self, deviation: float):
        super().__init__()
        self.deviation = deviation

    def forward(self, noise: Tensor) -> Tensor:
        """Return noise of any shape, scaled."""
        return self.deviation * noise


@dataclass(kw_only=True, eq=False, repr=False)
class CatGAN(AdversarialClusterer):
    """Cluster by a discriminator that is to be sure of rows and unsure of what a generator makes.

    Parameters
    ----------
    noise : int, optional
        Dimensions of the generator's code.
    input_noise : float, optional
        Deviation of the Gaussian noise on what the discriminator sees, in units of the prepared rows.
    dropout : float, optional
        In the discriminator.
    others
        Those of `mumei.cluster.adversarial.AdversarialClusterer`; `CatGAN.presets()` shows what a preset sets.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.concatenate([np.zeros((40, 4)), np.ones((40, 4))]) + np.random.default_rng(0).normal(0, 0.1, (80, 4))
    >>> model = CatGAN(n_clusters=2, hidden=(32,), epochs=60, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [40, 40]
    """

    noise: int | None = None
    input_noise: float | None = None
    dropout: float | None = None

    COMMON: ClassVar[dict[str, Any]] = {**AdversarialClusterer.COMMON, "beta2": 0.999, "noise": 64}
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {"dropout": 0.0, "input_noise": 0.3},
        "paper": {
            "batch_size": 100,
            "channels": (32, 64),
            "dense": 256,
            "dropout": 0.5,
            "epochs": 200,
            "hidden": (1000, 500, 250),
            "input_noise": 0.3,
            "learning_rate": 2e-4,
            "noise": 128,
            "schedule": "constant",
        },
    }
    LEAST: ClassVar[dict[str, float]] = {**AdversarialClusterer.LEAST, "dropout": 0.0, "input_noise": 0.0}
    driver_class: ClassVar[Any] = Judging

    def make_networks(self, run: Run) -> dict[str, nn.Module]:
        """Return the code's distribution, generator, discriminator and the noise on its input."""
        settings = run.settings
        if settings["dropout"] >= 1.0:
            raise UsageError(f"dropout={settings['dropout']!r} is not allowed; give at least 0 and below 1.")
        return {
            "code": Code(settings["noise"]),
            "generator": self.generator(run, settings["noise"]),
            "input": Noise(settings["input_noise"]),
            "discriminator": self.judge(
                run, "discriminator", run.n_clusters, norm="batch", dropout=settings["dropout"]
            ),
        }

    def players(self, settings: Mapping[str, Any]) -> Mapping[str, Player]:
        """Return the discriminator and the generator."""
        adam = self.adam(settings)
        return {
            "discriminator": Player(("discriminator",), [Unsure(), Uneven(), SureOfFake()], 1, adam),
            "generator": Player(("generator",), [UnsureOfFake(), UnevenFake()], 1, adam),
        }

    def encode(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the discriminator's logits (b, k)."""
        return nets["discriminator"](x)

    def assign(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return D(x), (b, k)."""
        return torch.softmax(nets["discriminator"](x), 1)
