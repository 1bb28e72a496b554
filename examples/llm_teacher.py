"""Let a large language model label the sentences that a trained teacher doubts most.

    pip install "spacy-maral[llm]"
    python examples/llm_teacher.py german/teacher german/data/german.spacy german/labels-llm.npz
    python examples/llm_teacher.py german/teacher german/data/german.spacy german/labels-llm.npz --llm '{"@llm_models": "spacy.GPT-4.v3"}'

The first command asks the stand-in of compare_with_llm.py, which needs no key. At most a fifth of the
sentences are asked for; all others keep the teacher's labels. A command that was stopped, or that the
model's server let down, is repeated as it is: it asks for the missing answers only. The labels are for
`spacy maral adapt --labels`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from compare_with_llm import STAND_IN, prompted
from wasabi import msg

from spacy_maral import load, pseudo_label


def label(teacher: str, target: Path, output: Path, model: dict[str, Any], share: float) -> Path:
    """Label the target with both; RETURNS (Path): The file of labels."""
    labels = list(load(teacher).get_pipe("maral_ner").labels)  # type: ignore[attr-defined]
    nlp = prompted(labels, model)
    return pseudo_label(nlp, target, output, only_doubtful=teacher, max_share=share)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and label the target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("teacher", help="folder or name of a trained pipeline")
    parser.add_argument("target", type=Path, help="documents of the target language (.spacy)")
    parser.add_argument("output", type=Path, help="file for the labels (.npz)")
    parser.add_argument(
        "--llm", type=json.loads, default=STAND_IN, metavar="JSON",
        help="model of spacy-llm, as in its configuration",
    )  # fmt: skip
    parser.add_argument("--max-share", type=float, default=0.2, help="share to ask for at most")
    args = parser.parse_args(arguments)
    path = label(args.teacher, args.target, args.output, args.llm, args.max_share)
    msg.good("Saved pseudo-labels", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
