"""The `mumei` command: its subcommands by name, and the one place where errors become messages and exit codes.

Subcommands are import strings: `mumei --help` imports none of them, and `mumei X --help` imports X's thin file alone.

Exit codes: 0 done, 1 it failed, 2 the command or an argument is wrong, 130 interrupted, 141 the reader of the output
left. With `--json` a failure is `{"error": {"kind", "message", "exit_code"}}` on standard output, beside the message on
standard error.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from mumei import __version__
from mumei.cli.output import clean, write_json, write_line
from mumei.core.errors import MumeiError, unknown

# A command is an import string, or a group of commands; the first of a group is run where none of its names is given.
COMMANDS: dict[str, tuple[str | dict[str, tuple[str, str]], str]] = {
    "discover": (
        "mumei.cli.discover:discover",
        "Turn a file of unlabelled notes into a searchable, clustered workspace.",
    ),
    "search": (
        {
            "query": ("mumei.cli.search:query", "Ask a workspace or a collection a question; 'query' may be left out."),
            "index": ("mumei.cli.search_index:index", "Make a collection from a source, or add to one."),
            "delete": ("mumei.cli.search_index:delete", "Delete documents from a collection by their ids."),
            "info": ("mumei.cli.search_index:info", "Say what a collection holds, and check it for damage."),
            "eval": ("mumei.cli.search_eval:evaluate", "Measure rankings against judgements, or without any."),
            "compare": ("mumei.cli.search_eval:compare", "Compare two runs query by query."),
            "prompts": ("mumei.cli.search_prompts:prompts", "Show the prompts for hypothetical documents."),
        },
        "Find: ask a question, make and keep collections, measure rankings.",
    ),
    "vae": (
        {
            "fit": ("mumei.cli.vae:fit", "Learn a latent space of a table or of images; 'fit' may be left out."),
            "encode": ("mumei.cli.vae:encode", "Write the latent coordinates of rows."),
            "sample": ("mumei.cli.vae:sample", "Draw new rows from a model."),
            "score": ("mumei.cli.vae:score", "Say how likely rows are, the least likely first."),
            "report": ("mumei.cli.vae:report", "Write a page on a model and some rows."),
        },
        "Variational autoencoder: a latent space, samples and likelihoods of unlabelled numbers.",
    ),
    "cluster": (
        {
            "fit": ("mumei.cli.cluster:fit", "Find groups in a table or in images; 'fit' may be left out."),
            "predict": ("mumei.cli.cluster:predict", "Write the cluster of each row."),
            "compare": ("mumei.cli.cluster_compare:compare", "Run several methods and the baselines on the same rows."),
            "methods": ("mumei.cli.cluster:methods", "List the methods."),
            "report": ("mumei.cli.cluster:report", "Write a page on a model and some rows."),
        },
        "Deep clustering: groups of unlabelled rows, by many methods, with baselines and stability beside them.",
    ),
    "data": (
        {
            "list": ("mumei.cli.data:catalogue", "List the corpora that are known; 'list' may be left out."),
            "show": ("mumei.cli.data:show", "Say what is known of a corpus without reading it."),
            "load": ("mumei.cli.data:load", "Read a corpus into the cache, and say what it holds."),
            "check": ("mumei.cli.data_check:check", "Check corpora, and report every fault by its code."),
            "stats": ("mumei.cli.data:stats", "Count what corpora hold, with a page."),
            "export": (
                "mumei.cli.data_export:export",
                "Write a corpus as Parquet, JSONL, Croissant, for datasets, BRAT or CoNLL.",
            ),
            "mix": ("mumei.cli.data_mix:mix", "Mix corpora into one training table, as records or instructions."),
            "view": ("mumei.cli.data_export:view", "Write a page of documents with their annotations over the text."),
        },
        "Biomedical corpora from their native files: checked, counted, mixed, shown and exported under BigBIO's schemas.",
    ),
    "scale": (
        {
            "fit": (
                "mumei.cli.scale:fit",
                "Say what finished runs tell of compute-optimal training; 'fit' may be left out.",
            ),
            "plan": ("mumei.cli.scale:plan", "Spend a budget: how many parameters and tokens, what loss, how sure."),
            "sweep": ("mumei.cli.scale_sweep:sweep", "Propose the small runs to train before a large one."),
        },
        "Plan compute-optimal training: how big a model, how many tokens.",
    ),
    "protein": (
        {
            "score": (
                "mumei.cli.protein_score:score",
                "Rank sequences by one energy, and say which are rejected and why.",
            ),
            "scan": ("mumei.cli.protein_score:scan", "Score every single mutant of a protein."),
            "design": ("mumei.cli.protein:design", "Design sequences for a backbone."),
            "generate": ("mumei.cli.protein:generate", "Generate sequences of a length, with their structures."),
            "fit-potts": ("mumei.cli.protein_score:fit_potts", "Fit a Potts model of a protein's family."),
            "fit-head": ("mumei.cli.protein_score:fit_head", "Fit the map from a model to structure."),
        },
        "Proteins: sequences scored and designed by the energy of a language model or of a family.",
    ),
    "reproduce": (
        "mumei.cli.reproduce:reproduce",
        "Run a paper's experiments and compare them with its published figures.",
    ),
    "doctor": ("mumei.cli.doctor:doctor", "Show what this machine and this installation can do."),
}
SHARED_FLAGS = ("--json", "--quiet")
OWN_FLAGS = ("--help", "-h", "--version")
INTERRUPTED = 130
BROKEN_PIPE = 141
A_BUG = "This is a bug in mumei, not in what you did."


@dataclass(frozen=True)
class Failure:
    """What went wrong, for a person and for a program."""

    kind: str
    message: str
    exit_code: int


def build() -> App:
    """Return the application with its commands, none of them imported."""
    help_text = "Discovery without labels for biomedical data: find, organise, map and make, from unlabelled material."
    app = _app("mumei", help_text, version=f"mumei {__version__}", version_flags=["--version"])
    for order, (name, (target, summary)) in enumerate(COMMANDS.items()):
        if isinstance(target, str):
            app.command(target, name=name, help=summary, sort_key=order)
            continue
        group = _app(name, summary, sort_key=order)
        for place, (member, (import_string, about)) in enumerate(target.items()):
            group.command(import_string, name=member, help=about, sort_key=place)
        app.command(group)
    return app


def _app(name: str, help_text: str, **options: Any) -> App:
    return App(
        name=name,
        help=help_text,
        help_epilogue="Every command takes --json (one JSON document on standard output) and --quiet (no progress).",
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        **options,
    )


def members(name: str) -> tuple[str, ...]:
    """Return the commands of a group; nothing for a command that is none."""
    target = COMMANDS.get(name, ("", ""))[0]
    return () if isinstance(target, str) else tuple(target)


def hoist(tokens: Sequence[str]) -> list[str]:
    """Move `--json` and `--quiet` given before the command to just after it, where every command takes them.

    A group's first command is put in where none of its commands is named.

    Examples
    --------
    >>> hoist(["--json", "doctor"]), hoist(["search", "--json", "notes.mumei", "a question"])
    (['doctor', '--json'], ['search', 'query', '--json', 'notes.mumei', 'a question'])
    """
    leading = list(takewhile(lambda token: token in SHARED_FLAGS, tokens))
    rest = list(tokens[len(leading) :])
    if not rest or rest[0].startswith("-"):
        return rest
    name, rest = rest[0], rest[1:]
    if not members(name):
        return [name, *leading, *rest]
    inner = list(takewhile(lambda token: token in SHARED_FLAGS, rest))
    rest = rest[len(inner) :]
    if rest and rest[0] in members(name):
        return [name, rest[0], *leading, *inner, *rest[1:]]
    if not rest or rest[0] in OWN_FLAGS:
        return [name, *rest]
    return [name, members(name)[0], *leading, *inner, *rest]


def check_command(tokens: Sequence[str]) -> None:
    """Raise `UsageError` for a first word that is no command (cyclopts would import every command to suggest one)."""
    if tokens and tokens[0].startswith("-") and tokens[0] not in OWN_FLAGS:
        raise unknown("option", tokens[0], [*OWN_FLAGS, *SHARED_FLAGS])
    if tokens and not tokens[0].startswith("-") and tokens[0] not in COMMANDS:
        raise unknown("command", tokens[0], COMMANDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises for a user's mistake, Ctrl-C or a closed pipe.

    Parameters
    ----------
    argv : sequence of str, optional
        What follows `mumei`; the process's own arguments by default.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    # Threads that spin while they wait are ten times slower as soon as another program wants the cores; read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    as_json = "--json" in takewhile(lambda word: word != "--", given)
    # A process started with a stream closed has None there, which nothing that prints is ready for.
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    try:
        tokens = hoist(given)
        check_command(tokens)
        code = build()(tokens)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as stop:  # rich's own answer to a closed pipe, while it prints a help text
        if isinstance(stop.__context__, BrokenPipeError):
            return _reader_left()
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort: everything becomes one message
        return _report(explain(error, given), as_json)


def explain(error: BaseException, argv: Sequence[str]) -> Failure:
    """Turn an exception into what a user is told; one that nobody foresaw is written to a log file."""
    if isinstance(error, MumeiError):
        return Failure(_kind(error), str(error), error.exit_code)
    if isinstance(error, CycloptsError):
        return Failure("usage", _usage_text(error, argv), 2)
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", _interrupted_text(error), INTERRUPTED)
    if isinstance(error, MemoryError):
        return Failure(
            "memory", "out of memory. Close other programs or give less data, then run the same command again.", 1
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        from mumei.core.files import storage_error

        return Failure("storage", str(storage_error(error, error.filename or "the output")), 1)
    if isinstance(error, PermissionError) and error.filename:
        return Failure(
            "storage", f"no permission to use {error.filename}. Change its permissions or give another path.", 1
        )
    return Failure("bug", _bug_text(error, argv), 1)


def _kind(error: MumeiError) -> str:
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _usage_text(error: CycloptsError, argv: Sequence[str]) -> str:
    words = hoist(argv)
    command = words[:1] if words[:1] and words[0] in COMMANDS else []
    command += [word for word in words[1:2] if command and word in members(command[0])]
    return f"{str(error).strip()} See: {' '.join(['mumei', *command, '--help'])}"


def _interrupted_text(error: BaseException) -> str:
    """Say what was kept: a command adds that to the interrupt by `error.add_note("...")`."""
    kept = " ".join(getattr(error, "__notes__", [])) or "What was finished is kept."
    return f"interrupted. {kept} Run the same command again: it continues from what was kept."


def _bug_text(error: BaseException, argv: Sequence[str]) -> str:
    import traceback

    if os.environ.get("MUMEI_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    last = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {last[0] if last else '(no message)'}"
    try:
        return f"{what}. The full traceback is in {_write_log(error, argv)}. {A_BUG} Please report it."
    except (OSError, ImportError) as refused:
        return f"{what}. {A_BUG} No log could be written ({refused}); MUMEI_DEBUG=1 shows the traceback."


def _write_log(error: BaseException, argv: Sequence[str]) -> Path:
    import shlex
    import time
    import traceback

    from platformdirs import user_log_dir

    from mumei.core.files import make_folder, write_text

    folder = make_folder(user_log_dir("mumei", appauthor=False))
    path = folder / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    head = f"mumei {__version__}, Python {sys.version}\n{sys.platform}\nmumei {shlex.join(argv)}\n\n"
    text = head + "".join(traceback.format_exception(error))
    write_text(path, text.encode("utf-8", "backslashreplace").decode())
    return path


def _report(failure: Failure, as_json: bool) -> int:
    with contextlib.suppress(
        OSError, ValueError
    ):  # standard error or output may be closed or full: the code still counts
        write_line(f"mumei: {clean(failure.message)}", sys.stderr)
        sys.stderr.flush()
    try:
        if as_json:
            body = {"kind": failure.kind, "message": clean(failure.message), "exit_code": failure.exit_code}
            write_json({"error": body})
        sys.stdout.flush()
    except (OSError, ValueError):
        _reader_left()
    return failure.exit_code


def _reader_left() -> int:
    """Point standard output at nothing, so that the interpreter's own flush at exit has no one to complain about."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    return BROKEN_PIPE
