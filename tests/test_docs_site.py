"""The documentation as a site: all pages are in it, links lead somewhere, and it can be searched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import srsly
from browser import look_at, needs_browser
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    if find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_can_be_searched_and_loads_nothing_from_elsewhere(site):
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf8"))
    found = {row["location"].partition("/")[0] for row in index["docs"]}
    assert {"tutorial", "cli", "errors"} <= found
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf8")
        assert 'src="http' not in text and 'rel="stylesheet" href="http' not in text, page


class References(HTMLParser):
    """The names in a page, and what it refers to: pictures, scripts, styles, pages and their anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.targets: list[str] = []
        self.feed(path.read_text(encoding="utf8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if value and key in ("id", "name"):
                self.names.add(value)
            elif value and key in ("src", "href"):
                self.targets.append(value)


def broken_references(site: Path) -> list[str]:
    """What the pages of a site refer to and it does not have."""
    pages = {path.resolve(): References(path) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            base = site if url.path.startswith("/") else path.parent
            place = (base / unquote(url.path).lstrip("/")).resolve() if url.path else path
            place = place / "index.html" if place.is_dir() else place
            known = pages[place].names if place in pages else set()
            if not place.is_file() or (url.fragment and unquote(url.fragment) not in known):
                broken.append(f"{path.relative_to(site.resolve())}: {target}")
    return broken


def test_every_figure_script_page_and_anchor_of_the_site_is_there(site):
    # the page for addresses that lead nowhere stands at the root of the site's own address
    found = [line for line in broken_references(site) if not line.startswith("404.html: /")]
    assert not found


def test_what_is_not_there_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="x">a</h1><img src="no.svg"><a href="#x">x</a><a href="#y">y</a><a href="b/#z">z</a>'
        '<a href="b/#w">w</a><script src="b/index.html"></script><a href="https://example.org/#q">q</a>',
        encoding="utf8",
    )
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<p id="z">b</p>', encoding="utf8")
    assert broken_references(tmp_path) == ["a.html: no.svg", "a.html: #y", "a.html: b/#w"]


@needs_browser
def test_a_browser_shows_every_page_and_searches(site):
    names = ["/"] + [f"/{path.parent.name}/" for path in sorted(site.glob("*/index.html"))]
    assert len(names) == len(pages(SITE["nav"]))
    search = ("/?q=teacher", "#mkdocs-search-results article a")
    assert look_at(site, [*names, search]) == {}


@needs_browser
def test_the_browser_sees_what_is_wrong(tmp_path):
    (tmp_path / "bad.html").write_text(
        '<!DOCTYPE html><html><head><script src="no.js"></script></head><body><img src="no.png"><figure></figure>'
        "<script>nothing.at(all)</script><script>Promise.reject('late')</script></body></html>",
        encoding="utf8",
    )
    (tmp_path / "good.html").write_text(
        '<!DOCTYPE html><html><head></head><body><svg width="40" height="30"></svg></body></html>',
        encoding="utf8",
    )
    found = look_at(tmp_path, ["/good.html", "/bad.html", ("/good.html?", "#absent")])
    kinds = [text.partition(":")[0] for text in found["/bad.html"]]
    assert sorted(kinds) == [
        "empty figure", "empty picture", "not loaded", "not loaded", "script", "script",
    ]  # fmt: skip
    assert found["/good.html?"] == ["missing: #absent"]
    assert found["/no.js"] == found["/no.png"] == ["not there"] and "/good.html" not in found
