"""A convolutional encoder and decoder for images, under the same bound: `ConvVAENet`, and `ConvVAE`, its estimator.

Source: the future work of Kingma and Welling 2013 ("hierarchical generative architectures with deep neural networks, e.g.
convolutional networks, used for the encoders and decoders, trained jointly with AEVB"). Objective, likelihoods and estimates
are those of the fully connected network: only the networks between rows and moments differ. A row is an image written out,
(c, h, w) in that order, or (h, w, c) where `channels_last`.

A likelihood with several numbers a pixel (a Gaussian's mean and log-variance) has that many output maps a channel. A categorical
likelihood has no such maps and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mumei.core import seeds
from mumei.core.config import at_least
from mumei.core.errors import DataError, UsageError
from mumei.core.linear import FastLinear
from mumei.nn.conv import ConvDecoder, ConvEncoder, checked_shape
from mumei.nn.mlp import MLP, initialise
from mumei.vae.choose import make_likelihood
from mumei.vae.estimator import VAE
from mumei.vae.likelihoods import Likelihood
from mumei.vae.network import LOG_VARIANCE
from mumei.vae.tuples import KeepsTuples


class ConvVAENet(nn.Module):
    """Convolutional encoder, decoder and likelihood, with the interface of `VAENet`.

    Parameters
    ----------
    likelihood : Likelihood
        With `n_features` = channels * height * width.
    latent : int
        Width of z.
    shape : (channels, height, width)
        Of an image.
    channels : sequence of int
        Maps of the encoder's convolutions, from the image inwards; the decoder has them in reverse.
    hidden : int
        Width of the layer between the maps and z, on each side.
    activation : str
        See `mumei.nn.mlp.ACTIVATIONS`.
    covariates : int
        Columns that both networks see beside the maps and z.
    channels_last : bool
        Rows are (height, width, channels) written out.
    seed : int

    Raises
    ------
    UsageError
        A shape that the likelihood's columns do not make, or a likelihood without a number of its own for each pixel.

    Examples
    --------
    >>> from mumei.vae.likelihoods import Bernoulli
    >>> net = ConvVAENet(Bernoulli(9 * 13), 2, (1, 9, 13), (4, 8), hidden=16)
    >>> net.encode(torch.zeros(5, 117))[0].shape, net.decode(torch.zeros(3, 5, 2)).shape
    (torch.Size([5, 2]), torch.Size([3, 5, 117]))
    """

    def __init__(
        self,
        likelihood: Likelihood,
        latent: int,
        shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        *,
        hidden: int = 128,
        activation: str = "relu",
        covariates: int = 0,
        channels_last: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        at_least("latent", latent, 1, whole=True)
        at_least("hidden", hidden, 1, whole=True)
        self.shape, self.channels = checked_shape(shape, channels)
        self.likelihood, self.latent, self.covariates = likelihood, latent, covariates
        self.channels_last = channels_last and self.shape[0] > 1  # one channel is the same either way
        self.numbers = _numbers_per_pixel(likelihood, self.shape)
        own = {name: seeds.child(seed, name) for name in ("encoder", "decoder", "inner", "outer")}
        same: dict[str, Any] = {"activation": activation, "final_activation": activation}
        self.encoder = ConvEncoder(self.shape, self.channels, activation=activation, seed=own["encoder"])
        self.inner = MLP((self.encoder.features + covariates, hidden), seed=own["inner"], **same)
        self.posterior = cast("FastLinear", skip_init(FastLinear, hidden, 2 * latent))
        initialise(self.posterior, "glorot", seeds.torch_generator(seed, "posterior"))
        maps = (self.shape[0] * self.numbers, *self.shape[1:])
        self.decoder = ConvDecoder(maps, self.channels, activation=activation, seed=own["decoder"])
        self.outer = MLP((latent + covariates, hidden, self.decoder.features), seed=own["outer"], **same)

    def encode(self, x: Tensor, covariates: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x) for rows (n, n_features): two tensors (n, latent)."""
        seen = self.likelihood.features(x)
        c, h, w = self.shape
        images = seen.reshape(-1, h, w, c).permute(0, 3, 1, 2) if self.channels_last else seen.reshape(-1, c, h, w)
        hidden = self.inner(self._joined(self.encoder(images), covariates))
        mean, log_variance = self.posterior(hidden).chunk(2, -1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def decode(self, z: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Return the likelihood's parameters for z (..., n, latent): (..., n, outputs)."""
        hidden = self.outer(self._joined(z, covariates))
        maps = self.decoder(hidden.reshape(-1, hidden.shape[-1]))
        if self.channels_last:
            maps = maps.unflatten(1, (self.numbers, self.shape[0])).permute(0, 1, 3, 4, 2)
        return maps.reshape(*z.shape[:-1], self.likelihood.outputs)

    def _joined(self, values: Tensor, covariates: Tensor | None) -> Tensor:
        if not self.covariates:
            return values
        if covariates is None:
            raise UsageError(f"this network was made with {self.covariates} covariate columns; give them.")
        return torch.cat([values, covariates.expand(*values.shape[:-1], self.covariates)], -1)


def _numbers_per_pixel(likelihood: Likelihood, shape: tuple[int, int, int]) -> int:
    """Return how many output maps each channel has."""
    if math.prod(shape) != likelihood.n_features:
        raise UsageError(
            f"images of {shape[0]} x {shape[1]} x {shape[2]} have {math.prod(shape)} values; the likelihood has "
            f"{likelihood.n_features} columns. Give the images' (channels, height, width)."
        )
    if likelihood.encoder_features != likelihood.n_features or likelihood.outputs % likelihood.n_features:
        raise UsageError(
            f"the {likelihood.name} likelihood has no map for each channel of an image; use bernoulli, gaussian, or counts."
        )
    return likelihood.outputs // likelihood.n_features


class ConvVAE(KeepsTuples, VAE):
    """`VAE` with convolutional networks, for images.

    Parameters
    ----------
    image_shape : "auto" or (height, width) or (height, width, channels)
        What a row is, for rows that do not come as images; "auto" reads it off images (n, h, w) or (n, h, w, c).
    channels : sequence of int
        Maps of the convolutions, from the image inwards; each halves height and width.
    hidden : int
        Width of the layer between the maps and z.
    n_latent, activation, likelihood, scale, estimator, samples, beta, free_bits, warmup_epochs, epochs, batch_size,
    learning_rate, optimizer, precision, weight_prior, validation, patience, random_state, out, progress
        As in `VAE`.

    Attributes
    ----------
    net_ : ConvVAENet
    image_shape_ : tuple of int
        (height, width) or (height, width, channels).

    See `VAE` for the others.

    Raises
    ------
    UsageError
        From `fit`: rows whose image shape is not known.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 256, (20, 9, 11), dtype=np.uint8)
    >>> model = ConvVAE(n_latent=2, channels=(4,), hidden=8, epochs=1, random_state=0).fit(images)
    >>> model.transform(images).shape, model.sample(3).shape
    ((20, 2), (3, 99))
    """

    _tuples = ("image_shape", "channels")
    init, trainer = "he", "aevb"  # no arguments here
    layer = None

    def __init__(
        self,
        *,
        image_shape: Any = "auto",
        channels: Any = (32, 64),
        hidden: int = 128,
        n_latent: int | str = "auto",
        activation: str = "relu",
        likelihood: Any = "auto",
        scale: str = "auto",
        estimator: str = "B",
        samples: int = 1,
        beta: float = 1.0,
        free_bits: float = 0.0,
        warmup_epochs: int = 0,
        epochs: int = 20,
        batch_size: int = 100,
        learning_rate: float = 1e-3,
        optimizer: str = "adam",
        precision: str = "float32",
        weight_prior: bool = True,
        validation: float = 0.0,
        patience: int = 10,
        random_state: Any = None,
        out: Any = None,
        progress: Any = None,
    ):
        self.image_shape = image_shape
        self.channels = channels
        self.hidden = hidden
        self.n_latent = n_latent
        self.activation = activation
        self.likelihood = likelihood
        self.scale = scale
        self.estimator = estimator
        self.samples = samples
        self.beta = beta
        self.free_bits = free_bits
        self.warmup_epochs = warmup_epochs
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.precision = precision
        self.weight_prior = weight_prior
        self.validation = validation
        self.patience = patience
        self.random_state = random_state
        self.out = out
        self.progress = progress

    @classmethod
    def example(cls) -> Self:
        """Return one whose fit is short, for the conformance checks."""
        return cls(n_latent=2, channels=(4,), hidden=8, epochs=2)

    def _read(self, X: Any, reset: bool) -> Any:
        rows = super()._read(X, reset)
        if reset:
            self.image_shape_ = self._shape(rows.shape[1])
        return rows

    def _shape(self, n_features: int) -> tuple[int, ...]:
        read = self.image_shape_
        if isinstance(self.image_shape, str) and self.image_shape == "auto":
            if read is None:
                raise UsageError(
                    f"the rows have {n_features} columns and no image shape; give images (n, h, w) or (n, h, w, c), or "
                    "image_shape=(h, w)."
                )
            return read
        given = tuple(int(s) for s in self.image_shape)
        if len(given) not in (2, 3) or math.prod(given) != n_features:
            raise UsageError(
                f"image_shape={given} is not what rows of {n_features} columns are; give (height, width) or (height, width, "
                "channels) with that product."
            )
        if read is not None and read != given:
            raise DataError(f"images of {read} were given, with image_shape={given}; leave it at 'auto'.")
        return given

    def _make_net(self) -> None:
        size: Any = tuple(self.image_shape_)  # type: ignore[arg-type]
        h, w, c = (*size, 1) if len(size) == 2 else size
        self.net_: Any = ConvVAENet(
            make_likelihood(self.likelihood_, self.n_features_in_),
            self.latent_,
            (c, h, w),
            (self.channels,) if isinstance(self.channels, int) else tuple(self.channels),
            hidden=self.hidden,
            activation=self.activation,
            covariates=len(self.batches_ or ()),
            channels_last=True,
            seed=seeds.child(self.seed_, "network"),
        )
