"""`mumei doctor`: true facts, and a verdict that follows from them."""

from __future__ import annotations

import json
import sys
from importlib import metadata

import pytest

from mumei.cli import app, doctor
from mumei.cli.output import clean


@pytest.fixture(scope="module")
def report():
    return doctor.examine()


def test_versions_are_those_installed(report):
    """Expected values come from the packages' own metadata."""
    assert report["versions"]["python"] == sys.version.split()[0]
    assert report["versions"]["torch"] == metadata.version("torch")
    assert report["versions"]["mumei"] == metadata.version("mumei")


def test_a_sound_installation_is_ready(report):
    assert report["ok"]
    assert report["verdict"].startswith("Ready")
    assert report["machine"]["cores"] >= 1
    assert report["torch"]["threads"] >= 1
    assert all(speed > 0 for speed in report["torch"]["gflops"].values())
    assert report["torch"]["fast_paths"]["fast_linear"]["reason"] in doctor.text(report)


def test_the_command_prints_the_report_in_three_forms(report, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: report)
    assert app.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"] == report["versions"]
    assert app.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith(report["verdict"])
    assert "\x1b" not in printed
    assert app.main(["doctor", "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == report["verdict"]


def test_it_says_what_stands_in(report):
    assert "embedded" in doctor.text(report)


def test_the_table_holds_every_row(report):
    from rich.console import Console

    console = Console(width=400, record=True, file=open("/dev/null", "w") if sys.platform != "win32" else None)
    with console.capture() as captured:
        console.print(doctor.table(report))
    console.file.close()
    shown = captured.get()
    assert all(name in shown for _, name, _ in doctor.rows(report))


def test_missing_extras_say_what_they_would_give(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    found = doctor.extras()
    assert not any(e["installed"] for e in found.values())
    assert all(e["gives"] for e in found.values())
    assert set(found) <= set(metadata.metadata("mumei").get_all("Provides-Extra") or [])


def test_a_missing_package_is_fatal_and_named(report):
    broken = {**report, "versions": {**report["versions"], "scipy": None}}
    broken["problems"] = doctor.problems(broken)
    broken["ok"] = False
    assert broken["problems"][0]["fatal"]
    assert doctor.verdict(broken).startswith("Not ready: scipy is not installed")


def test_a_torch_that_cannot_be_loaded_is_fatal(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    facts = doctor.torch_facts()
    assert set(facts) == {"error"}
    broken = {**report, "torch": facts}
    broken["problems"] = doctor.problems(broken)
    broken["ok"] = not any(p["fatal"] for p in broken["problems"])
    assert not broken["ok"]
    assert "torch cannot be loaded" in doctor.verdict(broken)
    assert "error" in doctor.text({**broken, "verdict": ""})


def test_a_mirror_that_is_no_folder_is_a_note(report, monkeypatch, tmp_path):
    monkeypatch.setenv("MUMEI_MIRROR", str(tmp_path / "absent\x1b[31m"))
    monkeypatch.setenv("MUMEI_CACHE", str(tmp_path))
    changed = {**report, "environment": doctor.environment()}
    changed["problems"] = doctor.problems(changed)
    assert [p["fatal"] for p in changed["problems"] if "MUMEI_MIRROR" in p["message"]] == [False]
    assert not any("MUMEI_CACHE" in p["message"] for p in changed["problems"])
    assert all(value == clean(value) for _, _, value in doctor.rows(changed))
    assert "(no such folder)" in doctor.text({**changed, "verdict": ""})


def test_little_disk_space_is_a_note(report):
    tight = {**report, "disk": {**report["disk"], "free_gb": 0.5, "writable": False}}
    tight["problems"] = doctor.problems(tight)
    said = doctor.verdict(tight)
    assert said.startswith("Ready")
    assert "only 0.5 GB free" in said
    assert "cannot be written to" in said


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n"}, (8.2, 4.1)),
        (
            {
                "/proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
                "/sys/fs/cgroup/memory.max": "2000000000\n",
                "/sys/fs/cgroup/memory.current": "500000000\n",
            },
            (2.0, 1.5),
        ),
    ],
)
def test_memory_is_what_this_process_may_use(files, expected, monkeypatch):
    """A container's limit wins over the machine's size. Expected values by hand: 8e6 kB x 1024 = 8.192 GB."""
    monkeypatch.setattr(doctor, "_read", lambda path: files.get(path, ""))
    assert doctor._memory() == expected


def test_cores_respect_a_containers_share(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(doctor, "_read", lambda path: "250000 100000" if path.endswith("cpu.max") else "")
    assert doctor._cores() == 2
    monkeypatch.setattr(doctor, "_read", lambda path: "max 100000")
    assert doctor._cores() == 8
