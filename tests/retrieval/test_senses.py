"""Senses of generated texts."""

from __future__ import annotations

import numpy as np

from mumei.retrieval.senses import find_senses

COLD = [
    "The common cold is a viral infection of the nose with sneezing.",
    "A cold is caused by a rhinovirus infection; sneezing is common.",
    "Exposure to low temperature causes hypothermia and frostbite.",
]


def test_texts_that_agree_are_one_sense():
    vectors = np.array([[1.0, 0.1], [1.0, 0.0], [0.9, 0.1]])
    (sense,) = find_senses(vectors, COLD, 0.5)
    assert (sense.members, sense.name) == ((0, 1, 2), "")


def test_distant_texts_are_senses_named_by_their_own_words():
    vectors = np.array([[1.0, 0.1, 0.0], [1.0, 0.0, 0.1], [0.0, 0.0, 1.0]])
    first, second = find_senses(vectors, COLD, 0.5, query="cold")
    assert (first.members, second.members) == ((0, 1), (2,))
    assert "infection" in first.name
    assert "hypothermia" in second.name
    assert "cold" not in first.name.split(", ")


def test_no_text_and_one_text():
    assert find_senses(np.empty((0, 2)), [], 0.5) == []
    assert [s.members for s in find_senses(np.ones((1, 2)), ["a"], 0.99)] == [(0,)]
