"""Hooks of mkdocs: what the pages say to readers of the repository, for readers of the site."""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)#\s]*)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, *, config: Any, **kwargs: Any) -> str:
    """Turn links to files outside docs/, which the site does not have, into links to the repository,
    or into their text if `repo_url` is not set."""
    repository = str(config.get("repo_url") or "").rstrip("/")

    def replacement(found: re.Match[str]) -> str:
        text, path = found.groups()
        return f"[{text}]({repository}/blob/main/{path})" if repository else text

    return OUTSIDE.sub(replacement, markdown)
