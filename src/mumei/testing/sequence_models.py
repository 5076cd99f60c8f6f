"""What every `SequenceModel` must do. Each check takes a maker, called for a fresh model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mumei.testing.common import fail, must_refuse, same_bits

Make = Callable[[], Any]
CLOSE = 1e-4  # of log-probabilities and maps, between batches of different shape
MEMBERS = ("name", "claims", "length", "max_length", "n_maps", "device", "masked_logprobs", "pair_maps")


def example_tokens(model: Any, count: int = 3, seed: int = 0) -> Any:
    """Return sequences that a model takes, as codes, int64 (count, L)."""
    import torch

    from mumei.core.seeds import torch_generator

    length = model.length or min(12, model.max_length or 12)
    return torch.randint(0, 20, (count, length), generator=torch_generator(seed, "mumei.testing", "sequences"))


def check_meets_protocol(make: Make) -> None:
    """It has every member, a name, and a sentence about what it can claim."""
    model = make()
    missing = [member for member in MEMBERS if not hasattr(model, member)]
    if missing:
        fail(check_meets_protocol, model, f"lacks {', '.join(missing)}")
    if not model.name or not model.claims:
        fail(check_meets_protocol, model, "has an empty name or claims nothing")


def check_probabilities(make: Make) -> None:
    """`masked_logprobs` is float32 (B, K, 20), sums to 1 over residues, and does not see the residue it is asked about."""
    import torch

    model = make()
    tokens = example_tokens(model)
    positions = torch.arange(tokens.shape[1]).expand(tokens.shape)
    found = model.masked_logprobs(tokens, positions)
    if found.shape != (*tokens.shape, 20) or found.dtype != torch.float32:
        fail(check_probabilities, model, f"gives {tuple(found.shape)} {found.dtype} where (B, K, 20) float32 is meant")
    if not torch.allclose(found.exp().sum(-1), torch.ones(tokens.shape, device=found.device), atol=CLOSE):
        fail(check_probabilities, model, "gives probabilities that do not add up to 1")
    other = tokens.clone()
    other[:, 0] = (other[:, 0] + 7) % 20
    if not torch.allclose(found[:, 0], model.masked_logprobs(other, positions)[:, 0], atol=CLOSE):
        fail(check_probabilities, model, "sees the residue that it is asked about")


def check_batches(make: Make) -> None:
    """A sequence gets the same probabilities and maps alone and in a batch."""
    import torch

    model = make()
    tokens = example_tokens(model)
    positions = torch.tensor([[0, tokens.shape[1] - 1]]).expand(len(tokens), 2)
    whole, maps = model.masked_logprobs(tokens, positions), list(model.pair_maps(tokens))
    for n in range(len(tokens)):
        one = slice(n, n + 1)
        if not torch.allclose(whole[one], model.masked_logprobs(tokens[one], positions[one]), atol=CLOSE):
            fail(check_batches, model, "gives a sequence other probabilities in a batch than alone")
        for together, alone in zip(maps, model.pair_maps(tokens[one]), strict=True):
            if not torch.allclose(together[one], alone, atol=CLOSE):
                fail(check_batches, model, "gives a sequence other maps in a batch than alone")


def check_maps(make: Make) -> None:
    """`pair_maps` yields float32 (B, m, L, L), `n_maps` of them in all."""
    import torch

    model = make()
    tokens = example_tokens(model)
    length, found = tokens.shape[1], 0
    for maps in model.pair_maps(tokens):
        if maps.dtype != torch.float32 or (maps.shape[0], *maps.shape[2:]) != (len(tokens), length, length):
            fail(check_maps, model, f"yields maps {tuple(maps.shape)} {maps.dtype}; (B, m, L, L) float32 is meant")
        found += maps.shape[1]
    if found != model.n_maps:
        fail(check_maps, model, f"yields {found} maps and says n_maps={model.n_maps}")


def check_same_model_same_bits(make: Make) -> None:
    """Asked twice it says the same."""
    import torch

    model = make()
    tokens = example_tokens(model)
    positions = torch.zeros((len(tokens), 1), dtype=torch.int64)
    if not same_bits(model.masked_logprobs(tokens, positions), model.masked_logprobs(tokens, positions)):
        fail(check_same_model_same_bits, model, "gives other probabilities at the second call")


def check_refuses_bad_tokens(make: Make) -> None:
    """Codes that are none, and a length that the model does not take, are refused by a `MumeiError`."""
    import torch

    model = make()
    tokens = example_tokens(model)
    bad = [("a code of 99", torch.full_like(tokens, 99)), ("tokens of one dimension", tokens[0])]
    if model.length or model.max_length:
        longer = torch.zeros((1, (model.length or model.max_length) + 1), dtype=torch.int64)
        bad.append(("a sequence that is too long", longer))
    for what, given in bad:
        positions = torch.zeros((len(given), 1), dtype=torch.int64)
        must_refuse(check_refuses_bad_tokens, model, lambda: model.masked_logprobs(given, positions), what)  # noqa: B023


CHECKS = (
    check_meets_protocol,
    check_probabilities,
    check_batches,
    check_maps,
    check_same_model_same_bits,
    check_refuses_bad_tokens,
)


def check_sequence_model(make: Make) -> None:
    """Run every check on a model of protein sequences.

    Parameters
    ----------
    make : callable
        Without arguments; returns a small model.

    Raises
    ------
    AssertionError
        Names the check, the model and what is wrong.
    """
    for check in CHECKS:
        check(make)


def check_artifact(make: Make) -> None:
    """What is saved and loaded has the same class, parameters and tensors, to the last bit.

    Raises
    ------
    AssertionError
        What was loaded differs, or the object cannot be saved.
    """
    import tempfile
    from pathlib import Path

    from mumei.core import artifact

    made = make()
    if not callable(getattr(made, "state", None)) or not callable(getattr(type(made), "from_state", None)):
        fail(check_artifact, made, "lacks state or from_state")
    with tempfile.TemporaryDirectory(prefix="mumei-") as folder:
        loaded = artifact.load(artifact.save(made, Path(folder) / "saved"))
    before, after = made.state(), loaded.state()
    if type(loaded) is not type(made) or not same_bits(before.tensors, after.tensors):
        fail(check_artifact, made, "is loaded as something else than what was saved")
    if before.parameters != after.parameters:
        fail(check_artifact, made, "is loaded with other parameters than it was saved with")
