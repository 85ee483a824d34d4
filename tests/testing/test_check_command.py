"""`stale-retry check package.module:name`: the report, the exit codes, and what is wrong with a description."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stale_retry.__main__ import main

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(HERE)
    yield
    for module in ("described", "wrong_stores", "real_stores"):
        sys.modules.pop(module, None)


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Writes a module `described` into the current directory."""

    def write(source):
        (tmp_path / "described.py").write_text(source, encoding="utf-8")
        monkeypatch.chdir(tmp_path)

    return write


def test_a_right_store_exits_with_zero_and_prints_a_row_a_check(capsys):
    assert main(["check", "wrong_stores:right"]) == 0
    printed = capsys.readouterr().out
    assert "passed        one winner " in printed
    assert "could not run several processes" in printed
    assert printed.splitlines()[-1].startswith("15 passed, 0 failed, 1 could not run (")


def test_a_wrong_store_exits_with_one(capsys):
    assert main(["check", "wrong_stores:check_then_write", "--seed", "3"]) == 1
    printed = capsys.readouterr().out
    assert "FAILED        one winner " in printed
    assert "seed 3" in printed


def test_json_is_all_there_is_on_standard_output(capsys):
    assert main(["check", "wrong_stores:right", "--json", "--writers", "4", "--seconds", "10"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["passed"], report["left_behind"]) == (True, 0)
    assert "1 of 4 at once" in report["findings"][1]["seen"]


@pytest.mark.parametrize(
    "source",
    [
        "from wrong_stores import MemoryStore\nname = MemoryStore().mapping()",
        "from wrong_stores import MemoryStore\ndef name(): return MemoryStore().mapping()",
        "from wrong_stores import MemoryStore\nasync def name(): return MemoryStore().mapping()",
        """if True:
            from contextlib import asynccontextmanager
            from wrong_stores import MemoryStore

            @asynccontextmanager
            async def name():
                yield MemoryStore().mapping()
        """,
    ],
    ids=["mapping", "function", "async function", "async context manager"],
)
def test_a_target_is_a_mapping_or_a_function_that_returns_one(source, described, monkeypatch, capsys):
    monkeypatch.syspath_prepend(HERE)
    described(source)
    assert main(["check", "described:name"]) == 0


@pytest.mark.parametrize(
    ("target", "source", "says"),
    [
        ("described", "", "expected package.module:name, got 'described'"),
        ("nowhere:name", "", "there is no module 'nowhere' here or among the installed packages"),
        ("described:nothing", "", "described has no 'nothing'"),
        (
            "described:name",
            "import nowhere",
            "importing described raised ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("described:name", "1 / 0", "importing described raised ZeroDivisionError: division by zero"),
        ("described:name", "name = 1", "described:name must be a mapping or a function that returns one, got a int"),
        ("described:name", "def name(): 1 / 0", "described:name raised ZeroDivisionError: division by zero"),
        (
            "described:name",
            "name = dict(create=1, load=2, event=3, identity=4)",
            "described:name lacks append, events; check_store needs create, load, append, events, event, identity",
        ),
        ("described:name", "name = dict(seem=1)", "described:name has the unknown key 'seem'; did you mean 'seen'?"),
        (
            "described:name",
            "name = dict(create=1, load=2, append=3, events=4, event=5, identity=6)",
            "check_store needs refresh",
        ),
    ],
)
def test_what_is_wrong_is_one_line_on_standard_error(target, source, says, described, capsys):
    described(source)
    assert main(["check", target]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"stale-retry: {says}\n")


def test_fewer_than_one_process_is_refused(capsys):
    assert main(["check", "wrong_stores:right", "--processes", "0"]) == 2
    assert capsys.readouterr().err == "stale-retry: --processes must be at least 1, got 0\n"


def test_the_command_needs_no_extra():
    code = "import sys; sys.path.pop(0); from stale_retry.__main__ import main; main(['check', 'wrong_stores:right'])"
    code += "; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, env=environment, check=True)
    assert not {"google", "rich", "matplotlib", "sqlalchemy"} & set(done.stdout.split())


# Several processes


def test_a_store_in_memory_cannot_be_checked_with_several_processes(capsys):
    assert main(["check", "wrong_stores:right", "--processes", "2"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "could not run several processes another process does not see a session of this one" in printed


def test_a_lock_inside_one_process_is_found_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STORE_URL", str(tmp_path))
    assert main(["check", "real_stores:json_file", "--processes", "3", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    failed = [finding["check"] for finding in report["findings"] if finding["verdict"] == "failed"]
    assert failed == ["several processes"]
    assert list(tmp_path.iterdir()) == []


def test_a_right_store_passes_with_several_processes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STORE_URL", str(tmp_path))
    assert main(["check", "real_stores:files", "--processes", "2"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "32 of 32 appends by 2 processes with 4 writers each stored once 16 passed, 0 failed" in printed
    assert list(tmp_path.iterdir()) == []


def test_events_that_are_the_same_in_two_processes_are_no_verdict(tmp_path, monkeypatch, described, capsys):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("STORE_URL", str(tmp_path))
    described(
        """if True:
            import itertools
            from real_stores import json_file

            ids = itertools.count()

            def name():
                return {**json_file(), "event": lambda n: {"id": next(ids), "text": "ok"}}
        """
    )
    assert main(["check", "described:name", "--processes", "2"]) == 0
    assert "make it from n, or from a UUID" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            """if True:
            import threading
            from wrong_stores import MemoryStore, Row

            class Odd(MemoryStore):
                async def create(self):
                    lock = threading.Lock()
                    self.rows[lock] = Row()
                    return lock

            def name():
                return Odd().mapping()
            """,
            "cannot be pickled for another process",
        ),
        (
            """if True:
            import os, sys
            from wrong_stores import MemoryStore

            if "_processes" in sys.argv[0]:
                os._exit(3)

            def name():
                return MemoryStore().mapping()
            """,
            "another process ended before it had appended",
        ),
    ],
    ids=["an id that is no value", "a process that dies"],
)
def test_why_several_processes_cannot_be_tried_is_told(source, says, described, monkeypatch, capsys):
    monkeypatch.syspath_prepend(HERE)
    described(source)
    assert main(["check", "described:name", "--processes", "2"]) == 0
    assert says in " ".join(capsys.readouterr().out.split())
