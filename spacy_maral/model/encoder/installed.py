"""Whether spacy-transformers is installed, and works with the installed release of transformers."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

from ...errors import Errors, MaralError


@cache
def has_spacy_transformers() -> bool:
    """Find out whether spacy-transformers is installed.

    Its component then serves the name `transformer`, and its classes carry what an encoder gives to
    components of other packages; otherwise those of this package do.

    RETURNS (bool): Whether it is installed.
    RAISES (MaralError): If it is installed, but cannot be imported.
    """
    if find_spec("spacy_transformers") is None:
        return False
    try:
        import_module("spacy_transformers")
    except ImportError as error:
        found = {name: version(name) for name in ("spacy_transformers", "transformers")}
        raise MaralError(Errors.M594.format(**found, problem=error)) from error
    return True
