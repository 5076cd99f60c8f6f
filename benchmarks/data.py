"""Native files into the harmonised KB schema, beside BigBIO's own loaders and `bioc`, in one run.

    python -m venv peers && peers/bin/pip install -r benchmarks/requirements-data.txt
    git clone https://github.com/bigscience-workshop/biomedical
    python benchmarks/data.py [--peer peers/bin/python --biomedical biomedical] [--repeats 3] [--copies 4] [--json]

Each format is read from one corpus: PubTator (NCBI Disease, the training part), BRAT (Cancer Genetics 2013, training part), CoNLL
(JNLPBA, test part), BioC XML (BC5CDR, the sample of 50 documents, four times). Ours: files to an Arrow table of the KB schema,
every column of it. Of BigBIO two figures: the loader from files to its Arrow cache, as `load_dataset` runs it (with the addresses
replaced by local files), and its generator alone, which ends in dicts, not in a table. BigBIO has no loader of plain CoNLL
files: SCAI Chemical's, which reads a token and its tag a line, gets the same tokens in its five columns. `bioc` ends in its own
objects; to a table they go by the shortest way that keeps KB's fields (dicts, and Arrow's own conversion). The corpora are
small, so `--copies` copies are read, under other document ids.

MB are 10^6 bytes of the files as they lie; rates are by CPU seconds of the process, the best of `--repeats` runs after one to
warm up. Contenders take turns in processes of their own, one thread each.

"reload": a second `mumei.data.load`, of ten times the PubTator corpus, every buffer of its table read; MB of the table by CPU
seconds of the process.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("MUMEI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "bigbio"
FORMATS = ("pubtator", "brat", "conll", "bioc_xml")


# Files ---------------------------------------------------------------------------------------------------------------


def make(folder: Path, data: Path, copies: int) -> None:
    """Write the input of every format, and that of SCAI's loader, into folders."""
    for name in (*FORMATS, "scai"):
        (folder / name).mkdir()
    text = (data / "ncbi_disease" / "NCBItrainset_corpus.txt").read_text()
    (folder / "pubtator" / "a.txt").write_text(repeated(text, copies))
    brat(folder / "brat", data / "bionlp_st_2013_cg" / "bionlp-st-2013-cg.tar.gz", copies)
    lines = (data / "jnlpba" / "Genia4EReval1.iob2").read_text()
    (folder / "conll" / "a.tsv").write_text("\n\n".join([lines.strip("\n")] * copies) + "\n")
    scai(folder / "scai" / "a.gz", lines, copies)
    xml = (data / "bc5cdr" / "CDR_sample.gold.BioC.xml").read_text()
    head, body = xml[: xml.index("<document>")], xml[xml.index("<document>") : xml.rindex("</document>") + 11]
    many = [re.sub(r"<document>(\s*)<id>", rf"<document>\1<id>{n}", body) for n in range(1, 4 * copies + 1)]
    (folder / "bioc_xml" / "a.xml").write_text(head + "\n".join(many) + "</collection>\n")


def repeated(text: str, copies: int) -> str:
    """Return PubTator text so many times, each under other document ids."""
    one = [re.sub(r"^(\d+)(?=[|\t])", rf"{n}\1", text, flags=re.MULTILINE).strip("\n") for n in range(1, copies + 1)]
    return "\n\n".join(one) + "\n\n"


def brat(folder: Path, archive: Path, copies: int) -> None:
    """Write the training part's .txt, .a1 and .a2, each document so many times."""
    import tarfile

    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name)
            if not member.isfile() or name.suffix not in (".txt", ".a1", ".a2") or "train" not in member.name:
                continue
            content = tar.extractfile(member).read()  # type: ignore[union-attr]
            for n in range(copies):
                (folder / f"{n}-{name.name}").write_bytes(content)


def scai(path: Path, text: str, copies: int) -> None:
    """Write CoNLL lines in the form that BigBIO's SCAI loader reads: token, start, end, mention, tag behind a bar."""
    out = []
    for number, sentence in enumerate(text.strip("\n").split("\n\n") * copies):
        out.append(f"### {number}")
        rows, at = [line.split("\t") for line in sentence.split("\n")], 0
        for n, (token, tag) in enumerate(rows):
            mention = ""
            if tag.startswith("B-"):
                end = next((m for m in range(n + 1, len(rows)) if not rows[m][1].startswith("I-")), len(rows))
                mention = " ".join(row[0] for row in rows[n:end])
            out.append(f"{token}\t{at}\t{at + len(token)}\t{mention}\t|{tag}")
            at += len(token) + 1
        out.append("")
    with gzip.open(path, "wt", encoding="mac_roman", errors="replace") as file:
        file.write("\n".join(out) + "\n")


# Contenders ----------------------------------------------------------------------------------------------------------


def ours(folder: Path, name: str) -> int:
    """Read a format into the KB schema; return its rows."""
    import pyarrow as pa

    from mumei.data import readers
    from mumei.data.bigbio import to_bigbio
    from mumei.data.columns import regrouped
    from mumei.data.documents import Document
    from mumei.data.readers.base import Problems, collector_paused, files_below
    from mumei.data.tables import arrow_schema

    read = readers.columns_reader(name) or readers.reader(name)
    with collector_paused():
        parts = read(files_below(folder / name), Problems(True))
        table = pa.Table.from_batches(list(regrouped(parts, Document)), schema=arrow_schema(Document))
        return to_bigbio(table, "kb").num_rows


LOADERS = {
    "pubtator": ("ncbi_disease", "ncbi_disease_bigbio_kb"),
    "brat": ("bionlp_st_2013_cg", "bionlp_st_2013_cg_bigbio_kb"),
    "conll": ("scai_chemical", "scai_chemical_bigbio_kb"),
    "bioc_xml": ("bc5cdr", "bc5cdr_bigbio_kb"),
}


def bigbio(folder: Path, name: str, whole: bool) -> int:
    """Run a loader of BigBIO's on the files, to its cache if `whole`, else its generator alone; return its rows."""
    import contextlib
    import importlib
    import io

    import datasets

    corpus, config = LOADERS[name]
    module = importlib.import_module(f"{corpus}.{corpus}")
    made: Any = next(
        c for c in vars(module).values() if isinstance(c, type) and issubclass(c, datasets.GeneratorBasedBuilder)
    )
    given: dict[str, Any] = {
        "pubtator": lambda: {"filepath": str(folder / "pubtator" / "a.txt"), "split": "train"},
        "brat": lambda: {"data_files": folder / "brat"},
        "conll": lambda: {"filepath": str(folder / "scai" / "a.gz"), "split": "train"},
        "bioc_xml": lambda: {"filepath": str(folder / "bioc_xml" / "a.xml"), "split": "train"},
    }[name]()

    class Local(made):
        def _split_generators(self, _: Any) -> list[Any]:
            return [datasets.SplitGenerator(name=datasets.Split.TRAIN, gen_kwargs=given)]

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache, contextlib.redirect_stdout(io.StringIO()):
        builder = Local(config_name=config, cache_dir=cache)
        if not whole:
            return sum(1 for _ in builder._generate_examples(**given))
        builder.download_and_prepare(verification_mode="no_checks")
        return builder.as_dataset(split="train").num_rows


def bioc(folder: Path, name: str, whole: bool) -> int:
    """Read a format by `bioc` into its objects, and, if `whole`, on into an Arrow table of the KB schema; return the rows."""
    from bioc import biocxml, brat, pubtator

    if name == "brat":
        files = sorted((folder / name).glob("*.txt"))
        found = [
            brat.loads(
                f.read_text(), f.with_suffix(".a1").read_text() + "\n" + f.with_suffix(".a2").read_text(), f.stem
            )
            for f in files
        ]
        rows = map(of_brat, found) if whole else ()
    elif name == "pubtator":
        with (folder / name / "a.txt").open() as file:
            found = pubtator.load(file)
        rows = map(of_pubtator, found) if whole else ()
    else:
        with (folder / name / "a.xml").open(encoding="utf-8") as file:
            found = biocxml.load(file).documents
        rows = map(of_bioc, found) if whole else ()
    if not whole:
        return len(found)
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=kb_schema()).num_rows


def kb_schema() -> Any:
    """Return the Arrow schema of BigBIO's KB, written out for a process without mumei."""
    import pyarrow as pa

    text, spans = pa.list_(pa.string()), pa.list_(pa.list_(pa.int32()))
    strings = lambda *names: [(name, pa.string()) for name in names]  # noqa: E731
    links = pa.list_(pa.struct(strings("db_name", "db_id")))
    span = [*strings("id", "type"), ("text", text), ("offsets", spans)]
    trigger = pa.struct([("text", text), ("offsets", spans)])
    arguments = pa.list_(pa.struct(strings("role", "ref_id")))
    return pa.schema(
        [
            *strings("id", "document_id"),
            ("passages", pa.list_(pa.struct(span))),
            ("entities", pa.list_(pa.struct([*span, ("normalized", links)]))),
            ("events", pa.list_(pa.struct([*strings("id", "type"), ("trigger", trigger), ("arguments", arguments)]))),
            ("coreferences", pa.list_(pa.struct([*strings("id"), ("entity_ids", text)]))),
            ("relations", pa.list_(pa.struct([*strings("id", "type", "arg1_id", "arg2_id"), ("normalized", links)]))),
        ]
    )


def row(
    name: str, passages: list[Any], entities: list[Any], relations: list[Any], events: list[Any] | None = None
) -> dict[str, Any]:
    """Return a KB row; passages are (type, text, start), entities (type, text, [[start, end]], [(db, id)])."""
    return {
        "id": name,
        "document_id": name,
        "passages": [
            {"id": f"{name}_{n}", "type": kind, "text": [text], "offsets": [[start, start + len(text)]]}
            for n, (kind, text, start) in enumerate(passages)
        ],
        "entities": [
            {
                "id": f"{name}_T{n}",
                "type": kind,
                "text": [text],
                "offsets": spans,
                "normalized": [{"db_name": db, "db_id": found} for db, found in links],
            }
            for n, (kind, text, spans, links) in enumerate(entities)
        ],
        "events": events or [],
        "coreferences": [],
        "relations": [
            {"id": f"{name}_R{n}", "type": kind, "arg1_id": one, "arg2_id": two, "normalized": []}
            for n, (kind, one, two) in enumerate(relations)
        ],
    }


def of_pubtator(document: Any) -> dict[str, Any]:
    """Return the KB row of bioc's PubTator object."""
    title, abstract = document.title or "", document.abstract or ""
    entities = [
        (a.type, a.text, [[a.start, a.end]], [("MESH", one) for one in a.id.split("|")]) for a in document.annotations
    ]
    relations = [(r.type, r.id1, r.id2) for r in document.relations]
    return row(document.pmid, [("title", title, 0), ("abstract", abstract, len(title) + 1)], entities, relations)


def of_brat(document: Any) -> dict[str, Any]:
    """Return the KB row of bioc's BRAT object."""
    spans = {e.id: sorted([at.begin, at.end] for at in e.locations) for e in document.entities}
    texts = {e.id: e.text for e in document.entities}
    triggers = {e.trigger_id for e in document.events}
    entities = [(e.type, e.text, spans[e.id], []) for e in document.entities if e.id not in triggers]
    events = [
        {
            "id": f"{document.id}_{e.id}",
            "type": e.type,
            "trigger": {"text": [texts[e.trigger_id]], "offsets": spans[e.trigger_id]},
            "arguments": [{"role": role, "ref_id": f"{document.id}_{ref}"} for role, ref in e.arguments.items()],
        }
        for e in document.events
    ]
    relations = [(r.type, *list(r.arguments.values())[:2]) for r in document.relations]
    return row(document.id, [("text", document.text, 0)], entities, relations, events)


def of_bioc(document: Any) -> dict[str, Any]:
    """Return the KB row of bioc's XML object."""
    passages = [(p.infons.get("type", ""), p.text or "", p.offset) for p in document.passages]
    entities = [
        (
            a.infons.get("type", ""),
            a.text,
            [[at.offset, at.offset + at.length] for at in a.locations],
            [("MESH", one) for one in a.infons.get("MESH", "").split("|") if one],
        )
        for p in document.passages
        for a in p.annotations
    ]
    relations = [
        (r.infons.get("relation", ""), r.infons.get("Chemical", ""), r.infons.get("Disease", ""))
        for r in document.relations
    ]
    return row(document.id, passages, entities, relations)


def contenders(who: str, folder: Path) -> dict[str, dict[str, Callable[[], int]]]:
    """Return what a process runs: format -> contender -> call."""
    if who == "ours":
        return {name: {"mumei": lambda n=name: ours(folder, n)} for name in FORMATS}
    found: dict[str, dict[str, Callable[[], int]]] = {
        name: {
            "BigBIO to its cache": lambda n=name: bigbio(folder, n, True),
            "BigBIO's generator": lambda n=name: bigbio(folder, n, False),
        }
        for name in FORMATS
    }
    for name in ("pubtator", "brat", "bioc_xml"):
        found[name]["bioc to a table"] = lambda n=name: bioc(folder, n, True)
        found[name]["bioc objects"] = lambda n=name: bioc(folder, n, False)
    return found


def measure(who: str, folder: Path, repeats: int) -> dict[str, dict[str, Any]]:
    """Return CPU seconds and rows of each format and contender of one process."""
    found: dict[str, dict[str, Any]] = {}
    for name, calls in contenders(who, folder).items():
        for label, call in calls.items():
            seconds, rows = [], 0
            for _ in range(repeats + 1):
                began = time.process_time()
                rows = call()
                seconds.append(time.process_time() - began)
            found.setdefault(name, {})[label] = {"seconds": min(seconds[1:]), "rows": rows}
    return found


# The run -------------------------------------------------------------------------------------------------------------


def sizes(folder: Path) -> dict[str, float]:
    """Return MB of each format's input; BigBIO's SCAI loader is credited with the CoNLL file's own size."""
    return {name: sum(f.stat().st_size for f in (folder / name).iterdir()) / 1e6 for name in FORMATS}


def child(python: str, who: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure in a process of its own."""
    path = [str(options.biomedical / "bigbio" / "hub" / "hub_repos")] if who == "peers" else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path), "HF_DATASETS_OFFLINE": "1"}
    command = [python, __file__, "--child", who, "--folder", str(folder), "--repeats", str(options.repeats)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def reload(folder: Path, data: Path, copies: int) -> dict[str, float]:
    """Return the size of a cached KB table, and the seconds of a second load that copies every buffer of it."""
    import mumei.data

    os.environ["MUMEI_CACHE"] = str(folder / "cache")
    (folder / "many").mkdir()
    text = (data / "ncbi_disease" / "NCBItrainset_corpus.txt").read_text()
    (folder / "many" / "a.txt").write_text(repeated(text, 10 * copies))
    mumei.data.load(folder / "many")
    best, size = float("inf"), 0
    for _ in range(5):
        began = time.perf_counter()
        table = mumei.data.load(folder / "many")["train"]
        for column in table.columns:
            for chunk in column.chunks:
                for buffer in chunk.buffers():
                    if buffer is not None:
                        bytes(buffer)
        best, size = min(best, time.perf_counter() - began), table.nbytes
    return {"MB": size / 1e6, "seconds": best, "MB/s": size / 1e6 / best}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all contenders."""
    with tempfile.TemporaryDirectory(prefix="mumei-bench-") as temporary:
        folder = Path(temporary)
        make(folder, options.data, options.copies)
        size = sizes(folder)
        found = child(sys.executable, "ours", folder, options)
        if options.peer:
            for name, more in child(options.peer, "peers", folder, options).items():
                found[name] |= more
        result: dict[str, Any] = {"reload": reload(folder, options.data, options.copies)}
    for name, labels in found.items():
        mine = labels["mumei"]["seconds"]
        for one in labels.values():
            one["MB/s"] = size[name] / one["seconds"]
            one["times mumei's"] = one["seconds"] / mine
        result[name] = {"MB": size[name], **labels}
    return result


def show(result: dict[str, Any]) -> None:
    """Print a table."""
    for name in FORMATS:
        print(f"{name}, {result[name]['MB']:.1f} MB")
        for label, one in result[name].items():
            if isinstance(one, dict):
                rate, times = one["MB/s"], one["times mumei's"]
                print(f"  {label:20} {rate:7.1f} MB/s of CPU {times:6.1f} times mumei's time {one['rows']:6} rows")
    again = result["reload"]
    print(f"reload: {again['MB']:.1f} MB of table at {again['MB/s']:.0f} MB/s of CPU")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peer", help="python of the peers' environment")
    parser.add_argument("--biomedical", type=Path, help="a checkout of bigscience-workshop/biomedical")
    parser.add_argument("--data", type=Path, default=DATA, help="a folder of corpora, as MUMEI_CORPORA")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.folder, options.repeats)))
        return
    if bool(options.peer) != bool(options.biomedical):
        parser.error("--peer and --biomedical go together")
    result = run(options)
    print(json.dumps(result, indent=1)) if options.json else show(result)


if __name__ == "__main__":
    main()
