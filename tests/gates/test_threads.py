"""Event loops in several threads, each with a client and a gate of its own."""

import asyncio
import threading

from .kinds import Session, opened


def test_threads_queue_with_each_other(kind, server):
    inside, overlapped, failures = [], [], []

    async def contend():
        async with opened(kind, server.url) as gate:
            for _ in range(10):
                async with gate(Session("shared")):
                    overlapped.extend(inside)
                    inside.append(threading.get_ident())
                    await asyncio.sleep(0)
                    inside.remove(threading.get_ident())

    def run():
        try:
            asyncio.run(contend())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert overlapped == []
