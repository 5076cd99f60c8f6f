"""The contact head: its correction in words, its fit against scikit-learn's, precision by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mumei.core.errors import DataError, UsageError
from mumei.protein.contacts import ContactHead, _lasso, corrected, precision
from mumei.protein.models.potts import Potts
from mumei.protein.targets import Target
from mumei.testing.sequence_models import check_artifact


def test_the_correction_takes_the_average_product_off():
    a = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    both = (a + a.T).numpy()
    expected = both - np.outer(both.sum(0), both.sum(1)) / both.sum()
    np.testing.assert_allclose(corrected(a).numpy(), expected, atol=1e-6)
    assert torch.equal(corrected(torch.zeros(3, 3)), torch.zeros(3, 3))


def test_the_fit_is_scikit_learns():
    """Expected: LogisticRegression with an L1 penalty of C = 1 / l1, by another algorithm (saga)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5))
    y = (x[:, 0] - 0.5 * x[:, 1] + rng.normal(size=300) > 0.5).astype(float)
    weight, bias = _lasso(torch.from_numpy(x).float(), torch.from_numpy(y).float(), 2.0, 5000)
    theirs = LogisticRegression(l1_ratio=1, C=0.5, solver="saga", tol=1e-8, max_iter=20000).fit(x, y)
    np.testing.assert_allclose(weight.numpy(), theirs.coef_[0], atol=2e-3)
    assert bias == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_precision_by_hand():
    contacts = np.eye(10, dtype=bool)
    contacts[0, 9] = contacts[9, 0] = contacts[1, 8] = contacts[8, 1] = True
    target = Target.from_contacts(contacts)
    score = torch.zeros(10, 10)
    score[0, 9], score[2, 9], score[1, 8] = 3.0, 2.0, 1.0
    assert precision(score, target, per_residue=0.1) == 1.0
    assert precision(score, target, per_residue=0.2) == 0.5
    assert precision(score, target, per_residue=0.3) == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="no pair"):
        precision(torch.zeros(3, 3), Target.from_contacts(np.eye(3, dtype=bool)))


class Shown:
    """A model one of whose two maps shows the contacts, in both directions unequally; the other is chance."""

    name, claims, length, max_length, n_maps, device = "shown:made", "nothing", None, None, 2, torch.device("cpu")

    def __init__(self, contacts):
        noise = torch.rand(2, *contacts.shape, generator=torch.Generator().manual_seed(0))
        noise[1] += torch.triu(torch.from_numpy(contacts), 1) * 4.0
        self.maps = noise

    def pair_maps(self, tokens, lengths=None):
        yield self.maps.expand(len(tokens), -1, -1, -1)


def test_a_head_finds_contacts_that_one_map_shows():
    contacts = np.eye(40, dtype=bool)
    for i, j in ((0, 17), (1, 29), (5, 33), (12, 20), (3, 39), (8, 25)):
        contacts[i, j] = contacts[j, i] = True
    model, tokens = Shown(contacts), torch.zeros(40, dtype=torch.int64)
    head = ContactHead.fit([(model, tokens, Target.from_contacts(contacts))])
    assert float(head.weight[1]) > 5 * abs(float(head.weight[0]))
    found = head.probability(model, tokens[None])[0]
    assert precision(found, Target.from_contacts(contacts), per_residue=6 / 40) == 1.0
    torch.testing.assert_close(found, found.T)
    beyond = head.probability(model, tokens[None], torch.tensor([30]))[0]
    assert float(beyond[30:].max()) == 0.0


def test_a_saved_head_is_the_same():
    check_artifact(ContactHead.example)


def test_bad_input():
    with pytest.raises(DataError, match="no contact"):
        ContactHead.fit([])
    with pytest.raises(UsageError, match="Fit one on this model"):
        ContactHead.example().probability(Potts.example(), torch.zeros((1, 10), dtype=torch.int64))
    with pytest.raises(UsageError, match="without a contact regression"):
        ContactHead.of(Potts.example())
