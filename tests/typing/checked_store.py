"""`check_store` with every argument typed, and with an append that is decorated. Checked, and never run."""

from dataclasses import dataclass, field
from typing import Protocol

from typing_extensions import assert_type

from stale_retry import retry_if_conflict, retry_on_stale_session
from stale_retry.testing import Event, StoreReport, check_store, lose_answers


@dataclass
class Session:
    id: str
    version: int = 0
    events: list[Event] = field(default_factory=list[Event])


class Store(Protocol):
    async def create(self) -> str: ...

    async def load(self, session_id: str) -> Session: ...

    async def append(self, session: Session, event: Event) -> None: ...

    async def refresh(self, session: Session) -> Session | None: ...

    async def events(self, session_id: str) -> list[Event]: ...

    async def delete(self, session_id: str) -> None: ...

    def find_stored(self, session: Session, event: Event) -> Event | None: ...


def id_of(event: Event) -> str:
    return str(event.id)


async def test_a_store_is_checked(store: Store) -> None:
    report = await check_store(
        create=store.create,
        load=store.load,
        append=store.append,
        refresh=store.refresh,
        events=store.events,
        event=lambda n: Event("ok", n),
        identity=id_of,
        seen=lambda session: session.events,
        delete=store.delete,
        on=retry_if_conflict(),
        find_stored=store.find_stored,
        writers=8,
        seconds=30,
        seed=0,
    )
    assert_type(report, StoreReport)
    assert_type(report.failed, tuple[str, ...])
    assert report, report


async def test_a_decorated_append_brings_its_options(store: Store) -> None:
    append = retry_on_stale_session(store.refresh)(lose_answers(store.append, every=3, resend=True))
    await check_store(
        create=store.create,
        load=store.load,
        append=append,
        events=store.events,
        event=Event,
        identity=id_of,
    )


async def test_functions_that_do_not_fit_each_other_are_refused(store: Store) -> None:
    await check_store(  # type: ignore[misc]
        create=store.create,
        load=id_of,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        append=store.append,
        events=store.events,
        event=Event,
        identity=id_of,
    )
