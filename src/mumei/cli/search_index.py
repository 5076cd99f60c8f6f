"""`mumei search index`, `delete` and `info`: collections of documents, made, grown, trimmed and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from mumei.cli.output import Output


def index(
    source: str,
    *,
    out: Path | None = None,
    encoder: str | None = None,
    on_conflict: Literal["update", "skip", "error"] = "update",
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    workers: int | None = None,
    hnsw: bool = False,
    id_column: str | None = None,
    title_column: str | None = None,
    text_column: str | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Make a searchable collection from a source, or bring one up to date: only what is new or changed is encoded.

    Every 1,024 documents are saved for good. Run the same command again after an interruption: it adds what is missing.

    Parameters
    ----------
    source
        A file or folder: JSONL, CSV, TSV, Parquet (also .gz .bz2 .xz .zst), text files, MEDLINE XML, a BEIR folder; or the word
        primer for the embedded corpus. Columns beside id, title and text become metadata to choose by.
    out
        Folder of the collection. By default NAME.search in the current folder.
    encoder
        minilm (embedded, English), or any sentence-transformers or Hugging Face name or folder. With @openvino, @openvino:int8 or
        @onnxruntime at its end it runs there, which is quicker: minilm@openvino.
    on_conflict
        What to do with an id that is there with other content: update (replace it), skip (keep the old), error.
    engine
        local, or ray: many machines encode (the folder must be on storage that all of them see).
    address
        With --engine ray: the address of a running Ray. By default one is started here.
    workers
        With --engine ray: how many processes encode.
    hnsw
        Also build an approximate index (extra hnsw) and report its recall against the exact search.
    id_column
        Column of the ids. By default guessed and echoed.
    title_column
        Column of the titles. By default guessed and echoed.
    text_column
        Column of the texts. By default guessed and echoed.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.core.errors import UsageError
    from mumei.discover.sources import open_source
    from mumei.retrieval.collection import Collection

    path = corpus_of(Path(source))
    opened = open_source(path, id_column=id_column, title_column=title_column, text_column=text_column)
    if opened.kind != "text":
        raise UsageError(f"{source} holds a {opened.kind}, and a collection holds texts; use: mumei discover {source}")
    progress = output.progress()
    for line in opened.described:
        progress.say(line)
    folder = out or Path(f"{Path(source).name.split('.')[0] or 'documents'}.search")
    if (folder / "collection.json").exists():
        collection = Collection.open(folder, encoder)
    else:
        collection = Collection.create(folder, encoder, source={"path": str(path), "name": opened.name})
    problems: Counter[str] = Counter()
    documents = _documents(opened, problems)
    try:
        if engine == "ray":
            added = _with_ray(collection, documents, folder, address, workers, progress, on_conflict)
        else:
            added = collection.add(documents, progress=progress, on_conflict=on_conflict)
    except KeyboardInterrupt as stop:
        stop.add_note("Documents that were said to be saved are kept in the collection.")
        raise
    data: dict[str, Any] = {
        "collection": folder,
        "documents": len(collection),
        "encoder": collection.encoder.name,
        "added": vars(added) | {"duplicate_ids": list(added.duplicate_ids)},
        "problems": dict(problems),
    }
    if hnsw:
        data["hnsw"] = _approximate(collection, progress)
    lines = [
        f"{folder}: {len(collection):,} documents ({added})",
        *(f"  {kind}: {n:,}" for kind, n in problems.items()),
    ]
    if hnsw:
        lines.append("  " + data["hnsw"]["said"])
    lines.append(f'search: mumei search {folder} "your question"')
    output.result(data, "\n".join(lines))
    return 0


def _approximate(collection: Any, progress: Any) -> dict[str, Any]:
    from dataclasses import asdict

    from mumei.retrieval.hnsw import HNSWIndex

    progress.say(f"hnsw: building a graph over {collection.total:,} rows")
    graph = HNSWIndex(collection.open_vectors())
    return {**asdict(graph.measured), "built": graph.built, "said": f"hnsw: {graph.measured}"}


def corpus_of(source: Path) -> Path:
    """Return the corpus of a BEIR folder, or the source itself."""
    from mumei.retrieval.beir import PACKED

    for ending in PACKED:
        if source.is_dir() and (source / f"corpus.jsonl{ending}").is_file():
            return source / f"corpus.jsonl{ending}"
    return source


def _documents(source: Any, problems: Counter[str]) -> Iterator[Any]:
    from mumei.retrieval.documents import Document

    for item in source.rows(metadata=True):
        if hasattr(item, "kind"):
            problems[item.kind] += 1
        else:
            yield Document(item.id, item.title, item.text, item.metadata)


def delete(folder: Path, ids: list[str], *, json: bool = False, quiet: bool = False) -> int:
    """Delete documents from a collection by their ids.

    Parameters
    ----------
    folder
        Folder of the collection.
    ids
        One or more ids.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.retrieval.collection import Collection

    collection = Collection.open(folder)
    deleted = collection.delete(ids, progress=output.progress())
    unknown = list(getattr(deleted, "unknown", ()))
    text = f"{int(deleted)} deleted, {len(collection):,} documents left"
    if unknown:
        text += f"; not there: {', '.join(unknown[:10])}"
    output.result({"deleted": int(deleted), "unknown": unknown, "documents": len(collection)}, text)
    return 0


def info(folder: Path, *, compact: bool = False, mend: bool = False, json: bool = False, quiet: bool = False) -> int:
    """Say what a collection holds, and check every file of it.

    Parameters
    ----------
    folder
        Folder of the collection.
    compact
        First remove deleted and replaced documents from the disk.
    mend
        First make what is damaged of ids, words and vectors anew from the documents.
    json
        Print the result as one JSON document.
    quiet
        No progress.
    """
    output = Output(json=json, quiet=quiet)
    from mumei.retrieval.collection import Collection

    collection = Collection.open(folder)
    progress = output.progress()
    if mend:
        collection.rebuild(progress=progress)
    if compact or mend:
        progress.say(f"{collection.compact(progress=progress):,} rows removed from the disk")
    damage = [str(item) for item in collection.verify()]
    mean, deviation = collection.background
    data = {
        "documents": len(collection),
        "rows": collection.total,
        "encoder": collection.manifest["encoder"],
        "fields": list(collection.fields),
        "notes": list(collection.notes),
        "background": {"mean": mean, "deviation": deviation},
        "damage": damage,
    }
    lines = [
        f"{folder}: {len(collection):,} documents, {collection.total - len(collection):,} deleted rows on the disk"
    ]
    lines.append(f"  fields to choose by: {', '.join(data['fields']) or 'none'}")
    lines.append(f"  unrelated documents have cosine {mean:.2f} on average, deviation {deviation:.2f}")
    lines += [f"  note: {note}" for note in data["notes"]]
    lines += [f"  damaged: {line}" for line in damage] or ["  no damage found"]
    if damage and not mend:
        lines.append(f"  mend with: mumei search info {folder} --mend")
    output.result(data, "\n".join(lines))
    return 1 if damage else 0


def _with_ray(
    collection: Any,
    documents: Iterator[Any],
    folder: Path,
    address: str | None,
    workers: int | None,
    progress: Any,
    how: Any,
) -> Any:
    """Embed the whole source by Ray into a folder beside the documents, then take its vectors over."""
    import shutil

    from mumei.retrieval.collection import Collection
    from mumei.retrieval.distributed import documents as planned
    from mumei.retrieval.distributed import embed_shards, iter_segments, plan_shards
    from mumei.retrieval.documents import prepare
    from mumei.retrieval.precomputed import Precomputed

    shards = folder / "embedding"
    name = collection.manifest["encoder"].get("make") or "minilm"
    plan = plan_shards(documents, shards, name)
    with progress.task("embed", sum(shard.rows for shard in plan.shards), "documents") as task:
        did = embed_shards(shards, engine="ray", address=address, workers=workers, progress=task.advance)
    progress.say(f"embed: {did.done} shards by {did.workers} workers, {did.skipped} done before")
    for line in [*did.notes, *(f"lost: {what}" for what in did.lost)]:
        progress.say(f"embed: {line}")
    segments = (
        ([prepare(d, i).joined for i, d in enumerate(part)], vectors) for part, vectors in iter_segments(shards)
    )
    filled = Collection.open(collection.folder, Precomputed(collection.encoder, segments))
    added = filled.add(planned(shards), progress=progress, on_conflict=how)
    filled.close()
    collection.reload()
    shutil.rmtree(shards, ignore_errors=True)
    return added
