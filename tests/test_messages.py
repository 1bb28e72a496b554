"""Every coded message is mentioned by a test under its code, so that no message goes untested in silence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spacy_maral.errors import Errors, Warnings

TESTS = Path(__file__).parent
CODES = sorted(name for kind in (Errors, Warnings) for name in vars(kind) if name[0] in "MW")
UNTESTED: dict[str, str] = {}
"""Reason why no test raises a message, by its code."""


@pytest.fixture(scope="module")
def mentioned() -> set[str]:
    """Codes in the files of the tests, without this one."""
    files = [path for path in TESTS.rglob("*.py") if path != Path(__file__)]
    texts = (path.read_text(encoding="utf8") for path in files)
    return {code for text in texts for code in re.findall(r"\b[MW]\d{3}\b(?!\.\d)", text)}


def test_every_code_is_mentioned_by_a_test_or_has_a_reason(mentioned):
    assert [code for code in CODES if code not in mentioned and code not in UNTESTED] == []
    assert [code for code in UNTESTED if code in mentioned or code not in CODES] == []


def test_tests_mention_no_code_that_is_gone(mentioned):
    assert sorted(mentioned - {*CODES}) == []
