"""The documentation as a site: all pages are in it, links lead somewhere, and it can be searched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import srsly
from docs_site import on_page_markdown

ROOT = Path(__file__).parents[1]
SITE = srsly.yaml_loads((ROOT / "mkdocs.yml").read_text(encoding="utf8"))


def pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [
        page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages(part)
    ]


def test_every_page_has_one_place():
    assert sorted(pages(SITE["nav"])) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize(
    ("repository", "expected"),
    [(None, "See README and [here](cli.md#train)."),
     ("https://example.org/r/", "See [README](https://example.org/r/blob/main/README.md) and [here](cli.md#train).")],
)  # fmt: skip
def test_links_out_of_the_site_lead_to_the_repository(repository, expected):
    text = "See [README](../README.md#install) and [here](cli.md#train)."
    assert on_page_markdown(text, config={"repo_url": repository}, page=None) == expected


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed (extra docs)")
def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path):
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "site/search/search_index.json").read_text(encoding="utf8"))
    found = {row["location"].partition("/")[0] for row in index["docs"]}
    assert {"tutorial", "cli", "errors"} <= found
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf8")
        assert 'src="http' not in text and 'rel="stylesheet" href="http' not in text, page
