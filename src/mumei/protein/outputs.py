"""A run's files: designs.fasta, designs.csv, designs.parquet, trace.parquet, manifest.json and report.html, in one folder that
appears whole or not at all.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from mumei.core import files
from mumei.protein.design import Result
from mumei.protein.report import render
from mumei.protein.sequence import Record, write_fasta


def write(result: Result, folder: Path | str, name: str = "") -> Path:
    """Write a result's files; a folder that is there is replaced. Return it.

    Raises
    ------
    StorageError
        The disk refused; what was there is still there.
    """
    import pyarrow as pa

    folder = Path(folder)
    keys = list(dict.fromkeys(key for row in result.rows for key in row))
    with files.whole_folder(folder) as inside:
        write_fasta(inside / "designs.fasta", [_record(row) for row in result.rows])
        with files.atomic_open(inside / "designs.csv", "w", newline="") as handle:
            writer = csv.DictWriter(handle, keys, lineterminator="\n")
            writer.writeheader()
            writer.writerows(result.rows)
        files.write_table(inside / "designs.parquet", pa.table({k: [row.get(k) for row in result.rows] for k in keys}))
        files.write_table(inside / "trace.parquet", pa.Table.from_pylist(result.trace))
        files.write_json(inside / "manifest.json", _plain(result.manifest))
        files.write_text(inside / "report.html", render(result, name))
    return folder


def _record(row: dict[str, Any]) -> Record:
    """Return a FASTA record whose header has key=value pairs, as design programs write them."""
    pairs = [f"{key.replace(' ', '_')}={value:.4g}" for key, value in row.items() if isinstance(value, float)]
    return Record(f"design_{row['rank']}", " ".join(pairs), row["sequence"])


def _plain(value: Any) -> Any:
    """Return JSON values."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
