"""log p(x, z) and its gradient in z: what Hamiltonian Monte Carlo and annealing climb.

`autograd_target` is for any decoder and likelihood. `mlp_target` is the closed form for the paper's decoder (Kingma and Welling
2013, appendix C.1): one hidden layer of tanh units, h = tanh(W1 z + b1), Bernoulli logits l = W2 h + b2, for which

    log p(x|z)      = h . (W2^T x) + b2 . x - sum softplus(l)
    d log p(x|z)/dz = W1^T ((1 - h^2) * (W2^T x - W2^T sigmoid(l)))

W2^T x and b2 . x are worked out once for all of a chain's life. `fast_target` takes the closed form where it holds; the target's
`kind` says which it took.

Shapes: z (..., n, latent) beside x (n, n_features): several chains of a row may stand in front of the rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core.errors import UsageError
from mumei.core.linear import fast_linear
from mumei.nn.mlp import MLP
from mumei.vae.likelihoods import Bernoulli, gaussian_log_prob, standard_log_prob

Target = Callable[[Tensor], tuple[Tensor, Tensor]]
"""z (..., n, latent) to a log density (..., n) and its gradient (..., n, latent). It may also have a method `gradient(z)`."""


class AutogradTarget:
    """log p(x, z) of any decoder; see `autograd_target`."""

    kind = "autograd"

    def __init__(self, net: Any, x: Tensor, covariates: Tensor | None = None):
        self.net, self.x = net, x
        self.extra = () if covariates is None else (covariates,)

    def rows(self, cut: slice) -> Self:
        """Return the target of some of the rows."""
        part = copy.copy(self)
        part.x, part.extra = self.x[cut], tuple(e[cut] for e in self.extra)
        return part

    def value(self, z: Tensor) -> Tensor:
        """Return log p(x, z) alone, (..., n)."""
        out = self.net.decode(z, *self.extra)
        return self.net.likelihood.log_prob(out, self.x) + standard_log_prob(z)

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x, z) (..., n) and its gradient in z."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = self.value(z)
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), gradient


class MLPTarget:
    """log p(x, z) of one tanh layer and Bernoulli logits; see `mlp_target`."""

    kind = "closed form"

    def __init__(self, net: Any, x: Tensor, covariates: Tensor | None = None):
        first, last = _layers(net)
        # Copies: W2^T x below would not follow a later update of the weights, so nothing shall.
        weight, self.last = first.weight.detach().clone(), last.weight.detach().clone()
        self.first, self.shift = weight[:, : net.latent].contiguous(), first.bias.detach().clone()
        if covariates is not None:
            self.shift = self.shift + covariates.to(weight.dtype) @ weight[:, net.latent :].t()
        elif weight.shape[1] != net.latent:
            raise UsageError(f"this network was made with {weight.shape[1] - net.latent} covariate columns; give them.")
        self.offset = last.bias.detach().clone()
        self.back, self.up = self.last.t().contiguous(), self.first.t().contiguous()
        x = x.to(weight.dtype)
        with torch.no_grad():
            self.pulled, self.base = fast_linear(x, self.back), x @ self.offset

    def rows(self, cut: slice) -> Self:
        """Return the target of some of the rows; the weights are shared."""
        part = copy.copy(self)
        part.pulled, part.base = self.pulled[cut], self.base[cut]
        part.shift = self.shift[cut] if self.shift.dim() == 2 else self.shift
        return part

    @torch.no_grad()
    def value(self, z: Tensor) -> Tensor:
        """Return log p(x, z) alone, (..., n)."""
        hidden = self._hidden(z)
        return self._density(z, hidden, fast_linear(hidden, self.last, self.offset))

    @torch.no_grad()
    def gradient(self, z: Tensor) -> Tensor:
        """Return the gradient alone, (..., n, latent): the density would cost a third as much again."""
        hidden = self._hidden(z)
        return self._slope(z, hidden, fast_linear(hidden, self.last, self.offset))

    @torch.no_grad()
    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x, z) (..., n) and its gradient in z."""
        hidden = self._hidden(z)
        logits = fast_linear(hidden, self.last, self.offset)
        return self._density(z, hidden, logits), self._slope(z, hidden, logits)

    def _hidden(self, z: Tensor) -> Tensor:
        return (F.linear(z, self.first) + self.shift).tanh_()

    def _density(self, z: Tensor, hidden: Tensor, logits: Tensor) -> Tensor:
        fit = (hidden * self.pulled).sum(-1) + self.base - F.softplus(logits).sum(-1)
        return fit + standard_log_prob(z)

    def _slope(self, z: Tensor, hidden: Tensor, logits: Tensor) -> Tensor:
        # Last use of the logits: their sigmoid may take their place.
        pull = self.pulled - fast_linear(logits.sigmoid_(), self.back)
        return F.linear(pull * (1.0 - hidden.square()), self.up) - z


class GaussianTarget:
    """log N(z; mean, exp(log_variance)), normalised: q(z|x) as the start of annealing.

    Parameters
    ----------
    mean, log_variance : Tensor (n, latent)
    """

    kind = "closed form"

    def __init__(self, mean: Tensor, log_variance: Tensor):
        self.mean, self.log_variance = mean, log_variance

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log density (..., n) and its gradient in z."""
        gradient = (self.mean - z) * torch.exp(-self.log_variance)
        return gaussian_log_prob(z, self.mean, self.log_variance), gradient


def autograd_target(net: Any, x: Tensor, covariates: Tensor | None = None) -> AutogradTarget:
    """Return log p(x, z) and its gradient in z, by automatic differentiation.

    Parameters
    ----------
    net : object with `likelihood` and `decode`
    x : Tensor (n, n_features)
        Rows as the likelihood sees them.
    covariates : Tensor (n, covariates), optional

    Returns
    -------
    Target
    """
    return AutogradTarget(net, x, covariates)


def mlp_target(net: Any, x: Tensor, covariates: Tensor | None = None) -> MLPTarget:
    """Return log p(x, z) and its gradient in z in closed form, for the weights as they are now.

    Parameters
    ----------
    net : VAENet
        Its decoder has one hidden layer of tanh units, its likelihood is Bernoulli.
    x : Tensor (n, n_features)
    covariates : Tensor (n, covariates), optional

    Raises
    ------
    UsageError
        The network is not of that form: what differs is named.
    """
    return MLPTarget(net, x, covariates)


def fast_target(net: Any, x: Tensor, covariates: Tensor | None = None) -> AutogradTarget | MLPTarget:
    """Return `mlp_target` where the network has that form, else `autograd_target`; `kind` of the result says which."""
    if form_differs(net):
        return autograd_target(net, x, covariates)
    return mlp_target(net, x, covariates)


def form_differs(net: Any) -> str:
    """Return in what a network differs from one tanh layer with Bernoulli logits, or "" where it does not."""
    if type(getattr(net, "likelihood", None)) is not Bernoulli:
        return f"its likelihood is {type(getattr(net, 'likelihood', None)).__name__}, not Bernoulli"
    decoder, output = getattr(net, "decoder", None), getattr(net, "output", None)
    if not isinstance(decoder, MLP) or not isinstance(output, nn.Linear):
        return "its decoder is no MLP followed by a linear layer"
    layers = list(decoder.layers)
    if len(layers) != 2 or not isinstance(layers[0], nn.Linear) or not isinstance(layers[1], nn.Tanh):
        return f"its decoder has the layers {[type(layer).__name__ for layer in layers]}, not one linear layer and tanh"
    if layers[0].bias is None or output.bias is None:
        return "a layer of its decoder has no bias"
    return ""


def _layers(net: Any) -> tuple[nn.Linear, nn.Linear]:
    differs = form_differs(net)
    if differs:
        raise UsageError(
            "the closed form is for one hidden layer of tanh units and Bernoulli logits; of this network, "
            f"{differs}. Use autograd_target, or fast_target, which chooses."
        )
    return net.decoder.layers[0], net.output
