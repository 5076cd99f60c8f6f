"""What every network must do, and what every training that can be cut must: go on to the same weights, bit for bit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mumei.testing.common import describe, fail, same_bits, untouched_randomness

Make = Callable[[], Any]


def _tensors(output: Any) -> list[Any]:
    """Return the tensors of an output: a tensor, or a tuple, dict or object of them."""
    if hasattr(output, "detach"):
        return [output]
    if isinstance(output, Mapping):
        return [t for v in output.values() for t in _tensors(v)]
    if isinstance(output, (list, tuple)):
        return [t for v in output for t in _tensors(v)]
    return [t for v in vars(output).values() for t in _tensors(v)] if hasattr(output, "__dict__") else []


def check_network_output(make: Make, batch: Any) -> None:
    """A batch gives finite tensors, and no output depends on a second call."""
    import torch

    network = make().eval()
    with torch.no_grad():
        first, second = _tensors(network(batch)), _tensors(network(batch))
    if not first or not all(torch.isfinite(t).all() for t in first if t.is_floating_point()):
        fail(check_network_output, network, "gives no tensor, or NaN or infinity, for a plain batch")
    if not same_bits(first, second):
        fail(check_network_output, network, "gives other bits for the same batch at the second call, in eval mode")


def check_network_rows_apart(make: Make, batch: Any) -> None:
    """In eval mode a row's output does not depend on the other rows."""
    import torch

    network = make().eval()
    with torch.no_grad():
        whole, alone = _tensors(network(batch)), _tensors(network(batch[:1]))
    for a, b in zip(whole, alone, strict=True):
        if a.shape[:1] == batch.shape[:1] and not torch.allclose(a[:1], b, rtol=1e-4, atol=1e-5):
            fail(check_network_rows_apart, network, "gives a row alone another output than among others, in eval mode")


def check_network_gradients(make: Make, batch: Any) -> None:
    """Every parameter that wants one gets a finite gradient."""
    import torch

    network = make().train()
    outputs = [t for t in _tensors(network(batch)) if t.requires_grad]
    if not outputs:
        fail(check_network_gradients, network, "gives no output with a gradient")
    torch.stack([t.float().square().sum() for t in outputs]).sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not torch.isfinite(parameter.grad).all()):
            fail(check_network_gradients, network, f"has a parameter {name} without a finite gradient")


def check_network_same_seed(make: Make, batch: Any) -> None:
    """Made twice, it has the same weights, and no global random state was drawn from."""
    network = make()
    with untouched_randomness(check_network_same_seed, network):
        other = make()
    if not same_bits(network, other):
        fail(check_network_same_seed, network, "has other initial weights when it is made again with the same seed")


def check_network_save_load(make: Make, batch: Any) -> None:
    """Weights written to safetensors and read into another network give the same bits."""
    import torch
    from safetensors.torch import load_file

    from mumei.core.files import write_tensors

    network, other = make().eval(), make().eval()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for parameter in network.parameters():
            parameter.add_(0.01)  # else equal initial weights would hide a loss
        path = Path(folder) / "weights.safetensors"
        write_tensors(path, {k: v.clone() for k, v in network.state_dict().items()})
        other.load_state_dict(load_file(path))
        if not same_bits(_tensors(network(batch)), _tensors(other(batch))):
            fail(check_network_save_load, network, "gives other bits after its weights are written and read")


CHECKS = (
    check_network_output,
    check_network_rows_apart,
    check_network_gradients,
    check_network_same_seed,
    check_network_save_load,
)


def check_network(make_network: Make, batch: Any) -> None:
    """Run every check of a network.

    Parameters
    ----------
    make_network : callable
        Makes a network with initial weights of a fixed seed.
    batch : tensor (m, ...)
        Two or more rows of what it takes.

    Raises
    ------
    AssertionError
        The first check that fails, with the object's name and a sentence.
    """
    for check in CHECKS:
        check(make_network, batch)


def check_resume(train: Callable[[int, Path], Any], steps: int = 6) -> None:
    """Check that a training that was cut ends with the weights of one that was not, bit for bit.

    Parameters
    ----------
    train : callable
        `train(steps, folder)` trains up to that many steps in all, going on from what lies in the folder, and returns
        the weights: a mapping of names to tensors or arrays, or a network.
    steps : int
        Three or more.

    Raises
    ------
    AssertionError
        The weights differ: after a cut at one third and at the last step but one, or when nothing is left to do.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        whole = _weights(train(steps, folder / "whole"))
        if not same_bits(whole, _weights(train(steps, folder / "again"))):
            fail(check_resume, train, "gives other weights when the same run is made twice")
        if not same_bits(whole, _weights(train(steps, folder / "whole"))):
            fail(check_resume, train, "gives other weights when a finished run is continued")
        for cut in (max(1, steps // 3), steps - 1):
            part = folder / f"cut-{cut}"
            if same_bits(_weights(train(cut, part)), whole):
                fail(check_resume, train, f"has the same weights after {cut} and {steps} steps: it does not learn")
            if not same_bits(_weights(train(steps, part)), whole):
                fail(check_resume, train, f"gives other weights when it is cut after {cut} of {steps} steps")


def _weights(trained: Any) -> dict[str, Any]:
    found = trained.state_dict() if hasattr(trained, "state_dict") else trained
    if not isinstance(found, Mapping) or not found:
        raise AssertionError(f"check_resume: train returned a {describe(trained)}, not a mapping of weights.")
    return {name: (w.clone() if hasattr(w, "clone") else w.copy()) for name, w in found.items()}
