"""Packages that not everyone needs."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ...errors import Errors, MaralError


def import_extra(name: str, what: str, extra: str) -> ModuleType:
    """Import a module of a package that an extra installs.

    name (str): The module.
    what (str): What needs it, for the message.
    extra (str): The extra.
    RETURNS (ModuleType): The module.
    RAISES (MaralError): If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MaralError(Errors.M471.format(what=what, problem=error, extra=extra)) from error


def import_pyarrow(what: str) -> tuple[ModuleType, ModuleType]:
    """RETURNS (tuple): The modules pyarrow and pyarrow.parquet."""
    return (
        import_extra("pyarrow", what, "parquet"),
        import_extra("pyarrow.parquet", what, "parquet"),
    )
