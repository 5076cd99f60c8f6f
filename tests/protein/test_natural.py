"""Percentiles against natural proteins: by counting, and by a fresh sample of the proteins that the numbers were made from."""

from __future__ import annotations

import numpy as np
import pytest

from mumei.core.errors import DataError
from mumei.protein.alphabet import batch
from mumei.protein.models.ngram import Ngram
from mumei.protein.natural import build, cuts, ngram_percentiles, percentiles
from mumei.protein.sequence import read_sequences


def test_percentiles_count_what_is_lower_and_half_of_ties():
    np.testing.assert_allclose(percentiles([0, 2, 2.5, 9], [1, 2, 3, 4]), [0, 37.5, 50, 100])
    for bad in ([], [1.0, np.nan]):
        with pytest.raises(DataError, match="background"):
            percentiles([1.0], bad)


def test_cuts_are_of_one_length_and_known_residues():
    texts = ["MKTAYIAKQRQISFVK", "SHORT", "MXTAYIAKQRQISFVK"]
    found = cuts(texts, 10, 5)
    assert len(found) == 1
    assert found[0] in texts[0]


def test_what_comes_with_the_package_is_of_natural_proteins_and_repeats_are_odd():
    model = Ngram.natural()
    assert "public domain" in model.about["sources"]
    tokens, lengths = batch(
        [
            "A" * 100,
            "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVVHSLAKWKRQTLGQHDFSAGEGLYTHMKALR",
        ]
    )
    odd, plain = ngram_percentiles(model.energy(tokens, lengths).tolist(), lengths.tolist())
    assert odd == 100.0
    assert 1 < plain < 99


def test_a_fresh_sample_of_the_same_proteins_is_uniform(data):
    texts = [r.sequence for r in read_sequences(data / "sequences" / "mycoplasma_genitalium.fasta.gz")]
    texts += [r.sequence for r in read_sequences(data / "sequences" / "ecoli_k12.fasta.gz")]
    sample = cuts(texts, 120, 1000, seed=5)
    energies = Ngram.natural().energy(batch(sample)[0]).tolist()
    assert abs(np.median(ngram_percentiles(energies, [120] * len(sample))) - 50) < 15


def test_building_again_gives_the_same_file(tmp_path):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 900)) for _ in range(5)]
    for name in ("one", "two"):
        build(texts, "made up", tmp_path / name, draws=3)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
