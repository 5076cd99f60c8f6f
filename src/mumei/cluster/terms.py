"""The parts of a loss, one small object each, and what they see of a batch.

A term has a `name`, a `weight` and a call that returns a scalar, its mean over the batch's rows. A method's loss is the
weighted sum of its terms. A `View` works out z, log q and the reconstruction once, when the first term asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.cluster.assignment import target_distribution
from mumei.core.method import At

MOVED = 0.1  # of a running frequency at each batch: a memory of about ten


def full_precision(x: Tensor) -> Any:
    """Return a context in which nothing is rounded to bfloat16, on the device of x: for products of probabilities, whose
    differences from 0 and 1 count.
    """
    return torch.autocast(x.device.type, enabled=False)


class View:
    """One batch as the terms see it.

    Parameters
    ----------
    nets : mapping of name to Module
        "encoder" and, as far as terms ask for them, "decoder" and "head".
    batch : tuple of Tensor
        The rows (b, d) first.
    at : At
    memory : mapping of name to Tensor
        What the last refresh left behind, one row for each training row: "target" (n, k), "labels" (n,), ...
    """

    def __init__(self, nets: Mapping[str, Any], batch: tuple[Tensor, ...], at: At, memory: Mapping[str, Tensor]):
        self.nets, self.batch, self.at, self.memory = nets, batch, at, memory

    @cached_property
    def x(self) -> Tensor:
        """The rows (b, d), float32."""
        return self.batch[0].float()

    @cached_property
    def z(self) -> Tensor:
        """Their embedding (b, latent)."""
        return self.nets["encoder"](self.x)

    @cached_property
    def reconstruction(self) -> Tensor:
        """What the decoder makes of z (b, d)."""
        return self.nets["decoder"](self.z)

    @cached_property
    def log_q(self) -> Tensor:
        """The head's log q (b, k)."""
        return self.nets["head"](self.z)

    def remembered(self, name: str) -> Tensor:
        """Return the batch's rows of what the last refresh left behind."""
        return self.memory[name][self.at.rows]


@dataclass
class Term:
    """A part of a loss; subclasses give `name` and `__call__`."""

    name: ClassVar[str] = ""
    weight: float = 1.0

    def __call__(self, view: View) -> Tensor:
        """Return the mean over the batch's rows, a scalar."""
        raise NotImplementedError

    def due(self, at: At) -> bool:
        """Whether it has a part in this step's loss: always, unless terms take turns."""
        return True

    def after(self, view: View) -> None:
        """Do what belongs to the batch but has no gradient (running means); called once its loss is worked out."""


@dataclass
class Reconstruction(Term):
    """Squared error of the reconstruction, or -log p(x|z) of counts: its mean over columns or (`per_row`) its sum."""

    name: ClassVar[str] = "reconstruction"
    per_row: bool = False

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows."""
        error = reconstruction_error(view.nets["decoder"], view.reconstruction, view.x)
        return error * view.x.shape[1] if self.per_row else error


def reconstruction_error(decoder: Any, made: Tensor, x: Tensor) -> Tensor:
    """Return how far rows x (b, d) are from what the decoder made of their codes, its mean over rows and columns.

    The square of the difference, or -log p(x|z) where the decoder has a likelihood (`likelihoods.CountDecoder`).
    """
    likelihood = getattr(decoder, "likelihood", None)
    return F.mse_loss(made, x) if likelihood is None else -likelihood.log_prob(made, x).mean() / x.shape[1]


@dataclass
class KlTarget(Term):
    """KL(P || Q) per row, P being what the last refresh left as "target"."""

    name: ClassVar[str] = "kl"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows, in nats."""
        return F.kl_div(view.log_q, view.remembered("target"), reduction="batchmean")


@dataclass
class KlRunning(Term):
    """KL(P || Q) per row, P being made of the batch's own Q and of running means of the clusters' frequencies.

    The last refresh left these as "frequencies" (k,), the means of Q over all rows; each batch then moves them by a share,
    `MOVED`, so that rare clusters weigh as in P of all rows although a batch may lack them.
    """

    name: ClassVar[str] = "kl"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows, in nats."""
        target = target_distribution(view.log_q.detach().exp(), view.memory["frequencies"])
        return F.kl_div(view.log_q, target, reduction="batchmean")

    def after(self, view: View) -> None:
        """Move the frequencies towards the batch's."""
        seen = view.log_q.detach().exp().mean(0).float()
        before = view.memory["frequencies"].to(seen)  # a refresh leaves them on the CPU
        cast("dict[str, Tensor]", view.memory)["frequencies"] = torch.lerp(before, seen, MOVED)


@dataclass
class Pull(Term):
    """|z_i - m_s(i)|^2, m_s(i) the nearest of centres that are means; the batch is then taken into the means."""

    name: ClassVar[str] = "pull"

    def __call__(self, view: View) -> Tensor:
        """Return the mean over rows."""
        head: nn.Module = view.nets["head"]
        nearest = head.centres[head(view.z.detach())]  # type: ignore[index]
        return (view.z - nearest).square().sum(1).mean()

    def after(self, view: View) -> None:
        """Move the means towards the batch's rows."""
        view.nets["head"].absorb(view.z.detach())
