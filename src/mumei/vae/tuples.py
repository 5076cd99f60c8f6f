"""Tuples among an estimator's arguments come back from a file as tuples, where JSON has lists alone."""

from __future__ import annotations

from typing import Any, Self, cast

from mumei.core.artifact import State


class KeepsTuples:
    """Goes before an estimator with `state` and `from_state`; `_tuples` names the arguments that may be sequences of integers."""

    _tuples: tuple[str, ...] = ()

    def state(self) -> State:
        """Return what the estimator is made of."""
        state: State = cast("Any", super()).state()
        given = state.parameters["given"]
        state.parameters["tuples"] = [name for name in self._tuples if isinstance(given[name], tuple)]
        for name in self._tuples:
            plain = given[name] is None or isinstance(given[name], str | int)
            given[name] = given[name] if plain else [int(v) for v in given[name]]
        return state

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the estimator that `state` describes."""
        made: Any = cast("Any", super()).from_state(state)
        for name in state.parameters["tuples"]:
            setattr(made, name, tuple(getattr(made, name)))
        return made
