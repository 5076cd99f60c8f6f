"""Keep the published figures true: run what `reproduce/*.yaml` names, compare, and write the table of the documents.

    python reproduce/run.py [FILE ...] [--full] [--update] [--table] [--json]

An entry has a `claim` and one of: `run` (a command that prints one JSON object; {data} in it is the data's folder) with `expect`
({key: {published, tolerance, measured}}, a key like "medline.dense" going down into the object); `measured` by hand, with its
`command` and `date`; or `cannot`, why it is out of reach here. `needs` names paths below `MUMEI_DATA` without which an entry is
skipped; `size: full` marks what takes long and runs with `--full` alone. Verdicts: ok within the tolerance, near within twice the
tolerance, fail beyond, or where the command fails; with `better: higher` (or lower) a figure on that side of the published one
is ok too. An expectation without `published` is held to what was `measured` last. `--json` prints the results as one JSON
document, the progress going to standard error. `--update` writes what was measured and today's date into the
file, whose comments at the top stay; `--table` writes docs/reproduce.md from all files. Exit code 1 if anything fails.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from mumei.core.files import write_text

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUT: dict[str, Any] = {"to": None}  # None is standard output as it is at the time
DATA = Path(os.environ.get("MUMEI_DATA", ROOT.parent / "shared" / "data"))


def verdict(measured: float, published: float, tolerance: float, better: str = "") -> str:
    """Return ok, near or fail; `better` is "higher", "lower" or nothing, where both sides count.

    Examples
    --------
    >>> verdict(0.9, 0.903, 0.005), verdict(0.9, 0.909, 0.005), verdict(0.9, 0.95, 0.005)
    ('ok', 'near', 'fail')
    >>> verdict(0.99, 0.9, 0.005, "higher"), verdict(0.8, 0.9, 0.005, "higher")
    ('ok', 'fail')
    """
    signed = measured - published
    apart = {"higher": -signed, "lower": signed}.get(better, abs(signed)) - 1e-9
    return "ok" if apart <= tolerance else "near" if apart <= 2 * tolerance else "fail"


class CannotRun(Exception):
    """A command that failed, or printed something else than what is expected of it."""


def dig(data: Any, key: str) -> float:
    """Return the number at a dotted key."""
    for part in key.split("."):
        if not isinstance(data, dict) or part not in data:
            there = list(data)[:20] if isinstance(data, dict) else data
            raise CannotRun(f"the command printed no {key!r}: {part!r} is not among {there}")
        data = data[part]
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise CannotRun(f"the command printed {data!r} for {key!r}, not a number")
    return data


def skipped(entry: dict[str, Any], full: bool) -> str:
    """Return why an entry is not run, or an empty string."""
    if "run" not in entry:
        return entry.get("cannot") or "recorded by hand"
    if entry.get("size") == "full" and not full:
        return "long: give --full"
    missing = [name for name in entry.get("needs", []) if not (DATA / name).exists()]
    return f"no {DATA / missing[0]}" if missing else ""


def run_entry(entry: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Run an entry's command and return (key, measured, verdict) for each expectation, noted in the entry too."""
    command = entry["run"].replace("{data}", shlex.quote(str(DATA)))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # "python" is this one
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, shell=True, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, env=environment
    )
    if done.returncode:
        raise CannotRun(f"{command}\nended with exit code {done.returncode}")
    try:
        printed = json.loads(done.stdout)
    except ValueError as error:
        raise CannotRun(f"{command}\nprinted no JSON ({error}): {done.stdout[:200]!r}") from error
    found = {key: dig(printed, key) for key in entry["expect"]}
    results = []
    for key, wanted in entry["expect"].items():
        results.append((key, found[key], judge(found[key], wanted)))
        wanted["measured"] = found[key]
    entry["date"] = datetime.date.today().isoformat()
    return results


def judge(measured: float, wanted: dict[str, Any]) -> str:
    """Return the verdict on a measurement."""
    return verdict(measured, reference(wanted), wanted["tolerance"], wanted.get("better", ""))


def reference(wanted: dict[str, Any]) -> float:
    """Return what a measurement is held to: the published figure, else the one measured last."""
    return wanted["published"] if "published" in wanted else wanted["measured"]


def run_file(path: Path, update: bool, full: bool = False) -> list[dict[str, Any]]:
    """Run a file's entries, say their verdicts on standard error or output, and return them."""
    text = path.read_text(encoding="utf-8")
    entries, done, ran = yaml.safe_load(text), [], False
    for entry in entries:
        reason, common = skipped(entry, full), {"file": path.stem, "claim": entry["claim"]}
        say(f"{path.stem}: {entry['claim']}" + (f" (skipped: {reason})" if reason else ""))
        if reason:
            done.append({**common, "verdict": "skipped", "reason": reason})
            continue
        held_to = {key: reference(wanted) for key, wanted in entry["expect"].items()}
        try:
            results = run_entry(entry)
        except CannotRun as error:
            say(f"  fail  {error}")
            done.append({**common, "verdict": "fail", "reason": str(error)})
            continue
        ran = True
        for key, measured, state in results:
            named = "published" if "published" in entry["expect"][key] else "before"
            say(f"  {state:<5} {key}: {measured} ({named} {held_to[key]})")
            done.append({**common, "key": key, "verdict": state, "measured": measured, named: held_to[key]})
    if update and ran:
        write_back(path, text, entries)
    return done


def say(line: str) -> None:
    """Print a line where it is read at once."""
    print(line, file=OUT["to"], flush=True)


def write_back(path: Path, text: str, entries: list[dict[str, Any]]) -> None:
    """Write entries into their file, whose comments at the top stay."""
    top = []
    for line in text.splitlines(keepends=True):
        if not line.startswith("#"):
            break
        top.append(line)
    write_text(path, "".join(top) + yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=120))


def table(files: list[Path]) -> str:
    """Return the Markdown page of all entries."""
    lines = [
        "# Figures",
        "",
        "What was measured, from `reproduce/*.yaml`; made by `python reproduce/run.py --table`.",
        "",
    ]
    for path in files:
        lines += [f"## {path.stem}", "", "| claim | published | measured | verdict | date |", "|---|---|---|---|---|"]
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            lines += rows(entry)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def rows(entry: dict[str, Any]) -> list[str]:
    """Return an entry's rows of the table."""
    date = entry.get("date", "")
    found = []
    for key, wanted in entry.get("expect", {}).items():
        measured = wanted.get("measured")
        state = "not run" if measured is None else "measured"
        if measured is not None and "published" in wanted:
            state = judge(measured, wanted)
        found.append(f"| {entry['claim']}: {key} | {wanted.get('published', '-')} | {measured} | {state} | {date} |")
    if found:
        return found
    if "cannot" in entry:
        published = json.dumps(entry.get("published", ""), ensure_ascii=False)
        return [f"| {entry['claim']} | {published} | not here: {entry['cannot']} | - | {date} |"]
    measured = json.dumps(entry.get("measured", ""), ensure_ascii=False)
    return [f"| {entry['claim']} | - | {measured} | by hand | {date} |"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args(argv)
    every = sorted(HERE.glob("*.yaml"))
    if options.table:
        write_text(ROOT / "docs" / "reproduce.md", table(every))
        return 0
    OUT["to"] = sys.stderr if options.json else None
    done = [r for path in options.files or every for r in run_file(path, options.update, options.full)]
    if options.json:
        print(json.dumps(done, indent=1))
    return int(any(r["verdict"] == "fail" for r in done))


if __name__ == "__main__":
    sys.exit(main())
