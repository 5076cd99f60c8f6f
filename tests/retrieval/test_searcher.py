"""Search with hypothetical documents: what takes part, what falls back, what is said."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import Scripted, ToyIndex, ToyMaterial

from mumei.core.errors import MumeiError, UsageError
from mumei.retrieval.auto import is_name, worth_it
from mumei.retrieval.budget import Budget, OverBudget, within
from mumei.retrieval.hyde import DEFAULT, PAPER, Hyde
from mumei.retrieval.searcher import Searcher, weight_of_words

HEART = "The heart pumps blood. An artery under pressure may cause infarction."
BRAIN = "A neuron of the cortex stores memory. A synapse joins two of them."


@pytest.fixture(scope="module")
def material():
    return ToyMaterial()


def subjects(answer, count=5):
    return {int(hit["id"][1:]) % 3 for hit in answer.hits[:count]}


def test_the_query_alone_finds_by_words_and_meaning(material):
    answer = Searcher(material).search("vaccine antibody", 5)
    assert [hit["rank"] for hit in answer.hits] == [1, 2, 3, 4, 5]
    assert subjects(answer) == {2}
    first = answer.hits[0]
    assert first["sentence"] in first["text"]
    assert {"vaccine", "antibody"} & set(first["words"])
    assert first["hyde_rank"] is None
    assert "similarity" in first["why"]
    assert [s.name for s in answer.stages][:3] == ["encode the question", "search by meaning", "search by words"]
    assert all(s.seconds >= 0 for s in answer.stages)


def test_hypothetical_documents_lead_where_the_question_has_no_word_of_the_answer(material):
    """'pump' is in no passage; the generated text has the passages' words."""
    generator = Scripted(HEART)
    answer = Searcher(material, generator=generator, mode="on", hyde=Hyde(guard=False)).search("what is a pump", 5)
    assert subjects(answer) == {0}
    assert answer.generator == "scripted"
    assert generator.asked[0]["n"] == 2
    assert "Question: what is a pump\n" in generator.asked[0]["prompts"][0]
    assert answer.hits[0]["hyde_rank"] is not None


def test_paper_mode_ranks_by_the_mean_vector_alone(material):
    """Expected: brute force over the formula v = (sum f(d_i) + f(q)) / (N + 1), N = 8."""
    generator = Scripted(HEART, BRAIN)
    answer = Searcher(material, generator=generator, hyde=PAPER, mode="on").search("blood in the brain", 7)
    encoder = material.encoder
    vectors = [*encoder.encode([HEART, BRAIN] * 4), encoder.encode(["blood in the brain"])[0]]
    expected = np.argsort(-(material.vectors.all @ np.mean(vectors, axis=0)), kind="stable")[:7]
    assert [hit["row"] for hit in answer.hits] == expected.tolist()
    assert generator.asked == [{**generator.asked[0], "n": 8, "temperature": 0.7, "max_tokens": 512}]


def test_the_guard_drops_what_is_not_about_the_question(material):
    searcher = Searcher(material, generator=Scripted(BRAIN), mode="on")
    answer = searcher.search("vaccine antibody fever", 5)
    plain = Searcher(material).search("vaccine antibody fever", 5)
    assert [g.kept for g in answer.generations] == [False, False]
    assert "not about the question" in answer.generations[0].note
    assert [h["row"] for h in answer.hits] == [h["row"] for h in plain.hits]
    assert any("2 of 2 hypothetical documents dropped" in note for note in answer.notes)


@pytest.mark.parametrize(("text", "note"), [("", "empty"), ("  Vaccine  ANTIBODY ", "repeats the question")])
def test_texts_that_say_nothing_are_dropped(material, text, note):
    answer = Searcher(material, generator=Scripted(text), mode="on").search("vaccine antibody")
    assert [g.note for g in answer.generations] == [note, note]
    assert answer.hits


def test_evidence_names_sentences_and_marks_what_nothing_supports(material):
    text = "The heart pumps blood. Zebras have stripes."
    answer = Searcher(material, generator=Scripted(text), mode="on", hyde=Hyde(n=1)).search(
        "heart and blood pressure", 3
    )
    supported = {s["text"]: s["supported"] for s in answer.generations[0].sentences}
    assert supported == {"The heart pumps blood.": True, "Zebras have stripes.": False}
    for hit in answer.hits:
        assert hit["support"][0]["sentence"] == "The heart pumps blood."


def test_two_senses_are_searched_apart_and_shown_as_groups(material):
    hyde = Hyde(n=4, guard=False)
    answer = Searcher(material, generator=Scripted(HEART, BRAIN), mode="on", hyde=hyde).search("what is this organ", 6)
    groups = [{int(hit["id"][1:]) % 3 for hit in sense["hits"]} for sense in answer.senses]
    assert sorted(map(sorted, groups)) == [[0], [1]]
    assert sorted(sense["share"] for sense in answer.senses) == [0.5, 0.5]
    assert any("2 senses" in note for note in answer.notes)
    assert subjects(answer, 6) == {0, 1}


def test_off_never_generates_and_own_text_needs_no_generator(material):
    generator = Scripted(HEART)
    off = Searcher(material, generator=generator, mode="off").search("what is a pump")
    assert generator.asked == []
    assert off.generations == []
    own = Searcher(material).search("what pumps blood from the heart", hypotheses=[HEART])
    assert own.generator == "your own text"
    assert own.generations[0].kept


def test_auto_says_why_it_did_not_generate(material):
    generator = Scripted(HEART)
    answer = Searcher(material, generator=generator).search("BRCA1")
    assert generator.asked == []
    assert any("name or identifier" in note for note in answer.notes)


def test_feedback_is_labelled(material):
    answer = Searcher(material, generator="feedback", mode="on").search("heart artery")
    assert any("no language model" in note for note in answer.notes)
    assert answer.generations == []
    assert answer.hits[0]["hyde_rank"] == 1


def test_a_stream_gives_the_first_answer_before_the_generator_is_asked(material):
    generator = Scripted(HEART)
    stream = Searcher(material, generator=generator, mode="on").stream("what pumps blood")
    first = next(stream)
    assert not first.complete
    assert first.hits
    assert generator.asked == []
    assert next(stream).complete


class Broken:
    name = "broken"

    def __init__(self, error):
        self.error = error

    def generate(self, prompts, **options):
        raise self.error


def test_a_generator_that_fails_is_said_and_the_search_still_answers(material):
    answer = Searcher(material, generator=Broken(MumeiError("the endpoint is down")), mode="on").search("heart valve")
    assert answer.hits[0]["hyde_rank"] is None
    assert any("the endpoint is down" in note for note in answer.notes)
    assert [s.fell_back for s in answer.stages if s.name == "generate"] == ["the endpoint is down"]


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), ConnectionError("gone")])
def test_whatever_a_generator_raises_is_said_and_the_search_still_answers(material, error):
    answer = Searcher(material, generator=Broken(error), mode="on").search("heart valve")
    assert answer.hits
    assert any(f"the generator raised {type(error).__name__}" in note for note in answer.notes)


def test_texts_that_are_none_are_refused(material):
    answer = Searcher(material, generator=Scripted(None), mode="on").search("heart valve")
    assert any("not 2 texts" in note for note in answer.notes)


def test_a_wrongly_set_up_generator_is_the_users_to_mend(material):
    with pytest.raises(UsageError, match="wrong key"):
        Searcher(material, generator=Broken(UsageError("wrong key")), mode="on").search("heart valve")


def test_what_was_finished_before_a_failure_is_used(material):
    error = MumeiError("too late")
    error.finished = [[HEART]]
    answer = Searcher(material, generator=Broken(error), mode="on").search("heart blood pressure artery")
    assert [g.text for g in answer.generations] == [HEART]
    assert any("1 of 2 hypothetical documents: too late" in note for note in answer.notes)


def test_too_few_documents_have_no_guard_and_no_verdict(material):
    small = ToyMaterial(["heart valve", "brain cortex", "virus fever"])
    answer = Searcher(small, generator=Scripted(BRAIN), mode="on").search("zebra")
    assert answer.generations[0].kept
    assert any("no guard" in note for note in answer.notes)
    assert not any("weak" in note for note in answer.notes)


def test_what_the_collection_has_to_say_is_passed_on(material):
    behind = ToyMaterial()
    behind.notes = ["words are behind by 3 rows"]
    assert "words are behind by 3 rows" in Searcher(behind).search("heart").notes


def test_a_slow_generator_is_given_up(material):
    class Slow:
        name = "slow"

        def generate(self, prompts, **options):
            time.sleep(5)

    start = time.perf_counter()
    searcher = Searcher(material, generator=Slow(), mode="on", budget=Budget(generate=0.2))
    answer = searcher.search("heart valve")
    assert time.perf_counter() - start < 4
    assert any("longer than 0.2 s" in note for note in answer.notes)
    assert answer.hits


def test_a_long_question_is_summarised_and_the_summary_is_searched(material):
    generator = Scripted(HEART, summary="heart infarction pressure")
    question = (
        "Dear doctor, my aunt had a heart problem, infarction they said, and pressure, and her dog barks. Thanks!"
    )
    answer = Searcher(material, generator=generator, prompt="consumer", mode="on").search(question)
    assert answer.searched == "heart infarction pressure"
    assert answer.question == question
    assert "Question: heart infarction pressure\n" in generator.asked[1]["prompts"][0]
    assert subjects(answer) == {0}


def test_a_summary_about_something_else_is_not_used(material):
    generator = Scripted(HEART, summary="neuron synapse cortex")
    answer = Searcher(material, generator=generator, prompt="consumer", mode="on").search("heart infarction and blood")
    assert answer.searched == "heart infarction and blood"
    assert any("summary was not about" in note for note in answer.notes)


def test_a_condition_limits_every_ranking_and_the_evidence(material):
    searcher = Searcher(material, generator=Scripted(HEART), mode="on", hyde=Hyde(n=1))
    answer = searcher.search("what pumps blood", 50, where="stroke")
    assert answer.hits
    assert all("stroke" in hit["text"] for hit in answer.hits)
    nothing = searcher.search("what pumps blood", where="no passage has this")
    assert nothing.hits == []
    assert any("no document meets the condition, of 90" in note for note in nothing.notes)


@pytest.mark.parametrize("query", ["", "  \n", None])
def test_an_empty_query_is_refused(material, query):
    with pytest.raises(UsageError, match="empty"):
        Searcher(material).search(query)


def test_a_query_of_100_000_characters_is_answered_and_said(material):
    answer = Searcher(material).search("heart valve " * 8400, 3)
    assert subjects(answer, 3) == {0}
    assert any("100,800 characters" in note for note in answer.notes)


def test_japanese_is_searched_by_words_where_the_encoder_is_english(material):
    class English:
        name, dim = "all-MiniLM-L6-v2/float32/256", 3

        def encode(self, items, **options):
            raise AssertionError("must not be asked")

    class Japanese(ToyMaterial):
        def __init__(self):
            super().__init__(["肺炎の治療", "心不全の薬物療法", "heart valve"])
            self.encoder, self.vectors = English(), ToyIndex(np.eye(3, dtype=np.float32))

    answer = Searcher(Japanese()).search("心不全の薬", 2)
    assert [hit["row"] for hit in answer.hits] == [1]
    assert any("words alone" in note for note in answer.notes)


def test_wrong_settings_are_refused(material):
    with pytest.raises(UsageError, match="Did you mean 'auto'"):
        Searcher(material, mode="autoo")
    with pytest.raises(UsageError, match="needs a language"):
        Searcher(material, prompt="mr-tydi")
    with pytest.raises(UsageError, match="--top 0"):
        Searcher(material).search("heart", 0)
    with pytest.raises(UsageError, match="more than 0"):
        Budget(generate=0)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("BRCA1", True),
        ("rs1799853", True),
        ("NM_000546.6", True),
        ("Noonan Syndrome", True),
        ("10.1000/182", True),
        ("does aspirin thin blood", False),
        ("heart attack risk", False),
        ("What is BRCA1?", False),
        ("Is Durvalumab effective", False),
        ("", False),
    ],
)
def test_names_and_identifiers(query, expected):
    assert is_name(query) is expected


@pytest.mark.parametrize(
    ("similarity", "dense", "words", "expected"),
    [
        (0.3, [1, 2], [1, 2], True),  # weak
        (0.9, [1, 2], [3, 4], True),  # they disagree
        (0.9, [1, 2], [2, 1], False),
        (None, [], [1], False),
    ],
)
def test_when_documents_are_worth_it(similarity, dense, words, expected):
    assert worth_it("heart attack risk", similarity, (0.1, 0.1), dense, words)[0] is expected


def test_within_returns_raises_and_gives_up():
    assert within(5, "adding", lambda: 1 + 1) == 2
    with pytest.raises(KeyError, match="x"):
        within(5, "looking", lambda: {}["x"])
    with pytest.raises(OverBudget, match=r"sleeping took longer than 0\.05 s"):
        within(0.05, "sleeping", lambda: time.sleep(1))


def test_answers_have_a_json_form(material):
    import json

    answer = Searcher(material, generator=Scripted(HEART), mode="on").search("what pumps blood")
    assert json.loads(json.dumps(answer.to_dict()))["generations"][0]["text"] == HEART
    assert DEFAULT.n == len(answer.generations)


@given(st.integers(1, 400))
def test_the_words_of_a_long_question_count_the_less_the_longer_it_is(count):
    here, longer = (weight_of_words(" ".join(["word"] * n) + " ?") for n in (count, count + 1))
    assert 0 < longer <= here <= 0.5
