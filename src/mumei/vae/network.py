"""The networks of Auto-Encoding Variational Bayes: q(z|x), a diagonal Gaussian, and p(x|z), a likelihood's parameters.

Source: Kingma and Welling 2013, appendix C: one hidden layer of tanh units on each side (`hidden=(500,)`), linear heads. More
layers and other activations are allowed. The mean and the log-variance of q are one product; log-variances are kept
within `LOG_VARIANCE`, which no reasonable posterior reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mumei.core import seeds
from mumei.core.errors import UsageError
from mumei.core.linear import FastLinear
from mumei.nn.mlp import MLP, initialise
from mumei.vae.likelihoods import Likelihood

LOG_VARIANCE = (-20.0, 20.0)


class VAENet(nn.Module):
    """Encoder, decoder and likelihood.

    Parameters
    ----------
    likelihood : Likelihood
        Its `n_features` is the width of the data.
    latent : int
        Width of z.
    hidden : sequence of int
        Widths of the encoder's hidden layers, from the data inwards; the decoder has them in reverse.
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    init : {"glorot", "he", "normal"}
        "normal" draws weights and biases from N(0, init_std^2), as the paper does.
    covariates : int
        Columns (one-hot batch labels, say) that both networks see beside x and z.
    seed : int
    """

    def __init__(
        self,
        likelihood: Likelihood,
        latent: int,
        hidden: Sequence[int] = (500,),
        *,
        activation: str = "tanh",
        init: str = "glorot",
        init_std: float = 0.01,
        covariates: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        if latent < 1:
            raise UsageError(f"latent={latent} is not allowed; a latent space has at least 1 dimension.")
        if not hidden or min(hidden) < 1:
            raise UsageError(f"hidden={tuple(hidden)} is not allowed; give at least one layer of at least one unit.")
        self.likelihood, self.latent, self.covariates = likelihood, latent, covariates
        hidden = tuple(hidden)

        def body(name: str, sizes: tuple[int, ...]) -> MLP:
            own = seeds.child(seed, name)
            return MLP(
                sizes, activation=activation, final_activation=activation, init=init, init_std=init_std, seed=own
            )

        def head(name: str, inputs: int, outputs: int) -> FastLinear:
            layer: FastLinear = skip_init(FastLinear, inputs, outputs)  # type: ignore[assignment]
            initialise(layer, init, seeds.torch_generator(seed, name), init_std)
            return layer

        self.encoder = body("encoder", (likelihood.encoder_features + covariates, *hidden))
        self.posterior = head("posterior", hidden[-1], 2 * latent)
        self.decoder = body("decoder", (latent + covariates, *hidden[::-1]))
        self.output = head("output", hidden[0], likelihood.outputs)
        if init == "normal":
            self._draw_biases(init_std, seed)

    def _draw_biases(self, std: float, seed: int) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias") and not name.startswith("likelihood"):
                nn.init.normal_(parameter, 0.0, std, generator=seeds.torch_generator(seed, "bias", name))

    def encode(self, x: Tensor, covariates: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x).

        Parameters
        ----------
        x : Tensor (n, n_features), float32
            Rows as the likelihood sees them; the encoder sees `likelihood.features(x)`.
        covariates : Tensor (n, covariates), optional

        Returns
        -------
        Two tensors (n, latent)
        """
        hidden = self.encoder(self._joined(self.likelihood.features(x), covariates))
        mean, log_variance = self.posterior(hidden).chunk(2, -1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def decode(self, z: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Return the likelihood's parameters for z (..., n, latent): (..., n, outputs)."""
        return self.output(self.decoder(self._joined(z, covariates)))

    def _joined(self, values: Tensor, covariates: Tensor | None) -> Tensor:
        if not self.covariates:
            return values
        if covariates is None:
            raise UsageError(f"this network was made with {self.covariates} covariate columns; give them.")
        return torch.cat([values, covariates.expand(*values.shape[:-1], self.covariates)], -1)
