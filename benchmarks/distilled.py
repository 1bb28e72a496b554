"""A student, and the pipelines distilled from it, on raw text of the target language.

Each is made once for all cases of a call. The raw text has none of the sentences that are measured on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spacy.tokens import Doc

from spacy_maral.adaptation.train import STUDENT, train
from spacy_maral.data.convert import write_docs
from spacy_maral.scale import distil_layers, distil_tok2vec, optimise
from spacy_maral.scale.distil.tok2vec import AUTO
from spacy_maral.training.target_gold import text_key, text_keys

from .setting import CONFIG, SOURCE, TARGET, Setting
from .world import read_part, read_sample

KEPT_LAYERS = 6
# what the tiny encoder of a trial run has
SMOKE_LAYERS = 1
SMOKE_STEPS = {"training.max_steps": 4, "training.eval_frequency": 2}


def raw_text(setting: Setting, size: int) -> list[Doc]:
    """Sentences of the target that are not in its test data, at most `size`."""
    measured = text_keys(read_part(setting, TARGET, "test"))
    docs = read_sample(setting, TARGET, "train", setting.sizes.distil_sentences)
    return [doc for doc in docs if text_key(doc) not in measured][:size]


def measured_docs(setting: Setting) -> list[Doc]:
    """The test sentences of the target."""
    return read_sample(setting, TARGET, "test", setting.sizes.infer_sentences)


def make_student(setting: Setting) -> Path:
    """Train teacher and student, unless one is given; RETURNS (Path): The student's folder."""
    if setting.student is not None:
        return setting.student
    output = setting.scratch / "distil" / "run"
    overrides: dict[str, Any] = {"paths.encoder": str(setting.encoder)}
    if setting.smoke:
        overrides |= {
            "teacher.freeze_layers": 1, "student.freeze_layers": 1, "teacher.epochs": 1,
            "student.epochs": 2, "teacher.min_updates": 0, "student.min_updates": 0,
        }  # fmt: skip
    if not (output / STUDENT / "meta.json").is_file():
        size = setting.sizes.student_sentences
        source = _written(setting, "source", read_sample(setting, SOURCE, "train", size))
        dev = _written(setting, "dev", read_part(setting, SOURCE, "dev"))
        train(
            CONFIG, output=output, source=source, dev=dev,
            target=_written(setting, "target", raw_text(setting, size)), lang=TARGET,
            overrides=overrides,
        )  # fmt: skip
    return output / STUDENT


def make_optimised(setting: Setting) -> Path:
    """RETURNS (Path): The folder of the student in bfloat16."""
    output = setting.scratch / "distil" / "optimised"
    if not output.is_dir():
        optimise(make_student(setting), output)
    return output


def make_tok2vec(setting: Setting, size: int, vectors: str = AUTO) -> Path:
    """Distil the student into spaCy's own components; RETURNS (Path): The folder.

    size (int): Sentences of raw text that it learns from.
    vectors (str): "auto" or "none" (see `distil_tok2vec`).
    """
    output = setting.scratch / "distil" / f"tok2vec-{size}-{vectors}"
    if not output.is_dir():
        student = make_student(setting)
        lines = [doc.text.replace("\n", " ") for doc in raw_text(setting, size)]
        text = setting.scratch / "distil" / f"raw-{size}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("\n".join(lines) + "\n", encoding="utf8")
        given: dict[str, Any] = {}
        if setting.smoke:
            # hardly any text has an entity for the tiny encoder
            dev = _written(setting, "dev", read_part(setting, SOURCE, "dev"))
            given = {"overrides": SMOKE_STEPS, "doubt": 1.0, "dev": dev}
        distil_tok2vec(student, text, output, vectors=vectors, **given)
    return output


def make_layers(setting: Setting) -> Path:
    """Distil the student into one with half of the layers; RETURNS (Path): The folder."""
    output = setting.scratch / "distil" / "layers"
    if not output.is_dir():
        overrides = {"student.epochs": 1, "student.min_updates": 0} if setting.smoke else {}
        distil_layers(
            make_student(setting),
            _written(setting, "raw", raw_text(setting, setting.sizes.layers_sentences)), output,
            keep=str(SMOKE_LAYERS if setting.smoke else KEPT_LAYERS),
            overrides=overrides,
        )  # fmt: skip
    return output


def _written(setting: Setting, name: str, docs: list[Doc]) -> Path:
    """Write documents once; RETURNS (Path): The file."""
    path = setting.scratch / "distil" / f"{name}.spacy"
    if not path.is_file():
        write_docs(path, docs)
    return path
