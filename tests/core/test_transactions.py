"""`retry_transaction`: a function that loads, decides and stores is run again from the beginning."""

import pickle

import anyio
import pytest
import tenacity

from stale_retry import (
    AttemptsExhaustedError,
    InDoubtError,
    StaleSessionError,
    constant,
    retry_if_conflict,
    retry_transaction,
    retry_with,
)

pytestmark = pytest.mark.anyio

SOON = {"backoff": constant(0.001), "jitter": None, "observers": (), "on": StaleSessionError}


class Bank:
    """Accounts with real optimistic concurrency: a commit is refused if the account changed since it was read."""

    def __init__(self):
        self.version = 0
        self.balance = 100
        self.runs = 0

    async def withdraw(self, account_id, amount):
        self.runs += 1
        version, balance = self.version, self.balance
        await anyio.sleep(0.01)
        if self.version != version:
            raise StaleSessionError
        self.version, self.balance = version + 1, balance - amount
        return self.balance


async def together(function, count):
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(function, "account", 1)


def test_every_attempt_is_the_whole_function_with_the_arguments_as_they_came(virtually):
    seen = []

    @retry_transaction(key="account_id", **SOON)
    async def withdraw(account_id, /, amount=1, *rest, note, **more):
        seen.append((account_id, amount, rest, note, more))
        if len(seen) < 3:
            raise StaleSessionError
        return "stored"

    async def main():
        return await withdraw("account", 2, 3, note="n", extra="e")

    assert virtually(main) == "stored"
    assert seen == [("account", 2, (3,), "n", {"extra": "e"})] * 3


@pytest.mark.parametrize("key", ["account_id", ("account_id",), lambda account_id, amount: account_id])
def test_callers_with_one_key_queue_and_none_is_rejected(virtually, key):
    bank = Bank()

    async def main():
        await together(retry_transaction(key=key, **SOON)(bank.withdraw), 10)

    virtually(main)
    assert (bank.balance, bank.runs) == (90, 10)


def test_without_a_key_there_is_no_queue_and_every_caller_still_commits_once(virtually):
    bank = Bank()

    async def main():
        await together(retry_transaction(**SOON)(bank.withdraw), 10)

    virtually(main)
    assert bank.balance == 90
    assert bank.runs > 10


def test_keys_that_differ_in_one_part_do_not_wait_for_each_other(virtually):
    inside = []

    @retry_transaction(key=["bank", "account_id"], **SOON)
    async def withdraw(bank, account_id):
        inside.append((bank, account_id))
        await anyio.sleep(10)

    async def main():
        async with anyio.create_task_group() as tasks:
            for pair in [(1, 1), (1, 2), (2, 1), (1, 1)]:
                tasks.start_soon(withdraw, *pair)
            await anyio.sleep(5)
            assert sorted(inside) == [(1, 1), (1, 2), (2, 1)]

    virtually(main)


async def test_a_method_a_staticmethod_and_a_classmethod_are_run_again_too():
    class Account:
        runs = 0

        @retry_transaction(key="amount", **SOON)
        async def method(self, amount):
            return await self.fail_once(amount)

        @retry_transaction(key="amount", **SOON)
        @staticmethod
        async def static(amount):
            return await Account.fail_once(amount)

        @retry_transaction(key="amount", **SOON)
        @classmethod
        async def of_class(cls, amount):
            return await cls.fail_once(amount)

        @classmethod
        async def fail_once(cls, amount):
            cls.runs += 1
            if cls.runs % 2:
                raise StaleSessionError
            return amount

    account = Account()
    assert [await account.method(1), await account.static(2), await Account.of_class(3)] == [1, 2, 3]
    assert await retry_transaction(key="amount", **SOON).call(account.fail_once, 4) == 4
    assert Account.runs == 8


@pytest.mark.parametrize("key", [None, "account_id", lambda account_id, amount: account_id])
@pytest.mark.parametrize("on", [StaleSessionError, Exception])
async def test_a_wrong_call_is_the_functions_own_type_error(key, on):
    withdraw = retry_transaction(**{**SOON, "on": on}, key=key, max_attempts=2)(Bank().withdraw)
    for wrong in [("account",), (), ("account", 1, 2)]:
        with pytest.raises(TypeError, match=r"withdraw\(\)"):
            await withdraw(*wrong)


async def test_a_key_function_that_fails_ends_the_call_before_anything_is_done():
    bank = Bank()
    withdraw = retry_transaction(key=lambda account_id, amount: {}[account_id], **SOON)(bank.withdraw)
    with pytest.raises(KeyError, match="account"):
        await withdraw("account", 1)
    assert bank.runs == 0


async def test_giving_up_tells_the_same_as_an_append_does():
    @retry_transaction(max_attempts=2, **SOON)
    async def withdraw():
        raise StaleSessionError("lost")

    with pytest.raises(AttemptsExhaustedError, match="withdraw gave up after 2 attempts") as caught:
        await withdraw()
    assert str(caught.value.__cause__) == "lost"


def test_a_function_cancelled_by_attempt_timeout_is_in_doubt(virtually):
    @retry_transaction(**{**SOON, "on": TimeoutError}, attempt_timeout=1, max_attempts=2)
    async def withdraw():
        await anyio.sleep(60)

    async def main():
        with pytest.raises(InDoubtError):
            await withdraw()

    virtually(main)


def test_a_caller_whose_turn_does_not_come_goes_on_when_a_quarter_of_its_deadline_is_left(virtually):
    runs = []

    @retry_transaction(key="account_id", deadline=4, **SOON)
    async def withdraw(account_id, seconds):
        runs.append((seconds, anyio.current_time()))
        await anyio.sleep(seconds)

    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(withdraw, "account", 60)
            await anyio.wait_all_tasks_blocked()
            await withdraw("account", 0)
            tasks.cancel_scope.cancel()

    virtually(main)
    assert runs == [(60, 0), (0, pytest.approx(3))]


async def test_answers_may_be_rejections_here_too():
    answers = iter([0, 0, 1])

    @retry_transaction(**{**SOON, "on": tenacity.retry_if_result(lambda rows: rows == 0)})
    async def update():
        return next(answers)

    assert await update() == 1


class TestOptions:
    def test_in_doubt_needs_find_stored(self):
        with pytest.raises(ValueError, match="in_doubt needs find_stored"):
            retry_transaction(in_doubt=ConnectionError)

    @pytest.mark.parametrize("option", ["refresh", "session", "on_conflict", "gate"])
    def test_there_is_no_option_for_what_a_transaction_has_not(self, option):
        with pytest.raises(TypeError, match=f"unknown option '{option}'"):
            retry_transaction(**{option: lambda *_: None})

    def test_find_stored_must_name_parameters_of_the_function(self):
        with pytest.raises(TypeError, match=r"find_stored must name parameters of .*withdraw.* has no 'account'"):
            retry_transaction(find_stored=lambda account: None)(Bank().withdraw)

    @pytest.mark.parametrize("key", [1, (), ("a", 1), []])
    def test_a_key_that_is_none_is_refused(self, key):
        with pytest.raises(TypeError, match="key must be the name of a parameter"):
            retry_transaction(key=key)

    def test_an_empty_key_is_refused(self):
        with pytest.raises(ValueError, match="key must not be empty"):
            retry_transaction(key="")

    def test_a_key_that_the_function_has_not_is_refused(self):
        with pytest.raises(ValueError, match=r"key must name a parameter of the function, but .*withdraw\(account_id"):
            retry_transaction(key=("account_id", "bank"))(Bank().withdraw)

    def test_a_plain_function_is_refused(self):
        with pytest.raises(TypeError, match=r"asyncio\.to_thread"):
            retry_transaction()(lambda: None)

    async def test_it_can_be_changed_and_pickled(self):
        policy = pickle.loads(pickle.dumps(retry_transaction(key="account_id", deadline=5)))
        assert (policy.key, policy.deadline, policy.replace(deadline=6).deadline) == ("account_id", 5, 6)

        @policy
        async def withdraw(account_id):
            return account_id

        assert retry_with(withdraw, deadline=7).retrying.deadline == 7
        assert await withdraw("account") == "account"


def test_a_key_that_comes_by_keyword_only_is_queued_for_too(virtually):
    inside = []

    @retry_transaction(key="account_id", **SOON)
    async def withdraw(*, account_id):
        inside.append(account_id)
        assert len(inside) == 1
        await anyio.sleep(1)
        inside.remove(account_id)

    async def main():
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(lambda: withdraw(account_id="account"))

    virtually(main)


class TestFindStored:
    """A commit whose answer got lost, which only looking can tell from one that failed."""

    def ledger(self, faults, **options):
        """A function that notes each commit, and raises these errors after it or, for a rejection, instead of it."""
        committed, asked, left = [], [], list(faults)

        async def find_stored(transfer_id):
            asked.append(transfer_id)
            return transfer_id in committed

        @retry_transaction(**{**SOON, "find_stored": find_stored, "in_doubt": ConnectionError, **options})
        async def transfer(transfer_id, amount):
            fault = left.pop(0) if left else None
            if not isinstance(fault, StaleSessionError):
                committed.append(transfer_id)
            if fault is not None:
                raise fault
            return amount

        return transfer, committed, asked

    async def test_a_commit_that_is_found_ends_the_call_with_what_was_found(self):
        transfer, committed, asked = self.ledger([ConnectionError()])
        assert await transfer("id", 5) is True
        assert committed == asked == ["id"]

    async def test_it_looks_after_a_plain_conflict_too(self):
        transfer, committed, asked = self.ledger([StaleSessionError()])
        assert await transfer("id", amount=5) == 5
        assert committed == asked == ["id"]

    async def test_giving_up_looks_once_more(self):
        transfer, committed, _ = self.ledger([ConnectionError()], max_attempts=1)
        assert await transfer("id", 5) is True
        assert committed == ["id"]

    async def test_a_look_that_fails_leaves_doubt_in_the_words_of_a_transaction(self):
        def find_stored(transfer_id):
            raise OSError("unreachable")

        transfer, _, _ = self.ledger([ConnectionError()] * 9, max_attempts=2, find_stored=find_stored)
        with pytest.raises(InDoubtError, match="It may be committed") as caught:
            await transfer("id", 5)
        assert caught.value.reason == "refresh_failed"

    async def test_an_iterator_that_a_second_attempt_would_find_empty_is_refused(self):
        @retry_transaction(**SOON)
        async def store_all(rows):
            raise StaleSessionError

        with pytest.raises(TypeError, match=r"read only once \(rows\)"):
            await store_all(iter([1, 2]))


async def test_a_rejection_that_surfaces_from_a_task_group_is_retried():
    runs = []

    @retry_transaction(**{**SOON, "on": retry_if_conflict()})
    async def transfer():
        runs.append(1)

        async def fails_once():
            await anyio.lowlevel.checkpoint()
            if len(runs) == 1:
                raise StaleSessionError

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails_once)

    await transfer()
    assert len(runs) == 2
