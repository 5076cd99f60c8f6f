"""A view of one row many times, with given moments and a straight decoder: what the bounds' tests share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from mumei.vae.likelihoods import Gaussian

SLOPE, SHIFT, NOISE = 1.5, 0.3, 0.4  # x = SLOPE z + SHIFT + noise of variance NOISE


def straight_net() -> Any:
    """Return a network with one latent dimension whose decoder is a line."""
    return SimpleNamespace(likelihood=Gaussian(1, variance=NOISE), decode=lambda z: SLOPE * z + SHIFT)


def make_view(kind: Any, nets: dict[str, Any], x: torch.Tensor, moments: Any, seed: int = 0, **given: Any) -> Any:
    """Return a view of rows x with moments of q(z|x), and what else is given by name."""
    at: Any = SimpleNamespace(rng=torch.Generator().manual_seed(seed), rows=torch.arange(len(x)))
    view = kind(nets, (x,), at, {})
    for name, value in {"moments": moments, **given}.items():
        view.__dict__[name] = value
    return view


def total(terms: Any, view: Any) -> float:
    """Return the weighted sum of terms."""
    return float(sum(t.weight * t(view) for t in terms).detach())
