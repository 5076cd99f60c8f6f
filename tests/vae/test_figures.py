"""Pictures: the PNG is read back by a reader of its own, the grid by scipy's normal distribution, components by hand."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from mumei.core.errors import UsageError
from mumei.vae import figures
from mumei.vae.counts import Poisson
from mumei.vae.likelihoods import Bernoulli
from mumei.vae.network import VAENet


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
    assert (read_png(figures.png(picture)) == picture).all()


def test_a_data_uri_holds_the_png():
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4)
    head, _, body = figures.data_uri(picture).partition(",")
    assert head == "data:image/png;base64"
    assert (read_png(base64.b64decode(body)) == picture).all()


@pytest.mark.parametrize(
    "picture", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 3), np.uint8), np.zeros(3, np.uint8)]
)
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(UsageError, match="cannot be written"):
        figures.png(picture)


def test_shades_of_another_range_and_of_a_constant():
    assert figures.shades(np.array([-2.0, 0.0, 2.0]), -2, 2).tolist() == [0, 128, 255]
    assert figures.shades(np.array([3.0, 3.0]), 3, 3).tolist() == [0, 0]


def test_image_shape_is_checked():
    assert figures.image_shape("28X20", 560) == (28, 20)
    with pytest.raises(UsageError, match="not understood"):
        figures.image_shape("28", 784)
    with pytest.raises(UsageError, match="not understood"):
        figures.image_shape("0x5", 0)
    with pytest.raises(UsageError, match="has 784 features"):
        figures.image_shape("28x27", 784)


def test_grid_places_pictures_row_by_row():
    pictures = np.arange(1, 4, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    g = figures.GAP
    expected = [[1, 1, g, 2, 2], [1, 1, g, 2, 2], [g] * 5, [3, 3, g, g, g], [3, 3, g, g, g]]
    assert figures.grid(pictures, 2).tolist() == expected
    assert figures.grid(pictures, 3, gap=0).tolist() == [[1, 1, 2, 2, 3, 3]] * 2


def test_beside_puts_each_reconstruction_right_of_its_input():
    first, second = np.full((2, 1, 2), 10, np.uint8), np.full((2, 1, 2), 20, np.uint8)
    row = figures.beside(first, second, pairs=2)[0].tolist()
    assert row == [10, 10, 0, 20, 20, *[figures.GAP] * 3, 10, 10, 0, 20, 20]


# ----------------------------------------------------------------------------------------------------- manifold


def test_manifold_through_scipys_inverse_normal():
    z = figures.manifold(2, (0, 1), steps=7).numpy().reshape(7, 7, 2)
    expected = stats.norm.ppf((np.arange(7) + 0.5) / 7)
    for row in range(7):
        np.testing.assert_allclose(z[row, :, 0], expected, atol=1e-6)
        np.testing.assert_allclose(z[:, row, 1], expected[::-1], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(2, 9), st.data())
def test_manifold_leaves_the_other_dimensions_at_zero(latent, steps, data):
    pair = data.draw(st.lists(st.integers(0, latent - 1), min_size=2, max_size=2, unique=True))
    z = figures.manifold(latent, pair, steps)
    rest = [j for j in range(latent) if j not in pair]
    assert z.shape == (steps**2, latent)
    assert not z[:, rest].any()
    assert len(z[:, pair].unique(dim=0)) == steps**2
    assert z.mean(0).abs().max() < 1e-6  # as the prior's


def test_one_latent_dimension_is_a_line():
    z = figures.manifold(1, (0,), steps=5)
    assert z.shape == (5, 1)
    assert (z.diff(dim=0) > 0).all()


@pytest.mark.parametrize(
    ("kl", "expected"), [([0.5], (0,)), ([0.5, 0.1], (0, 1)), ([1, 5, 2, 5], (1, 3)), ([0, 0, 0], (0, 1))]
)
def test_the_two_dimensions_of_most_kl(kl, expected):
    assert figures.chosen_dimensions(kl) == expected


def test_decoded_means_are_the_networks():
    net = VAENet(Bernoulli(4), latent=2, hidden=(3,))
    z = figures.manifold(2, (0, 1), 3)
    means = figures.decode_means(net, z)
    assert not means.requires_grad
    assert torch.equal(means, torch.sigmoid(net.decode(z)).detach())


def test_decoded_counts_sum_to_the_library():
    net = VAENet(Poisson(4), latent=2, hidden=(3,), covariates=2)
    means = figures.decode_means(net, torch.zeros(5, 2), library=120.0, covariates=torch.tensor([1.0, 0.0]))
    np.testing.assert_allclose(means.sum(1), 120.0, rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------- map


def test_two_latents_are_their_own_map():
    means = np.random.default_rng(0).normal(size=(6, 2))
    xy, said = figures.plane(means)
    assert np.array_equal(xy, means)
    assert "two latent dimensions" in said


def test_more_latents_by_principal_components():
    """Against the singular values of the centred means."""
    means = np.random.default_rng(1).normal(size=(40, 5)) * [1, 4, 1, 9, 1]
    xy, said = figures.plane(means)
    u, s, _ = np.linalg.svd(means - means.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(xy), np.abs(u[:, :2] * s[:2]), atol=1e-8)
    assert f"{100 * (s[:2] ** 2).sum() / (s**2).sum():.0f} %" in said


def test_one_latent_is_mapped_against_its_rank():
    xy, _ = figures.plane(np.array([[3.0], [1.0], [2.0], [0.0]]))
    assert xy[:, 0].tolist() == [3, 1, 2, 0]
    assert xy[:, 1].tolist() == [0.875, 0.375, 0.625, 0.125]


def test_latents_that_never_change_are_one_point():
    xy, _ = figures.plane(np.ones((5, 4)))
    assert not xy.any()
    assert figures.plane(np.ones((1, 4)))[0].shape == (1, 2)
