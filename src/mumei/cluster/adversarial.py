"""What the adversarial family shares: a code drawn at random, a generator that makes rows of it, networks that judge rows.

Images go through convolutions (`mumei.nn.conv`), tables through fully connected layers. A generator has batch normalisation
in its fully connected layers, a judge has what its method asks for. All networks take and give rows (b, d), so that methods
and terms need not know of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.cluster.drivers import TakingTurns
from mumei.cluster.estimator import Clusterer
from mumei.cluster.images import Shape
from mumei.cluster.run import Run
from mumei.cluster.terms import View
from mumei.core import seeds
from mumei.core.config import at_least
from mumei.core.errors import UsageError
from mumei.core.estimating import widths
from mumei.core.method import At
from mumei.nn.conv import ConvDecoder, ConvEncoder
from mumei.nn.mlp import MLP


class Code(nn.Module):
    """The distribution that codes are drawn from: z = (z_n, z_c), z_n ~ N(0, deviation^2 I), z_c one of `kinds` unit vectors.

    Parameters
    ----------
    noise : int
        Dimensions of z_n.
    kinds : int
        All as likely; 0 for codes of noise alone.
    deviation : float

    Examples
    --------
    >>> z, kind = Code(3, kinds=2)(5, torch.Generator().manual_seed(0))
    >>> z.shape, z[:, 3:].sum(1).tolist(), kind.shape
    (torch.Size([5, 5]), [1.0, 1.0, 1.0, 1.0, 1.0], torch.Size([5]))
    """

    def __init__(self, noise: int, *, kinds: int = 0, deviation: float = 1.0):
        super().__init__()
        self.noise, self.kinds, self.deviation = noise, kinds, deviation

    def forward(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return codes (n, noise + kinds), and the number of each one's kind (n,)."""
        z = self.deviation * torch.randn((n, self.noise), generator=rng, device=rng.device)
        if not self.kinds:
            return z, torch.zeros(n, dtype=torch.int64, device=rng.device)
        kind = torch.randint(self.kinds, (n,), generator=rng, device=rng.device)
        return torch.cat([z, F.one_hot(kind, self.kinds).to(z.dtype)], 1), kind


class Beside(View):
    """A batch beside as many generated rows."""

    @cached_property
    def drawn(self) -> tuple[Tensor, Tensor]:
        """The codes (b, noise + kinds) and their kinds (b,)."""
        return self.nets["code"](len(self.x), self.at.rng)

    @cached_property
    def fake(self) -> Tensor:
        """What the generator makes of them (b, d)."""
        return self.nets["generator"](self.drawn[0]).float()


class Game(TakingTurns):
    """Players that take turns; their terms see generated rows."""

    def view(self, batch: tuple[Tensor, ...], at: At) -> View:
        """Return what the terms see of a batch."""
        return Beside(at.nets, batch, at, self.memory)


class Generator(nn.Module):
    """Codes to rows: fully connected layers with batch normalisation, then, for images, transposed convolutions.

    Parameters
    ----------
    inputs, width : int
        Of codes and of rows.
    hidden : sequence of int
        Widths of the fully connected layers.
    shape : Shape, optional
        Of images.
    channels : sequence of int
        For images, from the image inwards.
    activation : str
    seed : int
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        hidden: tuple[int, ...],
        shape: Shape | None = None,
        channels: tuple[int, ...] = (),
        *,
        activation: str = "relu",
        seed: int = 0,
    ):
        super().__init__()
        self.shape, self.maps = shape, None
        if shape is not None:
            self.maps = ConvDecoder(shape.first, channels, activation=activation, seed=seeds.child(seed, "maps"))
        outputs, last = (width, None) if self.maps is None else (self.maps.features, activation)
        sizes = (inputs, *hidden, outputs)
        self.layers = MLP(sizes, norm="batch", activation=activation, final_activation=last, seed=seed)

    def forward(self, z: Tensor) -> Tensor:
        """Map (b, inputs) to (b, width)."""
        made = self.layers(z)
        return made if self.shape is None or self.maps is None else self.shape.rows(self.maps(made))


class Judge(nn.Module):
    """Rows to a few numbers: for images convolutions of stride 2, then fully connected layers.

    Parameters
    ----------
    width, outputs : int
        Of rows, and of what is said of them.
    hidden : sequence of int
        Widths of the fully connected layers.
    shape, channels, activation, seed
        As for `Generator`.
    norm : {None, "batch", "layer"}
        Of the fully connected layers.
    """

    def __init__(
        self,
        width: int,
        outputs: int,
        hidden: tuple[int, ...],
        shape: Shape | None = None,
        channels: tuple[int, ...] = (),
        *,
        activation: str = "leaky_relu",
        norm: str | None = None,
        dropout: float = 0.0,
        seed: int = 0,
    ):
        super().__init__()
        self.shape, self.maps = shape, None
        if shape is not None:
            self.maps = ConvEncoder(shape.first, channels, activation=activation, seed=seeds.child(seed, "maps"))
            width = self.maps.features
        self.layers = MLP((width, *hidden, outputs), norm=norm, dropout=dropout, activation=activation, seed=seed)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, width) to (b, outputs)."""
        if self.shape is not None and self.maps is not None:
            x = self.maps(self.shape.images(x))
        return self.layers(x)


@dataclass(kw_only=True, eq=False, repr=False)
class AdversarialClusterer(Clusterer):
    """Networks that play against each other; a method adds presets, networks, players and how rows are assigned.

    Parameters
    ----------
    hidden : sequence of int, optional
        For tables: widths of the hidden layers of all networks (the generator has them in reverse).
    channels : sequence of int, optional
        For images: maps after each convolution of stride 2, from the image inwards.
    dense : int, optional
        For images: width of the fully connected layer beside the code.
    others
        Those of `Clusterer`.
    """

    hidden: Any = None
    channels: Any = None
    dense: int | None = None

    COMMON: ClassVar[dict[str, Any]] = {
        **Clusterer.COMMON,
        "activation": "leaky_relu_0.2",
        "beta1": 0.5,
        "beta2": 0.9,
        "channels": (16, 32),
        "dense": 128,
        "drop_last": True,  # a last batch of one row has no variance for the generator's normalisation
        "empty": "keep",  # there are no centres that could be moved
        "hidden": (256, 256),
        "noise": 30,
        "tol": 0.0,
    }
    LEAST: ClassVar[dict[str, float]] = {**Clusterer.LEAST, "beta1": 0.0, "beta2": 0.0, "dense": 1, "noise": 1}
    driver_class: ClassVar[Any] = Game

    @classmethod
    def example(cls) -> Any:
        """Return a small one for tests."""
        return cls(n_clusters=3, epochs=4, batch_size=32, hidden=(16,))

    def generator(self, run: Run, inputs: int) -> Generator:
        """Return a generator of the settings' sizes."""
        shape, hidden, channels = self._sizes(run)
        return Generator(inputs, run.width, hidden[::-1], shape, channels, seed=seeds.child(run.seed, "generator"))

    def judge(self, run: Run, name: str, outputs: int, **more: Any) -> Judge:
        """Return a judge of the settings' sizes."""
        shape, hidden, channels = self._sizes(run)
        more = {"activation": run.settings["activation"], **more, "seed": seeds.child(run.seed, name)}
        return Judge(run.width, outputs, hidden, shape, channels, **more)

    def _sizes(self, run: Run) -> tuple[Shape | None, tuple[int, ...], tuple[int, ...]]:
        settings = run.settings
        if settings["batch_size"] == 1:
            raise UsageError("batch_size=1 is not allowed: rows are normalised beside others; give 2 or more.")
        if run.image_shape is None or not settings["channels"]:
            return None, widths(settings["hidden"]), ()
        return Shape(run.image_shape), (settings["dense"],), widths(settings["channels"])

    def adam(self, settings: Mapping[str, Any], share: float = 1.0) -> Any:
        """Return what makes a player's Adam, at a share of the settings' learning rate."""
        betas = (settings["beta1"], settings["beta2"])
        for name, beta in zip(("beta1", "beta2"), betas, strict=True):
            if beta >= 1.0:
                raise UsageError(f"{name}={beta!r} is not allowed; give a number of at least 0 and below 1.")
        at_least("learning_rate", settings["learning_rate"], 0.0, strictly=True)
        rate = share * settings["learning_rate"]
        return lambda parameters: torch.optim.Adam(parameters, lr=rate, betas=betas, fused=True)
