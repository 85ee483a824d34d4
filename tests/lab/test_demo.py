"""The demo on a tiny size: real google-adk, a real SQLite file, the real command line."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib.metadata import entry_points

import pytest
from google.adk.sessions import DatabaseSessionService

from stale_retry.__main__ import main
from stale_retry.lab import demo, turns

WRITERS, EVENTS, TURNS = 2, 2, 6
TINY = ["--writers", str(WRITERS), "--events", str(EVENTS), "--turns", str(TURNS)]
SMALLEST = ["--writers", "1", "--events", "1", "--turns", "1"]
STARTING = "stale-retry: starting the demo, which takes about half a minute\n"
INSTALLED_BUT_NOT = "import sys; sys.modules[sys.argv.pop(1)] = None; from stale_retry.__main__ import main; "


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One whole demo as a user starts it, on a database file of its own."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "stale_retry", "demo", *TINY, "--json"]
    command += ["--db", "sqlite:///kept.db", "--plot", "runs.svg"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False), folder


@pytest.fixture(scope="module")
def result(done):
    return json.loads(done[0].stdout)


@pytest.fixture(scope="module")
def by_strategy(result):
    return {entry["strategy"]: entry for entry in result["strategies"]}


@pytest.fixture(scope="module")
def by_way(result):
    return {entry["way"]: entry for entry in result["ways"]}


def test_the_demo_says_that_it_starts_how_far_it_is_and_where_it_drew(done):
    first, *progress, last = done[0].stderr.splitlines()
    assert done[0].returncode == 0
    assert first == STARTING.rstrip()
    assert progress[:2] == ["no retry: 2 of 4", "no retry: 4 of 4"]
    assert progress[-1] == f"turns queued too: {TURNS} of {TURNS}"
    assert len(progress) == 2 * 7
    assert last == "stale-retry: drew the appends in runs.svg"


def test_the_start_is_told_before_anything_slow_is_imported():
    code = "import sys, stale_retry.lab.cli as cli; sys.modules['stale_retry.lab.demo'] = None; cli.run(['demo'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.startswith(STARTING)


def test_json_is_all_there_is_on_standard_output_and_says_what_was_run(result):
    assert result["writers"] == WRITERS
    assert result["events"] == EVENTS
    assert result["turns"] == TURNS
    assert result["database"] == "sqlite+aiosqlite:///kept.db"
    assert [entry["strategy"] for entry in result["strategies"]] == ["none", "immediate", "classic", "ours"]
    assert [entry["way"] for entry in result["ways"]] == ["bare", "retrying", "queueing"]


def test_every_event_sent_is_either_stored_or_lost(by_strategy):
    for entry in by_strategy.values():
        assert entry["sent"] == WRITERS * EVENTS
        assert entry["stored"] + entry["lost"] == entry["sent"]


def test_our_defaults_lose_nothing(by_strategy):
    assert by_strategy["ours"]["lost"] == 0
    assert by_strategy["ours"]["errors"] == {}


def test_without_retry_only_the_first_writer_is_stored_and_nothing_is_reloaded(by_strategy):
    none = by_strategy["none"]
    assert none["stored"] == EVENTS
    assert none["append_calls"] == none["sent"]
    assert none["reloads"] == 0
    assert none["errors"] == {"StaleSessionError": none["lost"]}


def test_a_retry_reloads_once_for_each_further_call(by_strategy):
    for name in ("immediate", "classic"):
        entry = by_strategy[name]
        assert entry["reloads"] > 0
        assert entry["append_calls"] == entry["sent"] + entry["reloads"]


def test_in_the_queue_each_event_takes_one_call(by_strategy):
    entry = by_strategy["ours"]
    assert entry["append_calls"] == entry["sent"]


def test_the_classic_schedule_waits_at_least_its_first_half_second(by_strategy):
    assert by_strategy["classic"]["slowest_append"] >= 0.5


def test_no_event_is_stored_twice_and_no_writer_is_told_an_untruth(by_strategy):
    for entry in by_strategy.values():
        assert entry["stored_twice"] == entry["acknowledged_but_missing"] == entry["refused_but_stored"] == 0


def test_every_turn_is_answered_mixed_refused_or_lost(by_way):
    for entry in by_way.values():
        assert sum(entry[outcome] for outcome in ("answered", "mixed", "refused", "lost")) == entry["turns"] == TURNS


def test_google_adk_alone_loses_turns(by_way):
    assert by_way["bare"]["lost"] > 0
    assert by_way["bare"]["errors"] == {"StaleSessionError": by_way["bare"]["lost"]}


def test_retried_appends_lose_no_turn_and_mix_them(by_way):
    assert by_way["retrying"]["lost"] == 0
    assert by_way["retrying"]["mixed"] + by_way["retrying"]["refused"] > 0
    assert by_way["retrying"]["requests"] == 2 * TURNS


def test_in_the_queue_each_turn_is_answered_by_itself(by_way):
    entry = by_way["queueing"]
    assert (entry["answered"], entry["requests"]) == (TURNS, 2 * TURNS)
    assert (entry["requests_refused"], entry["requests_mixed"], entry["errors"]) == (0, 0, {})


def test_the_sessions_made_in_a_database_of_ones_own_are_removed_again(done):
    with sqlite3.connect(done[1] / "kept.db") as database:
        counts = [database.execute(f"SELECT COUNT(*) FROM {table}").fetchone() for table in ("sessions", "events")]
    assert counts == [(0,), (0,)]


def test_the_svg_plot_has_a_panel_for_each_strategy(done):
    root = ET.parse(done[1] / "runs.svg").getroot()
    panels = [group for group in root.iter("{http://www.w3.org/2000/svg}g") if group.get("id", "").startswith("axes_")]
    titles = [text for text in root.itertext() if " stored, " in text]
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(panels) == 4
    assert titles[0].startswith("no retry: 2 of 4 stored, 2 lost, ")
    assert titles[3].startswith("our defaults: 4 of 4 stored, 0 lost, ")
    assert {"rejected attempt", "stored append", "lost append", "wait", "reload"} <= set(root.itertext())


def test_the_tables_show_each_strategy_and_way_and_fit_the_width_of_80(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["demo", "--writers", "2", "--events", "1", "--turns", "2", "--plot", str(tmp_path / "runs.png")]) == 0
    out, err = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()]
    assert ["no retry", "█·", "1 of 2", "2"] in [row[:4] for row in rows]
    assert ["our defaults", "██", "0 of 2", "2"] in [row[:4] for row in rows]
    assert ["turns queued too", "██", "2", "0", "0", "0"] in [row[:6] for row in rows]
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "\x1b" not in out
    assert err.endswith(f"stale-retry: drew the appends in {tmp_path / 'runs.png'}\n")
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_narrow_terminal_gets_a_block_for_each_row(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["demo", *SMALLEST]) == 0
    out = capsys.readouterr().out
    assert "our defaults\n  █\n  lost: 0 of 1\n" in out
    assert "turns queued too\n  █\n  answered: 1\n" in out
    assert "Nothing was rejected as stale" in out.replace("\n", " ")
    assert max(len(line) for line in out.splitlines()) <= 40


def test_an_output_that_knows_ascii_only_gets_ascii(tmp_path):
    command = [sys.executable, "-m", "stale_retry", "demo", "--writers", "2", *SMALLEST[2:]]
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert run.returncode == 0
    assert run.stderr.isascii()
    assert b"#." in run.stdout
    assert run.stdout.isascii()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--writers", "0"], "argument --writers: must be a whole number, at least 1, got '0'"),
        (["--turns", "0"], "argument --turns: must be a whole number, at least 1, got '0'"),
        (["--events", "many"], "argument --events: must be a whole number, at least 1, got 'many'"),
        (["--writer", "2"], "unrecognized arguments: --writer 2"),
        (["--plot", "runs.gif"], "argument --plot: must end in .svg or .png, got 'runs.gif'"),
        (["--plot", "no/such/folder/runs.svg"], "argument --plot: there is no folder 'no/such/folder'"),
        (["--db", "nonsense"], "not a database URL: 'nonsense'"),
        (["--db", "sqlite://"], "an in-memory database cannot be read back"),
        (
            ["--db", "sqlite:////no/such/folder/x.db"],
            "cannot use the database /no/such/folder/x.db: there is no folder",
        ),
        (["--db", "sqlite:////tmp"], "cannot use the database /tmp: /tmp is a folder"),
        (["--db", f"sqlite:///{__file__}"], f"cannot use the database sqlite+aiosqlite:///{__file__}: DatabaseError: "),
        (["--db", "mysql+nodriver://u@127.0.0.1/x"], "cannot use the database"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(capsys, options, words):
    assert main(["demo", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.removeprefix(STARTING).startswith(f"stale-retry: {words}")
    assert err.removeprefix(STARTING).count("\n") == 1


def test_an_unreachable_server_is_one_line_without_the_password(capsys):
    assert main(["demo", "--db", "postgresql://someone:hunter2@127.0.0.1:9/x"]) == 2
    err = capsys.readouterr().err.removeprefix(STARTING)
    assert err.startswith("stale-retry: cannot use the database postgresql+asyncpg://someone:***@127.0.0.1:9/x: ")
    assert err.count("\n") == 1
    assert "hunter2" not in err


def test_a_plot_that_cannot_be_written_is_one_line(capsys, tmp_path):
    (tmp_path / "taken.svg").mkdir()
    assert main(["demo", *SMALLEST, "--plot", str(tmp_path / "taken.svg")]) == 2
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == f"stale-retry: cannot write {tmp_path / 'taken.svg'}: Is a directory"
    )


@pytest.mark.parametrize(
    ("module", "package", "options"),
    [
        ("rich", "rich", []),
        ("google", "google-adk", []),
        ("google.adk", "google-adk", []),
        ("matplotlib", "matplotlib", ["--plot", "x.svg"]),
    ],
)
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(module, package, options, tmp_path):
    code = INSTALLED_BUT_NOT + "sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, module, "demo", *options]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stdout == ""
    missing = f'stale-retry: {package} is not installed: pip install "stale-retry[demo]"\n'
    assert run.stderr == STARTING + missing


def test_an_event_that_is_there_though_its_writer_was_refused_is_told_and_ends_with_exit_code_1(capsys, monkeypatch):
    append_event = DatabaseSessionService.append_event

    async def stored_and_refused(self, session, event):
        await append_event(self, session, event)
        if event.author == "demo":
            raise ConnectionError("the acknowledgement was lost")
        return event

    monkeypatch.setattr(DatabaseSessionService, "append_event", stored_and_refused)
    assert main(["demo", *SMALLEST]) == 1
    assert "no retry: 1 of 1 events were refused, but stored\n" in capsys.readouterr().out


def test_a_queue_that_does_not_answer_every_turn_is_told_and_ends_with_exit_code_1(capsys, monkeypatch):
    monkeypatch.setattr(demo, "WAYS", (replace(turns.QUEUEING, runner=turns._bare),))
    monkeypatch.setattr(turns, "WAYS", demo.WAYS)
    assert main(["demo", *SMALLEST[:-1], "4"]) == 1
    assert "of 4 turns were not answered on their own\n" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "stale_retry", "demo", *SMALLEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert "Error" not in process.stderr.read()
    assert process.returncode == 0


def test_help_needs_no_extra():
    code = INSTALLED_BUT_NOT + "sys.modules['google.adk'] = sys.modules['matplotlib'] = None; main(['demo', '--help'])"
    run = subprocess.run([sys.executable, "-c", code, "rich"], capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert "--plot FILE" in run.stdout


def test_an_interrupt_ends_it_cleanly_with_exit_code_130(tmp_path):
    code = """if True:
        import os, signal, sys
        from stale_retry.__main__ import main
        from stale_retry.lab.database import DatabaseStore
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background had it ignored
        load = DatabaseStore.load
        def interrupted(self):
            os.kill(os.getpid(), signal.SIGINT)
            return load(self)
        DatabaseStore.load = interrupted
        sys.exit(main(["demo", "--db", "sqlite:///kept.db"]))
    """
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", STARTING + "stale-retry: interrupted\n")
    with sqlite3.connect(tmp_path / "kept.db") as database:
        assert database.execute("SELECT COUNT(*) FROM sessions").fetchone() == (0,)


def test_it_is_installed_as_stale_retry():
    (script,) = entry_points(group="console_scripts", name="stale-retry")
    assert script.load() is main


def test_no_command_is_a_wrong_use(capsys):
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().err
