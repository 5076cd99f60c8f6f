"""Prompts: every template of every task renders a record that has all it needs, and is strict and closed about the rest."""

from __future__ import annotations

import pytest

from mumei.core.errors import DataError, UsageError
from mumei.data.corpus import corpus_of
from mumei.data.documents import (
    Argument,
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
from mumei.data.fields import FIELDS, labels_of
from mumei.data.prompts import Template, load_templates, ours, prompts, read_templates, render, templates
from mumei.data.schemas import NULL, TASKS, Entity, Normalized, Passage


def document():
    d = Document("1", "1", [Passage("1_t", "title", ["IL-2 binds its receptor."], [(0, 24)])], file="a.ann", line=5)
    links = [Normalized("NCBIGene", "3558")], [Normalized("NCBIGene", "3559")]
    d.entities = [
        Entity("1_T1", "Gene", ["IL-2"], [(0, 4)], links[0]),
        Entity("1_T2", "Receptor", ["receptor"], [(15, 23)], links[1]),
        Entity("1_T3", "Gene", ["its"], [(11, 14)]),
    ]
    d.relations = [Relation("1_R1", "binds", "1_T1", "1_T2")]
    d.concept_relations = [ConceptRelation("1_R2", "affects", "3558", "3559")]
    d.coreferences = [Coreference("1_C1", ["1_T1", "1_T3"])]
    d.events = [
        Event(
            "1_E1", "Binding", Trigger(["binds"], [(5, 10)]), [Argument("Theme", "1_T1"), Argument("Theme", "1_T2", 2)]
        ),
        Event("1_E2", "Cause", Trigger(["its"], [(11, 14)]), [Argument("Theme", "1_E1")]),
    ]
    return d


RECORDS = {
    "kb": document(),
    "qa": Question("q", "q", "q", "Is IL-2 a gene?", "yesno", ["yes", "no"], "IL-2 is a gene.", ["yes"]),
    "te": Entailment("t", "All were ill.", "Some were ill.", "entailment"),
    "pairs": TextPair("p", "p", "heart", "cardiac", "3.5"),
    "t2t": TextToText("x", "x", "Das Herz schlägt.", "The heart beats.", "de", "en"),
    "text": LabelledText("l", "l", "We used mice.", ["method"]),
}


def corpus(task, **changes):
    import msgspec

    return corpus_of({"train": [msgspec.structs.replace(RECORDS[TASKS[task]], **changes)]}, TASKS[task])


def rendered(task, name, **changes):
    made = corpus(task, **changes)
    (template,) = [t for t in ours() if t.full_name == f"{task}/{name}"]
    return render(next(made.records()), template, labels_of(made, task))


@pytest.mark.parametrize("template", ours(), ids=lambda t: t.full_name)
def test_every_template_says_the_record_and_its_answer(template):
    made = corpus(template.task)
    (example,) = [e for e in prompts(made, template.task, every=True) if e.template == template.full_name]
    key = {
        "kb": "IL-2 binds",
        "qa": "Is IL-2 a gene?",
        "te": "Some were",
        "pairs": "cardiac",
        "t2t": "Herz",
        "text": "mice",
    }
    assert key[made.kind] in example.input
    assert example.input == example.input.lstrip("\n")
    assert example.target == example.target.strip() != ""
    assert "{" not in example.input
    answers = {"NER": "receptor", "NED": "3559", "RE": "receptor", "EE": "binds", "COREF": "its", "QA": "yes"}
    answers |= {"TE": "entailment", "STS": "3.5", "TXT2CLASS": "3.5", "TXTCLASS": "method"}
    assert answers.get(template.task, "The heart beats.") in example.target


def test_every_task_has_several():
    assert set(FIELDS) == set(TASKS)
    assert all(len(templates(task)) >= 3 for task in TASKS)


def test_texts_letter_for_letter():
    assert rendered("NER", "list") == (
        "List every Gene, Receptor that the text mentions. Write one per line, as the words stand in the text, a tab and the "
        'type. If there is none, write "none".\n\nText: IL-2 binds its receptor.',
        "IL-2\tGene\nreceptor\tReceptor\nits\tGene",
    )
    assert rendered("NED", "list")[1] == "IL-2 = NCBIGene:3558\nreceptor = NCBIGene:3559"
    assert rendered("RE", "typed")[1] == (
        "IL-2 (Gene) -[binds]-> receptor (Receptor)\nIL-2 (Gene) -[affects]-> receptor (Receptor)"
    )
    assert rendered("EE", "what-happens")[1] == "Binding(Theme: IL-2, Theme: receptor)\nCause(Theme: binds)"
    assert rendered("COREF", "who-is-who")[1] == "{IL-2, its}"
    assert rendered("QA", "plain") == (
        "IL-2 is a gene.\n\nQuestion: Is IL-2 a gene?\nChoose from: yes; no\nAnswer:",
        "yes",
    )
    assert rendered("QA", "plain", context="", choices=[])[0] == "Question: Is IL-2 a gene?\nAnswer:"
    assert rendered("TRANSL", "into")[0] == "Translate from German into English:\n\nDas Herz schlägt."
    assert rendered("TXTCLASS", "which-of")[0].endswith(
        'text above?\n- method\n\nName all that fit, one per line, or write "none".'
    )
    assert rendered("NER", "curator", entities=[], relations=[], events=[], coreferences=[])[1] == "none"


def test_text_of_records_is_no_template():
    assert rendered("TE", "follows", premise="{{ 7 * 7 }} {% if x %}")[0].startswith(
        "Premise: {{ 7 * 7 }} {% if x %}\n"
    )


def test_what_a_record_lacks_is_named():
    with pytest.raises(DataError, match=r"record t: the template TE/follows cannot be used: 'label' is undefined"):
        rendered("TE", "follows", label=NULL)
    made = corpus("TE", label=NULL)
    (example,) = prompts(made, "TE", target=False)
    assert example.target == ""
    with pytest.raises(DataError, match=r"record x: .* 'language_1' is undefined"):
        rendered("TRANSL", "into", text_1_name=NULL)
    with pytest.raises(DataError, match="'answers' is undefined"):
        rendered("QA", "exam", answer=[])


def test_one_template_a_record_by_the_seed():
    rows = [LabelledText(str(i), str(i), f"Text {i}.", ["ab"[i % 2]]) for i in range(60)]
    made = corpus_of({"train": rows[:40], "test": rows[40:]}, "text")
    one = list(prompts(made, "TXTCLASS", split="train", seed=1))
    assert len(one) == 40
    assert len({e.template for e in one}) == 3
    assert one == list(prompts(made, "TXTCLASS", split="train", seed=1))
    assert one != list(prompts(made, "TXTCLASS", split="train", seed=2))
    assert len(list(prompts(made, "TXTCLASS", every=True))) == 180
    assert "a, b" in next(e.input for e in one if e.template == "TXTCLASS/choose")
    with pytest.raises(UsageError, match="NER needs a corpus under the schema kb"):
        next(prompts(made, "NER"))
    with pytest.raises(UsageError, match="unknown task 'NRE'"):
        next(prompts(made, "NRE"))


def test_bounds_of_a_scale():
    rows = [TextPair(str(i), str(i), "a", "b", label) for i, label in enumerate(["10", "2.5", "0"])]
    labels = labels_of(corpus_of({"train": rows}, "pairs"), "STS")
    assert (labels.lowest, labels.highest) == ("0", "10")
    with pytest.raises(UsageError, match="similarity needs numbers"):
        labels_of(corpus_of({"train": [TextPair("1", "1", "a", "b", "high")]}, "pairs"), "STS")


def toml(source, task="TE"):
    return f"[[template]]\nname = 'x'\ntask = '{task}'\ninput = '''{source}'''\ntarget = 'y'\n".encode()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ premis }}", r"unknown field in the input of TE/x in f 'premis'\. Did you mean 'premise'"),
        ("{{ premise", r"the input of TE/x in f is no jinja \(line 1\)"),
        ("{{ premise | replace('a', premise) }}", "unknown filter in"),
        ("{{ premise | nothing }}", "unknown filter|is no jinja"),
        ("{{ premise.upper() }}", "uses call, which is not allowed"),
        ("{{ ''.__class__.__mro__ }}{{ premise() }}", "uses call, which is not allowed"),
        ("{{ range(10 ** 9) }}", "which is not allowed"),
        ("{{ premise * 99 }}", "uses mul, which is not allowed"),
        ("{{ premise ~ premise }}", "uses concat, which is not allowed"),
        ("{% set a = premise %}", "uses assign, which is not allowed"),
        ("{% include 'x' %}", "uses include, which is not allowed"),
        ("{% macro f() %}{% endmacro %}", "uses macro, which is not allowed"),
        ("{{ premise[:9] }}", "uses slice, which is not allowed"),
        ("{% for a in 'abc' %}{% endfor %}", "loops over something that is no field"),
        ("{% for a in b %}" * 3 + "{% endfor %}" * 3, "loops more than 2 deep"),
        ("{% if premise is mapping %}{% endif %}", "unknown test in"),
        ("x" * 20_001, "20,001 characters"),
    ],
)
def test_templates_that_are_refused(source, message):
    with pytest.raises(UsageError, match=message):
        read_templates(toml(source), "f")


def test_files_of_templates(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(toml("{{ premise }} So: {{ hypothesis }}?"))
    made = corpus("TE")
    (example,) = prompts(made, "TE", among=load_templates(path))
    assert (example.input, example.target) == ("All were ill. So: Some were ill.?", "y")
    with pytest.raises(UsageError, match="no template for NER among those given"):
        next(prompts(corpus("NER"), "NER", among=load_templates(path)))
    for content, message in [
        (b"[[template]]\nname = 'x'\n", "cannot be used"),
        (b"\xff", "cannot be used"),
        (toml("a", "NRE"), "unknown task in"),
        (toml("a") * 2, "two templates TE/x"),
    ]:
        with pytest.raises(UsageError, match=message):
            read_templates(content, "f")
    with pytest.raises(UsageError, match="cannot be read"):
        load_templates(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "source",
    ["{{ premise.__class__ }}", "{{ choices.append }}", "{{ choices | join(choices) }}", "{{ premise | join }}"],
)
def test_the_sandbox_is_closed(source):
    template = Template("x", "TE", source, "")
    with pytest.raises(DataError, match="cannot be used"):
        render(RECORDS["te"], template, labels_of(corpus("TE"), "TE"))


def test_output_is_bounded():
    many = [LabelledText("1", "1", "x" * 40_000, [f"label {i}" for i in range(60)])]
    made = corpus_of({"train": many}, "text")
    template = Template("x", "TXTCLASS", "{% for c in choices %}{{ text }}{% endfor %}", "")
    with pytest.raises(DataError, match="more than 1,000,000 characters"):
        render(many[0], template, labels_of(made, "TXTCLASS"))
