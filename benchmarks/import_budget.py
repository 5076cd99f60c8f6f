"""The start-up budget: any `--help` costs under 300 ms of CPU and loads neither torch, numpy nor transformers.

Run it with the environment's Python: `python benchmarks/import_budget.py`. It prints a table and exits 1 where the
budget is broken. CPU time is user plus system time of the child process, the best of three: other work on the machine
then hardly counts. A machine that starts the bare interpreter slower than the one the budget is meant for is let pass
with as much more, and that is said.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

BUDGET_MS = 300.0
TRIES = 3
REFERENCE_MS = (
    29.0  # `import mumei`, next to nothing but the interpreter, on the machine the budget is meant for (Zen 4)
)
HEAVY = ("numpy", "pandas", "pyarrow", "scipy", "sklearn", "torch", "transformers")

# Runs the command line in this process's place, with its output thrown away, then says what of HEAVY it loaded.
PROBE = """
import contextlib, io, sys
with contextlib.redirect_stdout(io.StringIO()):
    if sys.argv[1:]:
        from mumei.cli.app import main
        code = main(sys.argv[1:])
    else:
        import mumei
        code = 0
print(code, *sorted(set(sys.modules) & set({heavy!r})))
"""


def commands() -> list[list[str]]:
    """Return every argument list under the budget; the empty one stands for `import mumei`."""
    from mumei.cli.app import COMMANDS, members

    inner = [[name, member, "--help"] for name in COMMANDS for member in members(name)]
    return [[], ["--version"], ["--help"], *([name, "--help"] for name in COMMANDS), *inner]


def heavy_modules(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """Return the exit code of `mumei ARGUMENTS` and the heavy modules that it loaded."""
    probe = [sys.executable, "-c", PROBE.format(heavy=HEAVY), *arguments]
    done = subprocess.run(probe, capture_output=True, text=True, check=True)
    code, *loaded = done.stdout.split()
    return int(code), loaded


def cpu_ms(arguments: Sequence[str]) -> float:
    """Return the CPU time in ms of one child that runs `mumei ARGUMENTS`, or `import mumei` for none."""
    code = "from mumei.cli.app import main; raise SystemExit(main())" if arguments else "import mumei"
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # told, so that Popen does not wait again
    if child.returncode != 0:
        raise SystemExit(f"mumei {' '.join(arguments)} exited with {child.returncode}")
    return 1000 * (usage.ru_utime + usage.ru_stime)


def main() -> int:
    bare = min(cpu_ms([]) for _ in range(3 * TRIES))
    budget = BUDGET_MS * max(1.0, bare / REFERENCE_MS)
    print(f"{'command':<24} {'CPU ms':>8}   verdict (budget {BUDGET_MS:.0f} ms, best of {TRIES})")
    if budget > BUDGET_MS:
        print(
            f"this machine starts `import mumei` in {bare:.0f} ms, not {REFERENCE_MS:.0f}: up to {budget:.0f} ms are let pass"
        )
    broken = 0
    for arguments in commands():
        best = min(cpu_ms(arguments) for _ in range(TRIES))
        if best > budget:  # another process may have disturbed it
            best = min(best, *(cpu_ms(arguments) for _ in range(2 * TRIES)))
        _, loaded = heavy_modules(arguments)
        reasons = [f"over {budget:.0f} ms"] * (best > budget) + [f"loads {', '.join(loaded)}"] * bool(loaded)
        broken += bool(reasons)
        name = f"mumei {' '.join(arguments)}" if arguments else "import mumei"
        print(f"{name:<24} {best:>8.0f}   {'; '.join(reasons) or 'ok'}")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
