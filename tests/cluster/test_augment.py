"""Altered copies: what is drawn and where pixels are read off, against loops; what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mumei.cluster.augment import DRAWS, Images, Tables, channels_first, make_augmentation
from mumei.core.errors import UsageError


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


STILL = {"rotation": 0.0, "zoom": 0.0, "shift": 0.0}


def test_noise_is_in_units_of_the_columns_deviation_and_drops_go_to_the_mean():
    x = torch.randn(4000, 2, generator=rng()) * torch.tensor([1.0, 20.0]) + 5.0
    noisy = Tables(noise=0.3, dropped=0.0)(x, rng(1)) - x
    np.testing.assert_allclose(noisy.std(0) / x.std(0), 0.3, rtol=0.05)
    dropped = Tables(noise=0.0, dropped=0.25)(x, rng(1))
    at_mean = dropped == x.mean(0)
    assert 0.23 < float(at_mean.float().mean()) < 0.27
    assert torch.equal(dropped[~at_mean], x[~at_mean])


def test_rows_as_they_are_judged_are_not_altered():
    x = torch.randn(3, 12, generator=rng())
    assert Tables()(x) is x
    assert torch.equal(Images((3, 4))(x), x.view(3, 1, 3, 4))


def test_the_same_generator_gives_the_same_copies():
    x = torch.randn(3, 64, generator=rng())
    augment = Images((8, 8), brightness=0.2, contrast=0.2, flip=True)
    assert torch.equal(augment(x, rng(3)), augment(x, rng(3)))
    assert not torch.equal(augment(x, rng(3)), augment(x, rng(4)))


@pytest.mark.parametrize(
    ("shape", "expected"), [((4, 5), (1, 4, 5)), ((4, 5, 3), (3, 4, 5)), ((3, 4, 5), (3, 4, 5)), ((1, 1, 4), (1, 1, 4))]
)
def test_channels_come_first_or_last(shape, expected):
    assert channels_first(shape) == expected
    x = torch.arange(2.0 * math.prod(shape)).view(2, -1)
    images = Images(shape)(x)
    assert images.shape[1:] == expected
    if shape == (4, 5, 3):
        assert images[1, 2, 3, 4] == x.view(2, 4, 5, 3)[1, 3, 4, 2]


def read_off(image, out, map_):
    """Bilinear reading by loops: pixel centres lie at (2 i + 1) / n - 1 of [-1, 1], beyond the border its value."""
    (h, w), (rows, columns) = image.shape, out
    found = np.zeros(out)
    for i in range(rows):
        for j in range(columns):
            place = np.array([(2 * j + 1) / columns - 1, (2 * i + 1) / rows - 1, 1.0])
            x, y = map_ @ place
            u, v = np.clip(((x + 1) * w - 1) / 2, 0, w - 1), np.clip(((y + 1) * h - 1) / 2, 0, h - 1)
            a, b = int(v), int(u)
            p, q, c, d = v - a, u - b, min(a + 1, h - 1), min(b + 1, w - 1)
            found[i, j] = (1 - p) * ((1 - q) * image[a, b] + q * image[a, d])
            found[i, j] += p * ((1 - q) * image[c, b] + q * image[c, d])
    return found


def test_pixels_are_read_off_where_the_map_leads():
    augment = Images((6, 9), side=0.7, crops=(0.6, 0.9), rotation=30.0, zoom=0.2, shift=0.2, flip=True)
    x = torch.randn(5, 54, generator=rng())
    draws = torch.rand((5, DRAWS), generator=rng(7))
    copies = augment(x, rng(7))
    assert copies.shape == (5, 1, 4, 6)
    for row, map_, copy in zip(x.numpy(), augment.maps(draws).numpy(), copies.numpy(), strict=True):
        np.testing.assert_allclose(copy[0], read_off(row.reshape(6, 9).astype(float), (4, 6), map_), atol=1e-4)


def test_a_map_is_crop_then_rotation_in_pixels():
    """A point of the copy goes to the crop, and around the picture's middle by the drawn angle, in pixels."""
    augment = Images((6, 9), crops=(0.5, 0.8), rotation=40.0, zoom=0.1, shift=0.1)
    u = torch.rand((50, DRAWS), generator=rng()).double()
    for d, map_ in zip(u.numpy(), augment.maps(u).numpy(), strict=True):
        crop = (0.5, 0.8)[int(2 * d[0])]
        size, angle = crop * (1 + 0.1 * (2 * d[7] - 1)), math.radians(40) * (2 * d[5] - 1)
        middle = [(1 - crop) * (2 * d[1 + i] - 1) + 0.2 * (2 * d[3 + i] - 1) for i in (0, 1)]
        x, y = (size * 0.3 + middle[0]) * 4.5, (size * -0.7 + middle[1]) * 3.0  # pixels from the middle
        expected = (
            (math.cos(angle) * x - math.sin(angle) * y) / 4.5,
            (math.sin(angle) * x + math.cos(angle) * y) / 3.0,
        )
        np.testing.assert_allclose(map_ @ [0.3, -0.7, 1.0], expected, rtol=1e-5, atol=1e-6)


def test_a_crop_lies_within_the_picture_and_half_the_copies_are_mirrored():
    augment = Images((8, 8), crops=(0.5,), flip=True, **STILL)
    maps = augment.maps(torch.rand((400, DRAWS), generator=rng()))
    corners = maps @ torch.tensor([[-1.0, 1, -1, 1], [-1.0, -1, 1, 1], [1.0, 1, 1, 1]])
    assert float(corners.abs().max()) <= 1.0 + 1e-6
    assert 160 < int((maps[:, 0, 0] < 0).sum()) < 240
    turned = Images((8, 8), rotated=0.25, shift=0.0, zoom=0.0).maps(torch.rand((400, DRAWS), generator=rng()))
    assert 70 < int((turned[:, 0, 1] != 0).sum()) < 130


def test_brightness_and_contrast_are_factors():
    x = torch.rand(3, 64, generator=rng()) + 1.0
    augment = Images((8, 8), brightness=0.3, contrast=0.4, **STILL)
    u = torch.rand((3, DRAWS), generator=rng(2)).numpy()
    for row, d, copy in zip(x.numpy(), u, augment(x, rng(2)).numpy(), strict=True):
        mean = row.mean()
        expected = (1 + 0.3 * (2 * d[10] - 1)) * (mean + (1 + 0.4 * (2 * d[9] - 1)) * (row - mean))
        np.testing.assert_allclose(copy.ravel(), expected, rtol=1e-4)


def test_what_is_done_is_said():
    assert "noise of 0.5 times" in Tables(noise=0.5).said()
    assert "turned by up to 20 degrees" in Images((8, 8), rotation=20.0).said()
    assert "mirrored" in Images((8, 8), flip=True).said()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"noise": -1.0}, "noise=-1"),
        ({"noise": "a"}, "noise='a'"),
        ({"dropped": 1.0}, r"dropped=1\.0"),
        ({"dropped": -0.1}, r"dropped=-0\.1"),
    ],
)
def test_arguments_for_tables_that_are_refused(given, match):
    with pytest.raises(UsageError, match=match):
        Tables(**given)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"crops": ()}, "crops="),
        ({"crops": "all"}, "crops='all'"),
        ({"crops": 0.5}, r"crops=0\.5"),
        ({"crops": (0.5, 1.2)}, r"crops\[1\]=1\.2"),
        ({"centre": 0.0}, r"centre=0\.0"),
        ({"side": 0.0}, r"side=0\.0"),
        ({"rotation": -1.0}, "rotation"),
        ({"rotated": 2.0}, "rotated"),
        ({"shift": 1.5}, "shift"),
        ({"zoom": 1.0}, "zoom"),
        ({"contrast": 1.0}, "contrast"),
    ],
)
def test_arguments_for_images_that_are_refused(given, match):
    with pytest.raises(UsageError, match=match):
        Images((8, 8), **given)


def test_the_shape_says_which_kind():
    from mumei.cluster.iic import IIC

    settings = IIC.presets()["paper"]
    assert isinstance(make_augmentation(None, settings), Tables)
    images = make_augmentation((28, 28), settings)
    assert isinstance(images, Images)
    assert images.shape == (1, 24, 24)
