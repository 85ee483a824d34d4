"""The conversation of the lab, and what tests look at afterwards."""

from __future__ import annotations

import asyncio

from stale_retry.lab.conversation import ASKED, Seen, ask, broken_rules, checking_agent

__all__ = ["ASKED", "Seen", "answered", "ask", "ask_at_once", "broken_rules", "checking_agent", "stored_texts"]


async def ask_at_once(runner, count):
    """What each of that many turns answers, or what it ends with."""
    questions = [f"question {number}" for number in range(count)]
    return await asyncio.gather(*(ask(runner, question) for question in questions), return_exceptions=True)


def answered(outcomes):
    return [number for number, outcome in enumerate(outcomes) if outcome == [f"answer to question {number}"]]


def stored_texts(session):
    return [
        part.text for event in session.events for part in (event.content.parts if event.content else []) if part.text
    ]
