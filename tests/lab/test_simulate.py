"""The simulation's command line."""

from __future__ import annotations

import json

import pytest

from stale_retry.__main__ import main


def test_json_has_an_entry_for_each_strategy_and_number_of_writers(capsys):
    assert main(["simulate", "--writers", "2,5", "--seeds", "1", "--latency", "0.02", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    entries = {(entry["strategy"], entry["writers"]): entry for entry in result["strategies"]}
    assert (result["writers"], result["seeds"], result["latency"]) == ([2, 5], 1, 0.02)
    assert len(entries) == len(result["strategies"]) == 14
    assert entries["none", 5]["lost_share"] == 0.8
    assert entries["ours", 5]["lost_share"] == 0
    assert err == ""


def test_the_table_has_a_column_for_each_number_of_writers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["simulate", "--writers", "2,4", "--seeds", "1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["2", "4"] in rows
    assert ["no", "retry", "50.0%", "75.0%"] in rows
    assert ["our", "defaults", "0.0%", "0.0%"] in rows


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--writers", "2,x"], "argument --writers: must be a whole number, at least 1, got 'x'"),
        (["--latency", "-1"], "argument --latency: must be seconds, 0 or more, got '-1'"),
        (["--latency", "soon"], "argument --latency: must be seconds, 0 or more, got 'soon'"),
        (["--latency", "inf"], "argument --latency: must be seconds, 0 or more, got 'inf'"),
        (["--seeds", "0"], "argument --seeds: must be a whole number, at least 1, got '0'"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(capsys, options, words):
    assert main(["simulate", *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"stale-retry: {words}")
    assert err.count("\n") == 1
