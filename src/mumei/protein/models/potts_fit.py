"""Fitting a Potts model to an alignment: sequence weights, mean field, and pseudo-likelihood.

p(x) is proportional to exp(sum_i h_i(x_i) + sum_{i<j} J_ij(x_i, x_j)) over 21 states, the gap one of them.

Weights are one over the number of sequences that are at least 80% identical (Morcos and others 2011). Mean field is theirs
too: J = -C^-1 of the covariance with a pseudocount of one half. Pseudo-likelihood is that of Ekeberg and others 2013 in its
symmetric form: one J for both sites, so that the conditionals of the sites belong to one model; weighted by sequence, with
quadratic penalties 0.01 on h and 0.2 (L - 1) on J, each pair counted once; L-BFGS, from the frequencies' own h. It is convex.

Departures: of an alignment with more than `most` sequences a sample is fitted, drawn by weight, since cost grows with its
number and the couplings hardly change; L-BFGS ends after `max_iter` steps or at a relative change below `tolerance`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mumei.core import seeds
from mumei.protein.lbfgs import minimise

STATES = 21
IDENTITY = 0.8
PENALTY_H, PENALTY_J = 0.01, 0.2
PSEUDOCOUNT = 0.5
BLOCK = 2048


def sequence_weights(codes: Tensor, identity: float = IDENTITY) -> Tensor:
    """Return one over the number of rows (itself included) at least this identical, over all columns, float32 (n,)."""
    n, width = codes.shape
    hot = one_hot(codes)
    counts = torch.zeros(n, device=codes.device)
    for start in range(0, n, BLOCK):
        for other in range(start, n, BLOCK):  # the upper triangle of blocks: identity is symmetric
            same = hot[start : start + BLOCK] @ hot[other : other + BLOCK].T >= identity * width - 1e-3
            counts[start : start + BLOCK] += same.sum(1)
            if other > start:
                counts[other : other + BLOCK] += same.sum(0)
    return 1.0 / counts


def one_hot(codes: Tensor) -> Tensor:
    """Return codes (n, L) as indicators, float32 (n, 21 L)."""
    return torch.nn.functional.one_hot(codes, STATES).reshape(len(codes), -1).float()


def sample(weights: Tensor, most: int, seed: int) -> Tensor:
    """Return the rows to fit on: all, or `most` of them drawn by weight without repeats, in order."""
    if len(weights) <= most:
        return torch.arange(len(weights))
    p = weights.double().cpu().numpy()
    drawn = seeds.numpy_generator(seed, "potts rows").choice(len(p), most, replace=False, p=p / p.sum())
    return torch.from_numpy(np.sort(drawn))


def frequencies(codes: Tensor, weights: Tensor, pseudocount: float) -> Tensor:
    """Return the weighted frequencies of states by column, (L, 21), mixed with the uniform ones by `pseudocount`."""
    counts = (one_hot(codes) * weights[:, None]).sum(0).reshape(-1, STATES) / weights.sum()
    return (1 - pseudocount) * counts + pseudocount / STATES


def mean_field(codes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return h (L, 21) and J (L, L, 21, 21) of the mean-field solution."""
    width, q = codes.shape[1], STATES - 1  # the gap's state is the gauge: its couplings are 0 before centring
    single = frequencies(codes, weights, PSEUDOCOUNT).double()
    hot = one_hot(codes).double()
    pair = (hot * (weights / weights.sum()).double()[:, None]).T @ hot
    pair = (1 - PSEUDOCOUNT) * pair.reshape(width, STATES, width, STATES) + PSEUDOCOUNT / STATES**2
    own = torch.arange(width)
    pair[own, :, own, :] = torch.diag_embed(single)
    covariance = pair - single[:, :, None, None] * single
    kept = covariance[:, :q, :, :q].reshape(width * q, width * q)
    couplings = torch.zeros(width, STATES, width, STATES, dtype=torch.float64, device=codes.device)
    couplings[:, :q, :, :q] = -torch.linalg.inv(kept).reshape(width, q, width, q)
    couplings[own, :, own, :] = 0.0
    fields = single.log() - single[:, -1:].log() - torch.einsum("iajb,jb->ia", couplings, single)
    return gauge(fields.float(), couplings.permute(0, 2, 1, 3).float())


def pseudo_likelihood(
    codes: Tensor,
    weights: Tensor,
    *,
    max_iter: int = 40,
    tolerance: float = 1e-4,
    progress: Callable[[int], Any] | None = None,
) -> tuple[Tensor, Tensor, list[float]]:
    """Return h (L, 21), J (L, L, 21, 21) and the losses by step: the mean over weight of the negative log-likelihood of a
    sequence's sites, penalties included.
    """
    n, width = codes.shape
    hot, total = one_hot(codes), float(weights.sum())
    side = width * STATES
    places = codes + STATES * torch.arange(width, device=codes.device)
    flat = torch.zeros(side + side * side, device=codes.device)
    flat[:side] = frequencies(codes, weights, 1.0 / (total + 1.0)).log().flatten()
    off = 1.0 - torch.eye(width, device=codes.device)
    off = off[:, None, :, None].expand(width, STATES, width, STATES).reshape(side, side)
    losses: list[float] = []

    def value(point: Tensor) -> tuple[float, Tensor]:
        """Return the loss and its gradient; J is the symmetric part of a free matrix without its own blocks."""
        fields, free = point[:side], point[side:].view(side, side)
        couplings = (free + free.T) * off * 0.5
        logits, gather_back = gathered(couplings, places)
        logits = (logits + fields).view(n, width, STATES)
        logp = torch.log_softmax(logits, -1)
        loss = -(logp.gather(-1, codes[..., None])[..., 0].sum(1) * weights).sum()
        slope = ((logp.exp().view(n, side) - hot) * weights[:, None]).contiguous()
        by_coupling = gather_back(slope) + 2 * PENALTY_J * (width - 1) * 0.5 * couplings  # each pair is there twice
        by_coupling = (by_coupling + by_coupling.T) * off * 0.5
        loss = loss + PENALTY_H * fields.square().sum() + PENALTY_J * (width - 1) * 0.5 * couplings.square().sum()
        gradient = torch.cat([slope.sum(0) + 2 * PENALTY_H * fields, by_coupling.flatten()])
        return float(loss) / total, gradient / total

    flat = minimise(value, flat, max_iter=max_iter, tolerance=tolerance, losses=losses, progress=progress)
    free = flat[side:].view(side, side)
    couplings = ((free + free.T) * off * 0.5).view(width, STATES, width, STATES).permute(0, 2, 1, 3)
    return (*gauge(flat[:side].view(width, STATES), couplings), losses)


def gathered(couplings: Tensor, places: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the sums of the rows of a matrix (side, side) at places (n, L), and the function that gives the gradient of that
    sum: hot @ couplings and hot.T @ slope, where hot has a one at each place, without multiplying by its zeros.
    """
    leaf = couplings.detach().requires_grad_(True)
    with torch.enable_grad():
        sums = torch.nn.functional.embedding_bag(places, leaf, mode="sum")
    return sums.detach(), lambda slope: torch.autograd.grad(sums, leaf, slope)[0]


def gauge(h: Tensor, couplings: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same model in the zero-sum gauge: all sums of J over a state, and of h, are 0. J is (L, L, 21, 21)."""
    by_second = couplings.mean(-1)  # of J_ij over b: (L, L, 21)
    by_first, both = couplings.mean(-2), couplings.mean((-1, -2))
    h = h + (by_second - both[..., None]).sum(1)
    couplings = couplings - by_second[..., None] - by_first[..., None, :] + both[..., None, None]
    return h - h.mean(-1, keepdim=True), couplings
