"""VaDE: variational deep embedding, a variational autoencoder whose prior is a mixture of Gaussians.

Source: Jiang, Zheng, Tan, Tang and Zhou 2017, "Variational Deep Embedding: An Unsupervised and Generative Approach to
Clustering". With p(c) = pi_c, p(z|c) = N(mu_c, diag s2_c) and q(z, c|x) = q(z|x) q(c|x), the bound of equation 9 is

    L(x) = E log p(x|z) - sum_c gamma_c KL(q(z|x) || p(z|c)) - KL(gamma || pi)
    gamma_c = q(c|x) = p(c|z) = pi_c N(z; mu_c, s2_c) / sum over c'                                     equation 16

which is the paper's equation 12 in other words: its second and fifth terms make up the first divergence, its third and fourth
the second. z is one sample of q(z|x), in gamma too. Weights come from an autoencoder, pi, mu and s2 from a mixture fitted to its
code; everything then learns by gradient. The label is the c with the largest gamma.

Departures, `preset="paper"`: the autoencoder is trained end to end and by the likelihood, not layer by layer; the learning rate
rises for a tenth of the steps, then falls along a cosine, in place of x0.9 every 10 epochs down to a tenth; Adam's epsilon is
torch's; pi is a softmax, so that it stays a distribution. The labels are taken at the mean of q(z|x), not at a sample, so that
they do not change from call to call. The authors' program stops runs that begin badly by true labels: that is not done. The
robust default trains for fewer steps, with a Gaussian likelihood of variance 1, begins with k-means and the variances of its
clusters (on MNIST's and other digits nearer to the classes than a fitted mixture), and an emptied component begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor, nn

from mumei.cluster.mixture import MixturePrior
from mumei.cluster.run import Run
from mumei.cluster.terms import Term
from mumei.cluster.variational import LatentView, NegativeLogLikelihood, VariationalClusterer
from mumei.vae.gaussians import kl_between


class MixtureView(LatentView):
    """A batch with gamma, worked out at the sample of z."""

    @cached_property
    def log_gamma(self) -> Tensor:
        """The logarithm of gamma (b, k)."""
        return self.nets["head"](self.z)


@dataclass
class CodeDivergence(Term):
    """sum_c gamma_c KL(q(z|x) || p(z|c))."""

    name: ClassVar[str] = "code"

    def __call__(self, view: Any) -> Tensor:
        """Return the mean over rows, in nats."""
        mean, log_variance = (part[:, None] for part in view.moments)
        head = view.nets["head"]
        each = kl_between(mean, log_variance, head.means, head.bounded()).sum(-1)
        return (view.log_gamma.exp() * each).sum(1).mean()


@dataclass
class ClusterDivergence(Term):
    """KL(gamma || pi)."""

    name: ClassVar[str] = "cluster"

    def __call__(self, view: Any) -> Tensor:
        """Return the mean over rows, in nats."""
        gamma = view.log_gamma.exp()
        return (gamma * (view.log_gamma - view.nets["head"].log_weights)).sum(1).mean()


@dataclass(kw_only=True, eq=False, repr=False)
class VaDE(VariationalClusterer):
    """A variational autoencoder with a mixture of Gaussians as prior.

    Parameters are those of `mumei.cluster.variational.VariationalClusterer`; `VaDE.presets()` shows what a preset sets.

    Examples
    --------
    >>> X = np.concatenate([np.zeros((20, 4)), np.ones((20, 4))]) + np.random.default_rng(0).normal(0, 0.1, (40, 4))
    >>> model = VaDE(n_clusters=2, hidden=(16,), n_latent=2, pretrain_epochs=60, epochs=2, random_state=0)
    >>> np.bincount(model.fit_predict(X)).tolist()
    [20, 20]
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "robust": {},
        "paper": {
            "likelihood": {"name": "bernoulli", "grey": True},
            "init": "gmm",
            "batch_size": 100,
            "pretrain_epochs": 50,
            "pretrain_schedule": "constant",
            "epochs": 3000,
            "learning_rate": 2e-3,
            "tol": 0.0,
            "empty": "keep",
        },
    }
    view_class: ClassVar[type[LatentView]] = MixtureView

    def make_head(self, run: Run, latent: int) -> nn.Module:
        """Return the mixture."""
        return MixturePrior(run.n_clusters, latent)

    def terms(self, settings: Mapping[str, Any]) -> Sequence[Term]:
        """Return the three parts of -L."""
        return [NegativeLogLikelihood(), CodeDivergence(), ClusterDivergence()]
