"""Pictures: the PNG is read back by a reader of its own, components by hand."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mumei.core import pictures
from mumei.core.errors import UsageError


def read_png(content):
    """Return the pixels of a PNG by the letter of ISO/IEC 15948: signature, chunks with their sums, unfiltered rows."""
    assert content[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    at, chunks = 8, []
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks.append((kind, body))
        at += 12 + length
    assert [k for k, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, compression, filtering, interlace) == (8, 0, 0, 0)
    depth = {0: 1, 2: 3}[colour]
    rows = np.frombuffer(zlib.decompress(chunks[1][1]), np.uint8).reshape(height, 1 + width * depth)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape((height, width) if depth == 1 else (height, width, 3))


shapes = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3))
)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint8, shapes))
def test_a_png_read_back_is_the_picture(picture):
    assert (read_png(pictures.png(picture)) == picture).all()


def test_a_data_uri_holds_the_png():
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4)
    head, _, body = pictures.data_uri(picture).partition(",")
    assert head == "data:image/png;base64"
    assert (read_png(base64.b64decode(body)) == picture).all()


@pytest.mark.parametrize(
    "picture", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 3), np.uint8), np.zeros(3, np.uint8)]
)
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(UsageError, match="cannot be written"):
        pictures.png(picture)


def test_shades_of_another_range_and_of_a_constant():
    assert pictures.shades(np.array([-2.0, 0.0, 2.0]), -2, 2).tolist() == [0, 128, 255]
    assert pictures.shades(np.array([3.0, 3.0]), 3, 3).tolist() == [0, 0]


def test_image_shape_is_checked():
    assert pictures.image_shape("28X20", 560) == (28, 20)
    with pytest.raises(UsageError, match="not understood"):
        pictures.image_shape("28", 784)
    with pytest.raises(UsageError, match="not understood"):
        pictures.image_shape("0x5", 0)
    with pytest.raises(UsageError, match="has 784 features"):
        pictures.image_shape("28x27", 784)


def test_grid_places_pictures_row_by_row():
    stacked = np.arange(1, 4, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    g = pictures.GAP
    expected = [[1, 1, g, 2, 2], [1, 1, g, 2, 2], [g] * 5, [3, 3, g, g, g], [3, 3, g, g, g]]
    assert pictures.grid(stacked, 2).tolist() == expected
    assert pictures.grid(stacked, 3, gap=0).tolist() == [[1, 1, 2, 2, 3, 3]] * 2


def test_two_latents_are_their_own_map():
    means = np.random.default_rng(0).normal(size=(6, 2))
    xy, said = pictures.plane(means)
    assert np.array_equal(xy, means)
    assert "two latent dimensions" in said


def test_more_latents_by_principal_components():
    """Against the singular values of the centred means."""
    means = np.random.default_rng(1).normal(size=(40, 5)) * [1, 4, 1, 9, 1]
    xy, said = pictures.plane(means)
    u, s, _ = np.linalg.svd(means - means.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(xy), np.abs(u[:, :2] * s[:2]), atol=1e-8)
    assert f"{100 * (s[:2] ** 2).sum() / (s**2).sum():.0f} %" in said


def test_one_latent_is_mapped_against_its_rank():
    xy, _ = pictures.plane(np.array([[3.0], [1.0], [2.0], [0.0]]))
    assert xy[:, 0].tolist() == [3, 1, 2, 0]
    assert xy[:, 1].tolist() == [0.875, 0.375, 0.625, 0.125]


def test_latents_that_never_change_are_one_point():
    xy, _ = pictures.plane(np.ones((5, 4)))
    assert not xy.any()
    assert pictures.plane(np.ones((1, 4)))[0].shape == (1, 2)
