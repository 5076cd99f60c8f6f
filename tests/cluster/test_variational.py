"""What VaDE, GMVAE and LTVAE share: likelihoods of all kinds, counts for autoencoders, large steps, resumption."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from cluster_toys import SMALL, blobs

from mumei.cluster import run
from mumei.cluster.dcn import DCN
from mumei.cluster.dec import DEC
from mumei.cluster.gmvae import GMVAE
from mumei.cluster.idec import IDEC
from mumei.cluster.likelihoods import CountDecoder
from mumei.cluster.ltvae import LTVAE
from mumei.cluster.terms import reconstruction_error
from mumei.cluster.vade import VaDE
from mumei.cluster.variational import NegativeLogLikelihood, start_variances
from mumei.core.errors import DataError, UsageError
from mumei.vae.counts import NegativeBinomial
from mumei.vae.likelihoods import Gaussian
from mumei.vae.network import VAENet

METHODS = [VaDE, GMVAE, LTVAE]


def counts(n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Return counts (n, 12) of three kinds of rows, with library sizes from tens to hundreds, and the kinds."""
    rng = np.random.default_rng(0)
    shares, y = rng.dirichlet(np.full(12, 0.3), 3), np.arange(n) % 3
    return rng.poisson(shares[y] * rng.gamma(4.0, 40.0, (n, 1))).astype(np.float64), y


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("likelihood", ["poisson", "nb", "zinb"])
def test_counts_have_their_likelihoods(method, likelihood):
    X, y = counts()
    model = method(**{**SMALL, "pretrain_epochs": 60}, likelihood=likelihood).fit(scipy.sparse.csr_matrix(X))
    assert model.notes_[0] == "counts go in as they are"
    assert np.array_equal(model.predict(X), model.labels_)
    assert model.evaluate(y)["acc"] > 0.6
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]


@pytest.mark.parametrize("method", [DEC, IDEC, DCN])
@pytest.mark.parametrize("kind", ["nb", "zinb"])
def test_autoencoders_reconstruct_counts(method, kind):
    X, y = counts()
    model = method(**{**SMALL, "pretrain_epochs": 60}, reconstruction=kind).fit(X)
    assert model.evaluate(y)["acc"] > 0.8
    assert model.net_["decoder"].likelihood.log_dispersion.abs().max() > 0
    assert np.array_equal(model.predict(X), model.labels_)


def test_the_error_of_counts_is_their_likelihood_over_the_columns():
    likelihood = NegativeBinomial(4)
    decoder, z = CountDecoder(torch.nn.Linear(2, 4), likelihood), torch.ones(3, 2)
    x = torch.tensor([[1.0, 0, 2, 5]]).repeat(3, 1)
    share = torch.softmax(decoder(z)[0].double(), 0).detach()
    mean = 8 * share
    theta = torch.distributions.NegativeBinomial(1.0, logits=mean.log())  # inverse dispersion 1, mean m
    expected = -theta.log_prob(x[0].double()).mean()
    torch.testing.assert_close(
        reconstruction_error(decoder, decoder(z), x).double().detach(), expected, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (VaDE(**SMALL, likelihood="normal"), "likelihood 'normal'"),
        (VaDE(**SMALL, reconstruction="nb"), "VaDE has no such setting"),
        (VaDE(**SMALL, options={"init": "random"}), "init"),
        (VaDE(**SMALL, options={"init": "none"}), "init"),
        (IDEC(**SMALL, reconstruction="mae"), "reconstruction"),
    ],
)
def test_what_is_refused(model, match):
    with pytest.raises(UsageError, match=match):
        model.fit(blobs()[0])


def test_rows_that_are_no_counts_are_refused():
    X, _ = blobs()
    with pytest.raises(DataError, match="is for counts"):
        VaDE(**SMALL, likelihood="nb").fit(X)
    with pytest.raises(DataError, match="not a whole number"):
        VaDE(**SMALL, likelihood="nb").fit(np.abs(X))
    with pytest.raises(DataError, match="not a whole number"):
        IDEC(**SMALL, reconstruction="zinb").fit(np.abs(X))
    with pytest.raises(DataError, match="values of at least 0"):
        VaDE(**SMALL, likelihood="bernoulli").fit(X)


def test_grey_values_go_from_0_to_1():
    X = np.random.default_rng(0).integers(0, 256, (40, 6)).astype(np.uint8)
    model = VaDE(**SMALL, likelihood="bernoulli").fit(X)
    assert "divided by" in model.notes_[0]
    assert model.net_["vae"].likelihood.grey
    assert float(model.preparation_.apply(X).max()) == 1.0


def test_the_variances_begin_equal_for_all_rows():
    net = VAENet(Gaussian(4), 2, (8,))
    start_variances(net, torch.tensor([0.5, 2.0]))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net.encode(x)[1].exp(), torch.tensor([[0.5, 2.0]]).repeat(3, 1))


@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_steps_at_ten_times_the_learning_rate_give_no_nan(method):
    X, _ = blobs()
    given: dict[str, Any] = {**SMALL, "epochs": 250, "tol": 0.0, "learning_rate": 1e-2, "batch_size": 16, "refresh": 40}
    model = method(**given, options={"schedule": "constant"}).fit(X)
    assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(model.transform(X)).all()
    assert model.history_[-1]["epoch"] == 249


class Broken(Exception):
    """What stands for the end of a process."""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("after", [1, 5])
def test_a_broken_fit_goes_on_to_the_same_bits(method, after, tmp_path, monkeypatch):
    X, _ = blobs()
    own = {"structure_every": 1} if method is LTVAE else {}
    calm = method(**{**SMALL, "tol": 0.0}, **own).fit(X)
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 1e-6)
    steps, plain = [0], NegativeLogLikelihood.__call__

    def breaking(self, view):
        steps[0] += 1
        if steps[0] > after:
            raise Broken
        return plain(self, view)

    monkeypatch.setattr(NegativeLogLikelihood, "__call__", breaking)
    with pytest.raises(Broken):
        method(**{**SMALL, "tol": 0.0}, **own, out=tmp_path).fit(X)
    monkeypatch.setattr(NegativeLogLikelihood, "__call__", plain)
    done = method(**{**SMALL, "tol": 0.0}, **own, out=tmp_path).fit(X)
    assert np.array_equal(done.transform(X), calm.transform(X))
    assert np.array_equal(done.predict_proba(X), calm.predict_proba(X))
