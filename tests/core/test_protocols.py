"""The protocols are met by shape alone, and by what the registry calls an encoder."""

from __future__ import annotations

import pytest

from mumei.core import protocols, registry


class Everything:
    name, dim = "all", 3

    def encode(self, items, *, batch_size=None, progress=None):
        return items

    def generate(self, prompts, *, n=1, temperature=1.0, max_tokens=512, seed=0):
        return [[p] * n for p in prompts]

    def rows(self):
        yield 1

    def sample(self, n, *, seed=0):
        return [seed] * n


@pytest.mark.parametrize("name", ["Encoder", "Generator", "Reader", "Sampler"])
def test_a_protocol_is_met_by_members_alone(name):
    protocol = getattr(protocols, name)
    assert isinstance(Everything(), protocol)
    assert not isinstance(object(), protocol)


def test_registered_encoders_have_the_members():
    for entry in registry.entries(tag="encoder").values():
        if not any(tag.startswith("extra:") for tag in entry.tags):
            assert callable(entry.resolve().encode)
