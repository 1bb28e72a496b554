"""Take the pictures of the documentation that show a report and displaCy. Needs a Chromium.

    python tools/screenshots.py report.html german/student

The report and the student are those of examples/english_to_german.py, whose sentences are made up. The
pictures go to docs/images; build_docs.py does not make them, since browsers draw differently.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from headless import BROWSER, NAMES, running
from spacy import displacy
from wasabi import msg

from spacy_maral import load

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
TEXTS = (
    "Gestern sprach Hannah Arendt in München mit Olaf Scholz.",
    "Siemens zieht von Berlin nach Leipzig.",
)
PAGE = '<!DOCTYPE html><meta charset="utf-8"><body style="margin: 1rem; font: 20px sans-serif">'


def take(page: Path, picture: Path, width: int, height: int) -> None:
    """Write the upper part of a page as a picture."""
    size = f"--window-size={width},{height}"
    with running(size, f"--screenshot={picture.resolve()}", page.resolve().as_uri()) as browser:
        browser.wait(timeout=300)
    if not picture.is_file():
        msg.fail("The browser wrote no picture", picture, exits=1)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and take both pictures; RETURNS (int): Exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("report", type=Path, help="what `spacy maral report` wrote")
    parser.add_argument("model", help="folder or name of a pipeline for German")
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder of the pictures")
    args = parser.parse_args(arguments)
    if BROWSER is None:
        msg.fail("There is no browser", f"Install one of: {', '.join(NAMES)}.", exits=1)
    args.output.mkdir(parents=True, exist_ok=True)
    take(args.report, args.output / "report.png", 1000, 1200)
    docs = list(load(args.model).pipe(TEXTS))
    with TemporaryDirectory() as folder:
        page = Path(folder) / "entities.html"
        page.write_text(PAGE + displacy.render(docs, style="ent", jupyter=False), encoding="utf8")
        take(page, args.output / "entities.png", 900, 200)
    msg.good("Written", args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
