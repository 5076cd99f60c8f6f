"""What mumei has, by name, without importing any of it.

An entry is an import string, a summary, the paper it follows and tags. `resolve` imports the target only when it is used;
an unknown name raises with the closest matches. A third-party package adds its own with `register`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from typing import Any

from mumei.core.errors import UsageError, unknown


@dataclass(frozen=True)
class Entry:
    """One registered thing: `target` is `"package.module:Name"`."""

    target: str
    summary: str
    paper: str = ""
    tags: tuple[str, ...] = ()

    def resolve(self) -> Any:
        """Import and return the class or function."""
        module, _, name = self.target.partition(":")
        return attrgetter(name)(import_module(module))


_ENTRIES: dict[str, Entry] = {
    "encoder/minilm": Entry(
        "mumei.retrieval.encoders:MiniLMEncoder",
        "MiniLM-L6 sentence encoder, 384-d, carried by a wheel: the offline default",
        tags=("encoder", "text", "offline"),
    ),
    "encoder/sentence-transformers": Entry(
        "mumei.retrieval.encoders:SentenceTransformerEncoder",
        "any sentence-transformers model, by hub name or folder",
        tags=("encoder", "text", "extra:text"),
    ),
    "encoder/openvino": Entry(
        "mumei.retrieval.runtimes:OpenVinoEncoder",
        "the embedded MiniLM or another BERT under OpenVINO, in float32, bfloat16 or int8",
        tags=("encoder", "text", "extra:openvino"),
    ),
    "encoder/onnxruntime": Entry(
        "mumei.retrieval.runtimes:OnnxRuntimeEncoder",
        "the embedded MiniLM or another BERT under ONNX Runtime, in float32 or int8",
        tags=("encoder", "text", "extra:onnxruntime"),
    ),
    "encoder/huggingface": Entry(
        "mumei.retrieval.huggingface:HuggingFaceEncoder",
        "any encoder that transformers loads: Contriever, MedCPT, E5, BGE and others, by hub name or folder",
        tags=("encoder", "text", "extra:text"),
    ),
    "encoder/cached": Entry(
        "mumei.retrieval.vector_cache:CachedEncoder",
        "another encoder, whose vectors are kept by the texts' content",
        tags=("encoder", "text"),
    ),
    "encoder/kmer": Entry(
        "mumei.protein.kmer:KmerEncoder",
        "hashed k-mer profile of a sequence: stands in until a protein language model is chosen",
        tags=("encoder", "sequence", "offline"),
    ),
    "generator/own-text": Entry(
        "mumei.retrieval.generators:OwnText",
        "the caller's own hypothetical texts, for every query or by query",
        tags=("generator", "text", "offline"),
    ),
    "generator/transformers": Entry(
        "mumei.retrieval.local:TransformersGenerator",
        "a language model of a folder or of the hub, decoder or encoder-decoder",
        tags=("generator", "text", "extra:text"),
    ),
    "protein/potts": Entry(
        "mumei.protein.models.potts:Potts",
        "Potts model of one protein family, fitted from its alignment: masked log-probabilities and couplings",
        "Ekeberg and others 2013, Improved contact prediction in proteins: using pseudolikelihoods to infer Potts models",
        tags=("sequence-model", "artifact", "offline"),
    ),
    "protein/ngram": Entry(
        "mumei.protein.models.ngram:Ngram",
        "frequencies of one to four neighbouring residues in natural proteins: an energy, and the smallest sequence model",
        "Verkuil and others 2022, Language models generalize beyond natural proteins",
        tags=("sequence-model", "artifact", "offline"),
    ),
    "protein/tiny": Entry(
        "mumei.protein.models.tiny:Tiny",
        "an ESM-2-shaped language model, trained from scratch on one's own sequences",
        "Lin and others 2023, Evolutionary-scale prediction of atomic-level protein structure with a language model",
        tags=("sequence-model", "artifact", "offline"),
    ),
    "protein/structure-head": Entry(
        "mumei.protein.projection:StructureHead",
        "linear map from a sequence model's pair maps to distances and angles of residues",
        "Verkuil and others 2022, Language models generalize beyond natural proteins",
        tags=("artifact", "offline"),
    ),
    "protein/contact-head": Entry(
        "mumei.protein.contacts:ContactHead",
        "logistic regression from a sequence model's corrected pair maps to contacts",
        "Rao and others 2021, Transformer protein language models are unsupervised structure learners",
        tags=("artifact", "offline"),
    ),
    "vae/vae": Entry(
        "mumei.vae.estimator:VAE",
        "auto-encoding variational Bayes: latent space, samples, scores and likelihoods for unlabelled rows",
        "Kingma and Welling 2013, Auto-Encoding Variational Bayes",
        tags=("estimator", "table", "offline"),
    ),
    "vae/bayes-mlp-classifier": Entry(
        "mumei.vae.bayes_mlp:BayesianMLPClassifier",
        "Bayesian neural network: class probabilities averaged over a posterior of weights",
        "Kingma and Welling 2013, appendix F; Kingma, Salimans and Welling 2015",
        tags=("estimator", "table", "offline"),
    ),
    "vae/bayes-mlp-regressor": Entry(
        "mumei.vae.bayes_mlp:BayesianMLPRegressor",
        "Bayesian neural network: means and deviations from a posterior of weights",
        "Kingma and Welling 2013, appendix F; Kingma, Salimans and Welling 2015",
        tags=("estimator", "table", "offline"),
    ),
    "vae/m1": Entry(
        "mumei.vae.semi_supervised:M1Classifier",
        "semi-supervised: a classifier on the latents of a VAE of all rows",
        "Kingma, Mohamed, Rezende and Welling 2014, Semi-supervised Learning with Deep Generative Models",
        tags=("estimator", "table", "offline"),
    ),
    "vae/m2": Entry(
        "mumei.vae.semi_m2:M2Classifier",
        "semi-supervised: a generative model with the class as a cause",
        "Kingma, Mohamed, Rezende and Welling 2014, Semi-supervised Learning with Deep Generative Models",
        tags=("estimator", "table", "offline"),
    ),
    "vae/m1m2": Entry(
        "mumei.vae.semi_supervised:M1M2Classifier",
        "semi-supervised: M2 on the latents of M1",
        "Kingma, Mohamed, Rezende and Welling 2014, Semi-supervised Learning with Deep Generative Models",
        tags=("estimator", "table", "offline"),
    ),
    "vae/conv": Entry(
        "mumei.vae.conv:ConvVAE",
        "convolutional variational auto-encoder: latent space, samples and scores for unlabelled images",
        "Kingma and Welling 2013, future work",
        tags=("image", "offline"),
    ),
    "vae/ladder": Entry(
        "mumei.vae.ladder_estimator:LadderVAE",
        "ladder variational auto-encoder: a hierarchy of latent layers for unlabelled rows",
        "Sonderby and others 2016, Ladder Variational Autoencoders",
        tags=("estimator", "table", "offline"),
    ),
    "vae/sequence": Entry(
        "mumei.vae.sequence_estimator:SequenceVAE",
        "deep Kalman filter: latent states, scores and forecasts for unlabelled time series of unequal length",
        "Krishnan, Shalit and Sontag 2015 and 2017",
        tags=("series", "offline"),
    ),
    "cluster/dec": Entry(
        "mumei.cluster.dec:DEC",
        "deep embedded clustering: an encoder whose soft assignment to centres sharpens itself",
        "Xie, Girshick and Farhadi 2016, Unsupervised Deep Embedding for Clustering Analysis",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/idec": Entry(
        "mumei.cluster.idec:IDEC",
        "improved deep embedded clustering: DEC with the reconstruction kept",
        "Guo, Gao, Liu and Yin 2017, Improved Deep Embedded Clustering with Local Structure Preservation",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/dcn": Entry(
        "mumei.cluster.dcn:DCN",
        "deep clustering network: k-means and an autoencoder in turns",
        "Yang, Fu, Sidiropoulos and Hong 2017, Towards K-means-friendly Spaces",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/ae-kmeans": Entry(
        "mumei.cluster.autoencoder_kmeans:AutoencoderKMeans",
        "k-means on an autoencoder's code: the baseline of the autoencoder family",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/dac": Entry(
        "mumei.cluster.dac:DAC",
        "deep adaptive clustering: the surest pairs of rows first are told to be alike or unlike",
        "Chang, Wang, Meng, Xiang and Pan 2017, Deep Adaptive Image Clustering",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/deepcluster": Entry(
        "mumei.cluster.deepcluster:DeepCluster",
        "DeepCluster: features trained on the pseudo-labels that k-means finds in them",
        "Caron, Bojanowski, Joulin and Douze 2018, Deep Clustering for Unsupervised Learning of Visual Features",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/iic": Entry(
        "mumei.cluster.iic:IIC",
        "invariant information clustering: a row and its altered copy tell of each other's cluster",
        "Ji, Henriques and Vedaldi 2019, Invariant Information Clustering for Unsupervised Image Classification and Segmentation",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/vade": Entry(
        "mumei.cluster.vade:VaDE",
        "variational deep embedding: a variational autoencoder with a mixture of Gaussians as prior",
        "Jiang, Zheng, Tan, Tang and Zhou 2017, Variational Deep Embedding",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/gmvae": Entry(
        "mumei.cluster.gmvae:GMVAE",
        "Gaussian mixture variational autoencoder: components that a second latent variable bends",
        "Dilokthanakul and others 2016, Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/ltvae": Entry(
        "mumei.cluster.ltvae:LTVAE",
        "latent tree variational autoencoder: several clusterings of one code, joined in a tree",
        "Li, Chen, Poon and Zhang 2019, Learning Latent Superstructures in Variational Autoencoders",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/catgan": Entry(
        "mumei.cluster.catgan:CatGAN",
        "categorical GAN: a discriminator that is sure of a row's cluster, and unsure of what a generator makes",
        "Springenberg 2016, Unsupervised and Semi-supervised Learning with Categorical Generative Adversarial Networks",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/clustergan": Entry(
        "mumei.cluster.clustergan:ClusterGAN",
        "ClusterGAN: a generator whose code has a discrete part, and an encoder that reads it off the rows",
        "Mukherjee, Asnani, Lin and Kannan 2019, ClusterGAN: Latent Space Clustering in Generative Adversarial Networks",
        tags=("estimator", "table", "offline"),
    ),
    "cluster/adec": Entry(
        "mumei.cluster.adec:ADEC",
        "adversarial deep embedded clustering: DEC with a discriminator in place of the reconstruction",
        "Mrabah, Bouguessa and Ksantini 2020, Adversarial Deep Embedded Clustering",
        tags=("estimator", "table", "offline"),
    ),
    "network/mlp": Entry("mumei.nn.mlp:MLP", "fully connected network", tags=("network",)),
    "network/autoencoder": Entry("mumei.nn.mlp:Autoencoder", "mirrored fully connected autoencoder", tags=("network",)),
}


def register(name: str, target: str, summary: str, paper: str = "", tags: tuple[str, ...] = ()) -> None:
    """Add an entry, for example from a third-party package.

    Parameters
    ----------
    name : str
        `"group/name"`, such as `"encoder/mine"`.
    target : str
        `"package.module:Name"`; it is not imported now.
    summary, paper : str
        One line each.
    tags : tuple of str
        What it is; `"encoder"`, `"estimator"`, `"generator"`, `"reader"` or `"sampler"` puts it under the conformance kit.

    Raises
    ------
    UsageError
        The name is taken by another target, or the name or target has not the right form.
    """
    if "/" not in name or ":" not in target:
        raise UsageError(
            f"register({name!r}, {target!r}): give a name like 'group/name' and a target like 'module:Name'."
        )
    known = _ENTRIES.get(name)
    if known is not None and known.target != target:
        raise UsageError(f"{name!r} is already registered for {known.target}; choose another name.")
    _ENTRIES[name] = Entry(target, summary, paper, tags)


def entries(group: str = "", tag: str = "") -> dict[str, Entry]:
    """Return the entries of a group (`"encoder"`) and with a tag, sorted by name."""
    chosen = {
        name: entry
        for name, entry in _ENTRIES.items()
        if (not group or name.startswith(group + "/")) and (not tag or tag in entry.tags)
    }
    return dict(sorted(chosen.items()))


def get(name: str) -> Entry:
    """Return the entry of a name; an unknown one raises `UsageError` with the closest matches."""
    if name not in _ENTRIES:
        raise unknown("name", name, _ENTRIES)
    return _ENTRIES[name]


def resolve(name: str) -> Any:
    """Import and return what a name stands for."""
    return get(name).resolve()


def name_of(target: type) -> str:
    """Return the registered name of a class, or raise `UsageError`."""
    wanted = f"{target.__module__}:{target.__qualname__}"
    for name, entry in _ENTRIES.items():
        if entry.target == wanted:
            return name
    raise UsageError(
        f"{wanted} is not registered; add it with mumei.core.registry.register('group/name', {wanted!r}, ...)."
    )
