"""What estimators share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mumei.core.errors import UsageError
from mumei.core.estimating import as_it_was, plain, same_settings, widths
from mumei.core.method import Loss, Objective
from mumei.core.train import TrainConfig, fit


class Model:
    def __init__(self):
        self.net_, self.note_ = torch.nn.Linear(2, 1), "before"


def fail_after_changes(model: Model) -> None:
    with as_it_was(model), torch.no_grad():
        model.net_.weight.add_(1.0)
        model.note_, model.extra_ = "after", 1
        raise ValueError("stop")


def test_a_failed_fit_changes_nothing():
    model = Model()
    weight = model.net_.weight.detach().clone()
    with pytest.raises(ValueError, match="stop"):
        fail_after_changes(model)
    assert model.note_ == "before"
    assert not hasattr(model, "extra_")
    assert torch.equal(model.net_.weight, weight)


def test_a_folder_of_other_settings_is_refused(tmp_path):
    class Known(Objective):
        def state_dict(self):
            return {"settings": {"gamma": 0.1, "shape": (2, 3)}}

    net = torch.nn.Linear(2, 1)
    fit(
        Known(net, lambda batch, at: Loss(net(batch[0]).square().mean())),
        torch.ones(4, 2),
        TrainConfig(epochs=1),
        out=tmp_path,
    )
    same_settings(tmp_path, {"gamma": 0.1, "shape": (2, 3)})
    same_settings(None, {"gamma": 0.2})
    with pytest.raises(UsageError, match=r"gamma: 0\.1 then, 0\.2 now"):
        same_settings(tmp_path, {"gamma": 0.2, "shape": (2, 3)})


def test_values_as_json_has_them():
    assert plain({"a": np.float64(1.5), "b": (np.int64(2), np.ones(2))}) == {"a": 1.5, "b": [2, [1.0, 1.0]]}
    assert widths(np.int64(5)) == (5,)
    assert widths([4, 2]) == (4, 2)
    with pytest.raises(UsageError, match="width of each layer"):
        widths("4")
