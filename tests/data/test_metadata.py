"""BigBIO's statistics: against a plain count over records, and against what BigBIO's own loader gave for the same files."""

from __future__ import annotations

import json

import pytest

from mumei.data import load
from mumei.data.corpus import corpus_of
from mumei.data.documents import (
    Argument,
    ConceptRelation,
    Document,
    Event,
    LabelledText,
    Question,
    TextPair,
    TextToText,
    Trigger,
)
from mumei.data.metadata import metadata
from mumei.data.schemas import Entity, Normalized, Passage


def test_kb():
    links = [Normalized("MESH", "D1"), Normalized("OMIM", "1")]
    one = Document("1", "1", [Passage("1_t", "title", ["β-cell."], [(0, 7)])])
    one.entities = [
        Entity("1_T1", "Cell", ["β-cell"], [(0, 6)], links),
        Entity("1_T2", "Cell", ["cell"], [(2, 6)], links[:1]),
    ]
    one.events = [Event("1_E", "Growth", Trigger(["cell"], [(2, 6)]), [Argument("Theme", "1_T1", 2)])]
    one.concept_relations = [ConceptRelation("1_R", "Part", "D1", "1")]
    found = metadata(corpus_of({"train": [one, Document("2", "2")], "test": []}, "kb"))
    assert found["train"] == {
        "samples_count": 2,
        "passages_count": 1,
        "passages_char_count": 7,
        "passages_type_counter": {"title": 1},
        "entities_count": 2,
        "entities_normalized_count": 3,
        "entities_type_counter": {"Cell": 2},
        "entities_db_name_counter": {"MESH": 2, "OMIM": 1},
        "entities_unique_db_ids_count": 2,
        "events_count": 1,
        "events_type_counter": {"Growth": 1},
        "events_arguments_count": 1,
        "events_arguments_role_counter": {"Theme": 1},
        "coreferences_count": 0,
        "relations_count": 2,  # both mentions of D1 with the one of 1
        "relations_type_counter": {"Part": 2},
        "relations_db_name_counter": {},
        "relations_unique_db_ids_count": 0,
    }
    assert set(found["test"]) == set(found["train"])
    assert not any(found["test"].values())


def test_other_schemas():
    qa = corpus_of({"a": [Question("1", "1", "1", "Is it?", "yesno", ["yes", "no"], "", ["yes"])]}, "qa")
    assert metadata(qa)["a"] == {
        "samples_count": 1,
        "question_char_count": 6,
        "context_char_count": 0,
        "answer_count": 1,
        "answer_char_count": 3,
        "type_counter": {"yesno": 1},
        "choices_counter": {"no": 1, "yes": 1},
    }
    t2t = metadata(corpus_of({"a": [TextToText("1", "1", "ab", "cde", "de", "en")]}, "t2t"))["a"]
    assert t2t["text_2_char_count"] == 3
    assert t2t["text_1_name_counter"] == {"de": 1}
    pairs = metadata(corpus_of({"a": [TextPair("1", "1", "ab", "cde", "4.0")]}, "pairs"))["a"]
    assert pairs == {"samples_count": 1, "text_1_char_count": 2, "text_2_char_count": 3, "label_counter": {"4.0": 1}}


def test_counters_are_capped_and_in_order():
    rows = [LabelledText(str(i), str(i), "x", [f"l{i % 60:02}"] * (1 + (i == 7))) for i in range(60)]
    found = metadata(corpus_of({"a": rows}, "text"))["a"]
    assert found["labels_count"] == 61
    assert list(found["labels_counter"].items())[:3] == [("l07", 2), ("l00", 1), ("l01", 1)]
    assert len(found["labels_counter"]) == 50
    assert len(metadata(corpus_of({"a": rows}, "text"), most=3)["a"]["labels_counter"]) == 3


@pytest.mark.parametrize("split", ["validation", "test"])
def test_as_bigbio_counts_the_same_files(corpora_dir, split):
    """NCBI-disease by BigBIO's loader under datasets 2.21, which leaves a document of the training part out."""
    theirs = json.loads((corpora_dir / "expected_counts.json").read_text())["ncbi_disease"]["bigbio_loader"][split]
    ours = metadata(load("ncbi_disease", folder=corpora_dir, split=split))[split]
    assert ours["samples_count"] == theirs["examples"]
    assert ours["passages_count"] == theirs["passages"]
    assert ours["entities_count"] == theirs["entities"]
    assert ours["entities_type_counter"] == theirs["entity_types"]
