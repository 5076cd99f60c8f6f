"""ClusterGAN: a generator whose code has a discrete part, and an encoder that reads the code back.

Source: Mukherjee, Asnani, Lin and Kannan 2019, "ClusterGAN: Latent Space Clustering in Generative Adversarial Networks". A code
is z = (z_n, z_c), z_n ~ N(0, 0.1^2 I), z_c one of k unit vectors. The critic D is that of WGAN-GP (Gulrajani and others 2017),

    D:     min  E D(G(z)) - E D(x) + 10 E (|grad D(x^)| - 1)^2,   x^ = e x + (1 - e) G(z),  e ~ U(0, 1)
    G, E:  min  -E D(G(z)) + beta_n E |z_n - E_n(G(z))|^2 / dim + beta_c E H(z_c, softmax E_c(G(z)))

and rows are assigned by the encoder: by k-means on (E_n(x), softmax E_c(x)), as in the paper, or by argmax E_c(x).

Departures, `preset="paper"`: convolutions are 3x3 and the generator's maps are not normalised (`mumei.nn.conv`), its output is
linear, as the authors have it for tables; weights are He's; e is drawn for each row, as in WGAN-GP. |z_n - E_n|^2 is a mean over
dimensions and the weights are not decayed: so it is in the authors' program, though the paper writes otherwise. The paper
chooses the best of five runs by the purity of labelled rows; here the last step counts.

The robust default is for two cores: small networks, two critic steps, 5,000 of them, a larger rate that falls, and argmax E_c(x).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.cluster.adversarial import AdversarialClusterer, Beside, Code, Game
from mumei.cluster.assignment import HardCentres
from mumei.cluster.drivers import Player, in_blocks
from mumei.cluster.initial import initial_clustering
from mumei.cluster.run import Run
from mumei.cluster.terms import Term, View
from mumei.core.config import one_of
from mumei.core.method import At

ASSIGNMENTS = ("argmax", "kmeans")


class Read(Beside):
    """A batch beside generated rows, and what the encoder reads in these."""

    @cached_property
    def read(self) -> Tensor:
        """What the encoder says of the generated rows (b, noise + k)."""
        return self.nets["encoder"](self.fake)


class Reading(Game):
    """Players that take turns; their terms see generated rows, read back."""

    def view(self, batch: tuple[Tensor, ...], at: At) -> View:
        """Return what the terms see of a batch."""
        return Read(at.nets, batch, at, self.memory)


@dataclass
class Distance(Term):
    """E D(G(z)) - E D(x), minus the critic's estimate of the Wasserstein distance; the critic's."""

    name: ClassVar[str] = "distance"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows."""
        view = cast("Beside", view)
        critic = view.nets["critic"]
        return critic(view.fake).mean() - critic(view.x).mean()


@dataclass
class GradientPenalty(Term):
    """(|grad D| - 1)^2 at points between rows and generated rows; the critic's."""

    name: ClassVar[str] = "penalty"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows."""
        view = cast("Beside", view)
        share = torch.rand((len(view.x), 1), generator=view.at.rng, device=view.x.device)
        return gradient_penalty(view.nets["critic"], torch.lerp(view.fake.detach(), view.x, share))


def gradient_penalty(critic: nn.Module, x: Tensor) -> Tensor:
    """Return the mean over rows x (b, d) of (|grad D(x)| - 1)^2, itself with a gradient.

    Examples
    --------
    >>> critic = torch.nn.Linear(2, 1)
    >>> _ = torch.nn.init.constant_(critic.weight, 3.0)  # |grad| is 3 sqrt 2
    >>> round(gradient_penalty(critic, torch.zeros(5, 2)).item(), 4)
    10.5147
    """
    with torch.enable_grad():
        x = x.requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (gradient.norm(dim=1) - 1.0).square().mean()


@dataclass
class Fooling(Term):
    """-E D(G(z)); the generator's."""

    name: ClassVar[str] = "fooling"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows."""
        return -view.nets["critic"](cast("Beside", view).fake).mean()


@dataclass
class NoiseBack(Term):
    """|z_n - E_n(G(z))|^2, a mean over dimensions; the generator's and the encoder's."""

    name: ClassVar[str] = "noise_back"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows."""
        view = cast("Read", view)
        noise = view.nets["code"].noise
        return F.mse_loss(view.read[:, :noise], view.drawn[0][:, :noise])


@dataclass
class KindBack(Term):
    """The cross-entropy of z_c and softmax E_c(G(z)) in nats; the generator's and the encoder's."""

    name: ClassVar[str] = "kind_back"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows."""
        view = cast("Read", view)
        return F.cross_entropy(view.read[:, view.nets["code"].noise :], view.drawn[1])


class Reader(nn.Module):
    """From what the encoder says of a row, (E_n, E_c), to clusters: softmax E_c, or the nearest centre once there are centres.

    Parameters
    ----------
    noise, n_clusters : int
        Dimensions of E_n and of E_c.
    """

    def __init__(self, noise: int, n_clusters: int):
        super().__init__()
        self.noise = noise
        self.centres = HardCentres(n_clusters, noise + n_clusters)
        self.register_buffer("placed", torch.tensor(False))

    def code(self, said: Tensor) -> Tensor:
        """Return (E_n, softmax E_c), (b, noise + k)."""
        return torch.cat([said[:, : self.noise], torch.softmax(said[:, self.noise :], 1)], 1)

    def proba(self, said: Tensor) -> Tensor:
        """Return probabilities (b, k)."""
        code = self.code(said)
        return self.centres.proba(code) if self.placed else code[:, self.noise :]

    def place(self, centres: Tensor, sizes: Tensor) -> None:
        """Assign by centres (k, noise + k) from now on."""
        self.centres.place(centres, sizes)
        cast("Tensor", self.placed).fill_(True)


@dataclass(kw_only=True, eq=False, repr=False)
class ClusterGAN(AdversarialClusterer):
    """Cluster by the discrete part of the code that a generator makes rows of.

    Parameters
    ----------
    noise : int, optional
        Dimensions of z_n.
    beta_n, beta_c : float, optional
        Weights of reading z_n and z_c back.
    critic_steps : int, optional
        Steps of the critic for each one of the generator and the encoder; the former are what epochs count.
    assignment : {"argmax", "kmeans"}, optional
        How rows get their cluster from the encoder.
    others
        Those of `mumei.cluster.adversarial.AdversarialClusterer`; `ClusterGAN.presets()` shows what a preset sets.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.concatenate([np.zeros((40, 4)), np.ones((40, 4))]) + np.random.default_rng(0).normal(0, 0.1, (80, 4))
    >>> model = ClusterGAN(n_clusters=2, hidden=(32,), epochs=120, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [40, 40]
    """

    noise: int | None = None
    beta_n: float | None = None
    beta_c: float | None = None
    critic_steps: int | None = None
    assignment: str | None = None

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {
            "assignment": "argmax",
            "beta_c": 10.0,
            "beta_n": 10.0,
            "critic_steps": 2,
            "epochs": None,
            "penalty": 10.0,
            "steps": 5000,
        },
        "paper": {
            "assignment": "kmeans",
            "batch_size": 64,
            "beta_c": 10.0,
            "beta_n": 10.0,
            "channels": (64, 128),
            "critic_steps": 5,
            "dense": 1024,
            "epochs": None,
            "learning_rate": 1e-4,
            "penalty": 10.0,
            "schedule": "constant",
            "steps": 2_500_000,
        },
    }
    LEAST: ClassVar[dict[str, float]] = {
        **AdversarialClusterer.LEAST,
        "beta_c": 0.0,
        "beta_n": 0.0,
        "critic_steps": 1,
        "deviation": 0.0,
        "penalty": 0.0,
    }
    COMMON: ClassVar[dict[str, Any]] = {**AdversarialClusterer.COMMON, "deviation": 0.1}
    driver_class: ClassVar[Any] = Reading

    @classmethod
    def example(cls) -> Any:
        """Return a small one for tests, with enough steps for the generator to have found the groups of plain data."""
        return cls(n_clusters=3, epochs=120, batch_size=16, hidden=(16, 16), noise=4)

    def make_networks(self, run: Run) -> dict[str, nn.Module]:
        """Return the code's distribution, generator, critic, encoder, and what reads clusters off the encoder."""
        settings, k = run.settings, run.n_clusters
        one_of("assignment", settings["assignment"], ASSIGNMENTS)
        noise = settings["noise"]
        return {
            "code": Code(noise, kinds=k, deviation=settings["deviation"]),
            "generator": self.generator(run, noise + k),
            "critic": self.judge(run, "critic", 1),
            "encoder": self.judge(run, "encoder", noise + k),
            "head": Reader(noise, k),
        }

    def players(self, settings: Mapping[str, Any]) -> Mapping[str, Player]:
        """Return the critic, and the generator with the encoder."""
        critic = [Distance(), GradientPenalty(settings["penalty"])]
        generator = [Fooling(), NoiseBack(settings["beta_n"]), KindBack(settings["beta_c"])]
        adam = self.adam(settings)
        return {
            "critic": Player(("critic",), critic, 1, adam),
            "generator": Player(("generator", "encoder"), generator, settings["critic_steps"], adam),
        }

    def finish(self, nets: dict[str, nn.Module], run: Run) -> None:
        """Cluster what the encoder says of the rows by k-means, if that is asked for."""
        if run.settings["assignment"] == "kmeans":
            z = in_blocks(self.encode, nets, run.rows).numpy()
            start = initial_clustering(z, run.n_clusters, "kmeans", run.seed)
            nets["head"].place(torch.from_numpy(start.centres), torch.from_numpy(start.sizes()).float())  # type: ignore[operator]

    def encode(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return (E_n(x), softmax E_c(x)), (b, noise + k)."""
        return nets["head"].code(nets["encoder"](x))

    def assign(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return probabilities (b, k)."""
        return nets["head"].proba(nets["encoder"](x))
