"""The templates of the reports: HTML in which all text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from .svg import printable


def load_template(name: str, functions: Sequence[Callable], **filters: Callable) -> Template:
    """Read a template of this folder.

    name (str): Name of the file.
    functions (Sequence[Callable]): Functions that the template calls, by their names.
    filters (Callable): Filters of the template by name.
    RETURNS (Template): The template.
    """
    environment = Environment(
        undefined=StrictUndefined, autoescape=True, keep_trailing_newline=True, finalize=_finalize
    )
    environment.filters.update(filters)
    environment.globals.update({function.__name__: function for function in functions})
    return environment.from_string((files(__package__) / name).read_text(encoding="utf8"))


def read_style() -> Markup:
    """Read the style sheet of the reports."""
    return Markup((files(__package__) / "page.css").read_text(encoding="utf8"))


def _finalize(value: Any) -> Any:
    """Replace characters that HTML may not have, in all text that is no markup."""
    return value if isinstance(value, Markup) else printable(value)
