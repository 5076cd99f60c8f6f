"""What the discriminative family shares: no pre-training, an encoder that sees each row beside an altered copy of it.

Images go through a convolutional network, tables through a fully connected one, both with batch normalisation; see
`augment.py` for the altered copies. A row and its copy go through the encoder in one pass, so that its normalisation sees
them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mumei.cluster.augment import IMAGES, TABLES, make_augmentation
from mumei.cluster.drivers import OneOptimizer
from mumei.cluster.estimator import Clusterer
from mumei.cluster.run import Outcome, Run
from mumei.cluster.terms import View
from mumei.core import seeds
from mumei.core.errors import UsageError
from mumei.core.estimating import widths
from mumei.core.method import At
from mumei.nn.conv import ConvNet
from mumei.nn.mlp import MLP


class Pairs(View):
    """A batch beside altered copies of it."""

    def features(self, copies: int = 1) -> tuple[Tensor, Tensor]:
        """Return the encoder's features of the rows (b, features) and of `copies` copies of them (copies * b, features)."""
        augment = self.nets["augment"]
        seen = torch.cat([augment(self.x), augment(self.x.repeat(copies, 1), self.at.rng)])
        found = self.nets["encoder"](seen)
        return found[: len(self.x)], found[len(self.x) :]

    def two_copies(self) -> tuple[Tensor, Tensor]:
        """Return the encoder's features of two altered copies of each row, (b, features) each, both from one pass."""
        augment, rng = self.nets["augment"], self.at.rng
        first, second = self.nets["encoder"](torch.cat([augment(self.x, rng), augment(self.x, rng)])).chunk(2)
        return first, second

    @cached_property
    def copy(self) -> Tensor:
        """The encoder's features of one altered copy of each row, alone (b, features)."""
        return self.nets["encoder"](self.nets["augment"](self.x, self.at.rng))


class BesideCopies(OneOptimizer):
    """One optimiser; the terms see altered copies."""

    def view(self, batch: tuple[Tensor, ...], at: At) -> View:
        """Return what the terms see of a batch."""
        return Pairs(at.nets, batch, at, self.memory)


@dataclass(kw_only=True, eq=False, repr=False)
class AugmentedClusterer(Clusterer):
    """An encoder and heads that learn from rows and their altered copies; a method adds presets, heads and terms.

    Parameters
    ----------
    hidden : sequence of int, optional
        For tables: widths of the encoder's layers.
    convolutions : sequence of int and "pool", optional
        For images: the encoder's layers, see `mumei.nn.conv.ConvNet`.
    others
        Those of `Clusterer`. The altered copies' settings (`noise` and `dropped` for tables, `rotation`, `crops`, ... for images,
        see `mumei.cluster.augment`) are given in `options`.
    """

    hidden: Any = None
    convolutions: Any = None

    COMMON: ClassVar[dict[str, Any]] = {
        **Clusterer.COMMON,
        **TABLES,
        **IMAGES,
        "activation": "relu",
        "batch_size": 100,  # many steps matter more than large batches
        "convolutions": (32, "pool", 64, "pool", 128, "pool"),
        "drop_last": True,  # a last batch of a row or two tells nothing of how clusters share the rows
        "empty": "keep",  # there are no centres that could be moved
        "hidden": (512, 512),
        "kernel": 3,
        "tol": 0.0,
    }
    driver_class: ClassVar[Any] = BesideCopies

    @classmethod
    def example(cls) -> Any:
        """Return a small one for tests."""
        return cls(n_clusters=3, epochs=20, batch_size=16, hidden=(16,))

    def make_networks(self, run: Run) -> dict[str, nn.Module]:
        """Return what alters rows, the encoder, and the method's heads."""
        settings = run.settings
        if settings["batch_size"] == 1:
            raise UsageError("batch_size=1 is not allowed: a row is judged beside others; give 2 or more.")
        augment = make_augmentation(run.image_shape, settings)
        seed, activation = seeds.child(run.seed, "network"), settings["activation"]
        if run.image_shape is None:
            sizes = (run.width, *widths(settings["hidden"]))
            net = MLP((*sizes, sizes[-1]), activation=activation, norm="batch", final_activation=activation, seed=seed)
            features = sizes[-1]
        else:
            net = ConvNet(
                cast("Any", augment).shape,
                settings["convolutions"],
                kernel=settings["kernel"],
                activation=activation,
                seed=seed,
            )
            features = net.features
        return {"augment": augment, "encoder": net, **self.make_heads(run, features)}

    def make_heads(self, run: Run, features: int) -> dict[str, nn.Module]:
        """Return what stands on the encoder's features, by name."""
        raise NotImplementedError

    def encode(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the encoder's features (b, features)."""
        return nets["encoder"](nets["augment"](x))

    def assign(self, nets: Mapping[str, Any], x: Tensor) -> Tensor:
        """Return the head's probabilities (b, k)."""
        return nets["head"].proba(self.encode(nets, x))

    def _say(self, best: Outcome) -> None:
        super()._say(best)
        self.notes_.append(best.nets["augment"].said())  # type: ignore[operator]
