"""A sound toy estimator passes, scikit-learn's own checks included; each fault is caught by its check."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from mumei.core import registry
from mumei.core.artifact import Saveable, State
from mumei.testing import check_estimator
from mumei.testing import estimators as kit

MADE = iter(range(10**9))


class Sound(Saveable, TransformerMixin, BaseEstimator):
    """Subtracts a learned centre, which is the mean and a little noise of its own seed."""

    def __init__(self, noise=0.0, random_state=None):
        self.noise = noise
        self.random_state = random_state

    def fit(self, X, y=None):
        X = np.asarray(validate_data(self, X, dtype=np.float64))
        seed = 0 if self.random_state is None else self.random_state
        rng = np.random.default_rng(seed if isinstance(seed, int) else seed.randint(2**31))
        self.centre_ = X.mean(axis=0) + self.noise * rng.normal(size=X.shape[1])
        return self

    def transform(self, X):
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False) - self.centre_

    def state(self):
        return State(parameters=self.get_params(), tensors={"centre": torch.from_numpy(self.centre_)})

    @classmethod
    def from_state(cls, state):
        made = cls(**state.parameters)
        made.centre_ = state.tensors["centre"].numpy()
        vars(made)["n_features_in_"] = len(made.centre_)
        return made


class Unseeded(Sound):
    def fit(self, X, y=None):
        super().fit(X)
        self.centre_ = self.centre_ + 1e-9 * next(MADE)
        return self


class UnseededOutput(Sound):
    def transform(self, X):
        return super().transform(X) + 1e-9 * next(MADE)


class GlobalRandom(Sound):
    def fit(self, X, y=None):
        np.random.random()
        return super().fit(X)


class GlobalTorch(Sound):
    def fit(self, X, y=None):
        torch.manual_seed(int(X[0, 0] * 1e6) % 1000 + 77)
        return super().fit(X)


class CentresTheCall(Sound):
    def transform(self, X):
        out = super().transform(X)
        return out - out.mean(axis=0)


class OneRowCrash(Sound):
    def fit(self, X, y=None):
        if len(X) == 1:
            raise IndexError("list index out of range")
        return super().fit(X)


class OneRowMute(Sound):
    def fit(self, X, y=None):
        if len(X) == 1:
            raise ValueError
        return super().fit(X)


class CountsRows(Sound):
    def transform(self, X):
        out = super().transform(X)
        return out + np.arange(len(out))[:, None] * (len(np.unique(out, axis=0)) < len(out))


class DividesBySpread(Sound):
    """Divides by the number of rows that occur once."""

    def fit(self, X, y=None):
        super().fit(X)
        counts = np.unique(np.asarray(X), axis=0, return_counts=True)[1]
        with np.errstate(divide="ignore"):
            self.centre_ = self.centre_ + 0 * np.float64(1) + (0.0 if (counts == 1).any() else np.inf)
        return self


class TakesNan(Sound):
    def fit(self, X, y=None):
        return super().fit(np.nan_to_num(X))


class NanMessage(Sound):
    def fit(self, X, y=None):
        if not np.isfinite(X).all():
            raise ValueError("bad input")
        return super().fit(X)


class NotFittedCrash(Sound):
    def transform(self, X):
        return check_array(X) - self.centre_


class NoSave(Sound):
    save = None  # type: ignore[assignment]


class LosesBits(Sound):
    def state(self):
        return State(parameters=self.get_params(), tensors={"centre": torch.from_numpy(self.centre_).float()})

    @classmethod
    def from_state(cls, state):
        made = super().from_state(state)
        made.centre_ = made.centre_.astype(float)
        return made


class ComesBackAsAnother(Sound):
    @classmethod
    def from_state(cls, state):
        return Sound.from_state(state)


class LosesParameters(Sound):
    @classmethod
    def from_state(cls, state):
        made = super().from_state(state)
        made.noise = 9.0
        return made


class LosesLearned(Sound):
    def fit(self, X, y=None):
        super().fit(X)
        self.spread_ = float(np.std(X))
        return self


class WritesInput(Sound):
    def fit(self, X, y=None):
        super().fit(X)
        if isinstance(X, np.ndarray) and X.flags.writeable:
            X[0] = 0
        return self


class ChangesParameter(Sound):
    def fit(self, X, y=None):
        self.noise = 0.5
        return super().fit(X)


class NeedsWriteable(Sound):
    def fit(self, X, y=None):
        np.asarray(X)[0, 0] += 0.0
        return super().fit(X)


class DislikesMaps(Sound):
    def fit(self, X, y=None):
        super().fit(X)
        self.centre_ = self.centre_ + isinstance(X, np.memmap)
        return self


class TransformsMapsApart(Sound):
    def transform(self, X):
        return super().transform(X) + isinstance(X, np.memmap)


class Only64(Sound):
    def fit(self, X, y=None):
        super().fit(X)
        self.centre_ = self.centre_ * (1 if X.dtype == np.float64 else np.nan)
        return self


class NoFit(Sound):
    fit = None  # type: ignore[assignment]


class BornFitted(Sound):
    def __init__(self):
        super().__init__()
        self.centre_ = np.zeros(4)


class SaysSparse(Sound):
    """Breaks a promise that only scikit-learn's own checks know of: it says that it takes sparse rows."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


BROKEN = [
    (kit.check_meets_protocol, NoFit),
    (kit.check_meets_protocol, BornFitted),
    (kit.check_same_seed_same_bits, Unseeded),
    (kit.check_same_seed_same_bits, UnseededOutput),
    (kit.check_global_random, GlobalRandom),
    (kit.check_global_random, GlobalTorch),
    (kit.check_one_row, CentresTheCall),
    (kit.check_one_row, OneRowCrash),
    (kit.check_one_row, OneRowMute),
    (kit.check_duplicates, CountsRows),
    (kit.check_duplicates, DividesBySpread),
    (kit.check_nan_refused, TakesNan),
    (kit.check_nan_refused, NanMessage),
    (kit.check_unfitted, NotFittedCrash),
    (kit.check_save_load, NoSave),
    (kit.check_save_load, LosesBits),
    (kit.check_save_load, ComesBackAsAnother),
    (kit.check_save_load, LosesParameters),
    (kit.check_save_load, LosesLearned),
    (kit.check_input_not_mutated, WritesInput),
    (kit.check_input_not_mutated, ChangesParameter),
    (kit.check_memory_map, NeedsWriteable),
    (kit.check_memory_map, DislikesMaps),
    (kit.check_memory_map, TransformsMapsApart),
    (kit.check_number_types, Only64),
    (kit.check_sklearn, SaysSparse),
]


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """The toys are registered for the time of a test."""
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    for cls in {Sound, *(broken for _, broken in BROKEN)}:
        registry.register(f"test/{cls.__name__.lower()}", f"{cls.__module__}:{cls.__qualname__}", "a toy")


@pytest.fixture(autouse=True)
def _same_global_state():
    state, torch_state = np.random.get_state(), torch.get_rng_state()
    yield
    np.random.set_state(state)
    torch.set_rng_state(torch_state)


def test_a_sound_estimator_passes():
    check_estimator(Sound(noise=0.1))


def test_rows_may_be_given_and_the_estimator_is_not_fitted():
    estimator = Sound()
    check_estimator(estimator, np.random.default_rng(1).normal(size=(30, 7)), sklearn=False)
    assert not hasattr(estimator, "centre_")


@pytest.mark.parametrize(("check", "broken"), BROKEN, ids=lambda x: x.__name__)
def test_each_fault_is_caught_by_its_check(check, broken):
    """The whole kit stops at this check and no other: all checks before it pass. The sentence names check and class."""
    with pytest.raises(AssertionError, match=rf"(?s)^{check.__name__}: {broken.__name__}\b"):
        check_estimator(broken())


def test_every_check_was_seen_to_fail():
    assert {check for check, _ in BROKEN} == set(kit.CHECKS)
