"""Run the tests on all installed Pythons, with the oldest and the newest dependencies: `nox`.

nox -l                      list the sessions
nox -s tests                the newest dependencies, on each Python from 3.10 to 3.13
nox -s oldest               the lower bounds of pyproject.toml
nox -s newest_transformers  transformers 5, without spacy-transformers
nox -s lint types           style and types
nox -s tests-3.11 -- -k fuzz   pass further arguments to pytest

TORCH names the torch to install, as in the Makefile. Pythons that are not installed are skipped.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
TORCH = os.environ.get("TORCH", "torch==2.13.0")
# packages that are not pinned to their oldest release; torch is chosen by TORCH
NO_PIN = ("torch",)
QUIET = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_missing_interpreters = False


def lower_bounds(python: str) -> list[str]:
    """The oldest supported release of each dependency for a Python, as "name==version"."""
    text = Path("pyproject.toml").read_text(encoding="utf8")
    block = text.split("\ndependencies = [")[1].split("\n]")[0]
    found = re.findall(r'"([A-Za-z0-9-]+)>=([0-9.]+)([^"]*)"', block)
    old = tuple(map(int, python.split("."))) < (3, 11)
    pins = {
        name: version
        for name, version, rest in found
        if name not in NO_PIN and (old or "python_version" not in rest)
    }
    return [f"{name}=={version}" for name, version in pins.items()]


def run_tests(session: nox.Session) -> None:
    session.run("python", "-m", "pytest", "-q", *session.posargs, env=QUIET)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests with the newest dependencies within the bounds."""
    session.install(TORCH)
    session.install("-e", ".[dev,test-ray,test-crowd,docs]")
    run_tests(session)


@nox.session(python=PYTHONS[:-1])
def oldest(session: nox.Session) -> None:
    """Run the tests with the oldest dependencies; these have no wheels for the newest Python."""
    session.install(TORCH)
    session.install("-e", ".[dev]", *lower_bounds(str(session.python)))
    run_tests(session)


@nox.session(python=PYTHONS)
def newest_transformers(session: nox.Session) -> None:
    """Run the tests with the newest transformers, and so without spacy-transformers."""
    session.install(TORCH)
    extras = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
    session.install("-r", "requirements/transformers-5.txt", *extras["dev"])
    session.install("--no-deps", "-e", ".")
    run_tests(session)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Check the style."""
    session.install("ruff>=0.17,<0.18")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python="3.11")
def types(session: nox.Session) -> None:
    """Check the types."""
    session.install(TORCH)
    session.install("-e", ".[dev]")
    session.run("mypy")
