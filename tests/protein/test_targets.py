from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from structures_made import helix

from mumei.core.errors import DataError, UsageError
from mumei.protein import geometry
from mumei.protein.structure import Structure
from mumei.protein.targets import KINDS, N_CLASSES, Target, contacts_of


def chain(length=12):
    return Structure("h", "A", "A" * length, tuple(map(str, range(length))), helix(length), np.zeros(length))


@given(st.floats(0.01, 60.0))
def test_distance_classes_are_the_papers(distance):
    """Class 0 below 2.5, then 16 of 1.09375, then 17 from 20 on; written as a formula."""
    expected = 0 if distance < 2.5 else min(17, 1 + math.floor((distance - 2.5) / 1.09375))
    found = Target.from_distances([[0, distance], [distance, 0]])
    assert found.distance[0, 1] == expected
    assert found.contacts[0, 1] == (distance < 8)
    assert found.distance[0, 0] == 0


def test_797_is_in_contact_by_class_and_798_is_not():
    near, far = (contacts_of(Target.from_distances([[0, d], [d, 0]]).distance)[0, 1] for d in (7.96, 7.97))
    assert near
    assert not far


def test_angle_classes_of_a_helix_by_formula():
    s = chain(16)
    t = Target.of(s)
    d = geometry.distances(s.cb())
    for kind, count in N_CLASSES.items():
        assert t[kind].min() >= 0
        assert t[kind].max() < count
    om, ph = geometry.omega(s.backbone), geometry.phi(s.backbone)
    for i in range(16):
        assert (t.distance[i, i], t.omega[i, i], t.theta[i, i], t.phi[i, i]) == (0, 8, 8, 0)
        for j in set(range(16)) - {i}:
            if d[i, j] >= 20:
                assert (t.omega[i, j], t.theta[i, j], t.phi[i, j]) == (17, 17, 7)
            else:
                assert t.omega[i, j] == math.floor((om[i, j] + math.pi) / (2 * math.pi / 17))
                low = 2 * math.pi / 17  # the first phi class goes to here, six even ones to pi
                assert t.phi[i, j] == max(0, 1 + math.floor((ph[i, j] - low) / ((math.pi - low) / 6)))
    assert torch.equal(t.omega, t.omega.T)
    assert torch.equal(t.contacts, torch.from_numpy(d < 8))


def test_missing_residues_are_never_counted():
    s = chain(6)
    s.backbone[2, 1] = np.nan
    t = Target.of(s)
    for kind in KINDS:
        assert (t[kind][2] == -1).all()
        assert (t[kind][:, 2] == -1).all()
        assert (t[kind][[0, 1, 3, 4, 5]][:, [0, 1, 3, 4, 5]] >= 0).all()
    assert not t.contacts[2].any()


def test_the_users_own_maps():
    contacts = np.eye(4, dtype=bool)
    contacts[0, 3] = contacts[3, 0] = True
    t = Target.from_contacts(contacts)
    assert torch.equal(t.contacts, torch.from_numpy(contacts))
    assert torch.equal(contacts_of(t.distance), t.contacts)
    assert (t.theta == -1).all()
    with pytest.raises(UsageError, match="distance"):
        t["distances"]
    contacts[0, 3] = False
    for make in (Target.from_contacts, Target.from_distances):
        with pytest.raises(DataError, match="symmetric"):
            make(contacts)
        with pytest.raises(DataError, match="square"):
            make(contacts[:2])
