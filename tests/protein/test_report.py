"""The page of a run: self-contained, escaped, its script allowed by its hash alone."""

from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
import pytest
import small
import torch

from mumei.protein.design import Options, design, generate
from mumei.protein.report import embedding, render

LENGTH = 14


@pytest.fixture(scope="module")
def result():
    model = small.potts(LENGTH)
    points = np.random.default_rng(0).normal(size=(LENGTH, 3)).cumsum(0) * 3
    options = Options(designs=3, steps=100, settings={"chains": 3})
    return design(
        model, small.head(model.n_maps), small.target(LENGTH), native="MKTAYIAKQRQISF", points=points, options=options
    )


def test_the_page_has_all_parts_and_asks_for_nothing(result):
    html = render(result, "A <b>name</b>")
    assert "A &lt;b&gt;name&lt;/b&gt;" in html
    for part in (
        "Designs, by energy",
        "3D view",
        "Energy by term",
        "Contacts",
        "Residues",
        "Composition",
        "How it was made",
    ):
        assert part in html
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    assert "http://" not in html
    assert "https://" not in html
    for row in result.rows:
        assert row["sequence"] in html
    assert html.count("<img") == 3


def test_the_policy_names_the_script(result):
    html = render(result)
    script = re.search(r"<script>(.*)</script>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert html.count("<script") == 1


def test_a_free_design_is_laid_out_by_its_contacts():
    model = small.potts(LENGTH)
    run = generate(
        model, small.head(model.n_maps), LENGTH, options=Options(designs=2, steps=60, settings={"chains": 2})
    )
    assert "laid out in space" in render(run)
    run.predicted = torch.zeros(2, LENGTH, LENGTH)
    points = embedding(run)  # a chain without contacts is a line
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert points.shape == (LENGTH, 3)
    assert steps.min() > 1
    order = np.argsort(points[:, 0])
    assert (np.diff(order) > 0).all() or (np.diff(order) < 0).all()
