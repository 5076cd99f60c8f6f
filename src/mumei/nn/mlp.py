"""Fully connected networks: `MLP`, and the mirrored `Autoencoder` of the deep-clustering papers.

Initial weights come from a generator of their own seed, never from torch's global one. "he" is He et al. 2015 (normal, fan in),
"glorot" Glorot and Bengio 2010 (uniform), "small" a normal of standard deviation 0.01 as in the papers of the 2010s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mumei.core.errors import UsageError, unknown
from mumei.core.linear import FastLinear
from mumei.core.seeds import torch_generator

ACTIVATIONS: dict[str, Any] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
NORMS: dict[str, Any] = {"none": None, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
INITIAL = ("he", "glorot", "small")


class MLP(nn.Sequential):
    """A fully connected network.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to output, two or more.
    activation : str
        Between the layers: relu, leaky_relu, gelu, silu, softplus, tanh, sigmoid, identity.
    final_activation : str
        After the last layer.
    dropout : float
        Share of hidden units dropped in training, in [0, 1).
    norm : {"none", "batch", "layer"}
        Before each hidden activation.
    initial : {"he", "glorot", "small"}
        How weights start; biases start at 0.
    seed : int

    Notes
    -----
    Maps (n, sizes[0]) to (n, sizes[-1]).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        *,
        final_activation: str = "identity",
        dropout: float = 0.0,
        norm: str = "none",
        initial: str = "he",
        seed: int = 0,
    ):
        sizes = _check(sizes, activation, final_activation, dropout, norm, initial)
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
            layers.append(nn.utils.skip_init(FastLinear, a, b))  # its own start would draw from the global generator
            last = i == len(sizes) - 2
            if not last and NORMS[norm] is not None:
                layers.append(NORMS[norm](b))
            if (final_activation if last else activation) != "identity":
                layers.append(ACTIVATIONS[final_activation if last else activation]())
            if dropout and not last:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers)
        self.sizes = sizes
        initialise(self, initial, seed)


def _check(sizes: Sequence[int], activation: str, final: str, dropout: float, norm: str, initial: str) -> tuple[int, ...]:
    checked = tuple(int(s) for s in sizes)
    if len(checked) < 2 or min(checked) < 1:
        raise UsageError(f"sizes={list(sizes)} is not allowed; give two or more widths of 1 or more, input first.")
    for name in (activation, final):
        if name not in ACTIVATIONS:
            raise unknown("activation", name, ACTIVATIONS)
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    if initial not in INITIAL:
        raise unknown("initialisation", initial, INITIAL)
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout={dropout} is not allowed; give a share from 0 up to, but not, 1.")
    return checked


@torch.no_grad()
def initialise(module: nn.Module, initial: str, seed: int) -> None:
    """Set the weights of every linear layer from a seed, in order; biases to 0."""
    generator = torch_generator(seed, "initial weights")
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            fan_out, fan_in = layer.weight.shape
            if initial == "glorot":
                bound = (6 / (fan_in + fan_out)) ** 0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
            else:
                layer.weight.normal_(0, 0.01 if initial == "small" else (2 / fan_in) ** 0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()


class Autoencoder(nn.Module):
    """A mirrored autoencoder: `encoder` (n, d) to (n, z), `decoder` back.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the data to the code.
    activation, dropout, norm, initial, seed
        As in `MLP`; the code and the reconstruction are linear.
    """

    def __init__(self, sizes: Sequence[int] = (784, 500, 500, 2000, 10), activation: str = "relu", *, seed: int = 0, **options: Any):
        super().__init__()
        self.encoder = MLP(sizes, activation, seed=seed, **options)
        self.decoder = MLP(tuple(reversed(tuple(sizes))), activation, seed=seed + 1, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct (n, d) as (n, d)."""
        return self.decoder(self.encoder(x))
