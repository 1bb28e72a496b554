"""Compare a trained model with a large language model, asked by a prompt, on the same test set.

    pip install "spacy-maral[llm]"
    python examples/compare_with_llm.py test-de.spacy german/student
    python examples/compare_with_llm.py test-de.spacy german/student --llm '{"@llm_models": "spacy.GPT-4.v3"}'

spacy-llm makes the prompt below for each sentence, and reads the entities from the answer. Its models need a
key or a GPU; the first command therefore asks a stand-in, which knows some names and needs neither. It shows
that the comparison runs, not what a large language model can do. Both are scored alike: an entity is correct if
both its ends and its type are.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Iterable  # noqa: UP035  (spacy-llm looks for this one)

import spacy
from spacy.language import Language
from spacy_llm.registry import registry
from wasabi import msg

from spacy_maral import evaluate_pipeline, load

PROMPT = """
Find the names in the sentence between the lines of dashes, and sort them by type.
{% for label in labels %}
{{ label }}: {{ label_definitions[label] if label in label_definitions else label }}
{%- endfor %}

Copy each name exactly as it is written, with all of its words, and list it once. Answer with one line for each type,
names separated by commas, and nothing else:
{% for label in labels %}
{{ label }}: ...
{%- endfor %}

-----
{{ text }}
-----
""".strip()
MEANINGS = {
    "PER": "people, given names and surnames together",
    "LOC": "places: towns, countries, rivers, regions",
    "ORG": "organisations: companies, parties, clubs, institutions",
}
KNOWN = {
    "PER": ["Angela Merkel", "Olaf Scholz", "Marie Curie"],
    "LOC": ["Paris", "Berlin", "Madrid", "Wien"],
    "ORG": ["Siemens", "Greenpeace", "Deutsche Bahn"],
}
STAND_IN = {"@llm_models": "stand_in_names.v1"}


@registry.llm_models("stand_in_names.v1")
def make_stand_in() -> Callable[[Iterable[Iterable[str]]], Iterable[Iterable[str]]]:
    """A stand-in for a language model: it answers in the form that the prompt asks for, with names from a list."""

    def answer(prompt: str) -> str:
        text = re.split(r"^-----$", prompt, flags=re.MULTILINE)[1]
        return "\n".join(
            f"{label}: {', '.join(name for name in names if name in text)}"
            for label, names in KNOWN.items()
        )

    def respond(prompts: Iterable[Iterable[str]]) -> Iterable[Iterable[str]]:
        return [[answer(prompt) for prompt in shards] for shards in prompts]

    return respond


def prompted(labels: list[str], model: dict[str, Any], lang: str = "xx") -> Language:
    """A pipeline that asks a language model for the entities of each text."""
    nlp = spacy.blank(lang)
    task = {
        "@llm_tasks": "spacy.NER.v2", "labels": labels, "template": PROMPT,
        "label_definitions": MEANINGS, "case_sensitive_matching": True,
    }  # fmt: skip
    nlp.add_pipe("llm", config={"task": task, "model": model})
    return nlp


def compare(data: Path, student: str, model: dict[str, Any]) -> dict[str, Any]:
    """Score both on the same documents; RETURNS (dict): Their reports by name."""
    nlp = load(student)
    labels = list(nlp.get_pipe("maral_ner").labels)  # type: ignore[attr-defined]
    pipelines = {"student": nlp, "language model": prompted(labels, model)}
    return {name: evaluate_pipeline(pipeline, data).report for name, pipeline in pipelines.items()}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, and print a table of both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="labelled documents (.spacy)")
    parser.add_argument("student", help="folder or name of a trained pipeline")
    parser.add_argument(
        "--llm", type=json.loads, default=STAND_IN, metavar="JSON",
        help="model of spacy-llm, as in its configuration",
    )  # fmt: skip
    args = parser.parse_args(arguments)
    found = compare(args.data, args.student, args.llm)
    rows = [
        (f"{name}, {label}", *(f"{100 * value:.2f}" for value in score[:3]), f"{score.support:,}")
        for name, report in found.items()
        for label, score in [*report.per_type.items(), ("all", report.micro)]
    ]
    header = ("", "P", "R", "F1", "gold")
    msg.table(rows, header=header, aligns=("l", "r", "r", "r", "r"), divider=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
