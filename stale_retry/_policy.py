"""The policy: every option, checked once and frozen. It lies below the loop and knows nothing of it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

from tenacity.retry import retry_base

from . import _checks, _strategies
from ._types import ConflictHook, Gate, Jitter, Observer, Refresh, Seconds, Stop, Wait
from .errors import StaleSessionError
from .gates.local import LocalGate
from .observers.logging import log_event


class Policy:
    """What `retry_on_stale_session` and `retry_transaction` have in common.

    Frozen, keeps nothing between calls, and may be shared by any number of functions and tasks.
    """

    OPTIONS: ClassVar[tuple[str, ...]]
    """The names of the options, as they are given."""

    refresh: Refresh | None
    session: str
    on: retry_base
    in_doubt: retry_base | None
    backoff: Wait
    jitter: Jitter | None
    max_attempts: int | None
    deadline: float | None
    attempt_timeout: float | None
    stop: Stop | None
    gate: tuple[Gate, ...]
    on_conflict: tuple[ConflictHook, ...]
    observers: tuple[Observer, ...]
    reraise: bool
    name: str | None

    local_gates: tuple[LocalGate, ...]
    """Those of `gate` that every attempt queues at."""
    shared_gates: tuple[Gate, ...]
    """Those of `gate` that only retries queue at."""
    asks_results: bool
    """Whether `on` has anything to say of an append that returned."""
    asks_call: bool
    """Whether `on` may look at more than the outcome."""
    needs_results: bool
    """Whether `on` has a part that looks at nothing but results."""

    def _freeze(self, **options: Any) -> None:
        if options["max_attempts"] is options["deadline"] is options["stop"] is None:
            raise ValueError("max_attempts and deadline are both None and there is no stop: would retry for ever")
        gates = options["gate"]
        vars(self).update(
            options,
            local_gates=tuple(gate for gate in gates if isinstance(gate, LocalGate)),
            shared_gates=tuple(gate for gate in gates if not isinstance(gate, LocalGate)),
            asks_results=_strategies.asks_results(options["on"]),
            asks_call=_strategies.asks_call(options["on"]),
            needs_results=_strategies.needs_results(options["on"]),
        )

    def __setattr__(self, option: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen; replace({option}=...) makes a changed one")

    def __delattr__(self, option: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __repr__(self) -> str:
        options = ", ".join(f"{option}={value!r}" for option, value in self._options().items())
        return f"{type(self).__name__}({options})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._options())

    def schedule(self, n: int) -> list[float]:
        """The first n waits before jitter, in seconds, however many attempts there may be.

        Raises:
            TypeError: the backoff is async, so it cannot be asked here.
        """
        state = _strategies.retry_state(self.on, self.backoff, None, None)
        waits: list[float] = []
        for attempt in range(1, n + 1):
            state.attempt_number = attempt
            state.set_exception((StaleSessionError, StaleSessionError(), None))
            wait: Any = self.backoff(state)
            if inspect.iscoroutine(wait):
                wait.close()
                raise TypeError("schedule needs a backoff that is not async")
            waits.append(float(wait))
        return waits

    def _options(self) -> dict[str, Any]:
        return {option: getattr(self, option) for option in self.OPTIONS}


def _rebuild(kind: type[Any], options: dict[str, Any]) -> Any:
    return kind(**options)


def common_options(
    *,
    on: Any,
    backoff: Any,
    jitter: Any,
    max_attempts: int | None,
    deadline: Seconds | None,
    attempt_timeout: Seconds | None,
    stop: Any,
    gate: Any,
    observers: Any,
    reraise: bool,
    name: str | None,
) -> dict[str, Any]:
    """The options that both decorators have, in their normal form."""
    return {
        "on": _strategies.retry_strategy("on", on),
        "backoff": _strategies.wait_strategy("backoff", backoff),
        "jitter": _checks.is_plain_function_or_none("jitter", jitter, "a function of the delay"),
        "max_attempts": _checks.is_count("max_attempts", max_attempts),
        "deadline": _checks.as_seconds("deadline", deadline),
        "attempt_timeout": _checks.as_seconds("attempt_timeout", attempt_timeout),
        "stop": _strategies.stop_strategy("stop", stop),
        "gate": _gates(gate),
        "observers": _checks.as_functions(
            "observers", observers, (log_event,), "a function of the event", _checks.is_observer
        ),
        "reraise": _checks.is_flag("reraise", reraise),
        "name": name if name is None else _checks.is_text("name", name),
    }


def _gates(gate: Gate | Sequence[Gate] | None) -> tuple[Gate, ...]:
    return _checks.as_functions("gate", gate, (), "a function of the session", _checks.is_plain_function)
