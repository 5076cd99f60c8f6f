"""Model M2: rows x with a class y, known for some, and a latent z: its networks, its two bounds and its training.

Source: Kingma, Mohamed, Rezende and Welling 2014, "Semi-supervised Learning with Deep Generative Models", section 2 and equations
6 to 9, an application of Kingma and Welling 2013. p(y) is uniform over k classes, p(z) = N(0, I); q(y|x) is a classifier,
q(z|x, y) and p(x|y, z) are a `VAENet` with y as covariates. In nats per row:

    labelled     -L(x, y) = E_q(z|x,y)[log p(x|y, z)] - KL(q(z|x, y) || p(z)) + log p(y)
    unlabelled   -U(x)    = sum_y q(y|x) (-L(x, y)) + H(q(y|x))
    objective    J / N    = (N_l mean L + N_u mean U) / N + alpha mean_labelled(-log q(y|x)),  alpha = 0.1

which is the paper's with alpha = 0.1 N on its sum over rows: 0.1 N / N_l for each labelled row.

The sum over y is one product of (k n, ...) rows, and x meets the encoder's first layer once, not k times. Departures: each
step takes its labelled rows from all labelled ones, beside a batch of the whole set, so that no step is without; the prior over
weights, N(0, I), is weight decay 1/N on weights, not biases, and not on q(y|x), which a small N would press flat; in a warm-up
q(y|x) learns from the labelled rows alone, while the rest already learns from what it says of all rows: without it classes may
come to stand for groups that the labels do not mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core import seeds
from mumei.core.config import TrainConfig, at_least
from mumei.core.method import At, Loss, make_optimizer
from mumei.nn.mlp import MLP
from mumei.vae.inputs import Scaling
from mumei.vae.likelihoods import Likelihood
from mumei.vae.network import LOG_VARIANCE, VAENet
from mumei.vae.objective import gaussian_kl


class M2Net(nn.Module):
    """q(y|x), q(z|x, y) and p(x|y, z).

    Parameters
    ----------
    likelihood : Likelihood
    classes : int
        k, at least 2.
    latent : int
        Width of z.
    hidden : sequence of int
        Of the encoder, from the data inwards, and of the decoder in reverse.
    classifier_hidden : sequence of int
        Of q(y|x); () is logistic regression.
    activation, init, init_std, seed
        As in `VAENet`. The default is the first author's: weights so small that at first all classes explain a row alike, so that
        the labels, not chance, decide what each class comes to stand for.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        classes: int,
        latent: int,
        hidden: Sequence[int] = (500,),
        *,
        classifier_hidden: Sequence[int] = (500,),
        activation: str = "softplus",
        init: str = "normal",
        init_std: float = 1e-3,
        seed: int = 0,
    ):
        super().__init__()
        at_least("classes", classes, 2, whole=True)
        self.classes = classes
        self.vae = VAENet(
            likelihood,
            latent,
            hidden,
            activation=activation,
            init=init,
            init_std=init_std,
            covariates=classes,
            seed=seeds.child(seed, "vae"),
        )
        sizes = (likelihood.encoder_features, *classifier_hidden, classes)
        self.classifier = MLP(
            sizes, activation=activation, init=init, init_std=init_std, seed=seeds.child(seed, "classifier")
        )

    @property
    def log_prior(self) -> float:
        """Log p(y), in nats."""
        return -math.log(self.classes)

    def log_classes(self, x: Tensor) -> Tensor:
        """Return log q(y|x) (n, k) for rows x (n, n_features)."""
        return self.classifier(self.vae.likelihood.features(x)).log_softmax(-1)

    def encode_each(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x, y) for every class y: two tensors (k, n, latent)."""
        first, *others = self.vae.encoder.layers.children()
        features = self.vae.likelihood.features(x)
        weight_x, weight_y = first.weight.split([features.shape[-1], self.classes], 1)  # type: ignore[operator, union-attr]
        hidden = F.linear(features, weight_x, first.bias) + weight_y.t().unsqueeze(1)  # type: ignore[arg-type]
        for layer in others:
            hidden = layer(hidden)
        mean, log_variance = self.vae.posterior(hidden).chunk(2, -1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def one_hot(self, y: Tensor) -> Tensor:
        """Return classes (n,) as columns (n, k)."""
        return F.one_hot(y, self.classes).to(self.vae.output.weight.dtype)


def labelled_bound(
    net: M2Net, x: Tensor, y: Tensor, generator: torch.Generator, samples: int = 1, *, common: bool = False
) -> Tensor:
    """Return the estimate of -L(x, y), a bound on log p(x, y), per row (n,), in nats.

    Parameters
    ----------
    x : Tensor (n, n_features)
    y : int64 Tensor (n,)
    common : bool
        The same noise for all rows, so that a row's number does not depend on the others.
    """
    columns = net.one_hot(y)
    mean, log_variance = net.vae.encode(x, columns)
    z = mean + torch.exp(0.5 * log_variance) * _noise((samples, 1 if common else len(x), net.vae.latent), x, generator)
    fit = net.vae.likelihood.log_prob(net.vae.decode(z, columns), x).mean(0)
    return fit - gaussian_kl(mean, log_variance).sum(-1) + net.log_prior


def each_bound(net: M2Net, x: Tensor, generator: torch.Generator, samples: int = 1, *, common: bool = False) -> Tensor:
    """Return the estimate of -L(x, y) for every class y (k, n), in nats, in one product; the classes share their noise."""
    mean, log_variance = net.encode_each(x)
    noise = _noise((samples, 1 if common else len(x), net.vae.latent), x, generator)
    z = mean + torch.exp(0.5 * log_variance) * noise.unsqueeze(1)
    columns = torch.eye(net.classes, dtype=x.dtype, device=x.device).unsqueeze(1)
    fit = net.vae.likelihood.log_prob(net.vae.decode(z, columns.expand(*mean.shape[:-1], -1)), x).mean(0)
    return fit - gaussian_kl(mean, log_variance).sum(-1) + net.log_prior


def unlabelled_bound(
    net: M2Net,
    x: Tensor,
    generator: torch.Generator,
    samples: int = 1,
    *,
    common: bool = False,
    fixed_classes: bool = False,
) -> Tensor:
    """Return the estimate of -U(x), a bound on log p(x), per row (n,), in nats; `fixed_classes` gives q(y|x) no gradient."""
    log_q = net.log_classes(x)
    log_q = log_q.detach() if fixed_classes else log_q
    q = log_q.exp()
    return (q * (each_bound(net, x, generator, samples, common=common).t() - log_q)).sum(-1)


def _noise(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)


class M2Method:
    """Trains M2 on an array of rows and one of codes, -1 where the class is unknown.

    Parameters
    ----------
    net : M2Net
    x, codes : Tensor (n, n_features), int64 Tensor (n,)
        The whole set.
    alpha : float
        Of the classification term; 0.1 in the paper.
    labelled_batch : int
        Labelled rows in a step, at most.
    warmup_steps : int
        Steps at the start in which q(y|x) learns from the labelled rows alone.
    weight_prior : bool
    scaling : Scaling, optional
        For rows of bytes.
    deviations : Tensor (n, n_features), optional
        Rows are means of a normal with these, drawn anew each step (M1 + M2).
    """

    def __init__(
        self,
        net: M2Net,
        x: Any,
        codes: Tensor,
        *,
        alpha: float = 0.1,
        labelled_batch: int = 100,
        warmup_steps: int = 0,
        weight_prior: bool = True,
        scaling: Scaling | None = None,
        deviations: Tensor | None = None,
    ):
        at_least("alpha", alpha, 0.0)
        at_least("labelled_batch", labelled_batch, 1, whole=True)
        self.net, self.x, self.codes, self.alpha, self.scaling = net, x, codes, alpha, scaling
        at_least("warmup_steps", warmup_steps, 0, whole=True)
        self.deviations, self.warmup_steps = deviations, warmup_steps
        self.labelled = (codes >= 0).nonzero().squeeze(1)
        self.labelled_batch = min(labelled_batch, len(self.labelled))
        self.share = len(self.labelled) / len(codes)
        self.decay = 1.0 / len(codes) if weight_prior else 0.0

    def modules(self) -> dict[str, nn.Module]:
        """Return the network."""
        return {"net": self.net}

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser, the prior being weight decay."""
        named = list(self.net.named_parameters())
        pressed = [p for name, p in named if name.startswith("vae.") and name.endswith("weight")]
        free = [p for name, p in named if not (name.startswith("vae.") and name.endswith("weight"))]
        groups: list[Any] = [{"params": pressed, "weight_decay": self.decay + config.weight_decay}, {"params": free}]
        return {"all": make_optimizer(config, groups)}

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Return J / N, estimated on the batch's unlabelled rows and on a draw of the labelled ones."""
        x, codes = batch[0], batch[1]
        open_rows = codes < 0
        unlabelled = torch.zeros(())
        if bool(open_rows.any()):
            rows = self._seen(x[open_rows], at.rows[open_rows], at.rng)
            fixed = at.step < self.warmup_steps
            unlabelled = unlabelled_bound(self.net, rows, at.rng, fixed_classes=fixed).sum() / len(x)
        chosen = self.labelled[torch.randperm(len(self.labelled), generator=at.rng)[: self.labelled_batch]]
        y, rows = self.codes[chosen], self._seen(self._rows(chosen), chosen, at.rng)
        labelled = self.share * labelled_bound(self.net, rows, y, at.rng).mean()
        surprise = F.nll_loss(self.net.log_classes(rows), y)
        total = self.alpha * surprise - labelled - unlabelled
        return Loss(total, {"bound": labelled + unlabelled, "classification": surprise})

    def _rows(self, index: Tensor) -> Tensor:
        if isinstance(self.x, Tensor):
            return self.x[index]
        return torch.from_numpy(self.x[index.numpy()].toarray())

    def _seen(self, x: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
        x = self.scaling.apply(x) if x.dtype is torch.uint8 and self.scaling is not None else x.float()
        if self.deviations is None:
            return x
        return x + self.deviations[index] * torch.randn(x.shape, generator=generator)
