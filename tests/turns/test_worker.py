"""What streams and batches run in."""

import asyncio

import pytest

from stale_retry.turns._worker import Worker


def test_work_that_is_cancelled_before_it_begins_is_done(on_asyncio):
    async def main():
        began = []

        async def work():
            began.append(True)

        worker = Worker(work)
        worker.cancel()
        await worker.done.wait()
        with pytest.raises(asyncio.CancelledError):
            worker.result()
        assert began == []

    on_asyncio(main)
