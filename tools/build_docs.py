"""Write the generated pages and figures of docs/, or check that they are up to date.

    python tools/build_docs.py
    python tools/build_docs.py --check

Pages are compared as they are. Figures are drawn by calculations that end in other last digits on
other processors: their numbers may differ by a few units of the drawing, all else may not.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from docs_figures import draw_figures
from docs_measured import measured_pages
from docs_reference import write_pages
from wasabi import msg

DOCS = Path(__file__).resolve().parent.parent / "docs"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
TOLERANCE = 3.0


def build() -> dict[str, str]:
    """RETURNS (dict): Texts of all generated files by their path within docs/."""
    sys.path.append(str(DOCS.parent))
    figures = {f"images/{name}": text for name, text in draw_figures().items()}
    return write_pages() | measured_pages() | figures


def same_figure(found: str, wanted: str) -> bool:
    """Whether two drawings differ by no more than rounding does."""
    if NUMBER.sub("#", found) != NUMBER.sub("#", wanted):
        return False
    pairs = zip(NUMBER.findall(found), NUMBER.findall(wanted), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE for a, b in pairs)


def is_current(path: Path, text: str) -> bool:
    """Whether a file says what would be written to it."""
    if not path.is_file():
        return False
    found = path.read_text(encoding="utf8")
    return same_figure(found, text) if path.suffix == ".svg" else found == text


def outdated(folder: Path = DOCS) -> list[str]:
    """RETURNS (list): Generated files that are missing, old, or not generated any more."""
    wanted = build()
    found = {f"images/{path.name}" for path in (folder / "images").glob("*.svg")}
    old = [name for name, text in wanted.items() if not is_current(folder / name, text)]
    return sorted({*old, *(found - wanted.keys())})


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line; RETURNS (int): Exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit with 1 if outdated"
    )
    if parser.parse_args(arguments).check:
        names = outdated()
        if names:
            msg.fail("Out of date: run python tools/build_docs.py", ", ".join(names))
            return 1
        msg.good("The generated documentation is up to date")
        return 0
    for name, text in build().items():
        path = DOCS / name
        if not is_current(path, text):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf8", newline="\n")
            msg.good("Written", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
