"""Fixed-backbone design beside the paper's own loop, with the same random weights, on one thread, in one run.

    python -m venv PEER && PEER/bin/pip install -r benchmarks/requirements-protein.txt
    git clone https://github.com/facebookresearch/esm CHECKOUT
    python benchmarks/protein.py --checkout CHECKOUT --peer-python PEER/bin/python [--steps 8] [--chains 16] [--repeats 1]

An ESM-2 network of the 8M shape (`--layers`, `--dim`, `--heads`) and a structure head get random weights, written in the peer's
layout and read by both. The target is the checkout's 2N2U.pdb. The peer runs its `stage_fixedbb` with its configuration; mumei
the same chain (preset "paper": uniform proposals, weights 3/2/1, no cysteine, the same schedule), `--chains` of them in a batch.
Of this preset a design is 170,000 steps for both, so the ratio of steps per CPU second is that of designs per CPU second; how
many steps fewer the preset "fast" needs is another question: reproduce/protein_design.py, schedules.

Where the schedule is hot nothing is proposed twice; where it is cold, proposals that come again before a chain moves are
remembered. "hot" measures the first steps of the schedule, "cold" steps at a temperature of its last quarter from states that
greedy steps have led to, which is where a chain then is. Contenders take turns; the peer's step costs the same everywhere.
Forward passes are counted in both: sequences that went through the network, for logits or for attention. The peer is float32;
of ours both number types are measured, and one chain in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DTYPES = ("float32", "bfloat16")
CONTENDERS = {
    "hot, float32": ("float32", True),
    "hot, bfloat16": ("bfloat16", True),
    "hot, one chain": ("float32", False),
}
COLD = 8 * 0.5**13  # the schedule's temperature at 130,000 of 170,000 steps
PEER = """
import json, os, sys, time, logging
from pathlib import Path
checkout, weights, steps, skip = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sys.path[:0] = [checkout, os.getcwd()]
logging.disable(logging.WARNING)
import torch
from omegaconf import OmegaConf
torch.set_num_threads(1)
import lm_design
from esm.model.esm2 import ESM2
from utils import struct_models
from utils.fixedbb import stage_fixedbb
from utils.linear_projection import LinearProjectionDistogramModel
held = torch.load(weights, weights_only=True)
sizes = held["sizes"]
calls = [0]
def load_model():
    model = LinearProjectionDistogramModel()
    maps = sizes["layers"] * sizes["heads"]
    model.conv1, model.conv2 = torch.nn.Conv2d(maps, 36, 1), torch.nn.Conv2d(maps, 26, 1)
    model.load_state_dict(held["head"], strict=False)
    base = ESM2(sizes["layers"], sizes["dim"], sizes["heads"])
    base.load_state_dict(held["network"], strict=False)
    run = base.forward
    def forward(tokens, **options):
        calls[0] += len(tokens)
        return run(tokens, **options)
    base.forward = forward
    model.base_model = base
    return model
struct_models.load_model = load_model
config = OmegaConf.load("conf/config.yaml")
config.task, config.disable_cuda = "fixedbb", True
designer = lm_design.Designer(config, "2N2U.pdb")
task = config.tasks.fixedbb
for count in (skip, steps):
    task.num_iter = count
    calls[0], begun = 0, time.process_time()
    stage_fixedbb(designer, task, disable_tqdm=True)
    designer.resuming_stage = True
    seconds = time.process_time() - begun
print(json.dumps({"seconds": seconds, "passes": calls[0], "length": designer.L}))
"""


def random_weights(folder: Path, options: argparse.Namespace) -> Path:
    """Write one network and head, and return the file that both read."""
    import torch

    from mumei.protein.models.esm2_network import Esm2, Esm2Shape

    generator = torch.Generator().manual_seed(options.seed)
    shape = Esm2Shape(options.layers, options.dim, options.heads, 4 * options.dim)
    network = {}
    for name, tensor in Esm2(shape).state_dict().items():
        spread = 1.0 / max(1, tensor.shape[-1]) ** 0.5
        made = torch.randn(tensor.shape, generator=generator) * spread
        network[_theirs(name)] = made + 1.0 if name.endswith("norm.weight") else made
    network["lm_head.weight"] = network["embed_tokens.weight"].clone()
    maps = options.layers * options.heads
    head = {}
    for layer, classes in (("conv1", 36), ("conv2", 26)):
        head[f"{layer}.weight"] = torch.randn(classes, maps, 1, 1, generator=generator)
        head[f"{layer}.bias"] = torch.zeros(classes)
    path = folder / "weights.pt"
    sizes = {"layers": options.layers, "dim": options.dim, "heads": options.heads}
    torch.save({"sizes": sizes, "network": network, "head": head}, path)
    return path


def _theirs(name: str) -> str:
    """Return the peer's name of a weight of ours."""
    inner = {"attention_norm": "self_attn_layer_norm", "query": "self_attn.q_proj", "key": "self_attn.k_proj",
             "value": "self_attn.v_proj", "out": "self_attn.out_proj", "ffn_norm": "final_layer_norm", "up": "fc1",
             "down": "fc2"}  # fmt: skip
    outer = {"embedding": "embed_tokens", "norm": "emb_layer_norm_after", "head_dense": "lm_head.dense",
             "head_norm": "lm_head.layer_norm"}  # fmt: skip
    if name == "head_bias":
        return "lm_head.bias"
    parts = name.split(".")
    if parts[0] == "layers":
        return ".".join(["layers", parts[1], inner[parts[2]], parts[3]])
    return f"{outer[parts[0]]}.{parts[1]}"


def peer(options: argparse.Namespace, weights: Path) -> dict[str, float]:
    """Run the peer's loop in its own interpreter."""
    folder = options.checkout / "examples" / "lm-design"
    words = [str(options.peer_python), "-c", PEER, str(options.checkout), str(weights), str(options.steps), "2"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def models(options: argparse.Namespace, weights: Path, dtype: str = "float32") -> tuple[Any, Any]:
    """Return our model and head with the same weights."""
    import torch

    from mumei.protein.models.esm2 import Esm2Model, network_of
    from mumei.protein.models.esm2_network import Esm2, Esm2Shape
    from mumei.protein.projection import StructureHead

    held = torch.load(weights, weights_only=True)
    shape = Esm2Shape(options.layers, options.dim, options.heads, 4 * options.dim)
    network = {name: held["network"][_theirs(name)] for name in Esm2(shape).state_dict()}
    path = weights.with_name("linear_projection_model.pt")
    torch.save({"model": held["head"]}, path)
    return Esm2Model(network_of(shape, network, "random"), "esm2:random", dtype=dtype), StructureHead.from_public(path)


def passes(model: Any) -> list[int]:
    """Count the sequences that go through a model from now on."""
    seen = [0]
    forward, attentions = model.network.forward, model.network.attentions

    def counted(tokens: Any, *args: Any) -> Any:
        seen[0] += len(tokens)
        return forward(tokens, *args)

    def maps(tokens: Any) -> Any:
        seen[0] += len(tokens)
        return attentions(tokens)

    model.network.forward, model.network.attentions = counted, maps
    return seen


def ours(
    options: argparse.Namespace, weights: Path, target: Any, kind: str, chains: int, dtype: str = "float32"
) -> dict[str, float]:
    """Run our chains, hot or cold."""
    from mumei.protein.energy import Energy, LanguageTerm
    from mumei.protein.energy_ngram import NgramTerm
    from mumei.protein.energy_structure import StructureTerm
    from mumei.protein.models.ngram import Ngram
    from mumei.protein.moves import Moves
    from mumei.protein.sampler import Sampler, Settings
    from mumei.protein.schedule import Schedule

    model, head = models(options, weights, dtype)
    energy = Energy([NgramTerm(Ngram.natural()), LanguageTerm(model), StructureTerm(model, head, target)])
    moves, starts = Moves.free(len(target)), None
    steps = options.steps if kind == "hot" else options.cold_steps
    if kind == "cold":
        greedy = Settings(options.greedy, 1, lookahead=8, every=1 << 30)
        starts = Sampler(energy, moves, Schedule(COLD), greedy, options.seed).run().tokens.expand(chains, -1)
    settings = Settings(steps, chains, lookahead=1 if kind == "hot" else options.lookahead, every=1 << 30)
    schedule = Schedule.paper() if kind == "hot" else Schedule(COLD)
    sampler = Sampler(energy, moves, schedule, settings, options.seed + 1, starts)
    seen, begun = passes(model), time.process_time()
    sampler.run()
    seconds = time.process_time() - begun
    return {
        "seconds": seconds,
        "passes": seen[0],
        "steps": steps * chains,
        "rounds": sampler.rounds,
        "moved": int(sampler.moved.sum()),
    }


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, required=True, help="of facebookresearch/esm")
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--cold-steps", type=int, default=0, help="measure the cold part too, minutes for some hundred")
    parser.add_argument("--greedy", type=int, default=600, help="steps before the cold ones are measured")
    parser.add_argument("--lookahead", type=int, default=8)
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--dim", type=int, default=320)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.checkout, options.peer_python = options.checkout.resolve(), options.peer_python.absolute()
    import torch

    from mumei.protein.structure import read_structure
    from mumei.protein.targets import Target

    torch.set_num_threads(1)
    target = Target.of(read_structure(options.checkout / "examples" / "lm-design" / "2N2U.pdb", model=1))
    found: dict[str, list[dict[str, float]]] = {"peer": [], **{name: [] for name in CONTENDERS}}
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights(Path(folder), options)
        for _ in range(options.repeats):
            found["peer"].append(peer(options, weights))
            for name, (dtype, many) in CONTENDERS.items():
                found[name].append(ours(options, weights, target, "hot", options.chains if many else 1, dtype))
        for dtype in DTYPES if options.cold_steps else ():
            found[f"cold, {dtype}"] = [ours(options, weights, target, "cold", options.chains, dtype)]
    for row in found["peer"]:
        row["steps"] = options.steps
    rate = {name: statistics.median(r["steps"] / r["seconds"] for r in rows) for name, rows in found.items()}
    cost = {name: statistics.median(r["passes"] / r["steps"] for r in rows) for name, rows in found.items()}
    out: dict[str, Any] = {
        "residues": len(target),
        "steps per CPU second": {name: round(value, 2) for name, value in rate.items()},
        "forward passes a step": {name: round(value, 3) for name, value in cost.items()},
        "ratio to the peer": {name: round(rate[name] / rate["peer"], 2) for name in rate if name != "peer"},
    }
    for name in [name for name in found if name.startswith("cold")]:
        cold = found[name][0]
        out[f"{name}: share of steps that moved"] = round(cold["moved"] / cold["steps"], 4)
        out[f"{name}: steps a forward pass"] = round(cold["steps"] / cold["passes"], 2)
        out[f"{name}: steps of a chain a batch"] = round(options.cold_steps / cold["rounds"], 2)
    print(json.dumps(out, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
