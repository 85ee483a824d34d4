"""The page of options lists exactly the options there are, in their order, with their defaults."""

import inspect
import re
import runpy
from pathlib import Path

import pytest

import stale_retry
from stale_retry import retry_on_stale_session, retry_transaction
from stale_retry.adk import retry_on_stale_session as adk_policy
from stale_retry.turns import TurnQueue

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "options.md").read_text(encoding="utf-8")
options_of = runpy.run_path(str(DOCS / "_ext" / "signatures.py"))["options_of"]
POLICIES = {"retry_on_stale_session": retry_on_stale_session, "retry_transaction": retry_transaction}
DECLARED = {
    "RetryingSessionService": adk_policy,
    "TurnQueue": TurnQueue.__init__,
}


def listed(heading):
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (?:`([^|]+)`|required) \|", section, re.MULTILINE))


def same(one, other):
    """tenacity's strategies have no equality: they are the same if they are of one type and hold the same."""
    strategies = "tenacity", "stale_retry"
    if type(one).__module__.startswith(strategies):
        return type(one) is type(other) and vars(one) == vars(other)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("heading", POLICIES)
def test_every_option_of_a_policy_is_listed_in_order_with_its_default(heading):
    options = options_of(POLICIES[heading]).items()
    assert listed(heading) == {name: (default or "").replace("'", '"') for name, (_, default) in options}
    assert list(listed(heading)) == list(POLICIES[heading].OPTIONS)


@pytest.mark.parametrize("heading", DECLARED)
def test_every_option_is_listed_in_order_with_its_default(heading):
    parameters = [each for each in inspect.signature(DECLARED[heading]).parameters.values() if each.name != "self"]
    options = {each.name: each.default for each in parameters if each.kind is not each.VAR_KEYWORD}
    table = listed(heading)
    assert list(table) == list(options)
    for name, default in options.items():
        if default is inspect.Parameter.empty:
            assert table[name] == ""
        else:
            assert same(eval(table[name], vars(stale_retry)), default), name
