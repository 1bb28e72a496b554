"""From labelled English sentences and a folder of raw German text to a German model.

    python examples/english_to_german.py --encoder intfloat/multilingual-e5-small --output german

Without other arguments it takes the few sentences in examples/data, in many epochs:
enough to see it work, and not more. With text of your own:

    python examples/english_to_german.py --train english.jsonl --dev english-dev.jsonl
        --raw german/ --encoder intfloat/multilingual-e5-small --output german --student.epochs 5

A line of the labelled files is {"text": "...", "entities": [[start, end, "PER"], ...]} with character
offsets. The raw folder has .txt files (a sentence or a document a line), .jsonl files (with "text"),
or both, perhaps gzipped. The encoder is a name on the Hugging Face hub or a folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from spacy.cli._util import parse_config_overrides
from wasabi import msg

from spacy_maral import adapt, convert, load, prepare_text, pseudo_label, train_teacher

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / "configs" / "maral_small.cfg"
# For the sentences of the example, which are few.
FEW = {"teacher.epochs": 10, "student.epochs": 5}


def build(
    train: Path, dev: Path, raw: Path, output: Path, *, encoder: str, overrides: dict[str, Any]
) -> Path:
    """Run all steps; RETURNS (Path): The folder of the German model."""
    data = output / "data"
    convert(train, data / "train.spacy", lang="en")
    convert(dev, data / "dev.spacy", lang="en")
    report = prepare_text(raw, data / "german.spacy", lang="de")
    msg.info(f"German text: {report}")

    settings = {"paths.encoder": encoder, **overrides}
    source = {"source": data / "train.spacy", "dev": data / "dev.spacy"}
    teacher = train_teacher(
        CONFIG, **source, output=output / "teacher", overrides=settings, resume=True
    )
    labels = pseudo_label(teacher, data / "german.spacy", output / "labels.npz")
    return adapt(
        CONFIG, **source, target=data / "german.spacy", teacher=teacher, labels=labels,
        output=output / "student", overrides=settings, resume=True,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, build the model, and let it read a sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", type=Path, default=HERE / "data" / "english.jsonl")
    parser.add_argument("--dev", type=Path, default=HERE / "data" / "english-dev.jsonl")
    parser.add_argument("--raw", type=Path, default=HERE / "data" / "german")
    parser.add_argument("--encoder", required=True, help="name on the hub, or folder")
    parser.add_argument("--output", type=Path, required=True)
    args, settings = parser.parse_known_args(arguments)
    overrides = parse_config_overrides(settings)
    if args.train == parser.get_default("train"):
        overrides = {**FEW, **overrides}
    model = build(
        args.train, args.dev, args.raw, args.output, encoder=args.encoder, overrides=overrides
    )
    doc = load(model)("Gestern sprach Hannah Arendt in München über die Vereinten Nationen.")
    for ent in doc.ents:
        msg.text(f"{ent.text}  {ent.label_}  {ent._.maral_score:.2f}")
    msg.good("Saved the model", model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
