"""Mixtures: rates against the paper's formula, whole numbers against what defines them, no shared documents, licences, seeds."""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mumei.core.errors import DataError, UsageError
from mumei.data import catalogue
from mumei.data.corpus import corpus_of
from mumei.data.documents import Document, LabelledText
from mumei.data.mix import allocate, mix, rates, select
from mumei.data.schemas import Passage

SIZES = st.lists(st.integers(0, 10**6), min_size=1, max_size=8).filter(any)
quick = settings(max_examples=60, deadline=None)


@quick
@given(SIZES)
def test_proportional_rates(sizes):
    assert rates(sizes) == pytest.approx([float(Fraction(n, sum(sizes))) for n in sizes])


@quick
@given(SIZES, st.integers(1, 10**6))
def test_capped_rates(sizes, cap):
    held = [min(n, cap) for n in sizes]
    assert rates(sizes, cap=cap) == pytest.approx([float(Fraction(n, sum(held))) for n in held])


@quick
@given(SIZES, st.floats(0.2, 50), st.integers(1, 10**6))
def test_temperature_rates(sizes, temperature, cap):
    """By logarithms, an independent way: log r_m = log min(e_m, K) / T - logsumexp."""
    logs = [math.log(min(n, cap)) / temperature if n else -math.inf for n in sizes]
    top = max(logs)
    total = top + math.log(math.fsum(math.exp(x - top) for x in logs))
    assert rates(sizes, cap=cap, temperature=temperature) == pytest.approx(
        [math.exp(x - total) for x in logs], abs=1e-12
    )


def test_limits_of_the_temperature():
    assert rates([9, 1, 0], temperature=math.inf) == [0.5, 0.5, 0.0]
    assert rates([10**9, 1], temperature=0.01)[0] == pytest.approx(1)
    with pytest.raises(UsageError, match="temperature is 0"):
        rates([1], temperature=0)
    with pytest.raises(UsageError, match="cap is 0"):
        rates([1], cap=0)


@quick
@given(SIZES, st.integers(0, 10**6))
def test_whole_numbers_are_within_one_of_the_rate(sizes, size):
    shares = rates(sizes)
    found = allocate(shares, size)
    assert sum(found) == size
    assert all(abs(n - size * share) < 1 + 1e-6 for n, share in zip(found, shares, strict=True))


@quick
@given(SIZES, st.floats(0.5, 9), st.data())
def test_limited_numbers_share_the_rest_at_their_rates(sizes, temperature, data):
    size = data.draw(st.integers(0, sum(sizes)))
    shares = rates(sizes, temperature=temperature)
    found = allocate(shares, size, sizes)
    assert sum(found) == size
    assert all(0 <= n <= limit for n, limit in zip(found, sizes, strict=True))
    free = [i for i, n in enumerate(found) if n < sizes[i] - 1 and shares[i]]
    for i in free:
        for j in free:  # one factor for all: n_i / r_i and n_j / r_j differ by rounding alone
            assert found[i] - 1 <= (found[j] + 1) * shares[i] / shares[j] * (1 + 1e-9) + 1e-6
        for j in set(range(len(found))) - set(free):  # who is at the limit would get no less than at that factor
            if shares[j]:
                assert found[j] <= (found[i] + 1) * shares[j] / shares[i] * (1 + 1e-9) + 1 + 1e-6


def test_more_than_there_is():
    with pytest.raises(UsageError, match="5 records are asked for, and there are 3"):
        allocate([0.5, 0.5], 5, [1, 2])


def text(i, name=""):
    return f"Record number {i} of the corpus {name} says something about disease number {i} that no other record says."


def corpus(name, n, *, start=0, words=None, licence="CC0-1.0", splits=("train",), pubmed=False):
    def document(i):
        said = text(i, words or name)
        return Document(f"{i}", f"{i}", [Passage(f"{i}_p", "abstract", [said], [(0, len(said))])], file="f", line=i)

    each = {s: [document(i) for i in range(start + n * k, start + n * (k + 1))] for k, s in enumerate(splits)}
    made = corpus_of(each, "kb", name=name)
    made.recipe = msgspec.structs.replace(catalogue.recipe("ncbi_disease"), licence=licence, pubmed=pubmed)
    return made


def ids(found):
    return found.corpus.source("train").column("id").to_pylist()


def test_all_of_everything():
    found = mix([corpus("a", 5), corpus("b", 3)])
    assert sorted(ids(found)) == [f"a/{i}" for i in range(5)] + [f"b/{i}" for i in range(3)]
    record = next(found.corpus.records())
    assert record.metadata == {"corpus": record.id[0], "licence": "CC0-1.0"}
    assert record.passages[0].id == f"{record.id}_p"
    assert ids(found) != sorted(ids(found))
    assert found.notes == []


def test_sizes_follow_the_rates():
    a, b = corpus("a", 90), corpus("b", 10)
    assert [s.taken for s in mix([a, b], size=50).shares] == [45, 5]
    assert [s.taken for s in mix([a, b], cap=20).shares] == [20, 10]
    assert [s.taken for s in mix([a, b], size=16, temperature=2).shares] == [12, 4]
    full = mix([a, b], size=60, temperature=math.inf)
    assert [s.taken for s in full.shares] == [50, 10]
    assert "b gives all of its 10 records, less than its rate asks for" in full.notes
    again = mix([a, b], size=60, temperature=math.inf, repeat=True)
    assert [s.taken for s in again.shares] == [30, 30]
    assert "b is taken 3.0 times over" in again.notes
    assert len(set(ids(again))) == 60
    with pytest.raises(UsageError, match="a temperature needs a size"):
        mix([a, b], temperature=2)


def test_seeds():
    a, b = corpus("a", 60), corpus("b", 30)
    assert ids(mix([a, b], size=20, seed=1)) == ids(mix([a, b], size=20, seed=1))
    assert ids(mix([a, b], size=20, seed=1)) != ids(mix([a, b], size=20, seed=2))
    small, large = mix([a], size=10), mix([a, b], size=45)
    assert set(ids(small)) < set(ids(large))
    tables = [mix([a, b], size=20).corpus.source("train") for _ in range(2)]
    assert tables[0].equals(tables[1])


def test_shared_documents_by_text_and_by_pmid():
    a, b = corpus("a", 6, words="same"), corpus("b", 6, start=4, words="same")
    found = mix([a, b])
    assert [(s.records, s.repeated, s.taken) for s in found.shares] == [(6, 0, 6), (6, 2, 4)]
    assert "2 records of b are in a corpus named before it; left out" in found.notes
    assert len(ids(mix([a, b], dedupe=False))) == 12
    by_number = mix([corpus("a", 6, pubmed=True), corpus("b", 6, start=4, pubmed=True)])  # other texts, same PMIDs
    assert [s.repeated for s in by_number.shares] == [0, 2]
    assert [s.repeated for s in mix([corpus("a", 6), corpus("b", 6, start=4)]).shares] == [0, 0]


def test_test_parts_are_protected():
    a, b = corpus("a", 8, words="same"), corpus("b", 3, start=0, words="same", splits=("test", "train"))
    found = mix([a, b])
    assert [(s.protected, s.repeated, s.taken) for s in found.shares] == [(3, 0, 5), (0, 3, 0)]
    assert "3 records of a are in a part kept for testing; left out" in found.notes
    assert [s.protected for s in mix([a, b], protect=()).shares] == [0, 0]
    x, y = (
        corpus(name, 3, words="same", splits=splits)
        for name, splits in [("x", ("train", "test")), ("y", ("test", "train"))]
    )
    with pytest.raises(DataError, match="nothing is left to mix"):
        mix([x, y])


def test_licences():
    free, alike, trade = corpus("a", 2), corpus("b", 2, licence="CC-BY-SA-4.0"), corpus("c", 2, licence="CC-BY-NC-4.0")
    assert mix([free, alike]).notes == [
        "whoever passes the mixture on is bound to: the whole under CC-BY-SA-4.0, its sources named"
    ]
    with pytest.raises(
        UsageError, match=r"CC-BY-NC-4.0 forbids trade.*\(b with c\)|CC-BY-NC-4.0 forbids trade \(c with b\)"
    ):
        mix([free, alike, trade])
    flagged = mix([free, alike, trade], licences="flag")
    assert flagged.notes[0].startswith("licences contradict each other: CC-BY-SA-4.0 wants")
    assert not flagged.verdict.may_be_shared
    kept = mix([free, corpus("d", 2, licence="PhysioNet"), corpus("e", 2, licence="unknown")])
    assert any("PhysioNet: use needs an agreement" in note for note in kept.notes)
    assert any("unknown: no terms are stated" in note for note in kept.notes)
    assert "the mixture may not be passed on as it is" in kept.notes
    with pytest.raises(UsageError, match="unknown way to treat licences 'ignore'"):
        mix([free], licences="ignore")


def test_one_schema_and_known_splits():
    other = corpus_of({"train": [LabelledText("1", "1", "x", ["a"])]}, "text", name="t")
    with pytest.raises(UsageError, match="only corpora of one schema"):
        mix([corpus("a", 2), other])
    with pytest.raises(UsageError, match="each once"):
        mix([corpus("a", 2), corpus("a", 2)])
    with pytest.raises(UsageError, match=r"unknown split of a 'trian'\. Did you mean 'train'"):
        mix([corpus("a", 2)], split="trian")


def test_lines_say_it():
    lines = mix([corpus("a", 9), corpus("b", 1)], size=5, seed=3).lines()
    assert lines[0] == "5 records of 2 corpora, seed 3"
    assert lines[1] == "  a (CC0-1.0): 5 of 9, rate 0.9000"


def test_select():
    assert "ncbi_disease_bigbio_kb" in select("NED", "en", "CC0-1.0")
    assert "ncbi_disease_bigbio_kb" not in select("NED", "en", "CC0-1.0", largest=792)
    assert "ncbi_disease_bigbio_kb" in select("NED", smallest=793, largest=793)
    assert all(name.endswith("_bigbio_kb") for name in select("NER"))
    with pytest.raises(UsageError, match="unknown task 'NRE'"):
        select("NRE")
