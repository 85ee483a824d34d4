"""Observers are told what happens, and none of them disturbs it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

import anyio

from ._chain import apart_from
from ._checks import name_of
from ._types import Observer
from .events import RetryEvent

logger = logging.getLogger("stale_retry")


def tell(observers: Iterable[Observer], event: RetryEvent) -> None:
    """Tell each; what one raises is logged, and quotes neither the store nor what the caller is handling."""
    handled = sys.exc_info()[1]
    for observer in observers:
        try:
            observer(event)
        except (KeyboardInterrupt, SystemExit, anyio.get_cancelled_exc_class()):
            raise
        except BaseException as raised:
            logger.error(  # noqa: TRY400  # a local variable would keep the error, and the error this frame
                "the observer %s raised", name_of(observer), exc_info=apart_from(raised, event.error, handled)
            )
