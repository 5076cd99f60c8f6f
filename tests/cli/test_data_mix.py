"""`mumei data mix`: chosen, sampled, rendered, written whole with a manifest, or told without writing; mistakes by exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mumei.cli.app import main
from mumei.core.files import sha256_file
from mumei.data.catalogue import find
from mumei.data.mix import select


@pytest.fixture
def folders(tmp_path, monkeypatch) -> list[str]:
    """Two BRAT folders, 12 and 5 training documents; two of the second are in the first too, and one in its test part."""
    monkeypatch.setenv("MUMEI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MUMEI_OFFLINE", "1")
    monkeypatch.delenv("MUMEI_CORPORA", raising=False)

    def write(corpus: str, split: str, name: str, number: int) -> None:
        path = tmp_path / corpus / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = f"Drug{number} was given to patients number {number} of this study, and it helped them a great deal."
        path.with_suffix(".txt").write_text(text)
        path.with_suffix(".ann").write_text(f"T1\tDrug 0 {len(f'Drug{number}')}\tDrug{number}\n")

    for n in range(12):
        write("one", "train", f"d{n}", n)
    write("one", "test", "t", 100)
    write("two", "train", "t", 100)
    for n in range(10, 14):
        write("two", "train", f"e{n}", n)
    return [str(tmp_path / "one"), str(tmp_path / "two")]


def run(capsys, *given) -> tuple[int, dict]:
    code = main([*map(str, ("data", "mix", *given)), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_mixture_and_its_manifest(folders, capsys, tmp_path):
    out = tmp_path / "mixed"
    code, said = run(capsys, *folders, "--out", out)
    assert code == 0
    one, two = said["shares"]
    assert (one["records"], one["repeated"], one["protected"], one["taken"]) == (12, 0, 0, 12)
    assert (two["records"], two["repeated"], two["protected"], two["taken"]) == (
        5,
        2,
        1,
        2,
    )  # 10 and 11 again, 100 kept back
    table = pq.read_table(out / "train.parquet")
    assert sorted(table.column("id").to_pylist())[-2:] == ["two/e12", "two/e13"]
    assert table.num_rows == said["rows"] == 14
    manifest = json.loads((out / "mix.json").read_text())
    assert manifest["files"] == {"train.parquet": sha256_file(out / "train.parquet")}
    assert manifest["schema"] == "kb"
    assert not manifest["licences"]["may_be_shared"]  # no terms are stated
    assert manifest["asked"]["protect"] == "validation,test"
    again = tmp_path / "again"
    assert run(capsys, *folders, "--out", again)[0] == 0
    assert [(again / n).read_bytes() for n in ("train.parquet", "mix.json")] == [
        (out / n).read_bytes() for n in ("train.parquet", "mix.json")
    ]
    code, said = run(capsys, *folders, "--out", out)
    assert (code, said["error"]["kind"]) == (2, "usage")
    assert "holds something already" in said["error"]["message"]


def test_sampling_is_passed_on(folders, capsys, tmp_path):
    code, said = run(
        capsys, *folders, "--dry-run", "--keep-shared", "--protect", "none", "--size", "8", "--temperature", "inf"
    )
    assert (code, said["written"], said["out"]) == (0, False, None)
    assert [(s["rate"], s["taken"]) for s in said["shares"]] == [(0.5, 4), (0.5, 4)]
    assert [s["taken"] for s in run(capsys, *folders, "--dry-run", "--cap", "3")[1]["shares"]] == [3, 2]
    assert main(["data", "mix", *folders, "--dry-run", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "kept back" in text
    assert "nothing was written (--dry-run)" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "one", "two"]


def test_instructions(folders, capsys, tmp_path):
    out = tmp_path / "prompts"
    code, said = run(capsys, *folders, "--prompts", "--task", "ner", "--size", "6", "--format", "jsonl", "--out", out)
    assert (code, said["rows"], said["tasks"]) == (0, 6, {"one": ["NER"], "two": ["NER"]})
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert list(rows[0]) == ["id", "corpus", "task", "template", "input", "target", "licence"]
    for row in rows:
        number = row["id"].rpartition("/")[2].strip("de")
        assert f"Drug{number}" in row["input"]
        assert f"Drug{number}" in row["target"]
    every = run(capsys, *folders, "--prompts", "--task", "NER", "--every", "--out", tmp_path / "every")[1]
    table = pq.read_table(tmp_path / "every" / "train.parquet")
    assert every["rows"] == table.num_rows == 14 * len(set(table.column("template").to_pylist())) > 14


def test_templates_of_ones_own_and_what_cannot_be_rendered(folders, capsys, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[[template]]\nname = "m"\ntask = "NER"\ninput = "In {{ text }}?"\ntarget = "{{ entities[0].text }}"\n'
    )
    (Path(folders[0]) / "train" / "d0.ann").write_text("")
    code, said = run(capsys, *folders, "--prompts", "--task", "NER", "--templates", mine, "--out", tmp_path / "no")
    assert (code, said["error"]["kind"]) == (1, "data")
    assert "one/d0" in said["error"]["message"]
    assert not (tmp_path / "no").exists()
    code, said = run(
        capsys, *folders, "--prompts", "--task", "NER", "--templates", mine, "--keep-going", "--out", tmp_path / "yes"
    )
    assert (code, said["rows"], len(said["not_rendered"])) == (0, 13, 1)
    assert json.loads((tmp_path / "yes" / "mix.json").read_text())["not_rendered"] == 1


def test_other_schemas_are_refused_unless_they_become_instructions(folders, capsys, tmp_path):
    import msgspec

    from mumei.data import load
    from mumei.data.catalogue import recipe
    from mumei.data.corpus import corpus_of
    from mumei.data.documents import LabelledText
    from mumei.data.mix import mix
    from mumei.data.mixture import Instructions

    texts = corpus_of({"train": [LabelledText("1", "1", "a text of its own", ["x"])]}, "text", name="texts")
    texts.recipe = msgspec.structs.replace(recipe("ncbi_disease"), tasks=["TXTCLASS"])
    mixed = mix([load(Path(folders[0])), texts], several_schemas=True)
    found = list(Instructions(mixed, ["NER", "TXTCLASS"]))
    assert {e.task for e in found} == {"NER", "TXTCLASS"}
    assert len(found) == 13
    with pytest.raises(ValueError, match="only corpora of one schema"):
        _ = mixed.corpus
    with pytest.raises(ValueError, match=r"texts has none of the tasks NER; its tasks are TXTCLASS"):
        Instructions(mixed, ["NER"])
    with pytest.raises(ValueError, match="has no recipe that says its tasks"):
        Instructions(mixed)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "say where to write"),
        (("--dry-run",), "no corpus was given"),
        (("x", "--dry-run", "--language", "de"), "--language choose among"),
        (("--dry-run", "--task", "NRE"), "'NER'"),
        (("--dry-run", "--task", "NER", "--language", "ro"), "fits all of that"),
        (("--dry-run", "nbci_disease"), "'ncbi_disease'"),
        (("ONE", "--dry-run", "--every"), "add --prompts"),
        (("ONE", "--dry-run", "--prompts"), "name one (--task)"),
        (("ONE", "--dry-run", "--split", "trian"), "'train'"),
        (("ONE", "--dry-run", "--cap", "0"), "cap is 0"),
        (("ONE", "--dry-run", "--size", "99"), "99 records are asked for"),
        (("ONE", "--dry-run", "--licences", "ignore"), "refuse"),
    ],
)
def test_mistakes(folders, capsys, given, message):
    code, said = run(capsys, *(folders[0] if g == "ONE" else g for g in given))
    assert code == 2
    assert message in said["error"]["message"]


def test_corpora_are_chosen_by_what_their_recipes_say():
    from mumei.cli.data_mix import Choice

    chosen = Choice(task=("NER",), licence="open").names((), "train")
    assert set(chosen) == {
        name for name in select("NER", licence="open") if "train" in find(name).recipe.subset(find(name).subset).splits
    }
    assert "bc2gm_bigbio_kb" not in chosen  # has no training part here
    both = Choice(task=("TE", "TXT2CLASS")).names((), "train")
    assert len(both) == len({name.partition("_bigbio_")[0] for name in both})
    assert Choice(task=("TXT2CLASS",)).schema_of("mediqa_rqe") == "pairs"
    assert Choice(task=("TE",)).schema_of("mediqa_rqe") == "te"
    assert Choice(task=("TE",)).schema_of("mediqa_rqe_bigbio_te") is None
