"""Likelihoods by name, and a proposal of one from what the data looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import UsageError, unknown
from mumei.vae.categorical import Categorical
from mumei.vae.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from mumei.vae.likelihoods import Bernoulli, Gaussian, Likelihood

LIKELIHOODS: dict[str, Any] = {
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "gaussian": Gaussian,
    "nb": NegativeBinomial,
    "poisson": Poisson,
    "zinb": ZeroInflatedNegativeBinomial,
}
OPTIONS = {
    "bernoulli": ("grey",),
    "categorical": ("classes",),
    "gaussian": ("variance", "bounded"),
    "nb": ("library",),
    "poisson": ("library",),
    "zinb": ("library",),
}
OVERDISPERSED = 1.5  # median of variance over mean of the features, from which counts are no Poisson's
LOOKED_AT = 5000  # rows


@dataclass(frozen=True)
class Proposal:
    """A likelihood's options, and in one sentence why."""

    config: dict[str, Any]
    reason: str


def make_likelihood(config: str | Mapping[str, Any], n_features: int) -> Likelihood:
    """Return a likelihood.

    Parameters
    ----------
    config : str or dict
        A name, or {"name": name, option: value}: bernoulli (grey), gaussian (variance, bounded), categorical (classes), poisson,
        nb, zinb (library).
    n_features : int

    Raises
    ------
    UsageError
        An unknown name or option.

    Examples
    --------
    >>> make_likelihood({"name": "gaussian", "variance": 1.0}, 3).outputs
    3
    """
    given = {"name": config} if isinstance(config, str) else dict(config)
    name = given.pop("name", None)
    if not isinstance(name, str) or name not in LIKELIHOODS:
        raise unknown("likelihood", str(name), LIKELIHOODS)
    for option in given:
        if option not in OPTIONS[name]:
            raise unknown(f"option of the {name} likelihood", str(option), OPTIONS[name])
    if name == "categorical" and "classes" not in given:
        raise UsageError(
            "the categorical likelihood needs the classes of each feature: {'name': 'categorical', 'classes': [3, 2]}."
        )
    return LIKELIHOODS[name](n_features, **given)


def propose(X: Any, *, integers: bool = False) -> Proposal:
    """Propose a likelihood for rows.

    Parameters
    ----------
    X : ndarray or scipy.sparse (n, n_features)
        Finite numbers; uint8 is taken for images.
    integers : bool
        Take bytes for counts all the same.
    """
    part = X[:LOOKED_AT]
    values = part.data if hasattr(part, "toarray") else np.asarray(part)
    if values.dtype == np.uint8 and not integers and values.size and values.max() > 1:
        return Proposal(
            {"name": "bernoulli", "grey": True}, "bytes are read as grey values: a Bernoulli likelihood on values / 255"
        )
    whole = bool((values == np.floor(values)).all()) and bool((values >= 0).all())
    if whole and (values.size == 0 or values.max() <= 1):
        return Proposal({"name": "bernoulli"}, "all values are 0 or 1: a Bernoulli likelihood")
    if not whole:
        return Proposal({"name": "gaussian"}, "values are real numbers: a Gaussian likelihood with learned variance")
    dense = np.asarray(part.toarray() if hasattr(part, "toarray") else part, dtype=np.float64)
    means = dense.mean(0)
    seen = means > 0
    ratio = float(np.median(dense.var(0)[seen] / means[seen])) if seen.any() else 0.0
    if ratio < OVERDISPERSED:
        return Proposal(
            {"name": "poisson"}, f"values are counts, as spread as a Poisson's (variance / mean {ratio:.2f})"
        )
    return Proposal(
        {"name": "nb"},
        f"values are counts, more spread than a Poisson's (variance / mean {ratio:.2f}): a negative binomial",
    )
