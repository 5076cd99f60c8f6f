"""The checks of sequence models and of artifacts pass what is right and name what is wrong."""

from __future__ import annotations

import pytest
import torch

from mumei.core.artifact import State
from mumei.protein.models.base import checked
from mumei.protein.models.potts import Potts
from mumei.testing import check_artifact, check_sequence_model
from mumei.testing.sequence_models import example_tokens


class Profile:
    """A model without any dependence between residues; `flaw` breaks one rule."""

    def __init__(self, flaw="", n_maps=2):
        self.flaw, self.n_maps, self.calls = flaw, n_maps, 0
        self.name, self.claims = "profile:toy", "" if flaw == "mute" else "nothing but frequencies"
        self.length, self.max_length, self.device = None, 12, torch.device("cpu")

    def masked_logprobs(self, tokens, positions, lengths=None):
        tokens = (tokens if self.flaw == "careless" else checked(self, tokens, lengths)[0]).clamp(0, 20)
        self.calls += 1
        logits = torch.linspace(0.0, 1.0, 20).expand(*positions.shape, 20).clone()
        if self.flaw == "sees":
            logits[..., 0] += tokens.gather(1, positions)
        if self.flaw == "batch":
            logits[..., 0] += len(tokens)
        if self.flaw == "moody":
            logits[..., 0] += 1e-6 * self.calls
        return logits if self.flaw == "unnormalised" else logits.log_softmax(-1)

    def pair_maps(self, tokens, lengths=None):
        n = tokens.shape[1]
        for _ in range(1 if self.flaw == "few" else self.n_maps):
            maps = torch.zeros(len(tokens), 1, n, n)
            yield maps.double() if self.flaw == "double" else maps


def test_what_is_right_passes():
    check_sequence_model(Profile)
    check_sequence_model(Potts.example)
    check_artifact(Potts.example)


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("mute", "claims nothing"),
        ("unnormalised", "do not add up to 1"),
        ("sees", "sees the residue"),
        ("batch", "in a batch than alone"),
        ("few", "says n_maps=2"),
        ("double", "float32 is meant"),
        ("moody", "at the second call"),
        ("careless", "a code of 99"),
    ],
)
def test_what_is_wrong_is_named(flaw, said):
    with pytest.raises(AssertionError, match=said):
        check_sequence_model(lambda: Profile(flaw))


def test_a_model_without_members_is_none():
    with pytest.raises(AssertionError, match="lacks name, claims"):
        check_sequence_model(object)


def test_example_tokens_fit_the_model():
    assert example_tokens(Profile()).shape == (3, 12)
    assert example_tokens(Potts.example()).shape == (3, 10)


class Forgetful:
    """Is loaded with another parameter than it was saved with."""

    def __init__(self, weight):
        self.weight = weight

    def state(self):
        return State(parameters={"bias": 0.0}, tensors={"weight": self.weight})

    @classmethod
    def from_state(cls, state):
        return cls(state.tensors["weight"] + 1)


def test_what_is_saved_and_lost_is_named(monkeypatch):
    from mumei.core import registry

    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    registry.register("test/forgetful", f"{__name__}:Forgetful", "a toy")
    with pytest.raises(AssertionError, match="loaded as something else"):
        check_artifact(lambda: Forgetful(torch.zeros(2)))
    with pytest.raises(AssertionError, match="lacks state"):
        check_artifact(object)
