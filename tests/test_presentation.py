"""What the package shows of itself elsewhere fits what it is."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import spacy
import srsly
from browser import needs_browser
from screenshots import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf8")


def read_yaml(name: str):
    return srsly.yaml_loads((ROOT / name).read_text(encoding="utf8"))


def test_the_citation_is_that_of_the_package_and_of_the_paper():
    cff = read_yaml("CITATION.cff")
    assert (cff["title"], cff["version"], cff["license"]) == (
        PROJECT["name"], PROJECT["version"], PROJECT["license"],
    )  # fmt: skip
    paper = cff["preferred-citation"]
    bibtex = README.split("```bibtex")[1]
    fields = dict(re.findall(r'(\w+) = "([^"]*)"', bibtex))
    names = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    assert (fields["title"], fields["author"]) == (paper["title"], names)
    assert (fields["doi"], fields["url"]) == (paper["doi"], paper["url"])
    assert fields["pages"] == f"{paper['start']}--{paper['end']}"
    assert paper["url"] == PROJECT["urls"]["Paper"]


def test_the_gains_are_those_of_the_results():
    results = (ROOT / "docs/results.md").read_text(encoding="utf8")
    # with the gain in brackets, a student has two numbers in a cell
    for name, variant, n in (
        ("teacher", "teacher", 1),
        ("student, plain self-training", "self_training", 2),
        ("student, spacy-maral", "maral", 2),
        (
            r"for comparison: trained on as many labelled sentences of the language itself \(Persian: 1,626\)",
            "supervised",
            1,
        ),
    ):
        shown = re.search(rf"^\| {name} \|(.*)\|$", README, re.M)
        measured = re.search(rf"^\| {variant} \|(.*?)\|$", results, re.M)
        assert shown is not None and measured is not None, name
        found = [numbers(cell) for cell in shown[1].split("|")]
        wanted = [numbers(cell)[:n] for cell in measured[1].split("|")[: len(found)]]
        assert [len(cell) for cell in found] == [n] * 7, name
        assert np.array(found) == pytest.approx(np.array(wanted), abs=0.051), name


def numbers(cell: str) -> list[float]:
    """F1 and, in brackets, the difference to the teacher in a cell of a table of results."""
    return [float(n) for n in re.findall(r"-?\d+\.\d+", re.sub(r"± \S+", "", cell))]


def test_the_universe_entry_has_the_example_of_the_readme():
    entry = json.loads((ROOT / "assets/universe.json").read_text(encoding="utf8"))
    assert entry["id"] == entry["pip"] == PROJECT["name"]
    code = "\n".join(entry["code_example"])
    compile(code, "<universe>", "exec")
    assert code in re.sub(r"  #.*", "", README)
    assert len(entry["slogan"]) <= 120 and all(entry[key] for key in entry)


def test_workflows_run_what_there_is():
    jobs = read_yaml(".github/workflows/tests.yml")["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    stated = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if ":: Python :: 3." in c]
    assert matrix["python"] == stated
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    commands = " ".join(s.get("run", "") for job in jobs.values() for s in job["steps"])
    extras = {x for found in re.findall(r"\.\[([\w,-]+)\]", commands) for x in found.split(",")}
    assert extras <= PROJECT["optional-dependencies"].keys() and "test-ray" in extras
    assert all((ROOT / path).is_file() for path in re.findall(r"\S+\.py|\.ci/run", commands))


def test_ray_is_no_dependency_of_the_tests():
    assert not [x for x in PROJECT["optional-dependencies"]["dev"] if x.startswith("ray")]


def test_requirements_for_transformers_5_are_those_of_the_package():
    path = ROOT / "requirements" / "transformers-5.txt"
    lines = [x for x in path.read_text(encoding="utf8").splitlines() if not x.startswith("#")]
    others = [x for x in PROJECT["dependencies"] if not x.startswith("spacy-transformers")]
    wanted = ["transformers>=5.3,<6" if x.startswith("transformers") else x for x in others]
    assert lines == wanted and len(others) == len(PROJECT["dependencies"]) - 1


@pytest.mark.parametrize("name", ["error", "idea"])
def test_issue_templates_ask_for_what_helps(name):
    form = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"] and form["description"]
    assert len({field["id"] for field in form["body"]}) == len(form["body"])


def test_hooks_run_what_there_is():
    (repo,) = read_yaml(".pre-commit-config.yaml")["repos"]
    for hook in repo["hooks"]:
        words = hook["entry"].split()
        assert words[0] == "python" and (words[1] == "-m" or (ROOT / words[1]).is_file())


@needs_browser
def test_pictures_of_pages_can_be_taken(tmp_path):
    nlp = spacy.blank("de")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Leipzig"}])
    nlp.to_disk(tmp_path / "model")
    page = tmp_path / "report.html"
    page.write_text("<!DOCTYPE html><title>report</title><h1>Report</h1>", encoding="utf8")
    output = tmp_path / "images"
    assert main([str(page), str(tmp_path / "model"), "--output", str(output)]) == 0
    taken = {path.name: path.read_bytes() for path in output.iterdir()}
    assert sorted(taken) == ["entities.png", "report.png"]
    for name, content in taken.items():
        # the size is in the header of a PNG
        width, height = struct.unpack(">II", content[16:24])
        assert (width, height) == {"report.png": (1000, 1200), "entities.png": (900, 200)}[name]
