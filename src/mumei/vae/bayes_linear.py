"""Networks whose weights have a diagonal Gaussian posterior q(w) and a Gaussian prior: `BayesLinear`, `BayesNet`.

Sources: Kingma and Welling 2013, appendix F, without z; Kingma, Salimans and Welling 2015, "Variational Dropout and the Local
Reparameterization Trick". Where w ~ N(m, s^2) elementwise, the products of a row a are independent normals,

    b_j ~ N(sum_i a_i m_ij, sum_i a_i^2 s_ij^2),

so noise is drawn for each row and unit in place of each weight: the gradient is that of the same bound, with a variance that
falls with the size of the batch. `local=False` draws weights instead, once for the batch.

Departures: biases are random too; the prior's deviation of weights that leave a hidden layer is divided by the square root of
its width (Neal 1996), so that the prior over functions does not grow with the width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core import seeds
from mumei.core.config import at_least
from mumei.core.errors import UsageError
from mumei.nn.mlp import activation as make_activation
from mumei.vae.objective import gaussian_kl

TINY = 1e-20  # under the square root of a variance: its slope stays finite where a row is all zeros


class BayesLinear(nn.Module):
    """A linear layer with random weights and biases.

    Parameters
    ----------
    inputs, outputs : int
    prior_std : float
        Of a weight; its prior mean is 0.
    bias_prior_std : float
    initial_std : float
        Of q, as a share of the prior's.
    generator : torch.Generator
        The means begin uniform with variance 2 / (inputs + outputs), the biases' at 0.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        prior_std: float,
        bias_prior_std: float,
        initial_std: float,
        generator: torch.Generator,
    ):
        super().__init__()
        self.prior_std, self.bias_prior_std = prior_std, bias_prior_std
        weight = nn.init.xavier_uniform_(torch.empty(outputs, inputs), generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_log_std = nn.Parameter(torch.full_like(weight, math.log(initial_std * prior_std)))
        self.bias_log_std = nn.Parameter(torch.full((outputs,), math.log(initial_std * bias_prior_std)))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the products of rows (..., n, inputs): two tensors (..., n, outputs)."""
        variances = (2.0 * self.weight_log_std).exp(), (2.0 * self.bias_log_std).exp()
        return F.linear(x, self.weight, self.bias), F.linear(x.square(), *variances)

    def sample(
        self,
        x: Tensor,
        generator: torch.Generator,
        *,
        samples: int | None = None,
        local: bool = True,
        common: bool = False,
    ) -> Tensor:
        """Draw products (..., n, outputs) of rows (..., n, inputs).

        Parameters
        ----------
        samples : int, optional
            So many draws for the same rows (n, inputs): (samples, n, outputs).
        local : bool
            Noise for each row and unit; else one draw of the weights serves the n rows.
        common : bool
            The same noise for all rows: each row alone has the right distribution, whatever the others are.
        """
        leading = x.shape[:-2] if samples is None else (samples,)
        if not local:
            weight = _drawn(self.weight, self.weight_log_std, leading, generator)
            bias = _drawn(self.bias, self.bias_log_std, leading, generator)
            return x @ weight.transpose(-1, -2) + bias.unsqueeze(-2)
        mean, variance = self.moments(x)
        rows = 1 if common else mean.shape[-2]
        return mean + (variance + TINY).sqrt() * _noise(mean, (*leading, rows, mean.shape[-1]), generator)

    def kl(self) -> Tensor:
        """Return KL(q(w) || p(w)), in nats."""
        pairs = (self.weight, self.weight_log_std, self.prior_std), (self.bias, self.bias_log_std, self.bias_prior_std)
        parts = [gaussian_kl(m / std, 2.0 * (log_std - math.log(std))).sum() for m, log_std, std in pairs]
        return parts[0] + parts[1]


class BayesNet(nn.Module):
    """Bayesian linear layers with activations between them.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to output; two make a linear model.
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    prior_std : float
        Of first-layer weights and of all biases; of later weights, times the square root of their number into a unit.
    initial_std : float
        Of q, as a share of the prior's.
    seed : int

    Raises
    ------
    UsageError
        A value is out of its range or a name is unknown.

    Examples
    --------
    >>> BayesNet((4, 8, 3)).mean(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "tanh",
        prior_std: float = 1.0,
        initial_std: float = 0.05,
        seed: int = 0,
    ):
        super().__init__()
        if len(sizes) < 2:
            raise UsageError(f"sizes={tuple(sizes)} is not allowed; give the widths of input and output at least.")
        for width in sizes:
            at_least("sizes", width, 1, whole=True)
        at_least("prior_std", prior_std, 0.0, strictly=True)
        at_least("initial_std", initial_std, 0.0, strictly=True)
        self.activation = make_activation(activation)
        self.layers = nn.ModuleList(
            BayesLinear(
                inputs,
                outputs,
                prior_std=prior_std / math.sqrt(inputs) if i else prior_std,
                bias_prior_std=prior_std,
                initial_std=initial_std,
                generator=seeds.torch_generator(seed, "bayes", i),
            )
            for i, (inputs, outputs) in enumerate(pairwise(sizes))
        )

    def mean(self, x: Tensor) -> Tensor:
        """Return the output (..., n, outputs) at the weights' posterior means."""
        for i, layer in enumerate(self.layers):
            x = F.linear(self.activation(x) if i else x, layer.weight, layer.bias)  # type: ignore[arg-type]
        return x

    def sample(
        self, x: Tensor, generator: torch.Generator, samples: int = 1, *, local: bool = True, common: bool = False
    ) -> Tensor:
        """Draw outputs (samples, n, outputs) for rows (n, inputs); see `BayesLinear.sample`."""
        for i, layer in enumerate(self.layers):
            first = None if i else samples  # the rows themselves are multiplied once for all draws
            x = self.activation(x) if i else x
            x = layer.sample(x, generator, samples=first, local=local, common=common)  # type: ignore[operator]
        return x

    def moments(
        self, x: Tensor, generator: torch.Generator, samples: int = 1, *, common: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the last products, given draws of the hidden layers': two tensors (samples, n, outputs).

        Nothing is drawn where there is no hidden layer; one sample, (1, n, outputs), then says all.
        """
        if len(self.layers) == 1:
            mean, variance = self.layers[0].moments(x)  # type: ignore[operator]
            return mean.unsqueeze(0), variance.unsqueeze(0)
        for i, layer in enumerate(self.layers[:-1]):
            first = None if i else samples
            x = layer.sample(self.activation(x) if i else x, generator, samples=first, common=common)  # type: ignore[operator]
        return self.layers[-1].moments(self.activation(x))  # type: ignore[operator]

    def kl(self) -> Tensor:
        """Return KL(q(w) || p(w)) of all weights, in nats."""
        return torch.stack([layer.kl() for layer in self.layers]).sum()  # type: ignore[operator]


def _noise(like: Tensor, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randn(tuple(shape), generator=generator, dtype=like.dtype, device=like.device)


def _drawn(mean: Tensor, log_std: Tensor, leading: Sequence[int], generator: torch.Generator) -> Tensor:
    return mean + log_std.exp() * _noise(mean, (*leading, *mean.shape), generator)
