"""Rows of any kind are gathered alike; every epoch has every row once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mumei.core import batches
from mumei.core.batches import Order, Rows
from mumei.core.errors import DataError

CPU = torch.device("cpu")
ARRAY = np.arange(60, dtype=np.uint8).reshape(12, 5)


@pytest.fixture(params=["tensor", "array", "read-only", "reversed", "memmap", "strided"])
def data(request, tmp_path):
    if request.param == "tensor":
        return torch.from_numpy(ARRAY.copy())
    if request.param == "read-only":
        array = ARRAY.copy()
        array.flags.writeable = False
        return array
    if request.param == "reversed":
        return ARRAY[::-1].copy()[::-1]
    if request.param == "memmap":
        np.save(tmp_path / "rows.npy", ARRAY)
        return np.load(tmp_path / "rows.npy", mmap_mode="r")
    return np.repeat(ARRAY, 2, axis=1)[:, ::2] if request.param == "strided" else ARRAY.copy()


def test_every_kind_is_gathered_and_hashed_alike(data):
    rows = Rows(data)
    index = torch.tensor([7, 0, 7, 11])
    (found,) = rows.gather(index, CPU)
    assert found.dtype is torch.uint8
    assert found.numpy().tolist() == ARRAY[[7, 0, 7, 11]].tolist()
    assert rows.fingerprint() == Rows(torch.from_numpy(ARRAY.copy())).fingerprint()


def test_a_batch_is_a_copy():
    rows = torch.zeros(4, 2)
    Rows(rows).gather(torch.arange(4), CPU)[0].add_(1)
    assert not rows.any()


def test_fingerprint_sees_values_shape_and_type(monkeypatch):
    x = torch.arange(24.0).reshape(12, 2)
    changed = x.clone()
    changed[4, 1] += 1
    prints = {Rows(d).fingerprint() for d in (x, changed, x.reshape(6, 4), x.double(), (x, x), x.bfloat16())}
    assert len(prints) == 6
    monkeypatch.setattr(batches, "FINGERPRINT_WHOLE", 8)
    monkeypatch.setattr(batches, "FINGERPRINT_ROWS", 3)
    assert Rows(x).fingerprint() == Rows(changed).fingerprint()  # rows 0, 5 and 11 are looked at
    changed[11, 0] += 1
    assert Rows(x).fingerprint() != Rows(changed).fingerprint()


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ((), "empty tuple"),
        (torch.zeros(0, 3), "0 rows"),
        ((torch.zeros(3), torch.zeros(4)), r"\[3, 4\] rows"),
        (torch.tensor(1.0), "numeric torch tensors"),
        (np.array(["a", "b"]), "array 0 is a ndarray of <U1"),
        (np.array([object()]), "object"),
        ("text", "str"),
    ],
)
def test_what_is_refused(given_, said):
    with pytest.raises(DataError, match=said):
        Rows(given_)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 3), st.booleans())
def test_each_row_once(length, size, epoch, shuffle):
    order = Order(length, size, seed=1, shuffle=shuffle)
    found = order.epoch(epoch)
    assert len(found) == order.batches == -(-length // size)
    assert sorted(torch.cat(list(found)).tolist()) == list(range(length))
    assert all(len(b) == size for b in found[:-1])
    again = Order(length, size, seed=1, shuffle=shuffle).epoch(epoch)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_drop_last():
    assert [len(b) for b in Order(10, 4, 0, drop_last=True).epoch(0)] == [4, 4]
    with pytest.raises(DataError, match="leaves no batch"):
        Order(3, 4, 0, drop_last=True)
