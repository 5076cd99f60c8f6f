"""Tuples that come back from a file as tuples, and what else a sequence of integers may have been."""

from __future__ import annotations

import numpy as np
import pytest

import mumei
from mumei.vae.sequence_estimator import SequenceVAE


@pytest.mark.parametrize("given", [(8,), [8], (), 8])
def test_arguments_come_back_as_they_were(tmp_path, given):
    X = [np.arange(4.0), np.arange(6.0)]
    model = SequenceVAE(n_latent=1, hidden=4, emission=given, epochs=1, random_state=0).fit(X)
    back = mumei.load(model.save(tmp_path / "model")).emission
    assert back == given
    assert type(back) is type(given)
