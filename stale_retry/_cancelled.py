"""Whether an error stands for a cancellation of this task."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from ._chain import behind
from ._loops import current_loop, is_asyncio

if TYPE_CHECKING:
    import asyncio


def cancellations(loop: Any) -> int:
    """How many cancellations of this task are under way in its loop; 0 where nobody counts them (trio, Python 3.10)."""
    if not is_asyncio(loop):
        return 0
    counted = getattr(sys.modules["asyncio"].current_task(loop), "cancelling", None)
    return 0 if counted is None else int(counted())


def stands_for_a_cancellation(error: BaseException, before: int | None) -> bool:
    """Whether the error came of a cancellation since this task's cancellations were counted `before`.

    The count alone proves nothing: `asyncio.TaskGroup` (Python 3.11 and 3.12) leaves it one too high after a child
    failed, and so does code that swallowed a cancellation. A `CancelledError` behind the error does not either: a time
    limit inside the append is made of one. None: nobody counted; then a `CancelledError` of a `TimeoutError`, and one
    that the caller was handling when the call was made, a cleanup's, are no evidence.
    """
    if cancellations(current_loop()) <= (before or 0):
        return False
    import asyncio

    links = list(behind(error))
    cancelled = [link for link in links if isinstance(link, asyncio.CancelledError)]
    if before is None:
        limits = [link for link in links if isinstance(link, TimeoutError | asyncio.TimeoutError)]
        of_limits = {id(other) for link in limits for other in (link.__cause__, link.__context__)}
        cancelled = [link for link in cancelled if id(link) not in of_limits]
        return bool(cancelled) and not _are_of_a_cleanup(cancelled)
    return bool(cancelled)


def _are_of_a_cleanup(cancelled: list[asyncio.CancelledError]) -> bool:
    frames: list[Any] = []
    frame: Any = inspect.currentframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    try:
        return all(link.__traceback__ is not None and link.__traceback__.tb_frame in frames for link in cancelled)
    finally:
        del frames, frame
