"""A decorated method is a method: it binds, it overrides, it fits a protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from store import Appends, Event, Receipt, Session, Store, event, load, reload, session, store
from typing_extensions import assert_type, override

from stale_retry import retry_on_stale_session, retry_with

# Methods


async def method() -> None:
    assert_type(await store.append(session, event), Receipt)
    assert_type(await store.append(session, event=event, flush=True), Receipt)
    assert_type(await Store.append(store, session, event), Receipt)
    print(Store.append.__qualname__)
    await store.append(session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await store.append(session)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await store.append(store, session, event)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    await Store.append(session, event)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]


async def in_a_hurry() -> None:
    assert_type(await retry_with(store.append, deadline=1.0)(session, event), Receipt)
    assert_type(await retry_with(Store.append, deadline=1.0)(store, session, event), Receipt)
    await retry_with(store.append, deadline=1.0)(store, session, event)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]


# Class methods and static methods, with the decorator on either side


async def reload_of(cls: type[Journal], session: Session) -> Session | None:
    return await load(session)


class Journal:
    @classmethod
    @retry_on_stale_session(reload_of)
    async def class_method(cls, session: Session, event: Event) -> Receipt:
        return Receipt(session.version)

    @retry_on_stale_session(reload_of)
    @classmethod
    async def class_method_below(cls, session: Session, event: Event) -> Receipt:
        return Receipt(session.version)

    @staticmethod
    @retry_on_stale_session(load)
    async def static_method(session: Session, event: Event) -> Receipt:
        return Receipt(session.version)

    @retry_on_stale_session(load)
    @staticmethod
    async def static_method_below(session: Session, event: Event) -> Receipt:
        return Receipt(session.version)

    async def all_of_them(self) -> None:
        assert_type(await self.class_method(session, event), Receipt)
        assert_type(await self.class_method_below(session, event), Receipt)
        assert_type(await self.static_method(session, event), Receipt)
        assert_type(await self.static_method_below(session, event), Receipt)


async def class_and_static_methods() -> None:
    assert_type(await Journal.class_method(session, event), Receipt)
    assert_type(await Journal().class_method(session, event=event), Receipt)
    assert_type(await Journal.class_method_below(session, event), Receipt)
    assert_type(await Journal().class_method_below(session, event=event), Receipt)
    assert_type(await Journal.static_method(session, event), Receipt)
    assert_type(await Journal().static_method(session, event=event), Receipt)
    assert_type(await Journal.static_method_below(session, event), Receipt)
    assert_type(await Journal().static_method_below(session, event=event), Receipt)
    assert_type(await retry_with(Journal.class_method, deadline=1.0)(session, event), Receipt)
    assert_type(await retry_with(Journal.static_method, deadline=1.0)(session, event), Receipt)

    await Journal.class_method(session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Journal.class_method_below(session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Journal.static_method(session)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await Journal.static_method_below(session)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# Inheritance


class LoggedStore(Store):
    @override
    async def append(self, session: Session, event: Event, *, flush: bool = False) -> Receipt:
        """A plain method over a decorated one."""
        receipt = await super().append(session, event, flush=flush)
        print(receipt)
        return receipt


class PatientStore(Store):
    @override
    @retry_on_stale_session(reload, deadline=600)
    async def append(self, session: Session, event: Event, *, flush: bool = True) -> Receipt:
        return await super().append_once(session, event)

    @override
    @retry_on_stale_session(reload)
    async def append_once(self, session: Session, event: Event) -> Receipt:
        """A decorated method over a plain one."""
        return await super().append_once(session, event)


class WrongStore(Store):
    @retry_on_stale_session(reload)
    async def append_once(self, session: Session, event: str) -> Receipt:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return Receipt(session.version)


class AbstractStore(ABC):
    @abstractmethod
    async def append(self, session: Session, event: Event) -> Receipt: ...


async def reload_anywhere(store: Any, session: Session) -> Session | None:
    return await load(session)


class ConcreteStore(AbstractStore):
    @retry_on_stale_session(reload_anywhere)
    async def append(self, session: Session, event: Event) -> Receipt:
        return Receipt(session.version)


class GenericStore(Protocol):
    async def append(self, session: Session, event: Event, *, flush: bool = ...) -> Receipt: ...


async def inherited() -> None:
    assert_type(await LoggedStore().append(session, event), Receipt)
    assert_type(await PatientStore().append(session, event, flush=False), Receipt)
    assert_type(await ConcreteStore().append(session, event), Receipt)
    some_store: AbstractStore = ConcreteStore()
    assert_type(await some_store.append(session, event), Receipt)


# Protocols


async def send(store: Appends, event: Event) -> Receipt:
    return await store.append(session, event)


async def conforming() -> None:
    await send(Store(), event)
    await send(ConcreteStore(), event)
    stores: list[GenericStore] = [Store(), LoggedStore(), PatientStore()]
    for each in stores:
        assert_type(await each.append(session, event, flush=True), Receipt)
    await send(Journal(), event)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
