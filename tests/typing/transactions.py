"""A function that loads, decides and stores by itself, run again from the beginning."""

from __future__ import annotations

from functools import partial

from store import Receipt, event, session, store
from typing_extensions import Unpack, assert_type

from stale_retry import (
    CLASSIC_SCHEDULE,
    TransactionRetrying,
    retry_if_conflict,
    retry_transaction,
    retry_with,
)
from stale_retry.typing import TransactionKey, TransactionOptions


@retry_transaction(key="account_id", on=retry_if_conflict())
async def withdraw(account_id: str, amount: int) -> Receipt:
    return Receipt(amount)


@retry_transaction(key=("bank", "account_id"))
async def deposit(bank: str, account_id: str, *, amount: int) -> Receipt:
    return Receipt(amount)


def account_of(account_id: str, amount: int) -> str:
    return account_id


@retry_transaction(key=account_of)
async def transfer(account_id: str, amount: int) -> Receipt:
    return Receipt(amount)


@retry_transaction(**CLASSIC_SCHEDULE)
async def close() -> None: ...


@retry_transaction()
async def close_all() -> list[Receipt]:
    return []


class Bank:
    @retry_transaction(key="account_id")
    async def withdraw(self, account_id: str, amount: int) -> Receipt:
        return Receipt(amount)

    @classmethod
    @retry_transaction()
    async def audit(cls, *accounts: str) -> list[Receipt]:
        return []

    @retry_transaction()
    @classmethod
    async def audit_below(cls, *accounts: str) -> list[Receipt]:
        return []

    @staticmethod
    @retry_transaction(key="account_id")
    async def close(account_id: str) -> bool:
        return True


async def main(bank: Bank) -> None:
    assert_type(await withdraw("a", 5), Receipt)
    assert_type(await withdraw("a", amount=5), Receipt)
    assert_type(await deposit("b", "a", amount=5), Receipt)
    assert_type(await transfer("a", 5), Receipt)
    assert_type(await close_all(), list[Receipt])
    assert_type(await bank.withdraw("a", 5), Receipt)
    assert_type(await Bank.withdraw(bank, "a", 5), Receipt)
    assert_type(await Bank.audit("a", "b"), list[Receipt])
    assert_type(await bank.audit_below("a", "b"), list[Receipt])
    assert_type(await Bank.close("a"), bool)
    assert_type(await retry_with(bank.withdraw, deadline=1.0)("a", 5), Receipt)
    await close()

    await withdraw("a", "5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bank.withdraw("a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await deposit("b", "a", 5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def one_call(bank: Bank) -> None:
    retrying = retry_transaction(key="session", deadline=5)
    assert_type(retrying, TransactionRetrying)
    assert_type(await retrying.call(store.append_once, session, event), Receipt)
    assert_type(await retry_transaction().call(partial(store.append_once, event=event), session), Receipt)
    assert_type(await retry_transaction().call(withdraw, "a", amount=5), Receipt)
    await retrying.call(store.append_once, session)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await retry_transaction().call(withdraw, "a", "5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


OURS: TransactionOptions = {"deadline": 5, "key": "account_id"}


def ours(**options: Unpack[TransactionOptions]) -> TransactionRetrying:
    merged: TransactionOptions = {**OURS, **options}
    return retry_transaction(**merged)


def options() -> None:
    assert_type(ours(deadline=3), TransactionRetrying)
    assert_type(retry_transaction().replace(key=None, max_attempts=3), TransactionRetrying)
    keys: list[TransactionKey] = ["account_id", ["bank", "account_id"], account_of]
    for key in keys:
        retry_transaction(key=key)
    retry_transaction("account_id")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    retry_transaction(key=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_transaction(in_doubt=TimeoutError, find_stored=account_of)
    retry_transaction(on_conflict=account_of)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    retry_transaction(refresh=account_of)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    retry_transaction()(account_of)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
