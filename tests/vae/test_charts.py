"""The bars are read back as XML: how many, how tall, in which order."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from mumei.core.charts import WIDTH
from mumei.vae import charts


def elements(svg, name):
    return [e for e in ElementTree.fromstring(svg).iter() if e.tag == name]


def test_bars_are_sorted_and_as_tall_as_their_values():
    found = elements(charts.bars([1.0, 4.0, 0.0], [True, True, False]), "rect")
    heights = [float(b.get("height")) for b in found]
    assert heights[0] == pytest.approx(4 * heights[1], abs=0.3)
    assert heights[2] == 0
    assert [b.get("class") for b in found] == ["bar", "bar", "bar off"]
    assert "dimension 1: 4.000 nats" in found[0].find("title").text


def test_bars_of_many_dimensions_stay_inside():
    svg = charts.bars([1.0] * 200, [True] * 200)
    found = elements(svg, "rect")
    assert len(found) == 60
    assert max(float(b.get("x")) + float(b.get("width")) for b in found) <= WIDTH
