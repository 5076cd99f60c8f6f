"""ACAI: an autoencoder whose mixed codes decode to rows that look real, a pre-training for `mumei.cluster.adec`.

Source: Berthelot, Raffel, Roy and Goodfellow 2019, "Understanding and Improving Interpolation in Autoencoders via an Adversarial
Regularizer". Codes of two rows are mixed, x_a = g(a z + (1 - a) z'), a ~ U(0, 1/2), and a critic d is to find a; it is also
told that rows, a little of their reconstruction in them, are not mixed:

    d:     min  mean (d(x_a) - a)^2 + mean d(gamma x + (1 - gamma) g(f(x)))^2,   gamma = 0.2
    f, g:  min  mean |x - g(f(x))|^2 / columns + weight mean d(x_a)^2,           weight = 0.5

Departures: d is fully connected; the second row of a pair is another one of the same batch; both sides move once a step, the
critic last. Rows may be altered first (`augment`), and are then reconstructed as altered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.cluster.drivers import only
from mumei.core.config import TrainConfig
from mumei.core.method import At, Loss, make_optimizer

GAMMA = 0.2  # of a row in what the critic is told is not mixed
AUTOENCODER = ("encoder", "decoder")


class Interpolate:
    """The method of the training loop that fits such an autoencoder.

    Parameters
    ----------
    nets : mapping
        With "encoder", "decoder", "interpolation_critic" (rows to one number), and "augment" (rows and a generator to rows).
    weight : float
        Of the regulariser; 0 leaves a plain autoencoder, and the critic where it is.
    settings : mapping
        JSON values that a resumed run and cached weights must share: those of the augmentation.
    """

    def __init__(self, nets: Mapping[str, nn.Module], weight: float, settings: Mapping[str, Any]):
        self.nets = {name: nets[name] for name in (*AUTOENCODER, "interpolation_critic")}
        self.augment, self.weight, self.settings = nets["augment"], weight, settings

    def modules(self) -> dict[str, nn.Module]:
        """Return the autoencoder and the critic."""
        return self.nets

    def optimizers(self, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser for each side."""
        sides = {"autoencoder": AUTOENCODER, "critic": ("interpolation_critic",)}
        return {
            side: make_optimizer(config, [p for name in names for p in self.nets[name].parameters()])
            for side, names in sides.items()
        }

    def step(self, batch: tuple[Tensor, ...], at: At) -> Loss:
        """Move the autoencoder, then the critic."""
        x = self.augment(batch[0].float(), at.rng)
        share = 0.5 * torch.rand((len(x), 1), generator=at.rng, device=x.device)
        critic, autoencoder = at.nets["interpolation_critic"], at.optimizers["autoencoder"]
        with only(at.nets, AUTOENCODER):
            z = at.nets["encoder"](x)
            made = at.nets["decoder"](z)
            loss = reconstruction = F.mse_loss(made, x)
            if not self.weight:
                return Loss(reconstruction)
            mixed = at.nets["decoder"](torch.lerp(z.roll(1, 0), z, share.to(z.dtype)))
            regulariser = not_mixed(critic, mixed)
            loss = reconstruction + self.weight * regulariser
            autoencoder.zero_grad(set_to_none=True)
            at.backward(loss)
        autoencoder.step()
        found = found_share(critic, mixed.detach(), share) + not_mixed(
            critic, torch.lerp(made.detach().float(), x, GAMMA)
        )
        at.optimizers["critic"].zero_grad(set_to_none=True)
        at.backward(found)
        at.optimizers["critic"].step()
        named = {"loss": loss, "reconstruction": reconstruction, "interpolation": regulariser, "critic": found}
        return Loss(None, {name: value.detach() for name, value in named.items()})

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must share."""
        return {"settings": {"weight": self.weight, **self.settings}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is nothing to take back."""


def found_share(critic: nn.Module, mixed: Tensor, share: Tensor) -> Tensor:
    """Return mean (d(x_a) - a)^2 for mixed rows (b, d) and their shares a (b, 1)."""
    return F.mse_loss(critic(mixed), share)


def not_mixed(critic: nn.Module, x: Tensor) -> Tensor:
    """Return mean d(x)^2 for rows (b, d)."""
    return critic(x).square().mean()
