"""MARAL for spaCy: cross-lingual named entity recognition with large-margin span representations.

What the commands of `python -m spacy maral` do can be done in code:

    from spacy_maral import adapt, convert, evaluate_pipeline, load, train_teacher

    convert("english.jsonl", "train.spacy", lang="en")
    convert("english-dev.jsonl", "dev.spacy", lang="en")
    source = {"source": "train.spacy", "dev": "dev.spacy"}
    train_teacher("maral.cfg", **source, output="teacher")
    adapt("maral.cfg", **source, target="german/", lang="de", teacher="teacher", output="student")
    print(evaluate_pipeline(load("student"), "test-de.spacy").report.f1)

Names are imported when they are first used, so that `import spacy_maral` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adaptation.label_target import pseudo_label
    from .adaptation.projection import project_labels
    from .adaptation.student import adapt
    from .adaptation.suggest import suggest
    from .adaptation.train import train
    from .adaptation.translation import translate_words
    from .data.convert import convert
    from .data.docs import read_docs
    from .data.export import export
    from .data.prodigy import read_prodigy, write_prodigy
    from .data.raw import prepare_text, read_raw
    from .errors import MaralError
    from .evaluation.evaluate import evaluate_pipeline
    from .evaluation.evaluate import load_pipeline as load
    from .scale import annotate_corpus, distil_layers, distil_tok2vec, optimise, trim_vocab
    from .training.calibrate import calibrate
    from .training.suspects import find_suspects
    from .training.teacher import train_teacher

    __version__: str

_HOMES = {
    "MaralError": "errors",
    "adapt": "adaptation.student",
    "annotate_corpus": "scale",
    "calibrate": "training.calibrate",
    "convert": "data.convert",
    "distil_layers": "scale",
    "distil_tok2vec": "scale",
    "evaluate_pipeline": "evaluation.evaluate",
    "export": "data.export",
    "find_suspects": "training.suspects",
    "load": "evaluation.evaluate",
    "optimise": "scale",
    "prepare_text": "data.raw",
    "project_labels": "adaptation.projection",
    "pseudo_label": "adaptation.label_target",
    "read_docs": "data.docs",
    "read_prodigy": "data.prodigy",
    "read_raw": "data.raw",
    "suggest": "adaptation.suggest",
    "train": "adaptation.train",
    "train_teacher": "training.teacher",
    "translate_words": "adaptation.translation",
    "trim_vocab": "scale",
    "write_prodigy": "data.prodigy",
}

__all__ = [
    "MaralError",
    "__version__",
    "adapt",
    "annotate_corpus",
    "calibrate",
    "convert",
    "distil_layers",
    "distil_tok2vec",
    "evaluate_pipeline",
    "export",
    "find_suspects",
    "load",
    "optimise",
    "prepare_text",
    "project_labels",
    "pseudo_label",
    "read_docs",
    "read_prodigy",
    "read_raw",
    "suggest",
    "train",
    "train_teacher",
    "translate_words",
    "trim_vocab",
    "write_prodigy",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("spacy-maral")
    if name in _HOMES:
        home = import_module(f".{_HOMES[name]}", __name__)
        return getattr(home, "load_pipeline" if name == "load" else name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
