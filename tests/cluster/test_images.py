"""Pixels in rows, and images of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mumei.cluster.images import Shape


@pytest.mark.parametrize(("came", "first"), [((4, 5), (1, 4, 5)), ((4, 5, 3), (3, 4, 5)), ((3, 4, 5), (3, 4, 5))])
def test_rows_are_images_and_back(came, first):
    images = np.random.default_rng(0).normal(size=(2, *came))
    x = torch.from_numpy(images.reshape(2, -1))
    made = Shape(came).images(x)
    expected = images[:, None] if len(came) == 2 else np.moveaxis(images, -1, 1) if came[-1] == 3 else images
    assert made.shape == (2, *first)
    assert np.array_equal(made, expected)
    assert torch.equal(Shape(came).rows(made), x)
