"""Whether an error stands for a cancellation of this task."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from ._chain import behind
from ._loops import current_loop


def cancellations(loop: Any) -> int:
    """How many cancellations of this task are under way in its loop; 0 where nobody counts them (trio, Python 3.10)."""
    counted = getattr(asyncio.current_task(loop), "cancelling", None)
    return 0 if counted is None else int(counted())


def turned_a_cancellation(error: BaseException | None, before: int | None) -> bool:
    """Whether this task was cancelled since its cancellations were counted `before`: its error, or answer, is of that.

    None: nobody counted. An error that goes back to a cancellation which the caller was handling when he called, a
    cleanup's, stands for itself then.
    """
    now = cancellations(current_loop())
    if before is not None:
        return now > before
    return now > 0 and not _is_of_a_cleanup(error)


def _is_of_a_cleanup(error: BaseException | None) -> bool:
    frames: list[Any] = []
    frame: Any = inspect.currentframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    try:
        cancelled = [link for link in behind(error) if isinstance(link, asyncio.CancelledError)]
        return bool(cancelled) and all(
            link.__traceback__ is not None and link.__traceback__.tb_frame in frames for link in cancelled
        )
    finally:
        del frames, frame
