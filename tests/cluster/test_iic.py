"""IIC: mutual information, heads that take turns, the sub-head that is chosen without labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cluster_toys import blobs
from sklearn.metrics import mutual_info_score

from mumei.cluster.augment import Tables
from mumei.cluster.augmented import Pairs
from mumei.cluster.iic import IIC, Information, SubHeads, information
from mumei.core.errors import UsageError

SMALL: dict[str, Any] = {"n_clusters": 3, "hidden": (16,), "epochs": 4, "batch_size": 32, "random_state": 0}


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_information_is_its_double_sum():
    p, q = some(7, 2, 3).softmax(2), some(7, 2, 3, seed=1).softmax(2)
    for head in (0, 1):
        joint = np.zeros((3, 3))
        for a, b in zip(p[:, head].double().numpy(), q[:, head].double().numpy(), strict=True):
            joint += (np.outer(a, b) + np.outer(b, a)) / 14
        marginal = joint.sum(1)
        for lamb in (1.0, 1.5):
            expected = sum(
                joint[i, j] * (np.log(joint[i, j]) - lamb * np.log(marginal[i]) - lamb * np.log(marginal[j]))
                for i in range(3)
                for j in range(3)
            )
            np.testing.assert_allclose(information(p, q, lamb)[head], expected, rtol=1e-4)


def test_information_of_certain_clusters_is_that_of_labels():
    """Expected: scikit-learn's mutual information, between labels and labels that agree with them both ways."""
    a, b = np.array([0, 1, 2, 0, 1, 1]), np.array([0, 1, 2, 1, 1, 0])
    both = np.concatenate([a, b]), np.concatenate([b, a])
    p, q = (torch.eye(3)[torch.from_numpy(v)][:, None] for v in both)
    np.testing.assert_allclose(float(information(p, q)), mutual_info_score(*both), rtol=1e-5)


def test_information_of_nothing_is_nothing_and_has_a_gradient():
    logits = torch.zeros(5, 1, 4, requires_grad=True)
    certain = 1e4 * torch.eye(4)[:, None]
    assert float(information(logits.softmax(2), logits.softmax(2)).detach()) == pytest.approx(0.0, abs=1e-6)
    certain.requires_grad_()
    information(certain.softmax(2), certain.softmax(2)).sum().backward()
    assert torch.isfinite(certain.grad).all()


def pairs(x, **nets):
    at: Any = SimpleNamespace(rows=torch.arange(len(x)), rng=torch.Generator().manual_seed(5), epoch=0)
    return Pairs({"augment": Tables(), "encoder": torch.nn.Linear(4, 6), **nets}, (x,), at, {})


def test_the_loss_is_over_all_copies_of_a_row_and_the_mean_of_the_sub_heads():
    x, head = some(8, 4), SubHeads(6, 3, 2, seed=1)
    seen = pairs(x, head=head)
    term = Information(copies=3)
    found = term(seen)
    copies = Tables()(x.repeat(3, 1), torch.Generator().manual_seed(5))
    encoder = seen.nets["encoder"]
    p, q = head(encoder(x)).repeat(3, 1, 1), head(encoder(copies))
    expected = -information(p, q)
    torch.testing.assert_close(found, expected.mean())
    term.after(seen)
    torch.testing.assert_close(head.losses, 0.01 * expected)


def test_the_sub_head_with_the_least_loss_gives_the_labels():
    head, z = SubHeads(6, 3, 2, seed=1), some(8, 6)
    for losses in ([-0.1, -0.2], [-0.1, -0.3], [-0.5, -0.4]):
        head.note(torch.tensor(losses))
    weights = np.array([0.01 * 0.99**2, 0.01 * 0.99, 0.01])
    np.testing.assert_allclose(head.losses, weights @ [[-0.1, -0.2], [-0.1, -0.3], [-0.5, -0.4]], rtol=1e-5)
    assert torch.equal(head.proba(z), head(z)[:, 1])
    assert head(z).shape == (8, 2, 3)


def test_heads_take_turns_by_epochs():
    model = IIC(**{**SMALL, "epochs": 7}, head_epochs=2).fit(blobs()[0])
    turns = ["over" if "over_information" in r else "head" for r in model.history_]
    assert turns == ["over", "head", "head", "over", "head", "head", "over"]
    for record in model.history_:
        assert ("information" in record) != ("over_information" in record)
    assert model.net_["over"].n_clusters == 15
    assert model.net_["head"].count == 5


def test_it_finds_groups_and_says_how_rows_were_altered():
    X, y = blobs(300)
    model = IIC(n_clusters=3, hidden=(32,), batch_size=32, random_state=0).fit(X)
    assert model.evaluate(y)["acc"] > 0.95
    assert np.array_equal(model.predict(X), model.labels_)
    assert any("altered copies" in note for note in model.notes_)
    assert model.transform(X).shape == (300, 32)


@pytest.mark.parametrize("preset", ["robust", "paper"])
def test_images_go_through_convolutions(preset):
    X = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    made = IIC(n_clusters=3, preset=preset, epochs=1, convolutions=(4, "pool", 6), batch_size=16, random_state=0)
    labels = made.fit(X).labels_
    assert np.array_equal(made.predict(X), labels)
    assert made.net_["augment"].shape == ((1, 7, 7) if preset == "paper" else (1, 8, 8))
    assert made.transform(X).shape == (40, 6 * (9 if preset == "paper" else 16))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"over": 2}, "over=2"),
        ({"over": "many"}, "over='many'"),
        ({"copies": 0}, "copies=0"),
        ({"head_epochs": 0}, "head_epochs=0"),
        ({"sub_heads": 0}, "sub_heads=0"),
        ({"lamb": -1.0}, "lamb=-1"),
        ({"batch_size": 1}, "batch_size=1"),
        ({"options": {"dropped": 1.0}}, "dropped"),
    ],
)
def test_arguments_that_are_refused(given, match):
    with pytest.raises(UsageError, match=match):
        IIC(**{**SMALL, **given}).fit(blobs()[0])
