"""Charts are read back as XML: how many marks, where, and that text from data stays text."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.core import charts


def elements(svg, name):
    return [e for e in ElementTree.fromstring(svg).iter() if e.tag == name]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_lie_within_and_are_few(low, width):
    marks = charts.ticks(low, low + width)
    slack = 1e-6 * (abs(low) + width)
    assert len(marks) <= 6
    assert all(low - slack <= m <= low + width + slack for m in marks)
    assert marks == sorted(set(marks))


def test_ticks_of_nothing():
    assert charts.ticks(2.0, 2.0) == [2.0]
    assert charts.ticks(math.nan, 1.0) == []


def test_curves_skip_what_is_not_finite():
    svg = charts.curves({"train": [(1, -5.0), (2, math.nan), (3, -4.0)], "validation": [(1, -6.0)]})
    (line,) = elements(svg, "polyline")
    assert len(line.get("points").split()) == 2
    assert charts.curves({"train": [(1, -5.0)]}) == ""


def test_a_very_low_start_does_not_hide_the_rest():
    line = [(0, -1e6), *((i, -100.0 + i) for i in range(1, 40))]
    found = elements(charts.curves({"bound": line}), "polyline")[0].get("points").split()
    ys = [float(p.split(",")[1]) for p in found]
    assert ys[10] - ys[-1] > 50


def test_scatter_rings_points_last_and_keeps_text_as_text():
    svg = charts.scatter([(0, 0), (1, 2), (4, 1)], titles=["a", "<script>", "c"], ringed=[0])
    found = elements(svg, "circle")
    assert [c.get("class") for c in found] == ["dot", "dot", "dot ring"]
    assert found[0].find("title").text == "<script>"
    assert "<script>" not in svg
    # One scale for both axes, y upwards.
    (x1, y1), (x2, y2), (x0, y0) = [(float(c.get("cx")), float(c.get("cy"))) for c in found]
    assert (x2 - x0) / (x1 - x0) == pytest.approx(4, abs=0.02)
    assert (y0 - y1) / (x1 - x0) == pytest.approx(2, abs=0.02)
    assert y2 > y1


def test_groups_have_a_legend():
    page = charts.scatter([(0, 0), (0, 0)], groups=[0, 1], names=["<b>", "two"])
    assert "&lt;b&gt;" in page
    assert page.count("<i style") == 2
