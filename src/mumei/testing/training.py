"""What every network must do, and what every training that can be cut must: go on to the same weights, bit for bit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mumei.core.errors import UsageError
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


def check_meets_protocol(make: Make, batch: Any) -> None:
    """It is a `torch.nn.Module` with at least one parameter."""
    import torch

    network = make()
    if not isinstance(network, torch.nn.Module):
        fail(check_meets_protocol, network, "is not a torch.nn.Module")
    if not any(True for _ in network.parameters()):
        fail(check_meets_protocol, network, "has no parameters")


def check_output(make: Make, batch: Any) -> None:
    """A batch gives finite tensors, and no output depends on a second call."""
    import torch

    network = make().eval()
    with torch.no_grad():
        first, second = _tensors(network(batch)), _tensors(network(batch))
    if not first or not all(torch.isfinite(t).all() for t in first if t.is_floating_point()):
        fail(check_output, network, "gives no tensor, or NaN or infinity, for a plain batch")
    if not same_bits(first, second):
        fail(check_output, network, "gives other bits for the same batch at the second call, in eval mode")


def check_rows_apart(make: Make, batch: Any) -> None:
    """In eval mode a row's output does not depend on the other rows."""
    import torch

    network = make().eval()
    with torch.no_grad():
        whole, alone = _tensors(network(batch)), _tensors(network(batch[:1]))
    for a, b in zip(whole, alone, strict=True):
        if a.shape[:1] == batch.shape[:1] and not torch.allclose(a[:1], b, rtol=1e-4, atol=1e-5):
            fail(check_rows_apart, network, "gives a row alone another output than among others, in eval mode")


def check_gradients(make: Make, batch: Any) -> None:
    """Every parameter that wants one gets a finite gradient."""
    import torch

    network = make().train()
    outputs = [t for t in _tensors(network(batch)) if t.requires_grad]
    if not outputs:
        fail(check_gradients, network, "gives no output with a gradient")
    torch.stack([t.float().square().sum() for t in outputs]).sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not torch.isfinite(parameter.grad).all()):
            fail(check_gradients, network, f"has a parameter {name} without a finite gradient")


def check_same_seed_same_bits(make: Make, batch: Any) -> None:
    """Made twice, it has the same weights, and no global random state was drawn from."""
    network = make()
    with untouched_randomness(check_same_seed_same_bits, network):
        other = make()
    if not same_bits(network, other):
        fail(check_same_seed_same_bits, network, "has other initial weights when it is made again with the same seed")


def check_global_random(make: Make, batch: Any) -> None:
    """In eval mode nothing is drawn from global random states."""
    import torch

    network = make().eval()
    with untouched_randomness(check_global_random, network), torch.no_grad():
        network(batch)


def check_save_load(make: Make, batch: Any) -> None:
    """Weights written to safetensors and read into another network give the same bits."""
    import torch
    from safetensors.torch import load_file

    from mumei.core.files import write_tensors

    network, other = _moved(make(), batch), make().eval()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        write_tensors(path, {k: v.clone() for k, v in network.state_dict().items()})
        other.load_state_dict(load_file(path))
        if not same_bits(_tensors(network(batch)), _tensors(other(batch))):
            fail(check_save_load, network, "gives other bits after its weights are written and read")


def _moved(network: Any, batch: Any) -> Any:
    """Change parameters and buffers a little: values that two new networks share would hide a loss."""
    import torch

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for parameter in network.parameters():
            parameter.add_(0.01)
        network.train()(batch)  # running means, counters
    return network.eval()


def check_artifact(make: Make, batch: Any) -> None:
    """A network with `save(path)` comes back from `mumei.load` with the same bits, ready to be used."""
    import torch

    import mumei

    network = _moved(make(), batch)
    if not callable(getattr(network, "save", None)):
        return
    with tempfile.TemporaryDirectory() as folder:
        loaded = mumei.load(network.save(Path(folder) / "model"))
    if type(loaded) is not type(network):
        fail(check_artifact, network, f"comes back as a {type(loaded).__name__}")
    with torch.no_grad():
        if not same_bits(_tensors(network(batch)), _tensors(loaded(batch))):
            fail(check_artifact, network, "gives other bits after save and load")


CHECKS = (
    check_meets_protocol,
    check_output,
    check_rows_apart,
    check_gradients,
    check_same_seed_same_bits,
    check_global_random,
    check_save_load,
    check_artifact,
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


def check_resume(train: Callable[[Path, int], Any], steps: int = 6) -> None:
    """Check that a training that was cut ends with the weights of one that was not, bit for bit.

    Parameters
    ----------
    train : callable
        `train(folder, steps)` trains up to that many steps in all, going on from what lies in the folder, and returns
        the weights: a tensor or array, a mapping or sequence of these, or a network.
    steps : int
        Three or more.

    Raises
    ------
    AssertionError
        The weights differ: after a cut at one third or at the last step but one, when a finished run is continued, or
        when the same run is made twice. Or a global random state was changed.
    UsageError
        Fewer than three steps.
    """
    if steps < 3:
        raise UsageError(f"check_resume got steps={steps}; give three or more, so that there is something to cut.")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        whole = _weights(train(folder / "whole", steps))
        with untouched_randomness(check_resume, train):
            again = _weights(train(folder / "again", steps))
        if not same_bits(whole, again):
            fail(check_resume, train, "gives other weights when the same run is made twice")
        if not same_bits(whole, _weights(train(folder / "whole", steps))):
            fail(check_resume, train, "gives other weights when a finished run is continued")
        for cut in sorted({max(1, steps // 3), steps - 1}):
            part = folder / f"cut-{cut}"
            if same_bits(_weights(train(part, cut)), whole):
                fail(check_resume, train, f"has the same weights after {cut} and {steps} steps: it does not learn")
            if not same_bits(_weights(train(part, steps)), whole):
                fail(check_resume, train, f"gives other weights when it is cut after {cut} of {steps} steps")


def _weights(trained: Any) -> dict[str, Any]:
    """Return copies by name: the caller may go on training the very same tensors."""
    found = trained.state_dict() if hasattr(trained, "state_dict") else trained
    if hasattr(found, "dtype"):
        found = [found]
    if isinstance(found, (list, tuple)):
        found = {str(i): value for i, value in enumerate(found)}
    if not isinstance(found, Mapping) or not found or not all(hasattr(w, "dtype") for w in found.values()):
        raise AssertionError(f"check_resume: train returned a {describe(trained)}, not weights: a tensor or several.")
    return {name: (w.detach().clone() if hasattr(w, "detach") else w.copy()) for name, w in found.items()}
