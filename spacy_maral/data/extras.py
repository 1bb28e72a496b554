"""Import the packages that an extra installs."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ..errors import Errors, MaralError


def import_extra(name: str, what: str, extra: str) -> ModuleType:
    """Import a module.

    name (str): The module.
    what (str): What needs it, for the message.
    extra (str): The extra that installs it.
    RETURNS (ModuleType): The module.
    RAISES (MaralError): If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MaralError(Errors.M471.format(what=what, problem=error, extra=extra)) from error


def import_pyarrow(what: str) -> tuple[ModuleType, ModuleType]:
    """RETURNS (tuple): The modules pyarrow and pyarrow.parquet."""
    pa, pq = (import_extra(name, what, "parquet") for name in ("pyarrow", "pyarrow.parquet"))
    return pa, pq
