"""`mumei reproduce`: run what the published figures are held to, from a checkout of the project."""

from __future__ import annotations

from pathlib import Path

from mumei.cli.output import Output


def reproduce(
    name: str,
    *,
    full: bool = False,
    update: bool = False,
    checkout: Path | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Run a paper's experiments and compare them with its published figures: ok, near or fail.

    Parameters
    ----------
    name
        A file of the checkout's reproduce folder: aevb, hyde, foundation.
    full
        Run the long experiments too (hours); their last results are in the file.
    update
        Write what was measured, with today's date, into the file.
    checkout
        The project's folder. By default where mumei is installed from, or the current folder.
    json
        Print the verdicts as one JSON document.
    quiet
        No progress: the verdicts alone, in the exit code or as JSON.
    """
    import json as reader
    import subprocess
    import sys

    from mumei.core.errors import MissingExtraError, UsageError, unknown

    Output(json=json, quiet=quiet)
    folder = _find(checkout)
    if folder is None:
        raise UsageError(
            f"no reproduce/run.py in {checkout or 'this folder or where mumei is installed'}: the experiments are part of the "
            "project's checkout. Clone it and give --checkout FOLDER."
        )
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise unknown("set of figures", name, known)
    try:
        import yaml  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("reproducing figures", "pyyaml", "test") from error
    options = [flag for flag, given in (("--full", full), ("--update", update), ("--json", json)) if given]
    done = subprocess.run(  # noqa: S603 - this interpreter, on the checkout's own script
        [sys.executable, str(folder / "run.py"), str(folder / f"{name}.yaml"), *options],
        stdout=subprocess.PIPE if json else (subprocess.DEVNULL if quiet else None),
        stderr=subprocess.DEVNULL if quiet else None,
        check=False,
        text=True,
    )
    if json and done.stdout:
        Output(json=True).result({"figures": reader.loads(done.stdout)}, "")
    return done.returncode


def _find(checkout: Path | None) -> Path | None:
    import mumei

    places = [checkout] if checkout else [Path(mumei.__file__).resolve().parents[2], Path.cwd()]
    return next((p / "reproduce" for p in places if (p / "reproduce" / "run.py").is_file()), None)
