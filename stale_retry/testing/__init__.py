"""Helpers for testing a decorated append, and `check_store`, which tests the store below it."""

from ._check_store import check_store
from ._lost_answers import lose_answers
from ._no_waiting import no_waiting
from ._report import Finding, StoreReport
from ._versioned_store import Event, Faults, VersionedSession, VersionedStore

__all__ = [
    "Event",
    "Faults",
    "Finding",
    "StoreReport",
    "VersionedSession",
    "VersionedStore",
    "check_store",
    "lose_answers",
    "no_waiting",
]
