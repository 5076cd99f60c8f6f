"""Every check finds the fault planted for it, by its code and place, and sound data of every schema give nothing.

A fault is a function that returns a corpus with that one fault; `also` are the codes that cannot but be found with it.
"""

from __future__ import annotations

import msgspec
import pytest

from mumei.data.checks import registry, run_checks
from mumei.data.corpus import Corpus, corpus_of
from mumei.data.documents import (
    Argument,
    Attribute,
    ConceptRelation,
    Coreference,
    Document,
    Entailment,
    Event,
    LabelledText,
    Question,
    Relation,
    TextPair,
    TextToText,
    Trigger,
)
from mumei.data.readers.base import Problem
from mumei.data.recipes import CorpusFile, View, read_recipe
from mumei.data.schemas import NULL, Entity, Normalized, Passage

ABSTRACT = (
    "Patients with the syndrome were followed for eleven years after the first operation, and none of them developed a second "
    "tumour of the colon although all carried the mutation that had been described in the family before. "
)
RECIPE = """
name = "mine"
title = "t"
description = "d"
homepage = "https://example.org"
citation = "@article{a2020b, title = {A {B}}}"
licence = "CC0-1.0"
languages = ["en"]
tasks = ["NER", "EE", "COREF"]
[views.kb]
reader = "pubtator"
[[files]]
name = "a.txt"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
urls = ["https://example.org/a.txt"]
[splits]
train = ["a.txt"]
test = ["a.txt"]
[counts]
all = { documents = 2 }
"""
FAULTS = {}  # code -> (function, what the finding says of its place, codes also found)


def fault(code, also=(), **where):
    def add(function):
        assert code not in FAULTS
        FAULTS[code] = (function, where, set(also))
        return function

    return add


def sound(name: str = "1") -> Document:
    return Document(
        name,
        name,
        [
            Passage(f"{name}_t", "title", ["A gene."], [(0, 7)]),
            Passage(f"{name}_a", "abstract", ["It grows."], [(8, 17)]),
        ],
        [Entity(f"{name}_T1", "Gene", ["gene"], [(2, 6)]), Entity(f"{name}_T2", "Gene", ["It"], [(8, 10)])],
        [
            Event(
                f"{name}_E1", "Growth", Trigger(["grows"], [(11, 16)], f"{name}_T3"), [Argument("Theme", f"{name}_T1")]
            )
        ],
        [Coreference(f"{name}_C1", [f"{name}_T1", f"{name}_T2"])],
        attributes=[Attribute(f"{name}_A1", "Negation", "", f"{name}_E1")],
        sentences=[(0, 7), (8, 17)],
        file="x.ann",
        line=1,
    )


def kb(spoil=None, splits=("train", "test"), recipe=None) -> Corpus:
    """Return a corpus of a document in each split, the first one spoilt."""
    documents = {split: [sound(str(number))] for number, split in enumerate(splits, 1)}
    for split in splits:
        documents[split][0].split = split
    if spoil:
        spoil(documents[splits[0]][0])
    corpus = corpus_of(documents, "kb")
    corpus.recipe = recipe
    return corpus


def recipe(**changes):
    return msgspec.structs.replace(read_recipe(RECIPE.encode(), "x"), **changes)


def long(name: str, text: str = ABSTRACT, split: str = "train") -> Document:
    return Document(name, name, [Passage(f"{name}_a", "abstract", [text], [(0, len(text))])], split=split)


def mention(document, start, end, kind="Gene", links=(), number=9):
    text = document.text()[start:end]
    document.entities.append(Entity(f"{document.id}_T{number}", kind, [text], [(start, end)], list(links)))


# --- spans


@fault("SP01", item="1_a", also={"SP02", "SP03", "SP14"})
def two_texts():
    return kb(lambda d: d.passages[1].text.append("More."))


@fault("SP02", item="1_a", also={"SP12"})
def shifted_passage():
    return kb(lambda d: d.passages[1].offsets.__setitem__(0, (7, 16)))


@fault("SP03", item="1_T1")
def one_text_for_two():
    return kb(lambda d: d.entities[0].offsets.append((8, 10)))


@fault("SP04", item="1_T1")
def out_of_range():
    return kb(lambda d: d.entities[0].offsets.__setitem__(0, (14, 18)))


@fault("SP05", item="1_E1")
def wrong_text():
    return kb(lambda d: d.events[0].trigger.text.__setitem__(0, "grown"))


@fault("SP06", item="1_T9", also={"ID05"})
def blank_edge():
    return kb(lambda d: mention(d, 1, 6))


@fault("SP07", item="1_T1")
def backwards():
    def spoil(d):
        d.entities[0].text[:], d.entities[0].offsets[:] = ["grows", "gene"], [(11, 16), (2, 6)]

    return kb(spoil)


@fault("SP08", item="1_T9", also={"ID05"})
def cut_word():
    return kb(lambda d: mention(d, 3, 6))


@fault("SP09", item="1_T9", also={"ID05"})
def other_blanks():
    def spoil(d):
        mention(d, 0, 6)
        d.entities[-1].text[0] = "A  gene"

    return kb(spoil)


@fault("SP10", item="1_T9", also={"SP12"})
def blank_mention():
    return kb(lambda d: mention(d, 7, 8))


@fault("SP11", item="1")
def sentence_out_of_range():
    return kb(lambda d: d.sentences.__setitem__(1, (8, 18)))


@fault("SP12", item="1_T9", also={"SP13", "ID05"})
def across_passages():
    return kb(lambda d: mention(d, 2, 10))


@fault("SP13", item="1_T1")
def sentence_within_mention():
    return kb(lambda d: d.sentences.__setitem__(slice(None), [(0, 3), (4, 17)]))


@fault("SP14", item="1_b")
def same_passage_twice():
    def spoil(d):
        d.passages = [Passage(f"1_{n}", "x", ["Results."], [(0, 8)]) for n in "ab"]
        d.entities, d.events, d.coreferences, d.attributes, d.sentences = [], [], [], [], []

    return kb(spoil, splits=("test",))


@fault("SP15", item="1_T9", also={"ID05"})
def bracket():
    def spoil(d):
        d.passages[0].text[0] = "A(gene)"
        mention(d, 1, 6)

    return kb(spoil)


# --- references


@fault("RF01", item="1_E1")
def dangling():
    return kb(lambda d: setattr(d.events[0].arguments[0], "ref_id", "1_T9"))


@fault("RF02", item="1_C1")
def coreferent_event():
    return kb(lambda d: d.coreferences[0].entity_ids.append("1_E1"))


@fault("RF03", item="1_R1")
def relation_of_trigger():
    return kb(lambda d: d.relations.append(Relation("1_R1", "Part", "1_T1", "1_T3")))


@fault("RF04", item="1_C1")
def lonely():
    return kb(lambda d: d.coreferences[0].entity_ids.pop())


@fault("RF05", item="1_R1")
def reflexive():
    return kb(lambda d: d.relations.append(Relation("1_R1", "Part", "1_T1", "1_T1")))


@fault("RF06", item="1_E1")
def cycle():
    def spoil(d):
        d.events[0].arguments.append(Argument("Cause", "1_E2"))
        d.events.append(Event("1_E2", "Growth", Trigger(["It"], [(8, 10)], "1_T4"), [Argument("Theme", "1_E1")]))

    return kb(spoil)


@fault("RF07", item="1_R1")
def unmentioned():
    def spoil(d):
        d.entities[0].normalized.append(Normalized("MESH", "D009369"))
        d.concept_relations.append(ConceptRelation("1_R1", "CID", "D009369", "D001943"))

    return kb(spoil)


@fault("RF08", item="1_C2")
def in_two_chains():
    def spoil(d):
        mention(d, 0, 1)
        d.coreferences.append(Coreference("1_C2", ["1_T2", "1_T9"]))

    return kb(spoil)


# --- identity, reading, counts


@fault("ID01", item="1_T1")
def same_id():
    def spoil(d):
        d.entities[1].id = "1_T1"
        d.coreferences.clear()

    return kb(spoil)


@fault("ID02", document="2", split="test")
def same_document():
    again = sound("2")
    again.document_id = "1"
    return corpus_of({"train": [sound("1")], "test": [again]}, "kb")


@fault("ID03", document="2", split="train")
def same_text():
    return corpus_of({"train": [long("1"), long("2", ABSTRACT.upper().replace(" ", "  "))]}, "kb")


@fault("ID04", item="1_T9")
def same_mention():
    return kb(lambda d: mention(d, 2, 6))


@fault("ID05", item="1_T1")
def nested():
    return kb(lambda d: mention(d, 0, 6))


@fault("ID06", item="entities")
def no_id():
    def spoil(d):
        d.entities[1].id = ""
        d.coreferences.clear()

    return kb(spoil)


@fault("ID07", item="1_T1")
def crossing():
    def spoil(d):
        d.entities[0].offsets[0], d.entities[0].text[0] = (2, 7), "gene."
        mention(d, 0, 6, "Phrase")

    return kb(spoil)


@fault("ID08", item="1_T9")
def two_types():
    return kb(lambda d: mention(d, 2, 6, "Protein"))


@fault("RD01", document="9", file="x.ann", line=7)
def unread():
    corpus = kb()
    corpus.problems = [Problem("cut off", "x.ann", 7, "9")]
    return corpus


@fault("RD02", document="9", line=8)
def odd():
    corpus = kb()
    corpus.problems = [Problem("odd", "x.ann", 8, "9", skipped=False)]
    return corpus


@fault("CT01", split="train")
def other_count():
    return kb(recipe=recipe(counts={"train": {"entities": 3}, "test": {"entities": 2}}))


@fault("CT02", split="test")
def empty_split():
    return corpus_of({"train": [sound()], "test": []}, "kb")


@fault("CT03", split="test")
def uncounted():
    return kb(recipe=recipe(counts={"train": {"entities": 2}}))


# --- tasks and metadata: what the recipe says


def lacks(part, tasks):
    return kb(lambda d: setattr(d, part, []), recipe=recipe(tasks=tasks))


@fault("TK01", split="train", also={"RF01", "TK04"})
def no_entities():
    return lacks("entities", ("NER", "EE", "COREF"))


def linked(spoil=None):
    """Return a corpus for NED and RE too, its first document spoilt."""

    def both(d):
        for entity in d.entities:
            entity.normalized = [Normalized("MESH", "D009369")]
        d.relations = [Relation(f"{d.id}_R1", "Part", f"{d.id}_T1", f"{d.id}_T2")]

    documents = {"train": [sound("1")], "test": [sound("2")]}
    for (document,) in documents.values():
        both(document)
    if spoil:
        spoil(documents["train"][0])
    corpus = corpus_of(documents, "kb")
    corpus.recipe = recipe(tasks=("NER", "NED", "RE", "EE", "COREF"))
    return corpus


@fault("TK02", split="train")
def no_links():
    def spoil(d):
        for entity in d.entities:
            entity.normalized = []

    return linked(spoil)


@fault("TK03", split="train", also={"LB09"})
def no_relations():
    return linked(lambda d: d.relations.clear())


@fault("TK04", split="train")
def no_coreferences():
    return lacks("coreferences", ("NER", "EE", "COREF"))


@fault("TK05", split="train", also={"RF01", "LB09"})
def no_events():
    return lacks("events", ("NER", "EE", "COREF"))


@fault("TK06")
def unnamed():
    return kb(recipe=recipe(tasks=("NER", "COREF")))


@fault("TK07", also={"TK09", "TK06"})
def no_kb_task():
    return kb(recipe=recipe(tasks=("TXTCLASS",)))


@fault("TK08", also={"TK03"})
def never_a_relation():
    return kb(recipe=recipe(tasks=("NER", "EE", "COREF", "RE")))


@fault("TK09")
def no_view():
    return kb(recipe=recipe(tasks=("NER", "EE", "COREF", "TXTCLASS")))


@fault("MD01")
def licence_unknown():
    return kb(recipe=recipe(licence="unknown"))


@fault("MD02")
def licence_of_its_own():
    return kb(recipe=recipe(licence="house rules"))


@fault("MD03")
def language_by_name():
    return kb(recipe=recipe(languages=("english",)))


@fault("MD04")
def no_bibtex():
    return kb(recipe=recipe(citation="Somebody, 2014"))


@fault("MD05")
def train_alone():
    return kb(splits=("train",), recipe=recipe(splits={"train": ("a.txt",)}, counts={"all": {"documents": 1}}))


@fault("MD06", file="a.txt")
def no_address():
    return kb(recipe=recipe(files=(CorpusFile("a.txt", "0" * 64, ("http://example.org/a.txt",)),)))


@fault("MD07")
def says_otherwise():
    return kb(recipe=recipe(name="ncbi_disease", licence="MIT"))


# --- questions


def qa(**changes):
    given = {"type": "yesno", "choices": ["yes", "no"], "answer": ["yes"], "question": "Is BRCA1 a gene?"} | changes
    one = Question("q1", "q1", "d1", context="", split="test", **given)
    other = Question("q2", "q2", "d2", "Which gene?", "factoid", [], "", ["BRCA1"], split="test")
    return corpus_of({"test": [one, other]}, "qa")


QUESTIONS = {
    "QA01": {"type": "summary"},
    "QA02": {"choices": []},
    "QA03": {"answer": ["Yes"]},
    "QA04": {"type": "boolean"},
    "QA05": {"answer": []},
    "QA06": {"question": NULL},
    "QA07": {"choices": ["yes", "no", "Yes "]},
}
for _code, _changes in QUESTIONS.items():
    fault(_code, document="q1", item=next(iter(_changes)))(lambda changes=_changes: qa(**changes))
FAULTS["QA01"][1]["item"] = "choices"


# --- labels


@fault("LB01", item="entities")
def joined_type():
    return kb(lambda d: setattr(d.entities[0], "type", "Gene|Protein"))


@fault("LB02", item="db_id")
def joined_link():
    return kb(lambda d: d.entities[0].normalized.append(Normalized("MESH", "D009369|D001943")))


@fault("LB03", item="entities")
def spelt():
    return kb(lambda d: setattr(d.entities[0], "type", "gene "))


def classes(*extra, labels=("a", "b"), split="test"):
    rows = [LabelledText(f"t{i}", f"t{i}", f"Sentence number {i}.", [labels[i % 2]], split="train") for i in range(40)]
    more = [LabelledText(f"x{i}", f"x{i}", text, list(said), split=split) for i, (text, said) in enumerate(extra)]
    return corpus_of({"train": rows, "test": more} if split == "test" else {"train": rows + more}, "text")


@fault("LB04", item="labels")
def single():
    return classes(("Another one.", ["c"]), split="train")


@fault("LB05", item="1_T1", also={"LB03"})
def no_type():
    return kb(lambda d: setattr(d.entities[0], "type", ""), splits=("test",))


def pairs(*rows, tasks=("STS",), kind="pairs"):
    corpus = corpus_of({"test": list(rows)}, kind)
    view = {kind: View("pubtator")}
    corpus.recipe = recipe(tasks=tasks, views=view, counts={"all": {"documents": len(rows)}})
    return corpus


@fault("LB06", document="p2", item="label")
def no_score():
    return pairs(TextPair("p1", "p1", "Heart", "Heart attack", "3.5"), TextPair("p2", "p2", "Lung", "Lip", "high"))


@fault("LB07", item="treats")
def rare_signature():
    documents = []
    for i in range(300):
        d = long(str(i), f"{i:03} cures it.")
        mention(d, 0, 3, "Drug", number=1)
        mention(d, 10, 12, "Disease", number=2)
        ends = (f"{i}_T1", f"{i}_T2")
        d.relations.append(Relation(f"{i}_R", "treats", *(ends if i else ends[::-1])))
        documents.append(d)
    return corpus_of({"train": documents}, "kb")


@fault("LB08", item="MESH")
def bad_form():
    return kb(lambda d: d.entities[0].normalized.append(Normalized("MESH", "D0093")))


@fault("LB09", split="test", item="labels", also={"LB04"})
def new_label():
    return classes(("Another one.", ["c"]))


@fault("LB10", document="t2", also={"ID03"})
def contradiction():
    said = "The patients were treated with the same dose of the drug."
    rows = [Entailment(f"t{i}", said, "All had one dose.", label, split="test") for i, label in ((1, "yes"), (2, "no"))]
    return corpus_of({"test": rows}, "te")


# --- texts


def text(content, languages=("en",)):
    corpus = corpus_of({"test": [LabelledText("a", "a", content, ["x"], split="test")]}, "text")
    view = {"text": View("pubtator")}
    corpus.recipe = recipe(tasks=("TXTCLASS",), views=view, languages=languages, counts={"all": {"documents": 1}})
    return corpus


@fault("TX01", document="p1", item="text")
def empty_side():
    return pairs(TextPair("p1", "p1", "Heart", " ", "3.5"))


@fault("TX02", document="a")
def replacement():
    return text("na\ufffdve T cells")


@fault("TX03", document="a")
def spanish():
    return text(
        "La paciente fue ingresada en el hospital por fiebre y tos, y se le practicó una radiografía que mostró un derrame en el "
        "pulmón. No se observaron otros signos de la enfermedad durante los meses que siguieron, por lo que fue dada de alta con "
        "un tratamiento para los síntomas y una cita con su médico."
    )


@fault("TX04", document="a")
def mojibake():
    return text("Behçet".encode().decode("latin-1") + " disease")


@fault("TX05", document="p1")
def equal():
    one = TextToText("p1", "p1", "The trial was stopped.", "the trial was  stopped", split="test")
    return pairs(one, tasks=("PARA",), kind="t2t")


@fault("TX06", document="a")
def separator():
    return text("Results\u2028We found")


@fault("TX07", document="a")
def entity():
    return text("IFN-&gamma; was low")


@fault("TX08", document="a")
def accents():
    return text("Behc\u0327et disease")


# --- leakage


@fault("LK01", document="2", split="test")
def leaked():
    return corpus_of({"train": [long("1")], "test": [long("2", split="test")]}, "kb")


@fault("LK02", document="1", split="train")
def elsewhere():
    return corpus_of({"train": [long("1")]}, "kb"), [corpus_of({"dev": [long("7")]}, "kb", name="other")]


@fault("LK03", document="2", split="test")
def nearly():
    edited = ABSTRACT.replace("colon", "breast")
    return corpus_of({"train": [long("1", ABSTRACT * 2)], "test": [long("2", ABSTRACT + edited, "test")]}, "kb")


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_planted_fault_is_found_by_its_code(code):
    make, where, also = FAULTS[code]
    made = make()
    corpus, beside = made if isinstance(made, tuple) else (made, [])
    report = run_checks(corpus, beside=beside)
    found = [f for f in report.findings if f.code == code]
    assert len(found) == report.found[code] == 1, report.found
    assert {key: getattr(found[0], key) for key in where} == where
    assert set(report.found) - {code} <= also
    assert found[0].severity == registry()[code].severity
    assert found[0].message


def test_every_check_has_a_planted_fault():
    assert set(registry()) == set(FAULTS)
    assert len(FAULTS) >= 25


SOUND = {
    "kb": kb,
    "kb with recipe": lambda: kb(recipe=recipe()),
    "linked": linked,
    "qa": qa,
    "te": lambda: corpus_of({"test": [Entailment("1", "All had fever.", "Some had fever.", "entailment")]}, "te"),
    "pairs": lambda: pairs(TextPair("p1", "p1", "Heart", "Heart attack", "3.5")),
    "t2t": lambda: pairs(TextToText("1", "1", "Das Herz", "The heart", "de", "en"), tasks=("TRANSL",), kind="t2t"),
    "text": classes,
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_corpora_give_nothing(name):
    corpus = SOUND[name]()
    report = run_checks(corpus, skip=["CT02"] if name == "text" else [])
    assert report.findings == []
    assert report.is_sound


@pytest.mark.parametrize(
    "text", ["25.0\u00a0×\u00a0103/mcL", "√2 ≈ 1.4", "‚a‘", "naïve T cells, Ångström, œdème", "Â, Ã and É"]
)
def test_signs_that_are_meant_are_no_damage(text):
    rows = [LabelledText("a", "a", text, ["x"], split="test")]
    assert run_checks(corpus_of({"test": rows}, "text"), only=["TX04"]).findings == []


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac_roman"])
@pytest.mark.parametrize("sign", "µ…–éβ")
def test_damage_by_each_encoding_is_found(sign, encoding):
    try:
        damaged = sign.encode().decode(encoding)
    except UnicodeDecodeError:
        pytest.skip("the encoding has no such bytes")
    rows = [LabelledText("a", "a", f"so {damaged} it is", ["x"], split="test")]
    report = run_checks(corpus_of({"test": rows}, "text"), only=["TX04"])
    assert report.found == {"TX04": 1}
    assert repr(sign) in report.findings[0].message
