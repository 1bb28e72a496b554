from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import spacy_maral


def test_every_public_name_is_there_with_a_docstring():
    for name in spacy_maral.__all__:
        value = getattr(spacy_maral, name)
        assert value.__doc__, name
        assert name in dir(spacy_maral)
    assert spacy_maral.load is spacy_maral.evaluation.evaluate.load_pipeline
    assert spacy_maral.convert is spacy_maral.data.convert.convert


def test_the_version_is_that_of_the_distribution():
    assert spacy_maral.__version__ == version("spacy-maral")


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="no attribute 'adopt'"):
        spacy_maral.adopt  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    code = """
import sys
import spacy_maral
heavy = ("spacy", "torch", "numpy", "transformers", "spacy_maral.training", "spacy_maral.data")
sys.exit(", ".join(name for name in heavy if name in sys.modules))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False
    )
    assert result.stderr.strip() == ""
