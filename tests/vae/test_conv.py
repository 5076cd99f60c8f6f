"""Convolutional VAE: shapes, the bound by torch.distributions, gradients, overfitting, files, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal, kl_divergence

import mumei
from mumei.core.errors import DataError, UsageError
from mumei.vae import objective
from mumei.vae.categorical import Categorical
from mumei.vae.conv import ConvVAE, ConvVAENet
from mumei.vae.likelihoods import Bernoulli, Gaussian
from mumei.vae.objective import BoundConfig


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(n: int = 32, h: int = 12, w: int = 9, seed: int = 0) -> np.ndarray:
    """Return grey images (n, h, w) of one round spot each, bytes."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    centres = draw.uniform((2, 2), (h - 2, w - 2), (n, 2))[:, :, None, None]
    spots = np.exp(-((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2) / 4)
    return (255 * spots).astype(np.uint8)


@pytest.mark.parametrize(("h", "w", "colours"), [(8, 8, 1), (9, 13, 1), (11, 8, 3), (28, 20, 1)])
@pytest.mark.parametrize("last", [False, True])
def test_shapes(h, w, colours, last):
    d = colours * h * w
    for likelihood in (Bernoulli(d), Gaussian(d), Gaussian(d, "shared")):
        net = ConvVAENet(likelihood, 3, (colours, h, w), (4, 6), hidden=8, channels_last=last)
        mean, log_variance = net.encode(torch.zeros(5, d))
        assert mean.shape == log_variance.shape == (5, 3)
        assert net.decode(torch.zeros(2, 5, 3)).shape == (2, 5, likelihood.outputs)
        assert likelihood.log_prob(net.decode(torch.zeros(2, 5, 3)), torch.zeros(5, d)).shape == (2, 5)


def test_rows_of_either_layout_are_the_same_images():
    first = ConvVAENet(Gaussian(3 * 9 * 8), 2, (3, 9, 8), (4,), hidden=8)
    last = ConvVAENet(Gaussian(3 * 9 * 8), 2, (3, 9, 8), (4,), hidden=8, channels_last=True)
    images = torch.rand(5, 3, 9, 8, generator=generator())
    a, b = images.flatten(1), images.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(first.encode(a)[0], last.encode(b)[0])
    z = torch.randn(5, 2, generator=generator())
    torch.testing.assert_close(
        first.likelihood.log_prob(first.decode(z), a), last.likelihood.log_prob(last.decode(z), b)
    )
    torch.testing.assert_close(
        first.likelihood.mean(first.decode(z)).reshape(5, 3, 9, 8).permute(0, 2, 3, 1).flatten(1),
        last.likelihood.mean(last.decode(z)),
    )


@pytest.mark.parametrize("estimator", ["A", "B", "iwae"])
def test_the_bound_by_torch_distributions(estimator):
    """Expected: densities and KL by torch.distributions, with the noise drawn again."""
    net = ConvVAENet(Bernoulli(72), 3, (1, 9, 8), (4, 6), hidden=16, seed=1)
    x = torch.rand(6, 72, generator=generator(1)).round()
    found = objective.bound(net, x, generator(2), BoundConfig(estimator=estimator, samples=7))
    mean, log_variance = net.encode(x)
    q, p = Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(3), torch.ones(3))
    z = mean + q.scale * torch.randn(7, 6, 3, generator=generator(2))
    fit = TorchBernoulli(logits=net.decode(z)).log_prob(x).sum(-1)
    weights = fit + (p.log_prob(z) - q.log_prob(z)).sum(-1)
    expected = {
        "A": weights.mean(0),
        "B": fit.mean(0) - kl_divergence(q, p).sum(-1),
        "iwae": weights.logsumexp(0) - np.log(7),
    }
    torch.testing.assert_close(found, expected[estimator], rtol=1e-4, atol=1e-4)


def test_the_gradient_reaches_all_weights():
    net = ConvVAENet(Gaussian(3 * 72, "shared"), 3, (3, 9, 8), (4, 6), hidden=16, covariates=2)
    x = torch.rand(20, 3 * 72, generator=generator())
    extra = torch.eye(2)[torch.arange(20) % 2]
    total = objective.loss(net, x, generator(), BoundConfig(), covariates=extra).total
    assert total is not None
    total.backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert silent == []
    assert sum(1 for _ in net.parameters()) == 17


def test_same_seed_same_bits():
    X = blobs()
    a, b = (ConvVAE(n_latent=2, channels=(4, 6), hidden=16, epochs=2, random_state=3).fit(X) for _ in range(2))
    assert np.array_equal(a.transform(X), b.transform(X))
    assert np.array_equal(a.sample(4, seed=1), b.sample(4, seed=1))


def test_it_overfits_32_images():
    """From about -75 nats (ln 2 a pixel) the bound rises by 40 and more, and reconstructions follow the images."""
    X = blobs()
    model = ConvVAE(
        n_latent=4, channels=(8, 16), hidden=64, epochs=250, batch_size=32, weight_prior=False, random_state=0
    ).fit(X)
    assert model.history_[0]["bound"] == pytest.approx(-108 * np.log(2), abs=8)
    assert model.history_[-1]["bound"] - model.history_[0]["bound"] > 40
    back = model.inverse_transform(model.transform(X))
    each = [np.corrcoef(a, b)[0, 1] for a, b in zip(back, X.reshape(32, -1), strict=True)]
    assert min(each) > 0.8
    assert np.corrcoef(back[0], X[1].ravel())[0, 1] < 0.8  # another image's reconstruction does not do


@pytest.mark.parametrize("colours", [(), (3,)])
def test_save_and_load(tmp_path, colours):
    X = np.broadcast_to(blobs()[(..., *[None] * len(colours))], (32, 12, 9, *colours)).copy()
    model = ConvVAE(n_latent=2, channels=(4,), hidden=8, epochs=1, random_state=0).fit(X)
    assert model.image_shape_ == X.shape[1:]
    loaded = mumei.load(model.save(tmp_path / "model"))
    assert isinstance(loaded, ConvVAE)
    assert loaded.get_params() == model.get_params()
    assert np.array_equal(loaded.score_samples(X), model.score_samples(X))
    assert np.array_equal(loaded.sample(3), model.sample(3))
    assert loaded.image_shape_ == model.image_shape_


def test_rows_with_an_image_shape_are_the_images():
    X = blobs()
    options = {"n_latent": 2, "channels": (4,), "hidden": 8, "epochs": 1, "random_state": 0}
    first = ConvVAE(**options).fit(X)
    second = ConvVAE(image_shape=(12, 9), **options).fit(X.reshape(32, -1))
    assert np.array_equal(first.transform(X), second.transform(X.reshape(32, -1)))
    assert first.transform(X.reshape(32, -1)).shape == (32, 2)


def test_what_is_refused():
    X = blobs()
    with pytest.raises(UsageError, match="no image shape"):
        ConvVAE(epochs=1).fit(X.reshape(32, -1))
    with pytest.raises(UsageError, match="108 columns"):
        ConvVAE(image_shape=(10, 10), epochs=1).fit(X.reshape(32, -1))
    with pytest.raises(DataError, match="auto"):
        ConvVAE(image_shape=(9, 12), epochs=1).fit(X)
    with pytest.raises(UsageError, match="have 81 values"):
        ConvVAENet(Bernoulli(80), 2, (1, 9, 9))
    with pytest.raises(UsageError, match="categorical"):
        ConvVAENet(Categorical(81, 4), 2, (1, 9, 9))
    with pytest.raises(UsageError, match="covariate"):
        ConvVAENet(Bernoulli(81), 2, (1, 9, 9), covariates=2).encode(torch.zeros(2, 81))
    with pytest.raises(DataError, match="images"):
        ConvVAE(n_latent=2, channels=(4,), hidden=8, epochs=1).fit(X).transform(X[:, :9, :].reshape(-1, 9, 9))
