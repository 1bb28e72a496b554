"""Let a list of names be the teacher: no model of the target language is needed to begin with.

    python examples/gazetteer_teacher.py --encoder intfloat/multilingual-e5-small --output german

The list knows most names of the German text and misses others. Its labels are filtered and refined
while the student learns, as those of a trained teacher are, and the student finds names that are in no
list. (If a list misses most names, give it as `partial` too, or it teaches that they are none.) Any spaCy
pipeline that sets doc.ents can take the ruler's place, and others can be given beside it: they are
weighed by how right they are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import spacy
from spacy.cli._util import parse_config_overrides
from spacy.language import Language
from wasabi import msg

from spacy_maral import adapt, convert, load, prepare_text, pseudo_label

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / "configs" / "maral_small.cfg"
NAMES = {
    "PER": [
        "Angela Merkel", "Olaf Scholz", "Barack Obama", "Marie Curie", "Ada Lovelace",
        "Rosa Parks", "Nelson Mandela", "Alan Turing", "Frida Kahlo", "Pedro Sánchez",
    ],
    "LOC": [
        "Paris", "Berlin", "Köln", "Madrid", "New York", "München", "Wien", "Zürich", "Rom",
    ],
    "ORG": [
        "Siemens", "Bosch", "Greenpeace", "Deutsche Bahn", "Europäische Union", "Volkswagen",
    ],
}  # fmt: skip
# For the sentences of the example, which are few.
FEW = {"student.epochs": 8}


def gazetteer() -> Language:
    """A German pipeline that knows the names of the list."""
    nlp = spacy.blank("de")
    patterns = [
        {"label": label, "pattern": name} for label, names in NAMES.items() for name in names
    ]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    return nlp


def build(output: Path, *, encoder: str, overrides: dict[str, Any]) -> Path:
    """Run all steps; RETURNS (Path): The folder of the German model."""
    data, target = output / "data", output / "data" / "german.spacy"
    convert(HERE / "data" / "english.jsonl", data / "train.spacy", lang="en")
    convert(HERE / "data" / "english-dev.jsonl", data / "dev.spacy", lang="en")
    prepare_text(HERE / "data" / "german", target, lang="de")
    labels = pseudo_label(
        gazetteer(), target, output / "labels.npz", source=data / "train.spacy", config=CONFIG,
        confidence=0.8,
    )  # fmt: skip
    return adapt(
        CONFIG, source=data / "train.spacy", dev=data / "dev.spacy", target=target, labels=labels,
        output=output / "student", overrides={"paths.encoder": encoder, **FEW, **overrides}, resume=True,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, build the model, and let it read a name that is in no list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--encoder", required=True, help="name on the hub, or folder")
    parser.add_argument("--output", type=Path, required=True)
    args, settings = parser.parse_known_args(arguments)
    overrides = parse_config_overrides(settings)
    model = build(args.output, encoder=args.encoder, overrides=overrides)
    doc = load(model)("Gestern sprach Hannah Arendt in Hamburg.")
    for ent in doc.ents:
        msg.text(f"{ent.text}  {ent.label_}  {ent._.maral_score:.2f}")
    msg.good("Saved the model", model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
