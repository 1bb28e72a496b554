"""The mutation script on a project of two functions."""

from __future__ import annotations

import json
import subprocess

import mutate
import pytest

SOURCE = '''"""A file."""
LIMIT = 3


def clip(x: int, most: int = 7) -> int:
    """Not more than 7."""
    total = x
    total = total + 1
    if total - 1 > most:
        raise ValueError(f"more than {most + 1}")
    print("not tested")
    return -total if x < 0 else total
'''
TEST = """
from package import LIMIT, clip

def test_clip():
    assert clip(2) == 3 and clip(-2) == 1 and clip(7) == 8 and LIMIT == 3
"""

REST = """
from package import clip

def test_what_is_printed(capsys):
    assert clip(2) == 3 and capsys.readouterr().out == "not tested\\n"
"""


def test_the_changes_of_a_file():
    found = mutate.find_mutants("package.py", SOURCE.encode())
    changes = {(m.function, m.line, m.kind, m.before, m.after) for m in found}
    assert changes == {
        ("module", 2, "constant", "3", "(4)"),
        ("clip", 5, "constant", "7", "(8)"),
        ("clip", 8, "line", "total = total + 1", "pass"),
        ("clip", 8, "operator", "total + 1", "(total - 1)"),
        ("clip", 8, "constant", "1", "(2)"),
        ("clip", 9, "condition", "total - 1 > most", "(not (total - 1 > most))"),
        ("clip", 9, "operator", "total - 1 > most", "(total - 1 >= most)"),
        ("clip", 9, "operator", "total - 1", "(total + 1)"),
        ("clip", 9, "constant", "1", "(2)"),
        ("clip", 11, "line", 'print("not tested")', "pass"),
        ("clip", 12, "operator", "-total", "(total)"),
        ("clip", 12, "condition", "x < 0", "(not (x < 0))"),
        ("clip", 12, "operator", "x < 0", "(x <= 0)"),
        ("clip", 12, "constant", "0", "(1)"),
    }
    for mutant in found:
        changed = mutant.apply(SOURCE.encode()).decode()
        assert changed != SOURCE and mutant.after in changed
        compile(changed, "package.py", "exec")


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "package.py").write_text(SOURCE, encoding="utf8")
    (folder / "test_package.py").write_text(TEST, encoding="utf8")
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def test_mutants_run_once_and_only_the_tests_of_their_file(project, tmp_path, monkeypatch):
    output, tests = tmp_path / "out.jsonl", {"package.py": ["test_package.py"]}
    source = (project / "package.py").read_bytes()
    mutants = [m for m in mutate.find_mutants("package.py", source) if m.line in (2, 11)]
    rows = list(mutate.run_mutants(mutants, tests, (), output, project))
    assert [(row["line"], row["outcome"], row["killed"]) for row in rows] == [
        (2, "failed", True), (11, "passed", False),
    ]  # fmt: skip
    assert [json.loads(line) for line in output.read_text().splitlines()] == rows
    assert (project / "package.py").read_bytes() == source

    ran = []
    monkeypatch.setattr(mutate, "run_mutant", lambda *a: ran.append(a[1].line) or ("failed", 1.0))
    monkeypatch.setattr(mutate, "time_limit", lambda *_: 60.0)
    assert list(mutate.run_mutants(mutants, tests, (), output, project)) == rows and not ran
    # with other tests only the survivor runs again, with another source all of them
    (project / "test_package.py").write_text(TEST + "\n", encoding="utf8")
    again = list(mutate.run_mutants(mutants, tests, (), output, project))
    assert [row["killed"] for row in again] == [True, True] and ran == [11]
    assert list(mutate.run_mutants(mutants, tests, (), output, project)) == again and ran == [11]
    (project / "package.py").write_text(SOURCE + "\n", encoding="utf8")
    list(mutate.run_mutants(mutants, tests, (), output, project))
    assert ran == [11, 2, 11]


def test_what_the_first_tests_let_pass_meets_the_others(project, tmp_path):
    """Line 11 lives where only the tests of its file run."""
    (project / "test_rest.py").write_text(REST, encoding="utf8")
    tests, source = {"package.py": ["test_package.py"]}, (project / "package.py").read_bytes()
    mutants = [m for m in mutate.find_mutants("package.py", source) if m.line == 11]
    (row,) = mutate.run_mutants(mutants, tests, ("test_rest.py",), tmp_path / "o", project)
    assert (row["outcome"], row["killed"]) == ("failed", True)


def test_tests_that_fail_without_a_change_are_refused(project, tmp_path, monkeypatch):
    monkeypatch.setattr(mutate, "run_tests", lambda *_: ("failed", 1.0))
    mutants = mutate.find_mutants("package.py", SOURCE.encode())
    with pytest.raises(SystemExit, match="without a change"):
        list(mutate.run_mutants(mutants, {"package.py": []}, (), tmp_path / "o", project))


def test_endless_mutants_are_killed(project):
    (project / "test_package.py").write_text("while True: pass", encoding="utf8")
    outcome, seconds = mutate.run_tests(project, ["test_package.py"], 1.5)
    assert outcome == "timeout" and seconds < 60


def test_samples_repeat_by_seed_and_the_summary_counts(capsys, monkeypatch):
    every = mutate.find_mutants("package.py", SOURCE.encode())
    chosen = mutate.sample(every, 5, 3)
    assert chosen == mutate.sample(every, 5, 3) != mutate.sample(every, 5, 4)
    assert sorted(chosen, key=every.index) == chosen and mutate.sample(every, None, 0) == every
    rows = [{**m._asdict(), "key": m.key, "killed": i > 1} for i, m in enumerate(every)]
    monkeypatch.setattr(mutate, "EQUIVALENT", {every[0].key: "nobody reads it"})
    mutate.summarise(rows, 20)
    shown = capsys.readouterr().out
    assert "nobody reads it" in shown and shown.count("no reason known") == 1
    assert "12 of 13 mutants that make a difference are killed" in shown


@pytest.mark.parametrize("file", mutate.TESTS)
def test_files_and_tests_exist(file):
    assert mutate.find_mutants(file, (mutate.ROOT / file).read_bytes())
    assert all((mutate.ROOT / test).is_file() for test in mutate.TESTS[file])
    known = {key.partition(" ")[0] for key in mutate.EQUIVALENT}
    assert known <= set(mutate.TESTS)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_fast_tests_kill_nearly_all_of_a_sample(tmp_path):
    every = [
        mutant
        for file in mutate.TESTS
        for mutant in mutate.find_mutants(file, (mutate.ROOT / file).read_bytes())
    ]
    chosen = mutate.sample(every, 40, 2)
    rows = list(
        mutate.run_mutants(chosen, mutate.TESTS, mutate.REST, tmp_path / "rows.jsonl", mutate.ROOT)
    )
    lived = [row["key"] for row in rows if not row["killed"]]
    unknown = [key for key in lived if key not in mutate.EQUIVALENT]
    assert len(unknown) <= 0.05 * (len(rows) - len(lived) + len(unknown)), unknown
