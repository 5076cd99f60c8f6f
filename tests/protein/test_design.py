"""Design and generation end to end on a small family: files, checkpoints, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import small
import torch
from structures_made import pdb_text

from mumei.cli.app import main
from mumei.core.errors import UsageError
from mumei.protein import backbone, checkpoint
from mumei.protein.constraints import Constraints
from mumei.protein.design import Options, _chosen, design, generate
from mumei.protein.energy import FunctionTerm
from mumei.protein.moves import Moves
from mumei.protein.outputs import write
from mumei.protein.sampler import Sampler, Settings
from mumei.protein.schedule import Schedule
from mumei.protein.sequence import read_fasta
from mumei.protein.targets import Target

LENGTH = 14
RESIDUES = ("MET", "LYS", "THR", "ALA", "TYR", "ILE", "ALA", "LYS", "GLN", "ARG", "GLN", "ILE", "SER", "PHE")
FAST = Options(designs=3, steps=200, settings={"chains": 4})


@pytest.fixture
def made(tmp_path):
    """A backbone's file, and the folders of a Potts model and its head."""
    model = small.potts(LENGTH)
    model.save(tmp_path / "model")
    small.head(model.n_maps).save(tmp_path / "head")
    (tmp_path / "helix.pdb").write_text("\n".join([*pdb_text(RESIDUES), "END", ""]))
    return tmp_path


def command(folder, what="design", out="out", **options):
    first = [str(folder / "helix.pdb")] if what == "design" else [str(LENGTH)]
    given = {
        "model": folder / "model",
        "head": folder / "head",
        "out": folder / out,
        "designs": 3,
        "steps": 200,
        "chains": 4,
    }
    given |= options
    return [
        "protein",
        what,
        *first,
        "--quiet",
        *(f"--{name.replace('_', '-')}={value}" for name, value in given.items()),
    ]


def test_design_writes_all_files_and_ranks_by_energy(made, capsys):
    assert main([*command(made, fix="A3-5"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    rows = printed["designs"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert [row["total"] for row in rows] == sorted(row["total"] for row in rows)
    out = made / "out"
    assert {p.name for p in out.iterdir()} == {
        "designs.fasta", "designs.csv", "designs.parquet", "trace.parquet", "manifest.json", "report.html"
    }  # fmt: skip
    records = list(read_fasta(out / "designs.fasta"))
    assert [r.sequence for r in records] == [row["sequence"] for row in rows]
    assert pq.read_table(out / "designs.parquet").column("sequence").to_pylist() == [r.sequence for r in records]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seed"] == 0
    assert "claims no new fold" in manifest["claims"]
    assert manifest["weights"] == {"ngram": 1.0, "language": 10.0, "structure": 3.0}
    assert manifest["dtype"] == "float32"
    native = backbone.read(made / "helix.pdb").native
    assert all(r.sequence[2:5] == native[2:5] and "C" not in r.sequence[:2] + r.sequence[5:] for r in records)


def test_values_are_those_of_the_sequences():
    model = small.potts(LENGTH)
    head, target = small.head(model.n_maps), Target.from_contacts(np.tri(LENGTH, k=4) * np.tri(LENGTH, k=4).T > 0)
    result = design(model, head, target, options=FAST)
    energy = [row["structure"] for row in result.rows]
    assert np.allclose(energy, head.energy(model, result.tokens, target).tolist(), atol=1e-6)
    total = [3 * row["structure"] + 10 * row["language"] + row["ngram"] for row in result.rows]
    assert np.allclose(total, [row["total"] for row in result.rows])
    logp = model.masked_logprobs(result.tokens, torch.arange(LENGTH).expand(3, -1))
    assert np.allclose(result.confidence, logp.gather(-1, result.tokens[..., None])[..., 0].exp())
    last = {r["chain"]: r for r in result.trace}
    for row in result.rows:  # the trace is anchored at the values of what was kept
        assert last[row["chain"]]["language"] >= 0


def test_a_family_weighs_more_in_fast_designs_alone():
    model, network = small.potts(LENGTH), small.esm2()
    near = Target.from_contacts(np.tri(LENGTH, k=4) * np.tri(LENGTH, k=4).T > 0)

    def weight(model, preset, **given):
        run = Options(preset, 1, 2, given, {"chains": 1})
        head = small.head(model.n_maps, model.name.partition(":")[0])
        return design(model, head, near, options=run).manifest["weights"]["language"]

    assert [weight(model, "fast"), weight(model, "paper"), weight(network, "fast")] == [10.0, 2.0, 2.0]
    assert weight(model, "fast", language=3.0) == 3.0
    run = Options(designs=1, steps=3, settings={"chains": 1})
    assert generate(model, small.head(model.n_maps), LENGTH, options=run).manifest["weights"]["language"] == 2.0


def test_repeated_sequences_give_way_to_others():
    tokens, total = torch.tensor([[1, 2], [3, 4], [1, 2], [5, 6]]), torch.tensor([0.5, 0.7, 0.5, 0.1])
    assert _chosen(tokens, total, 3).tolist() == [3, 0, 1]
    assert _chosen(tokens, total, 4).tolist() == [3, 0, 2, 1]  # too few differ; still by energy


def test_generate_keeps_a_motif_and_a_users_term():
    model = small.potts(LENGTH)
    head = small.head(model.n_maps)
    keep = torch.full((LENGTH, LENGTH), -1)
    keep[2:5, 2:5] = 4
    term = FunctionTerm("no glycine", lambda tokens: 5.0 * (tokens == 5).sum(1))
    wishes = Constraints(fix="A3-5")
    result = generate(
        model, head, LENGTH, constraints=wishes, motif=(keep, "XXKWK" + "X" * 9), terms=[term], options=FAST
    )
    assert all(row["sequence"][2:5] == "KWK" for row in result.rows)
    assert bool((result.extra["drawn"][:, 2:5, 2:5] == 4).all())
    assert sum(row["sequence"].count("G") for row in result.rows) <= 1


def test_generate_by_command(made, capsys):
    motif = f"{made / 'helix.pdb'}:A3-5@7"
    assert main(command(made, "generate", "free", motif=motif, net_charge="-1..1")) == 0
    assert "rank" in capsys.readouterr().out
    native = backbone.read(made / "helix.pdb").native
    assert all(r.sequence[6:9] == native[2:5] for r in read_fasta(made / "free" / "designs.fasta"))


def test_a_run_cut_anywhere_goes_on_to_the_bit(tmp_path):
    def fresh():
        settings = Settings(300, 3, "informed", "best", 16, 0, 30)
        return Sampler(small.energy(LENGTH), Moves.free(LENGTH), Schedule.geometric(1, 0.01, 300), settings, 4)

    whole = fresh().run()
    part, folder = fresh(), tmp_path / "state"
    while not part.finished:
        part.run(rounds=37)
        checkpoint.save(part, folder, "run")
        part = fresh()
        assert checkpoint.restore(part, folder, "run")
    assert checkpoint.same(part, whole)
    assert part.trace == whole.trace
    with pytest.raises(UsageError, match="another run"):
        checkpoint.restore(fresh(), folder, "other")
    assert not checkpoint.restore(fresh(), tmp_path / "nothing", "run")


def killed(made, what, kills, at):
    """Run a command to its end, killing it so many times after its first checkpoint since the last start; return its FASTA."""
    words = command(made, what, "cut", checkpoints=made / "state", save_every=0.05, steps=400)
    code = "import sys, torch; torch.set_num_threads(1); from mumei.cli.app import main; sys.exit(main(sys.argv[1:]))"
    for turn in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        seen, wanted = checkpoint_number(made), None
        while process.poll() is None:
            now = checkpoint_number(made)
            if now > seen and wanted is None:
                wanted = now + at[turn % len(at)]
            if wanted is not None and now >= wanted:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.002)
        assert process.stderr is not None
        process.stderr.close()
        assert process.returncode == -signal.SIGKILL
    assert main(words) == 0
    return (made / "cut" / "designs.fasta").read_text()


def checkpoint_number(made):
    found = sorted(p.name for p in (made / "state").glob("step-*")) if (made / "state").is_dir() else []
    return int(found[-1][5:]) if found else -1


@pytest.mark.parametrize("what", ["design", pytest.param("generate", marks=pytest.mark.slow)])
def test_kill_9_then_resume_gives_the_same_sequences(made, what, capsys):
    assert main(command(made, what, "whole", steps=400)) == 0
    assert killed(made, what, 1, [20]) == (made / "whole" / "designs.fasta").read_text()


@pytest.mark.slow
def test_many_kills_give_the_same_sequences(made, capsys):
    assert main(command(made, "design", "whole", steps=400)) == 0
    assert killed(made, "design", 6, [3, 10, 20]) == (made / "whole" / "designs.fasta").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "nowhere"}, "fit a structure head"),
        ({"model": "esm3:x"}, "unknown sequence model"),
        ({"fix": "A40"}, "names residue 40"),
        ({"weights": "structure"}, "not understood"),
        ({"weights": "structur=3"}, "no term of this energy"),
        ({"chain": "Q"}, "no protein chain 'Q'"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(made, capsys, options, message):
    assert main(command(made, **options)) == 2
    assert message in capsys.readouterr().err
    assert not (made / "out").exists()


def test_models_that_cannot_are_told():
    from mumei.protein.models.ngram import Ngram

    model = small.potts(LENGTH)
    head = small.head(model.n_maps)
    with pytest.raises(UsageError, match="has no pair maps"):
        generate(Ngram.natural(), head, 10)
    with pytest.raises(UsageError, match="a model of 14 residues and the target has 10"):
        generate(model, head, 10)
    with pytest.raises(UsageError, match="length of 0"):
        generate(model, head, 0)
    with pytest.raises(UsageError, match="up to 1022 residues"):
        generate(small.esm2(), small.head(4, "esm2"), 1100)
    with pytest.raises(UsageError, match="unknown preset"):
        generate(model, head, LENGTH, options=Options(preset="slow"))


def test_two_chains_are_one_sequence(tmp_path):
    (tmp_path / "two.pdb").write_text("\n".join([*pdb_text(), *pdb_text(chain="B"), "END", ""]))
    with pytest.raises(UsageError, match="several protein chains"):
        backbone.read(tmp_path / "two.pdb")
    both = backbone.read(tmp_path / "two.pdb", chain="A,B")
    assert both.labels[0] == "A:1"
    assert both.labels[6] == "B:1"
    assert len(both.target) == 12


def test_esm2_designs_too():
    model = small.esm2()
    result = design(model, small.head(4, "esm2"), small.target(LENGTH), options=Options(designs=2, steps=60))
    assert len(result.rows) == 2
    assert result.manifest["settings"]["chains"] == 16


def test_outputs_replace_what_was_there(tmp_path):
    model = small.potts(LENGTH)
    result = design(model, small.head(model.n_maps), small.target(LENGTH), options=FAST)
    write(result, tmp_path / "out")
    write(result, tmp_path / "out")
    assert len(list(read_fasta(tmp_path / "out" / "designs.fasta"))) == 3
