"""The corpora of questions, pairs and texts against their native files, read here by other means; BigBIO's errors not made."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from functools import cache as once

import pytest

from mumei.data import load


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """One cache for all tests here: every corpus is read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUMEI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MUMEI_OFFLINE", "1")
        patch.delenv("MUMEI_CORPORA", raising=False)
        yield


@once
def records(name: str, folder) -> dict:
    """Return {split: records}; nothing may have been left out or been odd."""
    corpus = load(name, folder=folder)
    assert corpus.problems == []
    return {split: list(corpus.records(split)) for split in corpus.splits}


def native(folder, corpus: str, name: str) -> bytes:
    content = (folder / corpus / name).read_bytes()
    return gzip.decompress(content) if name.endswith(".gz") else content


def hallmarks(folder) -> dict[str, list[list[str]]]:
    """Return {pmid: labels of each sentence}, in the order of the label files."""
    found = {}
    with tarfile.open(folder / "hallmarks_of_cancer" / "hoc.tar.gz") as archive:
        for member in archive:
            if member.name.startswith("labels/"):
                handle = archive.extractfile(member)
                assert handle is not None
                pieces = handle.read().decode().split("<")[1:]
                found[member.name[7:-4]] = [
                    list(dict.fromkeys(p.partition("--")[0].strip().lower() for p in piece.split("AND")))
                    for piece in pieces
                ]
    return found


def test_hallmarks_are_in_the_order_of_the_file(corpora_dir):
    """BigBIO's loader goes through a set: its order changes with the hash seed."""
    found = records("hallmarks_of_cancer", corpora_dir)["train"]
    expected = hallmarks(corpora_dir)
    read = {}
    for record in found:
        read.setdefault(record.metadata["pmid"], []).append(record.labels)
    plain = {"": ["none"], "null": []}
    assert read == {p: [plain.get(one[0], one) for one in labels] for p, labels in expected.items()}
    assert max(map(len, (r.labels for r in found))) > 1
    said = json.loads((corpora_dir / "expected_counts.json").read_text())["hallmarks_of_cancer"]["bigbio_loader"]
    counted = Counter(label for r in found for label in r.labels)
    theirs = said["all_documents_as_one_split"]["labels"]
    assert {label: counted[label] for label in theirs} == theirs


def test_hallmarks_are_the_same_whatever_the_hash_seed(corpora_dir, tmp_path):
    code = (
        "import sys, hashlib; from mumei.data import load; t = load('hallmarks_of_cancer', folder=sys.argv[1])['train'];"
        "print(hashlib.sha256(str(t['labels'].to_pylist()).encode()).hexdigest())"
    )
    found = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "MUMEI_CACHE": str(tmp_path / seed)}
        command = [sys.executable, "-c", code, str(corpora_dir)]
        found.append(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)
    assert found[0] == found[1] != ""


def test_ehr_rel_keeps_both_concepts_and_labels_are_means_of_raters(corpora_dir):
    """BigBIO's source view has the first concept's id twice, and one document_id for all pairs."""
    found = records("ehr_rel", corpora_dir)["train"]
    rows = list(csv.DictReader(io.StringIO(native(corpora_dir, "ehr_rel", "EHR-RelA.tsv").decode()), delimiter="\t"))
    assert [(r.metadata["snomed_id_1"], r.metadata["snomed_id_2"]) for r in found] == [
        (row["snomed_id_1"], row["snomed_id_2"]) for row in rows
    ]
    assert all(r.metadata["snomed_id_1"] != r.metadata["snomed_id_2"] for r in found)
    assert len({r.document_id for r in found}) == len(rows)
    for record in found:
        ratings = [float(record.metadata[f"rater_{letter}"]) for letter in "abcde"]
        assert float(record.label) == pytest.approx(sum(ratings) / 5, abs=0.051)


def test_biosses_is_the_table_joined_from_both_documents(corpora_dir):
    found = records("biosses", corpora_dir)
    rows = csv.reader(io.StringIO(native(corpora_dir, "biosses", "biosses.tsv").decode()), delimiter="\t")
    expected = {row[0]: row[1:] for row in list(rows)[1:]}
    read = [r for split in found.values() for r in split]
    assert {r.id: [r.text_1, r.text_2, *(r.metadata[f"annotator_{x}"] for x in "abcde")] for r in read} == expected
    assert all(float(r.label) == sum(int(r.metadata[f"annotator_{x}"]) for x in "abcde") / 5 for r in read)
    # The parts of BLUE, by the first and last numbers of each in its list.
    assert {"78", "93"} <= {r.id for r in found["train"]}
    assert {"88", "2"} <= {r.id for r in found["validation"]}
    assert {"59", "20"} <= {r.id for r in found["test"]}


def test_meqsum_is_the_sheet(corpora_dir):
    found = records("meqsum", corpora_dir)["train"]
    main = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    (path,) = (corpora_dir / "meqsum").glob("*.xlsx")
    with zipfile.ZipFile(path) as book:
        strings = ["".join(t.itertext()) for t in ET.fromstring(book.read("xl/sharedStrings.xml")).iter(f"{main}si")]
        sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
    cells = [[c.findtext(f"{main}v") for c in row] for row in sheet.iter(f"{main}row")]  # None: nothing in the cell
    rows = [[strings[int(value)] for value in row if value is not None] for row in cells]
    assert rows[0] == ["File", "CHQ", "Summary"]
    assert [[r.document_id, r.text_1, r.text_2] for r in found] == rows[1:]


def test_med_mcqa_answers_count_from_one(corpora_dir):
    found = records("med_mcqa", corpora_dir)["validation"]
    rows = [json.loads(line) for line in native(corpora_dir, "med_mcqa", "dev.jsonl.gz").decode().split("\n") if line]
    assert [r.answer for r in found] == [[row["op" + "abcd"[row["cop"] - 1]]] for row in rows]
    assert all(r.answer[0] in r.choices and len(r.choices) == 4 for r in found)
    assert min(row["cop"] for row in rows) == 1


def test_mmlu_by_subject(corpora_dir):
    found = records("mmlu_med", corpora_dir)["test"]
    said = json.loads((corpora_dir / "expected_counts.json").read_text())["mmlu_med"]["raw"]
    assert Counter(r.metadata["subject"] for r in found) == said
    rows = [
        row
        for subject in said
        for row in csv.reader(io.StringIO(native(corpora_dir, "mmlu_med", f"{subject}_test.csv").decode()))
    ]
    assert [[r.question, *r.choices, *r.answer] for r in found] == [
        [*row[:5], row[1 + "ABCD".index(row[5])]] for row in rows
    ]


def test_pubmed_qa_answers_and_official_test_part(corpora_dir):
    found = records("pubmed_qa", corpora_dir)
    said = json.loads((corpora_dir / "expected_counts.json").read_text())["pubmed_qa"]["raw"]
    answers = Counter(r.answer[0] for split in found.values() for r in split)
    assert dict(answers) == {name: said[name] for name in ("yes", "no", "maybe")}
    gold = json.loads(native(corpora_dir, "pubmed_qa", "test_ground_truth.json"))
    assert {r.id: r.answer[0] for r in found["test"]} == gold
    assert not {r.id for r in found["train"]} & set(gold)
    rows = json.loads(native(corpora_dir, "pubmed_qa", "ori_pqal.json.gz"))
    assert all(r.context == " ".join(rows[r.id]["CONTEXTS"]) for split in found.values() for r in split)


def test_bioasq_keeps_every_snippet_and_synonym(corpora_dir):
    found = records("bioasq_task_b", corpora_dir)["test"]
    rows = {}
    for number in range(1, 6):
        questions = json.loads(native(corpora_dir, "bioasq_task_b", f"7B{number}_golden.json"))["questions"]
        rows |= {row["id"]: row for row in questions}
    assert [r.id for r in found] == list(rows)
    for record in found:
        row = rows[record.id]
        assert (record.question, record.type) == (row["body"], row["type"])
        assert record.context == " ".join(s["text"] for s in row["snippets"])
        if record.type == "yesno":
            assert (record.choices, record.answer) == (["yes", "no"], [row["exact_answer"]])
        elif record.type == "summary":
            assert (record.choices, record.answer) == ([], row["ideal_answer"])
        else:
            assert (record.choices, record.answer) == ([], [name for names in row["exact_answer"] for name in names])
            assert json.loads(record.metadata["exact_answer"]) == row["exact_answer"]


def test_mediqa_answers_are_the_correct_ones(corpora_dir):
    """BigBIO's loader gives every answer that was found, those scored as wrong too."""
    found, wrong = records("mediqa_qa", corpora_dir), 0
    for split, name in (
        ("validation", "MEDIQA2019-Task3-QA-ValidationSet.xml"),
        ("train_live_qa_med", "MEDIQA2019-Task3-QA-TrainingSet1-LiveQAMed.xml.gz"),
    ):
        for record, question in zip(
            found[split], ET.fromstring(native(corpora_dir, "mediqa_qa", name)).iter("Question"), strict=True
        ):
            scored = [(int(a.get("ReferenceScore")), a.findtext("AnswerText")) for a in question.iter("Answer")]
            assert record.question == question.findtext("QuestionText")
            assert record.answer == [text for score, text in scored if score >= 3]
            kept = json.loads(record.metadata["answers"])
            assert len(kept if isinstance(kept, list) else [kept]) == len(scored)
            wrong += sum(score < 3 for score, _ in scored)
    assert wrong > 0


def test_mediqa_rqe_has_both_views_and_ids_of_its_own(corpora_dir):
    pairs, entailments = records("mediqa_rqe", corpora_dir), records("mediqa_rqe_bigbio_te", corpora_dir)
    said = json.loads((corpora_dir / "expected_counts.json").read_text())["mediqa_rqe"]["bigbio_loader"]
    for split, theirs in said.items():
        assert [(r.id, r.text_1, r.text_2, r.label) for r in pairs[split]] == [
            (r.id, r.premise, r.hypothesis, r.label) for r in entailments[split]
        ]
        assert Counter(r.label for r in pairs[split]) == theirs["labels"]
    ids = [r.id for split in pairs.values() for r in split]
    assert len(set(ids)) == len(ids)  # the files' own numbers begin at 1 in each part


def test_nli4ct_premises_are_sections_of_the_trials(corpora_dir):
    found = records("nli4ct", corpora_dir)
    with zipfile.ZipFile(corpora_dir / "nli4ct" / "training_data.zip") as archive:
        names = [n for n in archive.namelist() if n.startswith("training_data/CT json/NCT")]
        trials = {n.rpartition("/")[2][:-5]: json.loads(archive.read(n)) for n in names}
        rows = {s: json.loads(archive.read(f"training_data/{s}.json")) for s in ("train", "dev")}
    said = json.loads((corpora_dir / "expected_counts.json").read_text())["nli4ct"]["raw"]
    assert len(trials) == said["trials"]
    for split, name in (("train", "train"), ("validation", "dev")):
        assert [r.id for r in found[split]] == list(rows[name])
        for record in found[split]:
            row = rows[name][record.id]
            sides = [row["Primary_id"], *([row["Secondary_id"]] if row["Type"] == "Comparison" else [])]
            sections = [" ".join(" ".join(trials[side][row["Section_id"]]).split()) for side in sides]
            expected = "\n\n".join(
                f"{head}: {text}" for head, text in zip(("Primary", "Secondary"), sections, strict=False)
            )
            assert (record.premise, record.hypothesis, record.label) == (expected, row["Statement"], row["Label"])


def test_mqp_and_scicite_are_their_files(corpora_dir):
    rows = list(csv.reader(io.StringIO(native(corpora_dir, "mqp", "mqp.csv").decode(), newline="")))
    found = records("mqp", corpora_dir)["train"]
    assert [[r.metadata["doctor"], r.text_1, r.text_2, r.label] for r in found] == rows
    for split, name in (("validation", "dev"), ("test", "test")):
        lines = [
            json.loads(line) for line in native(corpora_dir, "scicite", f"{name}.jsonl").decode().split("\n") if line
        ]
        assert [(r.text, r.labels) for r in records("scicite", corpora_dir)[split]] == [
            (x["text"], [x["label"]]) for x in lines
        ]
