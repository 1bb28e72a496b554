"""The file of results, which holds each case as soon as it is finished, and their table."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from wasabi import Printer

from spacy_maral.data.files import write_json
from spacy_maral.errors import MaralError
from spacy_maral.model.machine import describe_machine, package_versions

FIELDS = ("ratio", "ours", "other", "unit")


def read_results(path: Path | None) -> dict[str, Any]:
    """Results of earlier runs by case.

    path (Path | None): The file, which may be missing.
    RAISES (MaralError): If the file holds something else.
    """
    if path is None or not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf8"))
        if not all(isinstance(row, dict) and set(FIELDS) <= set(row) for row in found.values()):
            raise ValueError(f"not every case in it has {', '.join(FIELDS)}")
    except (OSError, ValueError, AttributeError) as error:
        raise MaralError(
            f"{path} does not hold results of the benchmarks: {error}. Give another file with -o, or "
            "move this one away."
        ) from error
    return found


def add_result(path: Path | None, name: str, row: dict[str, Any]) -> None:
    """Write the result of a case to the file, and keep the other cases of the file."""
    if path is not None:
        found = read_results(path)
        found[name] = row
        write_json(path, dict(sorted(found.items())))


def facts() -> dict[str, Any]:
    """Machine, versions and date of a result."""
    return {
        "machine": describe_machine(-1),
        "versions": package_versions(),
        "date": time.strftime("%Y-%m-%d"),
    }


def show_table(results: dict[str, dict[str, Any]], printer: Printer) -> None:
    """Print medians and ratios; ratios above 1 are in our favour."""
    rows = [
        (
            name,
            number(row["ratio"]),
            number(row.get("cpu_ratio")),
            number(row["ours"]),
            number(row["other"]),
            row["unit"],
            row.get("other_is", ""),
        )
        for name, row in results.items()
    ]
    printer.table(
        rows,
        header=("case", "ratio", "by CPU time", "ours", "other", "unit", "the other side"),
        aligns=("l", "r", "r", "r", "r", "l", "l"),
        divider=True,
    )
    for name, row in results.items():
        for title, table in row.get("tables", {}).items():
            header, *lines = table
            cells = [[number(cell) for cell in line] for line in lines]
            printer.table(cells, header=header, title=f"{name}: {title}", divider=True)


def number(value: Any) -> str:
    """A number with three significant digits; text without change."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value == 0 or not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3g}"
    digits = max(0, 2 - int(f"{value:e}".partition("e")[2]))
    return f"{value:,.{digits}f}"
