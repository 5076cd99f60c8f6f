"""The discriminative family together: killed fits, a thousand steps at ten times the rate, rows alone, sparse rows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from cluster_toys import blobs

from mumei.cluster.dac import DAC
from mumei.cluster.deepcluster import DeepCluster
from mumei.cluster.iic import IIC

METHODS = [DAC, DeepCluster, IIC]
SMALL: dict[str, Any] = {"n_clusters": 3, "hidden": (16,), "epochs": 4, "batch_size": 32, "random_state": 0}
IMAGES = np.random.default_rng(0).integers(0, 256, (48, 6, 7), dtype=np.uint8)


@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_steps_at_ten_times_the_learning_rate_give_no_nan(method):
    X, _ = blobs(64)
    given = {**SMALL, "epochs": 250, "learning_rate": 1e-2, "batch_size": 16, "refresh": 100}
    model = method(**given, options={"schedule": "constant"}).fit(X)
    assert model.history_[-1]["epoch"] == 249
    assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(model.transform(X)).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_row_gets_what_it_gets_among_others(method):
    for X, given in ((blobs()[0], {}), (IMAGES, {"convolutions": (4, "pool", 6), "batch_size": 16})):
        model = method(**{**SMALL, **given}).fit(X)
        whole = model.predict_proba(X)
        np.testing.assert_allclose(model.predict_proba(X[5:6]), whole[5:6], rtol=1e-4, atol=1e-6)
        assert np.array_equal(model.predict(X[::-1]), model.labels_[::-1])


@pytest.mark.parametrize("method", METHODS)
def test_images_in_any_order_of_axes_and_sparse_rows(method):
    X, _ = blobs()
    assert np.array_equal(method(**SMALL).fit(scipy.sparse.csr_matrix(X)).labels_, method(**SMALL).fit(X).labels_)
    given = {**SMALL, "convolutions": (4, "pool", 6), "batch_size": 16, "epochs": 1}
    forms = IMAGES, IMAGES[:, None], IMAGES[..., None]
    labels = [method(**given).fit(form).labels_ for form in forms]
    assert np.array_equal(labels[0], labels[1])
    assert np.array_equal(labels[0], labels[2])


@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_finds_the_labels_settled_changes_nothing(method):
    X, _ = blobs()
    same: Any = {**SMALL, "batch_size": 16, "options": {"schedule": "constant"}}
    stopped = method(**{**same, "epochs": 5}, tol=2.0).fit(X)
    short = method(**{**same, "epochs": 1}).fit(X)
    assert [r.get("partial", False) for r in stopped.history_] == [False, True]
    for name, value in short.net_["encoder"].state_dict().items():
        assert np.array_equal(value, stopped.net_["encoder"].state_dict()[name]), name


SCRIPT = """
import sys, time, importlib
import numpy as np, torch
torch.set_num_threads(1)
from mumei.cluster import run
from mumei.core import train
from cluster_toys import blobs
run.CHECKPOINT_SECONDS = 1e-6
pause = float(sys.argv[3])
count = train._Loop._count
def slow(self, values, rows):
    count(self, values, rows)
    print("step", flush=True)
    time.sleep(pause)
train._Loop._count = slow
method = getattr(importlib.import_module(f"mumei.cluster.{sys.argv[1].lower()}"), sys.argv[1])
X = np.random.default_rng(0).normal(size=(70, 6, 6)) if sys.argv[4] == "images" else blobs(70)[0]
given = {"hidden": (16,), "convolutions": (4, "pool", 6)}
model = method(n_clusters=3, epochs=4, batch_size=16, random_state=0, out=sys.argv[2], **given).fit(X)
print("labels", model.transform(X).tobytes().hex(), model.predict_proba(X).tobytes().hex())
"""


@pytest.mark.parametrize("kind", ["rows", "images"])
@pytest.mark.parametrize("method", METHODS)
def test_a_killed_fit_goes_on_to_the_same_bits(method, kind, tmp_path):
    command = [sys.executable, "-c", SCRIPT, method.__name__]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    options: Any = {"text": True, "env": environment, "stdout": subprocess.PIPE}
    calm = subprocess.run([*command, str(tmp_path / "calm"), "0", kind], check=True, **options).stdout.split("\n")
    assert calm.count("step") == 16
    killed = subprocess.Popen([*command, str(tmp_path / "out"), "0.05", kind], **options)
    for _ in range(7):  # in the middle of the second epoch
        assert killed.stdout.readline() == "step\n"
    time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert "labels" not in killed.communicate()[0]
    again = subprocess.run([*command, str(tmp_path / "out"), "0", kind], check=True, **options).stdout.split("\n")
    assert again[-2] == calm[-2]
    assert 8 <= again.count("step") <= 11
