"""Monte Carlo EM on the paper's networks: z by Hamiltonian Monte Carlo instead of an encoder.

Source: Kingma and Welling 2013, section 5 and Figure 3; the first author's program (`dpkingma/anglepy`). Every row has a chain
of its own, which lives as long as training does. A step on some rows:

    E    one trajectory of 10 leapfrog steps on log p(x, z) for each, with one step size, tuned to an acceptance of .9
    M    5 updates of the decoder on log p(x, z) at these z, with the same prior and optimiser as AEVB

The paper's algorithm is not online: its steps are on all rows (`batch_size` as large as the data). Smaller batches are allowed
and learn faster; that is a departure, and is not what Figure 3 shows. Departures: chains start from N(0, I); the sampler uses
float32 whatever the precision of the products; the decoder alone learns, the encoder's weights only feel their prior.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mumei.core import seeds
from mumei.core.config import at_least
from mumei.core.method import At
from mumei.vae.engine import WrittenOut
from mumei.vae.hmc import StepSize, fast_target, move, place
from mumei.vae.likelihoods import standard_log_prob
from mumei.vae.network import VAENet

CHUNK = 1000  # rows worked on at once, so that their activations stay near the cache


class MCEM(WrittenOut):
    """Monte Carlo EM for `mumei.core.train.fit`.

    Parameters
    ----------
    net : VAENet
        One that `mumei.vae.engine.written_out` knows.
    rows : int
        N, the rows of the training data.
    leapfrog : int
        Steps of a trajectory.
    updates : int
        Of the decoder after each.
    seed : int
        Where the chains start.
    weight_prior, precision, scale
        As for `mumei.vae.engine.AEVB`.
    """

    def __init__(self, net: VAENet, rows: int, *, leapfrog: int = 10, updates: int = 5, seed: int = 0, **options: Any):
        super().__init__(net, rows, **options)
        at_least("leapfrog", leapfrog, 1, whole=True)
        at_least("updates", updates, 1, whole=True)
        self.leapfrog, self.updates = leapfrog, updates
        self.chains = torch.randn(rows, net.latent, generator=seeds.torch_generator(seed, "chains"))
        self.step_size = StepSize(0.01, 0.9)

    def state_dict(self) -> dict[str, Any]:
        """Return the chains and their step size."""
        return {"chains": self.chains, "step_size": self.step_size.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.chains = state["chains"].clone()
        self.step_size = StepSize.from_state(state["step_size"])

    def update(self, batch: Tensor, at: At) -> dict[str, Tensor | float]:
        """Sample z for the batch's rows, then make the updates of the decoder."""
        joint, acceptance = self._sample(batch, at)
        for _ in range(self.updates):
            self.engine.refresh()
            self.gradients(batch, at)
            at.optimizers["all"].step()
        return {"joint": joint, "acceptance": acceptance}

    def _sample(self, batch: Tensor, at: At) -> tuple[Tensor, float]:
        """Move the chains of the batch's rows; return the mean of log p(x, z) and the share accepted."""
        accepted, joint, size = [], torch.zeros((), dtype=torch.float64), self.step_size.value
        for part, rows in zip(batch.split(CHUNK), at.rows.split(CHUNK), strict=True):
            x = self.engine.rows(part).values
            target = fast_target(self.net, x)
            done = move(place(self.chains[rows], target), target, size, self.leapfrog, at.rng)
            self.chains[rows] = done.position.z
            accepted.append(done.accepted)
            joint += done.position.value.double().sum()
        everyone = torch.cat(accepted)
        self.step_size.update(everyone)
        return joint / len(batch), float(everyone.float().mean())

    def gradients(self, batch: Tensor, at: At) -> dict[str, Tensor]:
        """Write the gradient of -log p(x, z) at the chains, as a mean over rows."""
        engine, total = self.engine, torch.zeros_like(self.engine.gradient)
        value = torch.zeros(())
        for part, rows in zip(batch.split(CHUNK), at.rows.split(CHUNK), strict=True):
            z = self.chains[rows]
            hidden, out = engine.decode(z)
            fit, by_out = engine.fit_of(out, engine.rows(part).values)
            engine.gradient.zero_()
            engine.decoder_gradients(z, hidden, by_out, -1.0 / len(batch))
            total += engine.gradient
            value = value + fit + standard_log_prob(z).sum()
        engine.gradient.copy_(total)
        return {"joint": value / len(batch)}
