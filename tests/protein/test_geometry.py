"""Expected values are formulas of another kind: rotations built by hand, trigonometry, an explicit loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from structures_made import helix

from mumei.protein import geometry


def test_virtual_cb_has_the_bond_and_angles_of_a_real_one():
    """Engh and Huber: CA-CB 1.53 A, N-CA-CB 110.5 deg, C-CA-CB 110.1 deg; on ideal bonds N-CA 1.458, CA-C 1.525, 111.2 deg."""
    angle = math.radians(111.2)
    backbone = np.array([[[1.458, 0, 0], [0, 0, 0], [1.525 * math.cos(angle), 1.525 * math.sin(angle), 0]]])
    cb = geometry.virtual_cb(backbone)[0]
    assert np.linalg.norm(cb) == pytest.approx(1.53, abs=0.02)
    for atom in (backbone[0, 0], backbone[0, 2]):
        cosine = cb @ atom / np.linalg.norm(cb) / np.linalg.norm(atom)
        assert math.degrees(math.acos(cosine)) == pytest.approx(110.3, abs=2.0)
    # an L amino acid: seen from H (opposite of CB's side sum), CO, R, N run clockwise
    n, c = backbone[0, 0], backbone[0, 2]
    assert np.dot(np.cross(n, c), cb) > 0


def test_virtual_cb_lies_by_the_real_one(data):
    from mumei.protein.atoms import read_atoms
    from mumei.protein.structure import read_structure

    off = []
    for path in sorted((data / "structures").glob("1*.pdb.gz")):
        s = read_structure(path)
        real = {a.number: (a.x, a.y, a.z) for a in read_atoms(path)[0] if a.name == "CB"}
        off += [np.linalg.norm(cb - real[n]) for cb, n in zip(s.cb(), s.numbers, strict=True) if n in real]
    assert len(off) > 2000
    assert np.median(off) < 0.1
    assert np.quantile(off, 0.99) < 0.5


@pytest.mark.parametrize("degrees", [-170.0, -90.0, 0.0, 37.0, 90.0, 180.0])
def test_dihedral_of_a_rotated_point(degrees):
    a, b, c = np.array([1.0, 0, 0]), np.zeros(3), np.array([0, 0, 1.0])
    turn = math.radians(degrees)
    # looking along b to c (up z) clockwise is the negative turn about z
    d = np.array([math.cos(turn), math.sin(turn), 1.0])
    found = math.degrees(geometry.dihedral(a, b, c, d))
    assert math.cos(math.radians(found - degrees)) == pytest.approx(1.0)
    gemmi = pytest.importorskip("gemmi")
    theirs = gemmi.calculate_dihedral(*(gemmi.Position(*p) for p in (a, b, c, d)))
    assert math.cos(math.radians(found) - theirs) == pytest.approx(1.0)


def test_pair_angles_by_a_loop_of_gemmi():
    gemmi = pytest.importorskip("gemmi")
    backbone = helix(7) + np.random.default_rng(0).normal(0, 0.3, (7, 3, 3))
    cb, at = geometry.virtual_cb(backbone), lambda p: gemmi.Position(*p)
    om, th, ph = geometry.omega(backbone), geometry.theta(backbone), geometry.phi(backbone)
    for i in range(7):
        assert np.isnan([om[i, i], th[i, i], ph[i, i]]).all()
        for j in range(7):
            if i != j:
                n, ca = at(backbone[i, 0]), at(backbone[i, 1])
                assert om[i, j] == pytest.approx(gemmi.calculate_dihedral(ca, at(cb[i]), at(cb[j]), at(backbone[j, 1])))
                assert th[i, j] == pytest.approx(gemmi.calculate_dihedral(n, ca, at(cb[i]), at(cb[j])))
                assert ph[i, j] == pytest.approx(gemmi.calculate_angle(ca, at(cb[i]), at(cb[j])))
    np.testing.assert_allclose(om, om.T)
    assert not np.allclose(th, th.T, equal_nan=True)


def test_missing_atoms_stay_missing():
    backbone = helix(4)
    backbone[2, 0] = np.nan
    d = geometry.distances(geometry.virtual_cb(backbone))
    assert np.isnan(d[2]).all()
    assert np.isnan(d[:, 2]).all()
    assert np.isfinite(np.delete(np.delete(d, 2, 0), 2, 1)).all()
    near = geometry.contacts(geometry.virtual_cb(backbone))
    assert not near[2].any()
    assert near[0, 0]
    assert near[0, 3]
