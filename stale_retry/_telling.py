"""Observers are told what happens, and none of them disturbs it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from ._chain import apart_from
from ._checks import name_of
from ._loops import cancelled_class

logger = logging.getLogger("stale_retry")

Event = TypeVar("Event")


def tell(observers: Iterable[Callable[[Event], None]], event: Event) -> None:
    """Tell each; what one raises is logged, and quotes neither the store nor what the caller is handling."""
    handled = sys.exc_info()[1]
    for observer in observers:
        try:
            observer(event)
        except (KeyboardInterrupt, SystemExit, cancelled_class()):
            raise
        except BaseException as raised:
            # A local variable would keep the error, and the error this frame.
            logger.error(  # noqa: TRY400
                "the observer %s raised",
                name_of(observer),
                exc_info=apart_from(raised, getattr(event, "error", None), handled),
            )
