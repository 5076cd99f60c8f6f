"""The paper's networks with gradients written out by hand: AEVB and wake-sleep, in float32 or with bfloat16 products.

Source: Kingma and Welling 2013, sections 2 and 5 and appendix C: one hidden layer of tanh units on each side, a Bernoulli or a
Gaussian decoder, estimator B with one sample; Hinton 1995 for wake-sleep. With a = W x + b throughout:

    h = tanh(a1), (m, v) = a2, z = m + exp(v/2) e, g = tanh(a3), o = a4
    d log p(x|z)/d o       Bernoulli: x - sigmoid(o); Gaussian: see `_gaussian`
    d bound/d m            d log p/d z - m
    d bound/d v            1/2 e exp(v/2) d log p/d z - 1/2 (exp(v) - 1)

All weights lie in one vector, of which the network's parameters are views, so the optimiser is one call. With bfloat16 the
weights, the optimiser's sums and everything between two products stay float32; the products see rounded copies. uint8 rows
below 256 are exact in bfloat16: they are multiplied as they are, and `scale` goes into the first layer's copy.

Departure: prior N(0, I) on weights (not biases, as the first author's program has it) as weight decay 1/N.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core.config import TrainConfig, at_least, one_of
from mumei.core.errors import UsageError
from mumei.core.linear import capability, fast_linear
from mumei.core.method import At, Loss, make_optimizer
from mumei.vae.likelihoods import LOG_2PI, Bernoulli, Gaussian
from mumei.vae.likelihoods import LOG_VARIANCE as OUTPUT_RANGE
from mumei.vae.network import LOG_VARIANCE, VAENet

LAYERS = ("encoder", "posterior", "decoder", "output")
Gradients = dict[str, tuple[Tensor, Tensor]]  # by layer: of weight and bias


def written_out(net: nn.Module) -> bool:
    """Whether the gradients of a network are written out here."""
    if type(net) is not VAENet or net.covariates:
        return False
    bodies = (net.encoder, net.decoder)
    one_tanh = all(len(b.sizes) == 2 and b.parameters_given["activation"] == "tanh" for b in bodies)
    plain = all(not b.parameters_given["dropout"] and not b.parameters_given["norm"] for b in bodies)
    out = net.likelihood
    known = type(out) is Bernoulli or (type(out) is Gaussian and out.variance == "learned")
    return one_tanh and plain and known


class Rows(NamedTuple):
    """A batch (n, d): what the first layer multiplies, the values it stands for (float32), and the factor between them."""

    raw: Tensor
    values: Tensor
    scale: float


class Engine:
    """Products, forward and backward passes of one network.

    Parameters
    ----------
    net : VAENet
        One that `written_out` knows; its parameters become views of one vector, `master`.
    precision : {"float32", "bf16"}
        Of the products.
    scale : float
        What rows of uint8 are multiplied by.

    Raises
    ------
    UsageError
        The network is of another form.
    """

    def __init__(self, net: VAENet, precision: str = "float32", scale: float = 1.0):
        if not written_out(net):
            raise UsageError(
                "written-out gradients are for one tanh layer a side and a Bernoulli or Gaussian (learned variance) "
                "likelihood without covariates; train other networks with mumei.vae.objective.loss."
            )
        one_of("precision", precision, ("float32", "bf16"))
        self.net, self.scale = net, scale
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        layers: list[Any] = [net.encoder.layers[0], net.posterior, net.decoder.layers[0], net.output]
        self.layers: dict[str, nn.Linear] = dict(zip(LAYERS, layers, strict=True))
        # Weights first, biases behind them: the prior is on weights alone.
        parameters = [layer.weight for layer in layers] + [layer.bias for layer in layers]
        flat = torch.cat([p.detach().flatten() for p in parameters])
        weights = sum(layer.weight.numel() for layer in layers)
        self.master, self.gradient, self.copy = flat, torch.zeros_like(flat), flat.to(self.dtype)  # float32: one memory
        self.vectors = tuple(nn.Parameter(part) for part in flat.split([weights, len(flat) - weights]))
        for vector, gradient in zip(self.vectors, self.gradient.split([weights, len(flat) - weights]), strict=True):
            vector.grad = gradient
        copies, gradients = [], []
        start = 0
        for parameter in parameters:
            part, shape = slice(start, start + parameter.numel()), parameter.shape
            parameter.data = flat[part].view(shape)
            copies.append(self.copy[part].view(shape))
            gradients.append(self.gradient[part].view(shape))
            start += parameter.numel()
        half = len(layers)
        self.weights: Gradients = dict(zip(LAYERS, zip(copies[:half], copies[half:], strict=True), strict=True))
        self.views: Gradients = dict(zip(LAYERS, zip(gradients[:half], gradients[half:], strict=True), strict=True))

    def refresh(self) -> None:
        """Round the weights for the products; float32 ones are multiplied as they are."""
        if self.copy is not self.master:
            self.copy.copy_(self.master)

    def linear(self, x: Tensor, name: str) -> Tensor:
        """Return W x + b of a layer, in the products' type, for x (n, inputs)."""
        weight, bias = self.weights[name]
        return product(x, weight, bias)

    def rows(self, batch: Tensor) -> Rows:
        """Return rows (n, d) as the first layer multiplies them, and as the values that they stand for."""
        if batch.dtype is not torch.uint8:
            values = batch.float()
            return Rows(values.to(self.dtype), values, 1.0)
        values = batch.float().mul_(self.scale)
        if self.dtype is torch.float32:
            return Rows(values, values, 1.0)
        return Rows(batch.to(self.dtype), values, self.scale)

    def encode(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Return the hidden layer (n, hidden) and float32 mean and log-variance (n, latent)."""
        weight, bias = self.weights["encoder"]
        if rows.scale != 1.0:
            weight = (self.layers["encoder"].weight.detach() * rows.scale).to(self.dtype)
        hidden = product(rows.raw, weight, bias).tanh_()
        mean, log_variance = self.linear(hidden, "posterior").float().chunk(2, -1)
        return hidden, mean, log_variance.clamp(*LOG_VARIANCE)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden layer and the float32 output of z (n, latent)."""
        hidden = self.linear(z.to(self.dtype), "decoder").tanh_()
        return hidden, self.linear(hidden, "output").float()

    def fit_of(self, out: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x|z) summed over rows and its gradient by the output (n, outputs)."""
        return _bernoulli(out, x) if isinstance(self.net.likelihood, Bernoulli) else self._gaussian(out, x)

    def _gaussian(self, out: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = out.chunk(2, -1)
        bounded = self.net.likelihood.bounded  # type: ignore[union-attr]
        mean = torch.sigmoid(mean) if bounded else mean
        inside = (log_variance > OUTPUT_RANGE[0]) & (log_variance < OUTPUT_RANGE[1])
        log_variance = log_variance.clamp(*OUTPUT_RANGE)
        precision = torch.exp(-log_variance)
        error = x - mean
        squared = error * error * precision
        by_mean = error * precision
        if bounded:
            by_mean *= mean * (1 - mean)
        by_variance = 0.5 * (squared - 1) * inside
        total = -0.5 * (squared.sum() + log_variance.sum() + LOG_2PI * x.numel())
        return total, torch.cat([by_mean, by_variance], -1)

    def decoder_gradients(self, z: Tensor, hidden: Tensor, by_out: Tensor, weight: float) -> Tensor:
        """Write the decoder's gradients of `weight` times a sum over rows; return the same of z, float32 (n, latent)."""
        by_out = (by_out * weight).to(self.dtype)
        by_hidden = self._layer_gradients("output", hidden, by_out, True)
        by_hidden = by_hidden * (1 - hidden * hidden)
        return self._layer_gradients("decoder", z.to(self.dtype), by_hidden, True).float()

    def encoder_gradients(self, rows: Rows, hidden: Tensor, by_mean: Tensor, by_variance: Tensor) -> None:
        """Write the encoder's gradients, given those of mean and log-variance (n, latent)."""
        by_posterior = torch.cat([by_mean, by_variance], -1).to(self.dtype)
        by_hidden = self._layer_gradients("posterior", hidden, by_posterior, True) * (1 - hidden * hidden)
        self._layer_gradients("encoder", rows.raw, by_hidden, False)
        if rows.scale != 1.0:
            self.views["encoder"][0].mul_(rows.scale)

    def _layer_gradients(self, name: str, inputs: Tensor, by_out: Tensor, back: bool) -> Any:
        of_weight, of_bias = self.views[name]
        weight_gradient(by_out, inputs, of_weight)
        torch.sum(by_out, 0, dtype=torch.float32, out=of_bias)
        return product(by_out, self.weights[name][0].t()) if back else None


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b for x (n, inputs) and W (outputs, inputs), in the type of x, outside autograd."""
    return fast_linear(x, weight, bias) if x.dtype is torch.float32 else F.linear(x, weight, bias)


def weight_gradient(by_out: Tensor, inputs: Tensor, to: Tensor) -> None:
    """Write by_out^T inputs into `to` (outputs, inputs), without a copy where the product can be written in place."""
    if inputs.dtype is torch.float32 and not capability().enabled:
        torch.mm(by_out.t(), inputs, out=to)
    else:
        to.copy_(product(by_out.t(), inputs.t()))


def _bernoulli(out: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    probability = torch.sigmoid(out)
    # softplus(o) = max(o, 0) - log(max(p, 1 - p)): the sigmoid is there already.
    surplus = torch.maximum(probability, 1 - probability).log_().sum()
    total = (x * out).sum() - out.clamp(min=0).sum() + surplus
    return total, x - probability


class WrittenOut:
    """What the training methods with written-out gradients share: the vector of weights, its optimiser, its prior.

    Parameters
    ----------
    net : VAENet
    rows : int
        N, the rows of the data set.
    weight_prior : bool
        N(0, I) on the weights.
    precision, scale
        See `Engine`.
    """

    def __init__(
        self, net: VAENet, rows: int, *, weight_prior: bool = True, precision: str = "float32", scale: float = 1.0
    ):
        self.net, self.engine = net, Engine(net, precision, scale)
        self.decay = 1.0 / rows if weight_prior else 0.0

    def modules(self) -> dict[str, nn.Module]:
        """Return the network."""
        return {"net": self.net}

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return the optimiser over all weights, the prior being its weight decay, and all biases."""
        weights, biases = self.engine.vectors
        groups: list[Any] = [{"params": [weights]}, {"params": [biases]}]
        if self.decay:
            groups[0]["weight_decay"] = self.decay + config.weight_decay
        return {"all": make_optimizer(config, groups)}

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Make one update; parts are nats per row."""
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return Loss(None, self.update(batch[0], at))

    def update(self, batch: Tensor, at: At) -> Mapping[str, Tensor | float]:
        """Make one step down the gradients and return the parts."""
        self.engine.refresh()
        parts = self.gradients(batch, at)
        at.optimizers["all"].step()
        return parts

    def gradients(self, batch: Tensor, at: At) -> dict[str, Tensor]:
        """Write the gradients of what is minimised and return the parts to watch."""
        raise NotImplementedError


class AEVB(WrittenOut):
    """Auto-encoding variational Bayes, estimator B with one sample, for `mumei.core.train.fit`.

    Examples
    --------
    >>> from mumei.core.train import TrainConfig, fit
    >>> net = VAENet(Bernoulli(6), 2, (4,), init="normal")
    >>> fit(AEVB(net, 8), torch.ones(8, 6), TrainConfig(epochs=2, batch_size=4, optimizer=adagrad(0.02))).steps
    4
    """

    def gradients(self, batch: Tensor, at: At) -> dict[str, Tensor]:
        """Write the gradients of the negative bound's mean over the rows."""
        engine, share = self.engine, 1.0 / len(batch)
        rows = engine.rows(batch)
        hidden, mean, log_variance = engine.encode(rows)
        deviation = torch.exp(0.5 * log_variance)
        spread = torch.randn(mean.shape, generator=at.rng) * deviation  # s e
        z = mean + spread
        above, out = engine.decode(z)
        fit, by_out = engine.fit_of(out, rows.values)
        by_z = engine.decoder_gradients(z, above, by_out, -share)
        variance = deviation * deviation
        by_variance = 0.5 * (by_z * spread + share * (variance - 1))
        engine.encoder_gradients(rows, hidden, by_z + share * mean, by_variance)
        kl = 0.5 * (mean.square() + variance - 1.0 - log_variance).sum() * share
        fit = fit * share
        return {"reconstruction": fit, "kl": kl, "bound": fit - kl}


class WakeSleep(WrittenOut):
    """Wake-sleep with the same networks, optimiser and prior.

    Wake: z ~ q(z|x), climb log p(x|z) by the decoder. Sleep: dream z ~ p(z), x ~ p(x|z), climb log q(z|x) by the encoder. There
    is no one bound that both climb; "bound" is the estimate at the wake sample, comparable with AEVB's.
    """

    def gradients(self, batch: Tensor, at: At) -> dict[str, Tensor]:
        """Write the gradients of both phases."""
        engine, share = self.engine, 1.0 / len(batch)
        rows = engine.rows(batch)
        _, mean, log_variance = engine.encode(rows)
        variance = torch.exp(log_variance)
        z = mean + torch.randn(mean.shape, generator=at.rng) * variance.sqrt()
        above, out = engine.decode(z)
        fit, by_out = engine.fit_of(out, rows.values)
        engine.decoder_gradients(z, above, by_out, -share)
        kl = 0.5 * (mean.square() + variance - 1.0 - log_variance).sum() * share
        return {"reconstruction": fit * share, "kl": kl, "bound": fit * share - kl, "sleep": self._sleep(mean, at)}

    def _sleep(self, like: Tensor, at: At) -> Tensor:
        """Write the encoder's gradients on a dream for each row; return the mean of log q(z|x)."""
        engine, share = self.engine, 1.0 / len(like)
        z = torch.randn(like.shape, generator=at.rng)
        dream = self.net.likelihood.sample(engine.decode(z)[1], at.rng)
        rows = Rows(dream.to(engine.dtype), dream, 1.0)
        hidden, mean, log_variance = engine.encode(rows)
        error = z - mean
        precision = torch.exp(-log_variance)
        squared = error * error * precision
        engine.encoder_gradients(rows, hidden, -share * error * precision, 0.5 * share * (1 - squared))
        return -0.5 * share * (squared + log_variance + LOG_2PI).sum()


class Adagrad(torch.optim.Adagrad):
    """torch's Adagrad whose first steps only add up squared gradients, as the first author's program has it.

    Without it the first step moves every weight by the whole learning rate. AEVB soon mends that; wake-sleep's encoder, which
    learns from dreams alone, is thrown far from where real rows are: after 1e5 rows of MNIST with 20 dimensions its bound was
    -363 without and -190 with a warm-up of 100 steps.

    Parameters
    ----------
    parameters, **options
        As torch's.
    warm_up : int
        Steps that change no weight.
    """

    def __init__(self, parameters: Any, *, warm_up: int = 0, **options: Any):
        super().__init__(parameters, **options)
        at_least("warm_up", warm_up, 0, whole=True)
        self.warm_up = warm_up

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make one step, or in the warm-up add up what it would divide by."""
        every = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not every or float(self.state[every[0][1]]["step"]) >= self.warm_up:
            return super().step(closure)
        for group, p in every:
            gradient = p.grad if not group["weight_decay"] else p.grad + group["weight_decay"] * p
            self.state[p]["sum"].addcmul_(gradient, gradient)
            self.state[p]["step"] += 1
        return None


WARM_UP = {"aevb": 0, "wake-sleep": 100}  # steps, as in the first author's program for wake-sleep


def adagrad(learning_rate: float, warm_up: int = 0) -> Callable[[list[Any]], torch.optim.Optimizer]:
    """Return what makes the paper's optimiser (Duchi 2011), for `TrainConfig(optimizer=...)`; see `Adagrad` for the warm-up."""

    def make(parameters: Any) -> torch.optim.Optimizer:
        return Adagrad(parameters, lr=learning_rate, eps=1e-8, fused=True, warm_up=warm_up)

    return make
