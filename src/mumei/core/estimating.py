"""What estimators share: a failed fit changes nothing, a folder belongs to one fit, values as JSON has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mumei.core import checkpoint, files
from mumei.core.errors import UsageError


@contextlib.contextmanager
def as_it_was(model: Any) -> Iterator[None]:
    """Leave the estimator as it was, weights too, where what is done inside does not come to its end."""
    before, net = dict(vars(model)), getattr(model, "net_", None)
    weights = None if net is None else {k: v.detach().clone() for k, v in net.state_dict().items()}
    try:
        yield
    except BaseException:
        vars(model).clear()
        vars(model).update(before)
        if net is not None and weights is not None:
            own_memory(net)
            net.load_state_dict(weights)
        raise


def own_memory(net: nn.Module) -> None:
    """Give each parameter memory of its own: written-out gradients leave views of one vector."""
    for parameter in net.parameters():
        parameter.data = parameter.data.clone()
        parameter.grad = None


def same_settings(out: Any, now: dict[str, Any]) -> None:
    """Raise `UsageError` where a folder holds checkpoints whose method's state has other "settings", both as JSON has them."""
    now = plain(now)
    existing = [] if out is None else checkpoint.existing(Path(out) / "checkpoints")
    for path in reversed(existing):
        try:
            then = files.read_json(path / checkpoint.STATE)["method"].get("settings", {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # a damaged one: the loop passes over it too
        differing = [k for k in sorted({**then, **now}) if then.get(k) != now.get(k)]
        if differing:
            shown = "; ".join(f"{k}: {then.get(k)!r} then, {now.get(k)!r} now" for k in differing[:5])
            raise UsageError(
                f"{out} holds a fit that differs from this one ({shown}). Give a new folder, or remove it."
            )
        return


def plain(value: Any) -> Any:
    """Return a value with NumPy's numbers and arrays, and tuples, as JSON has them."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | tuple | list):
        return [plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def widths(hidden: Any) -> tuple[int, ...]:
    """Return the widths of hidden layers, given as one or several integers."""
    given = plain(hidden)
    if isinstance(given, int):
        return (given,)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UsageError(
            f"hidden={hidden!r} is not allowed; give the width of each layer, such as (500,) or (256, 64)."
        )
    return tuple(given)
