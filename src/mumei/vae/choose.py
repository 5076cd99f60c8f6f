"""Likelihoods by name, and a proposal of one from what the data looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mumei.core.errors import DataError, UsageError, unknown
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
OVERDISPERSED = 1.5  # summed variances over summed means of the features, from which counts are no Poisson's
TINY = 1e-300
LOOKED_AT = 5000  # rows
BLOCK = 1 << 20  # values looked at together, so that no second copy of the data is made


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

    All values are looked at to tell 0/1, counts and real numbers apart; the spread of counts is judged on at most `LOOKED_AT`
    rows, evenly spaced. Codes of categories cannot be told from counts: choose "categorical" by name.

    Parameters
    ----------
    X : ndarray or scipy.sparse (n, n_features)
        Finite numbers. A dense array of bytes is taken for images; a sparse one for counts.
    integers : bool
        Take bytes for counts all the same.

    Returns
    -------
    Proposal

    Raises
    ------
    DataError
        Text or objects in place of numbers.

    Examples
    --------
    >>> import numpy as np
    >>> propose(np.array([[0, 1], [1, 1]])).config
    {'name': 'bernoulli'}
    """
    sparse = hasattr(X, "tocsr")
    rows: Any = X.tocsr() if sparse else np.asarray(X)
    values: np.ndarray = rows.data if sparse else rows.reshape(-1)
    if values.dtype.kind not in "biuf":
        raise DataError(f"a likelihood needs numbers; the data is of type {values.dtype}.")
    low, high, whole = _described(values)
    if low >= 0 and high <= 1 and whole:
        return Proposal({"name": "bernoulli"}, "all values are 0 or 1: a Bernoulli likelihood")
    if values.dtype == np.uint8 and not integers and not sparse:
        return Proposal(
            {"name": "bernoulli", "grey": True}, "bytes are read as grey values: a Bernoulli likelihood on values / 255"
        )
    if low >= 0 and whole:
        return _proposed_for_counts(rows)
    return Proposal({"name": "gaussian"}, _why_gaussian(low, high, whole))


def _described(values: np.ndarray) -> tuple[float, float, bool]:
    """Return the lowest and highest of the values and 0, and whether all are whole numbers."""
    low, high, whole = 0.0, 0.0, True
    for start in range(0, len(values), BLOCK):
        part = values[start : start + BLOCK]
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        whole = whole and (part.dtype.kind != "f" or bool((part == np.floor(part)).all()))
    return low, high, whole


def _proposed_for_counts(rows: Any) -> Proposal:
    step = -(-rows.shape[0] // LOOKED_AT)
    part = rows[::step].astype(np.float64)
    squares = part.multiply(part) if hasattr(part, "multiply") else part * part
    means = np.asarray(part.mean(axis=0)).reshape(-1)
    variances = np.asarray(squares.mean(axis=0)).reshape(-1) - means**2
    # Sums, not a mean of ratios: in single-cell data most features are nearly empty, and there any count looks like a Poisson's.
    ratio = float(variances.sum() / max(means.sum(), TINY))
    said = f"(variance / mean {ratio:.2f}, features together)"
    if ratio < OVERDISPERSED:
        return Proposal(
            {"name": "poisson"}, f"values are counts, as spread as a Poisson's {said}: a Poisson likelihood"
        )
    return Proposal({"name": "nb"}, f"values are counts, more spread than a Poisson's {said}: a negative binomial")


def _why_gaussian(low: float, high: float, whole: bool) -> str:
    if whole:
        return "values are whole numbers, some negative: a Gaussian likelihood with learned variance"
    if low >= 0 and high <= 1:
        return (
            "values are real numbers: a Gaussian likelihood with learned variance; if they are grey values of images, "
            "{'name': 'bernoulli', 'grey': True} is the other choice"
        )
    return "values are real numbers: a Gaussian likelihood with learned variance"
