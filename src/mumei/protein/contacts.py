"""The contact head: logistic regression on symmetrised, APC-corrected maps (Rao and others 2021), and the precision of contacts.

ESM-2 ships one, fitted on 20 structures; `ContactHead.of` takes it. `fit` makes one for any model with maps, as there: pairs
at least 6 apart, an L1 penalty. The penalty is theirs in scikit-learn's terms, C = 1 / 0.15 on the sum over pairs; it is
solved by accelerated proximal gradient (FISTA) on maps scaled to unit spread, so that it means the same for every model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch import Tensor

from mumei.core.artifact import Saveable, State
from mumei.core.errors import DataError, UsageError
from mumei.protein.models.base import SequenceModel, checked
from mumei.protein.targets import MISSING, Target

L1 = 0.15
APART = 6


class ContactHead(Saveable):
    """A weight for each map, (M,), and a bias."""

    def __init__(self, weight: Tensor, bias: float, backend: str, about: dict[str, Any] | None = None):
        self.weight, self.bias, self.backend, self.about = weight.float(), float(bias), backend, dict(about or {})

    @classmethod
    def example(cls) -> Self:
        """Return one with made-up weights, for the conformance checks."""
        return cls(torch.linspace(-1.0, 1.0, 5), -2.0, "example")

    @classmethod
    def of(cls, model: Any) -> Self:
        """Return the head that an ESM-2 model's files brought; `UsageError` where they brought none."""
        found = getattr(model, "contact", None)
        if found is None:
            raise UsageError(
                f"{model.name!r} came without a contact regression; put its file beside the weights, or fit one: ContactHead.fit."
            )
        return cls(
            found[0].flatten().cpu(), float(found[1].flatten()[0]), model.name.partition(":")[0], {"source": model.name}
        )

    def probability(self, model: SequenceModel, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return p(contact) for every pair, float32 (B, L, L); 0 beyond a sequence's length."""
        if model.n_maps != len(self.weight) or model.name.partition(":")[0] != self.backend:
            raise UsageError(
                f"the contact head is for {self.backend!r} models with {len(self.weight)} maps; {model.name!r} has "
                f"{model.n_maps}. Fit one on this model: ContactHead.fit."
            )
        tokens, lengths = checked(model, tokens, lengths)
        weight, place = self.weight.to(model.device), 0
        logits = torch.zeros(*tokens.shape, tokens.shape[1], device=model.device)
        for maps in model.pair_maps(tokens, lengths):
            part = weight[place : place + maps.shape[1]]
            logits += torch.einsum("m,bmij->bij", part, corrected(maps))
            place += maps.shape[1]
        inside = torch.arange(tokens.shape[1], device=model.device) < lengths[:, None]
        return torch.sigmoid(logits + self.bias) * (inside[:, :, None] & inside[:, None])

    @classmethod
    def fit(
        cls,
        examples: Iterable[tuple[SequenceModel, Tensor, Target]],
        *,
        l1: float = L1,
        max_iter: int = 500,
        progress: Callable[[int], Any] | None = None,
    ) -> Self:
        """Fit a head on chains of known structure, given as (model, tokens (L,), Target)."""
        features, labels, backend, chains = [], [], "", 0
        for model, tokens, target in examples:
            i, j = torch.triu_indices(len(target), len(target), APART)
            known = target.distance[i, j] != MISSING
            i, j = i[known], j[known]
            features.append(torch.cat([corrected(m)[0][:, i, j].cpu() for m in model.pair_maps(tokens[None])]).T)
            labels.append(target.contacts[i, j])
            backend, chains = model.name.partition(":")[0], chains + 1
            if progress is not None:
                progress(1)
        if not features or not any(bool(y.any()) for y in labels):
            raise DataError(f"there is no contact at least {APART} residues apart to fit on; give more chains.")
        x, y = torch.cat(features), torch.cat(labels).float()
        spread = x.std(0).clamp(min=1e-8)
        weight, bias = _lasso(x / spread, y, l1, max_iter)
        about = {
            "chains": chains,
            "pairs": len(y),
            "contacts": int(y.sum()),
            "l1": l1,
            "used": int((weight != 0).sum()),
        }
        return cls(weight / spread, bias, backend, about)

    def state(self) -> State:
        """Return what it is made of."""
        parameters = {"bias": self.bias, "backend": self.backend, "about": self.about}
        return State(parameters=parameters, tensors={"weight": self.weight.contiguous()})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make it again."""
        return cls(state.tensors["weight"], **state.parameters)


def corrected(maps: Tensor) -> Tensor:
    """Return A + A^T less its average product (rows times columns over everything), for maps (..., L, L)."""
    both = maps + maps.transpose(-1, -2)
    rows = both.sum(-1, keepdim=True)
    total = rows.sum(-2, keepdim=True)
    return both - torch.where(total == 0, 0.0, rows * rows.transpose(-1, -2) / torch.where(total == 0, 1.0, total))


def precision(probability: Tensor, target: Target, *, apart: int = APART, per_residue: float = 1.0) -> float:
    """Return the part of true contacts among the likeliest `per_residue` * L pairs at least `apart` apart ("P@L").

    Parameters
    ----------
    probability : Tensor (L, L)
        Any score; higher is likelier. Pairs that the target does not know are left out.
    """
    i, j = torch.triu_indices(len(target), len(target), apart)
    known = target.distance[i, j] != MISSING
    i, j = i[known], j[known]
    most = min(len(i), max(1, round(per_residue * len(target))))
    if not len(i):
        raise DataError(f"{target.name} has no pair at least {apart} residues apart.")
    best = probability.cpu()[i, j].argsort(descending=True)[:most]
    return float(target.contacts[i[best], j[best]].float().mean())


def _lasso(x: Tensor, y: Tensor, l1: float, max_iter: int) -> tuple[Tensor, float]:
    """Return weights and bias that minimise the summed logistic loss plus l1 |w|, by FISTA; the bias is not penalised."""
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    v = torch.ones(x.shape[1])
    for _ in range(30):  # the largest curvature, by power iteration
        v = x.T @ (x @ v)
        v /= v.norm()
    step = 1.0 / (0.25 * float((x @ v).square().sum()) * 1.05)
    shrink = torch.full((x.shape[1],), l1 * step)
    shrink[-1] = 0.0
    point = ahead = torch.zeros(x.shape[1])
    t = 1.0
    for _ in range(max_iter):
        moved = ahead - step * (x.T @ (torch.sigmoid(x @ ahead) - y))
        new = moved.sign() * (moved.abs() - shrink).clamp(min=0)
        t_new = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead = new + (t - 1) / t_new * (new - point)
        done = float((new - point).norm()) <= 1e-6 * max(1.0, float(new.norm()))
        point, t = new, t_new
        if done:
            break
    return point[:-1], float(point[-1])
