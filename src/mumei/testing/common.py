"""What the checks share: the failing sentence, equality of bits, refusals, and a watch over global random states."""

from __future__ import annotations

import contextlib
import random
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from mumei.core.errors import MumeiError


def describe(obj: Any) -> str:
    """Return what a sentence calls an object: its class (a function's name), and its `name` where it has one."""
    name = getattr(obj, "name", None)
    kind = getattr(obj, "__name__", type(obj).__name__)
    return f"{kind} ({name})" if isinstance(name, str) and name else kind


def fail(check: Callable[..., Any], obj: Any, sentence: str) -> NoReturn:
    """Raise the `AssertionError` that names the check and the object."""
    raise AssertionError(f"{check.__name__}: {describe(obj)} {sentence}.")


def same_bits(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last bit: arrays, tensors, networks, and lists or dicts of these."""
    for form in ("state_dict", "toarray"):  # networks, sparse matrices
        if hasattr(a, form) and hasattr(b, form):
            return same_bits(getattr(a, form)(), getattr(b, form)())
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(same_bits(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_bits(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "dtype") and hasattr(b, "dtype"):
        return _same_array(a, b)
    return type(a) is type(b) and bool(a == b or (a != a and b != b))


def _same_array(a: Any, b: Any) -> bool:
    import numpy as np

    if hasattr(a, "detach") != hasattr(b, "detach"):
        return False
    if hasattr(a, "detach"):
        import torch

        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        a, b = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy() for t in (a, b))
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return bool(np.array_equal(a, b)) if a.dtype.hasobject else a.tobytes() == b.tobytes()


def copy_items(items: Any) -> Any:
    """Return a copy to compare with later."""
    return items.copy() if hasattr(items, "dtype") else list(items)


def take(items: Any, rows: list[int]) -> Any:
    """Return some of the items, in a new order, in the kind of container that they came in."""
    return items[rows] if hasattr(items, "dtype") else [items[i] for i in rows]


def must_refuse(
    check: Callable[..., Any],
    obj: Any,
    call: Callable[[], Any],
    what: str,
    errors: tuple[type[Exception], ...] = (MumeiError,),
    words: tuple[str, ...] = (),
) -> None:
    """Fail unless the call raises one of the errors, with a text that holds one of the words."""
    names = " or ".join(e.__name__ for e in errors)
    try:
        call()
    except errors as error:
        text = str(error).lower()
        if not text or (words and not any(w.lower() in text for w in words)):
            wanted = f" that says one of {words}" if words else ""
            fail(check, obj, f"refuses {what} without a message{wanted}; it said {str(error)!r}")
    except Exception as error:
        raise AssertionError(
            f"{check.__name__}: {describe(obj)} answers {what} with {type(error).__name__} ({error}), not {names}."
        ) from error
    else:
        fail(check, obj, f"accepts {what}; it should raise {names}")


@contextlib.contextmanager
def untouched_randomness(check: Callable[..., Any], obj: Any) -> Iterator[None]:
    """Fail if the global random state of Python, NumPy or torch changes within the block; put it back in any case."""
    import numpy as np

    original = _random_states()
    try:
        # A state that nobody seeds: an object that sets its own seed would otherwise find that very state in place.
        random.seed(secrets.randbits(64))
        np.random.seed(secrets.randbits(32))  # noqa: NPY002
        if "torch" in original:
            import torch

            torch.manual_seed(secrets.randbits(60))
        before = _random_states()
        yield
        for name, state in _random_states().items():
            if name in before and not same_bits(before[name], state):
                fail(check, obj, f"draws from or seeds the global random state of {name}; pass a generator instead")
    finally:
        _put_back(original)


def _random_states() -> dict[str, Any]:
    import numpy as np

    states: dict[str, Any] = {"random": random.getstate(), "numpy": np.random.get_state()}  # noqa: NPY002
    if "torch" in sys.modules:
        import torch

        states["torch"] = torch.get_rng_state()
    return states


def _put_back(states: dict[str, Any]) -> None:
    import numpy as np

    random.setstate(states["random"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    if "torch" in states:
        import torch

        torch.set_rng_state(states["torch"])
