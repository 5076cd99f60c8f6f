"""The likelihoods of `mumei.vae` as clustering takes them: preparation, checks, and autoencoders of counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mumei.core.inputs import CHUNK, dense
from mumei.vae.choose import make_likelihood
from mumei.vae.likelihoods import Likelihood

RECONSTRUCTIONS = ("mse", "nb", "zinb")  # what autoencoders are trained by


def with_grey(config: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return a likelihood's options; a Bernoulli takes grey values unless told otherwise, as the clustering papers do."""
    given = {"name": config} if isinstance(config, str) else dict(config)
    return {"grey": True, **given} if given.get("name") == "bernoulli" else given


def likelihood_of(config: str | Mapping[str, Any], width: int) -> Likelihood:
    """Return the likelihood of rows of `width` columns."""
    return make_likelihood(with_grey(config), width)


def preparation_for(config: str | Mapping[str, Any]) -> str:
    """Return the kind of `mumei.cluster.inputs.prepare` that a likelihood asks for.

    Examples
    --------
    >>> preparation_for("zinb"), preparation_for("bernoulli"), preparation_for("gaussian")
    ('counts', 'unit', 'auto')
    """
    given = with_grey(config)
    if given.get("bounded") or given.get("name") == "bernoulli":
        return "unit"
    return {"poisson": "counts", "nb": "counts", "zinb": "counts", "categorical": "none"}.get(
        str(given.get("name")), "auto"
    )


def check_rows(likelihood: Likelihood, rows: Any) -> None:
    """Raise `DataError` where prepared rows (n, d), a tensor or CSR, cannot come from a likelihood."""
    for start in range(0, rows.shape[0], CHUNK):
        part = rows[start : start + CHUNK]
        likelihood.check(part.numpy() if isinstance(part, Tensor) else dense(part))


class CountEncoder(nn.Module):
    """A network that sees the logarithms log(1 + x) of counts.

    Parameters
    ----------
    net : Module
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Map counts (b, d) to codes (b, latent)."""
        return self.net(torch.log1p(x))


class CountDecoder(nn.Module):
    """A network whose output is the parameters of a likelihood of counts, which learns with it.

    Parameters
    ----------
    net : Module
    likelihood : Likelihood
    """

    def __init__(self, net: nn.Module, likelihood: Likelihood):
        super().__init__()
        self.net, self.likelihood = net, likelihood

    def forward(self, z: Tensor) -> Tensor:
        """Map codes (b, latent) to (b, outputs)."""
        return self.net(z)
