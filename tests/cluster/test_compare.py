"""A comparison: the same seeds and rows for all, baselines beside, whole results or none, and the truth about who wins."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from cluster_toys import blobs

from mumei.cluster import catalogue, metrics
from mumei.cluster.baselines import kmeans
from mumei.cluster.compare import TimedCache, compare
from mumei.cluster.compare_report import matched, write_comparison
from mumei.cluster.comparison import Comparison, Result
from mumei.core.errors import ArtifactError, DataError, NonFiniteError, UsageError
from mumei.core.progress import Progress

TINY = {"hidden": (8,), "pretrain_epochs": 3, "epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def data():
    return blobs(90)


@pytest.fixture(scope="module")
def found(data):
    return compare(data[0], ["dec", "DCN"], n_clusters=3, seeds=3, y=data[1], settings=TINY)


def test_results_are_those_of_the_estimators(data, found):
    """DEC by itself with the seed as its random_state; k-means by itself on the rows as they were prepared."""
    model = catalogue.make("dec", TINY, n_clusters=3, random_state=2, preprocess="scale").fit(data[0])
    (result,) = [r for r in found.results if (r.method, r.seed) == ("dec", 2)]
    assert np.array_equal(result.labels, model.labels_)
    assert np.array_equal(result.code, model.transform(data[0]))
    (plain,) = [r for r in found.results if (r.method, r.seed) == ("kmeans", 1)]
    assert np.array_equal(plain.labels, kmeans(model.preparation_.apply(data[0]), 3, seed=1))


def test_the_table_by_hand(data, found):
    rows = {row["method"]: row for row in found.table()}
    assert list(rows) == ["kmeans", "pca-kmeans", "ae-kmeans", "dec", "dcn"]
    runs = [r.labels for r in found.results if r.method == "dec"]
    pairs = [metrics.ari(runs[a], runs[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert rows["dec"]["stability"] == pytest.approx(np.mean(pairs))
    assert rows["dec"]["stability_least"] == min(pairs)
    scores = [metrics.accuracy(data[1], labels) for labels in runs]
    assert rows["dec"]["acc"] == pytest.approx(np.mean(scores))
    assert rows["dec"]["acc_spread"] == pytest.approx(np.std(scores, ddof=1))
    assert all(row["seconds"] > 0 for row in rows.values())
    sums = [sum(metrics.ari(a, b) for b in runs) for a in runs]
    assert found.chosen("dec").seed == int(np.argmax(sums))
    table = found.agreement()
    assert table[0, 3] == metrics.ari(found.chosen("kmeans").labels, found.chosen("dec").labels)


def test_labels_choose_nothing(data, found):
    """Wrong labels change the scores that need labels, and not one other thing."""
    other = compare(data[0], ["dec", "dcn"], n_clusters=3, seeds=3, y=1 - (data[1] > 0), settings=TINY)
    for a, b in zip(found.results, other.results, strict=True):
        assert np.array_equal(a.labels, b.labels)
    blind = compare(data[0], ["dec"], n_clusters=3, seeds=2, settings=TINY)
    assert "acc" not in blind.table()[0]
    assert "takes labels" in blind.verdict()[-1]


def result(method, seed, labels, **others):
    return Result(method, seed, np.asarray(labels), np.zeros((len(labels), 2), np.float32), 1.0, **others)


def comparison(baseline, method, y):
    """Return a comparison of one baseline and one method, two seeds each, from their labels."""
    pairs = [("kmeans", s, labels) for s, labels in enumerate(baseline)]
    pairs += [("dec", s, labels) for s, labels in enumerate(method)]
    results = [result(m, s, labels, silhouette=0.5 if m == "kmeans" else 0.4) for m, s, labels in pairs]
    return Comparison(results, ("kmeans", "dec"), 2, np.arange(4), y=None if y is None else np.asarray(y))


RIGHT, WRONG, HALF = [0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("baseline", "method", "said"),
    [
        ([RIGHT, RIGHT], [HALF, HALF], "A baseline wins: by the labels k-means (NMI 100.0 ± 0.0)"),
        ([RIGHT, RIGHT], [RIGHT, RIGHT], "A baseline wins"),
        (
            [WRONG, WRONG],
            [RIGHT, RIGHT],
            "DEC (100.0 ± 0.0) is ahead of the best baseline, k-means (NMI 0.0 ± 0.0), by more",
        ),
        ([WRONG, RIGHT], [RIGHT, RIGHT], "by no more than seeds differ"),
        ([WRONG], [RIGHT], "one seed does not tell"),
    ],
)
def test_who_wins_by_labels_is_said(baseline, method, said):
    assert said in comparison(baseline, method, RIGHT).verdict()[0]


def test_who_wins_without_labels_is_said():
    steady = comparison([RIGHT, RIGHT], [RIGHT, WRONG], None).verdict()
    assert steady[0].startswith("A baseline is the steadiest between seeds: k-means (1.00)")
    assert steady[1].startswith("The groups of a baseline are the best apart")
    assert (
        comparison([RIGHT, WRONG], [RIGHT, RIGHT], None).verdict()[0].startswith("The steadiest between seeds is DEC")
    )


# ------------------------------------------------------------------------------------------------------ resumption


class Killed(BaseException):
    """A kill: nothing catches it."""


def test_a_killed_comparison_goes_on_after_the_last_result(data, tmp_path, monkeypatch):
    arguments = {"n_clusters": 3, "seeds": 2, "settings": TINY}
    whole = compare(data[0], ["dec"], **arguments)
    begun, write = [], Result.write

    def killed(self, path):
        begun.append(path)
        if len(begun) == 6:
            raise Killed
        write(self, path)

    monkeypatch.setattr(Result, "write", killed)
    with pytest.raises(Killed):
        compare(data[0], ["dec"], out=tmp_path, **arguments)
    assert len(list((tmp_path / "results").iterdir())) == 5
    compare(data[0], ["dec"], out=tmp_path, **arguments)
    assert len(begun) == 6 + 3  # eight results in all, five were there
    found = compare(data[0], ["dec"], out=tmp_path, **arguments)
    assert len(begun) == 9
    for a, b in zip(whole.results, found.results, strict=True):
        assert (a.method, a.seed) == (b.method, b.seed)
        assert np.array_equal(a.labels, b.labels)
        assert a.notes == b.notes
    more = compare(data[0], ["dec", "dcn"], out=tmp_path, **arguments | {"seeds": 3})
    assert len(begun) == 9 + 4 + 3  # the third seed of the four, three seeds of DCN
    assert len(more.results) == 15


def test_other_rows_or_settings_are_other_results(data, tmp_path, capsys):
    arguments = {"n_clusters": 3, "seeds": 1, "out": tmp_path, "baselines": False}
    compare(data[0], ["dec"], settings=TINY, **arguments)
    compare(data[0] + 1, ["dec"], settings=TINY, **arguments)
    compare(data[0], {"dec": {"tol": 0.5}}, settings=TINY, **arguments)
    assert len(list((tmp_path / "results").iterdir())) == 3
    compare(data[0], ["dec"], settings=TINY, progress=Progress(), **arguments)
    assert "1 of 1 results are there already" in capsys.readouterr().err


def test_a_result_that_was_altered_is_refused(data, tmp_path):
    arguments = {"n_clusters": 3, "seeds": 1, "out": tmp_path, "baselines": False, "settings": TINY}
    compare(data[0], ["dec"], **arguments)
    (path,) = (tmp_path / "results").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="remove it"):
        compare(data[0], ["dec"], **arguments)


def test_pre_training_that_is_shared_is_counted_for_each(data, tmp_path):
    cache = TimedCache(tmp_path)
    catalogue.make("dec", TINY, n_clusters=3, random_state=0, cache=cache).fit(data[0])
    assert cache.spared == 0
    again = TimedCache(tmp_path)
    catalogue.make("idec", TINY, n_clusters=3, random_state=0, cache=again).fit(data[0])
    (cost,) = cache.costs.values()
    assert again.spared == pytest.approx(cost)
    assert cost > 0


# ------------------------------------------------------------------------------------------------------- bad input


def test_a_method_that_fails_is_listed_and_the_others_go_on(data, monkeypatch):
    from mumei.cluster.dcn import DCN

    def fit(self, X, y=None):
        raise NonFiniteError("loss is NaN at step 3")

    monkeypatch.setattr(DCN, "fit", fit)
    found = compare(data[0], ["dcn", "dec"], n_clusters=3, seeds=2, settings=TINY)
    assert found.failures == {"dcn": "loss is NaN at step 3"}
    assert "dcn" not in found.by_method
    assert "failed: dcn: loss is NaN" in found.text()
    with pytest.raises(NonFiniteError):
        compare(data[0], ["dcn"], n_clusters=3, seeds=2, settings=TINY, baselines=False)


@pytest.mark.parametrize(
    ("methods", "options", "error", "said"),
    [
        (["dek"], {}, UsageError, "Did you mean 'dec'"),
        ([], {}, UsageError, "methods is empty"),
        (["dec"], {"seeds": 0}, UsageError, "seeds"),
        (["dec"], {"seeds": [1, 1]}, UsageError, "different ones"),
        (["dec"], {"n_clusters": 91}, UsageError, "more than the 90 rows"),
        (["dec"], {"y": [1, 2]}, DataError, "one label a row"),
        (["dec"], {"settings": {"epoch": 1}}, UsageError, "Did you mean 'epochs'"),
        (["dec"], {"preprocess": "scaled"}, UsageError, "scale"),
    ],
)
def test_what_does_not_fit_is_refused(data, methods, options, error, said):
    with pytest.raises(error, match=re.escape(said)):
        compare(data[0], methods, **{"n_clusters": 3, "settings": TINY, **options})


def test_a_number_of_clusters_is_chosen_once_for_all(data):
    found = compare(data[0], ["dec"], seeds=1, settings=TINY)
    assert found.n_clusters == 3
    assert any("n_clusters=3 was chosen" in note for note in found.notes)


# ------------------------------------------------------------------------------------------------------------ page


def test_colours_are_matched_to_the_reference():
    reference = np.array([2, 2, 2, 0, 0, 5])
    assert matched(reference, np.array([1, 1, 0, 0, 0, 7])).tolist() == [2, 2, 0, 0, 0, 5]
    assert matched(np.array([0, 0, 0]), np.array([4, 4, 3])).tolist() == [0, 0, 1]


def test_the_page_is_whole_and_says_what_the_table_says(found, tmp_path):
    path = write_comparison(found, tmp_path / "page.html", name="<blobs>", described=["read & checked"])
    page = path.read_text()
    assert page.rstrip().endswith("</html>")
    assert "&lt;blobs&gt;" in page
    assert "<blobs>" not in page
    assert "read &amp; checked" in page
    assert page.count("<svg") == 5
    assert all(row.strip() in page.replace("&#39;", "'") for row in found.verdict())
    assert "http" not in page.replace("http-equiv", "")
    json.dumps(found.to_dict())
