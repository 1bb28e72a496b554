"""Model cards: training, data and scores in a pipeline's meta.json, where `spacy package` reads them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import srsly
from spacy.util import logger

from ...data.config import read_config
from ...data.files import reading, write_json
from ...data.layout import META, RUN_FOLDER, SUMMARY
from ...data.yaml import read_yaml
from ...errors import Errors, MaralError, Warnings, shown
from ...model.checks import LOSSES_OF_0_1
from ...model.name_files import NAMES, count_names
from ..against_teacher import describe_comparison
from ..raw_target import departures
from ..tables import escape_markdown, markdown_table, saved_epoch, score_cells
from .run_record import encoder_name
from .smaller import smaller_section

COMPONENT = "maral_ner"
STUDENT, TEACHER = ROLES = ("student-", "teacher-")
DEV = "dev"
CARD_SCORES = ("ents_p", "ents_r", "ents_f", "ents_per_type", "test_sets")
# what this module wrote before, which may be out of date
GENERATED = re.compile(r"Named entities \(.*\) by .* with spacy-maral(, tested on .*)?\.")
SCORE_KEYS = ("precision", "recall", "f1", "support")
ADAPTED, DISTILLED, SUPERVISED = "cross-lingual adaptation", "distillation", "supervised training"
# in the configuration of a pipeline, and of one of release 0.1
MAX_MARGIN = ({"@losses": LOSSES_OF_0_1["max_margin"]}, "max_margin")
USE = """\
```python
import spacy

nlp = spacy.load("PACKAGE")
doc = nlp("…")
print([(ent.text, ent.label_, ent._.maral_score) for ent in doc.ents])
```
"""


@dataclass
class CardFacts:
    """Facts for a model card that the pipeline itself does not hold.

    meta (dict): Keys of meta.json, such as license, author, description, name and version.
    sources (list[dict]): Name, url, author and license of what the model was trained with.
    metrics (list[Path]): Files that `spacy maral evaluate -o` wrote, or folders of them.
    data (dict): Files of documents (.spacy), by their use: source, target, dev.
    encoder (str): Name of the pretrained encoder; by default that of the configuration.
    """

    meta: dict[str, str] = field(default_factory=dict)
    sources: list[dict[str, str]] = field(default_factory=list)
    metrics: list[Path] = field(default_factory=list)
    data: dict[str, list[Path]] = field(default_factory=dict)
    encoder: str | None = None


def write_card(model: Path, facts: CardFacts, *, output: Path | None = None) -> dict[str, Any]:
    """Write a pipeline's meta.json with its training, data and scores.

    `spacy package` makes the README.md of the package from it, and `push` the
    card on the hub.

    model (Path): Folder of the pipeline.
    facts (CardFacts): The facts that the pipeline does not hold.
    output (Path): The file to write; by default the pipeline's own meta.json.
    RETURNS (dict): The new meta.json.
    RAISES (MaralError): If the folder has no pipeline with a maral_ner, or a file cannot be read.
    """
    meta, config, summary = read_pipeline(model)
    how = how_trained(config, summary)
    metrics = read_metrics(facts.metrics, TEACHER if how == SUPERVISED else STUDENT)
    warn_of_others(metrics, model)
    encoder = facts.encoder or encoder_name(config)
    meta.update({key: value for key, value in facts.meta.items() if value})
    meta["sources"] = [*facts.sources, {"name": f"{encoder} (encoder)"}]
    meta["performance"] = {**without_tests(meta.get("performance", {})), **performance(metrics)}
    if not meta.get("description") or GENERATED.fullmatch(meta["description"]):
        meta["description"] = _description(meta, how, metrics)
    notes = [
        _data_section(facts.data),
        _scores_section(metrics),
        _training_section(config, summary, encoder),
        _limits_section(config, metrics, summary),
        _names_section(model / COMPONENT / NAMES),
        smaller_section(meta),
        "### Use\n\n" + USE.replace("PACKAGE", f"{meta['lang']}_{meta['name']}"),
    ]
    meta["notes"] = "\n".join(note for note in notes if note)
    write_json(output or model / META, meta)
    return meta


def read_sources(path: Path) -> list[dict[str, str]]:
    """Read the sources that a model was trained with.

    path (Path): A JSON or YAML file with a list of objects that have a name, and maybe url, author
        and license.
    RETURNS (list[dict]): The list.
    RAISES (MaralError): If the file cannot be read or has another form.
    """
    try:
        found = (srsly.read_json if path.suffix == ".json" else read_yaml)(path)
    # YAML reports bad files by exceptions of its own
    except Exception as error:
        raise MaralError(Errors.M410.format(path=path, problem=error)) from error
    if not isinstance(found, list):
        raise MaralError(Errors.M410.format(path=path, problem=f"it holds {shown(found)}"))
    for entry in found:
        strings = isinstance(entry, dict) and all(isinstance(v, str) for v in entry.values())
        if not strings or not entry.get("name"):
            raise MaralError(Errors.M410.format(path=path, problem=f"found {shown(entry)}"))
    return found


def read_metrics(paths: Sequence[Path], role: str = STUDENT) -> dict[str, dict[str, Any]]:
    """Read the metrics of test sets.

    paths (Sequence[Path]): Files as `spacy maral evaluate -o` writes them, or folders of them. Of a
        folder, the files of the role (student-SET.json) are read, or all files that are not those of
        the other role if it has none.
    role (str): What the name of a file of the pipeline begins with, one of ROLES.
    RETURNS (dict): The metrics by name of the test set, taken from the file's name, and from that of
        its folder too if other files have the name.
    RAISES (MaralError): If a file cannot be read, a folder has no metrics, or two files in folders of
        one name have the same name.
    """
    files: list[Path] = []
    for path in paths:
        every = sorted(path.glob("*.json"))
        found = [file for file in every if file.name.startswith(role)]
        found = found or [file for file in every if not file.name.startswith(ROLES)]
        if path.is_dir() and not found:
            raise MaralError(Errors.M404.format(folder=path))
        files += found or [path]
    return {name: _read_metrics_file(file) for name, file in _name_test_sets(files, role).items()}


def _name_test_sets(files: Sequence[Path], role: str) -> dict[str, Path]:
    """Name files by their test sets, without more of this machine's folders than the card needs.

    RAISES (MaralError): If two of them cannot be told apart.
    """
    different = {file.parent.resolve() / file.name: file for file in files}
    sets = [file.stem.removeprefix(role) for file in different]
    if len(set(sets)) < len(sets):
        sets = [f"{file.parent.name}/{name}" for file, name in zip(different, sets, strict=True)]
    named: dict[str, Path] = {}
    for name, file in zip(sets, different.values(), strict=True):
        if name in named:
            raise MaralError(Errors.M412.format(one=named[name], other=file, name=name))
        named[name] = file
    return named


def _read_metrics_file(path: Path) -> dict[str, Any]:
    with reading(path, Errors.M405):
        metrics = json.loads(path.read_text(encoding="utf8"))
        scores = [metrics["micro"], *metrics["per_type"].values()]
        if not all(set(SCORE_KEYS) <= set(score) for score in scores):
            raise ValueError("scores are missing in it")
        return metrics


def warn_of_others(metrics: Mapping[str, Mapping[str, Any]], model: Path) -> None:
    """Warn of metrics that are those of another pipeline that is still there.

    metrics (Mapping): Metrics by test set.
    model (Path): Folder of the pipeline.
    """
    for name, found in metrics.items():
        other = Path(str(found.get("model", model)))
        if other.exists() and not other.samefile(model):
            logger.warning(Warnings.W413.format(name=name, other=other, model=model))


def without_tests(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the scores on test sets that an earlier card has, and keep those of a training.

    scores (Mapping): "performance" of meta.json.
    """
    of_card = CARD_SCORES if "test_sets" in scores else ()
    return {name: value for name, value in scores.items() if name not in of_card}


def performance(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Compute the scores that spaCy keeps in meta.json.

    metrics (Mapping): Metrics by test set.
    RETURNS (dict): ents_p, ents_r, ents_f and ents_per_type as means over `test_sets`, and the scores
        of every set under "test_sets"; empty without metrics.
    """
    if not metrics:
        return {}
    sets: dict[str, dict[str, Any]] = {
        name: {
            **_spacy_scores(found["micro"], "ents_"),
            "ents_per_type": {x: _spacy_scores(s) for x, s in found["per_type"].items()},
        }
        for name, found in metrics.items()
    }
    counted = [sets[name] for name in test_sets(sets)]
    by_type: dict[str, list[dict[str, float]]] = {}
    for found in counted:
        for label, score in found["ents_per_type"].items():
            by_type.setdefault(label, []).append(score)
    return {
        **_mean([{key: found[key] for key in ("ents_p", "ents_r", "ents_f")} for found in counted]),
        "ents_per_type": {label: _mean(by_type[label]) for label in sorted(by_type)},
        "test_sets": sets,
    }


def test_sets(names: Iterable[str]) -> list[str]:
    """Leave out the names of development sets, unless there are no others.

    names (Iterable[str]): Names such as "de-test" and "en-dev".
    RETURNS (list[str]): The names, in their order.
    """
    names = list(names)
    return [name for name in names if not name.endswith(DEV)] or names


def _spacy_scores(score: Mapping[str, float], prefix: str = "") -> dict[str, float]:
    names = {"p": "precision", "r": "recall", "f": "f1"}
    return {f"{prefix}{short}": float(score[name]) for short, name in names.items()}


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


def read_pipeline(model: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Read meta.json, the configuration, and the summary of the training, empty if there is none."""
    summary = model / RUN_FOLDER / SUMMARY
    with reading(model, Errors.M411):
        meta = json.loads((model / META).read_text(encoding="utf8"))
        config = read_config(model / "config.cfg")
        if COMPONENT not in config.get("components", {}):
            raise ValueError(f"there is no component {COMPONENT} in it")
    with reading(summary, Errors.M411):
        found = json.loads(summary.read_text(encoding="utf8")) if summary.is_file() else {}
    return meta, config, found


def how_trained(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Say how a pipeline was trained, by the sections of settings that its run used.

    The configuration has sections of other runs as well, and decides only without a summary.
    """
    used = summary.get("settings")
    if used is None:
        loss = config["components"][COMPONENT].get("loss")
        is_student = "adaptation" in config and config.get("student", {}).get("loss") == loss
        used = ["adaptation"] if is_student else []
    if "adaptation" in used:
        return ADAPTED
    return DISTILLED if "student" in used else SUPERVISED


def _method(pipe: Mapping[str, Any], how: str) -> str:
    """The method of a training; only the max-margin loss makes classes with large margins."""
    method = "progressive adaptation" if how == ADAPTED else how
    if pipe.get("loss") not in MAX_MARGIN:
        return method
    return f"{'MARAL: ' if how == ADAPTED else ''}large-margin classes and {method}"


def _description(meta: Mapping[str, Any], how: str, metrics: Mapping[str, Any]) -> str:
    labels = escape_markdown(", ".join(meta.get("labels", {}).get(COMPONENT, [])))
    sets = escape_markdown(", ".join(test_sets(metrics)))
    tested = f", tested on {sets}" if metrics else ""
    return f"Named entities ({labels}) by {how} with spacy-maral{tested}."


def _data_section(data: Mapping[str, Sequence[Path]]) -> str:
    from ...data.docs import read_docs

    rows = []
    for name, paths in data.items():
        counts: Counter[str] = Counter()
        labelled = name != "target"
        for path in paths:
            docs = read_docs(path)
            counts["documents"] += len(docs)
            counts["words"] += sum(map(len, docs))
            counts["entities"] += sum(len(doc.ents) for doc in docs) if labelled else 0
        entities = f"{counts['entities']:,}" if labelled else "not used"
        rows.append([name, f"{counts['documents']:,}", f"{counts['words']:,}", entities])
    if not rows:
        return ""
    return "### Data\n\n" + markdown_table(["", "documents", "words", "entities"], rows)


def _scores_section(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    if not metrics:
        return ""
    rows = [
        [name, *score_cells(label, *(score[key] for key in SCORE_KEYS))]
        for name, found in metrics.items()
        for label, score in [*found["per_type"].items(), ("all", found["micro"])]
    ]
    counted = list(map(escape_markdown, test_sets(metrics)))
    several = f"\n`ENTS_F` and the others above are means over {', '.join(counted)}.\n"
    table = markdown_table(["test set", "type", "P", "R", "F1", "gold"], rows)
    intro = "An entity is right if both its ends and its type are.\n\n"
    return f"### Scores by test set\n\n{intro}{table}{several if len(metrics) > 1 else ''}"


def _training_section(config: Mapping[str, Any], summary: Mapping[str, Any], encoder: str) -> str:
    pipe = config["components"][COMPONENT]
    facts = {
        "Method": _method(pipe, how_trained(config, summary)),
        "Encoder": encoder,
        "Longest entity": f"{pipe['model']['max_width']} words",
        "Decision": pipe.get("decision", "likelihood"),
    }
    if summary:
        facts["Saved epoch"] = saved_epoch(summary)
        facts["Seed"] = str(summary.get("seed"))
        facts["Precision"] = str(summary.get("precision"))
        versions = summary.get("versions", {})
        facts["Versions"] = ", ".join(f"{name} {found}" for name, found in versions.items())
    rows = [[name, value] for name, value in facts.items()]
    return "### Training\n\n" + markdown_table(["", "value"], rows).replace("---:", "---")


def _names_section(file: Path) -> str:
    """What the card says about the name memory in a file, "" if there is none."""
    if not file.is_file():
        return ""
    with reading(file, Errors.M411):
        n = count_names(file)
    return (
        f"### Name memory\n\nThe pipeline holds hashes of {n:,} strings of raw text, with what their "
        "mentions looked like. Whoever guesses a string can look it up "
        "(`python -m spacy maral names show`); `names drop` removes them. Results depend on this "
        "memory.\n"
    )


def _limits_section(
    config: Mapping[str, Any], metrics: Mapping[str, Any], summary: Mapping[str, Any]
) -> str:
    width = config["components"][COMPONENT]["model"]["max_width"]
    tested = escape_markdown(", ".join(test_sets(metrics)))
    scores = f"The scores hold for text like that of {tested}." if tested else "It was not tested."
    raw = summary.get("raw_target")
    compared = summary.get("held_out_target")
    said = [describe_comparison(compared)] if compared else []
    said += departures(raw) if raw else []
    noted = "".join(f"- {escape_markdown(sentence)}\n" for sentence in said)
    return (
        f"### Limits\n\n- Entities of more than {width} words and nested entities are not found.\n"
        f"- {scores}\n- A confidence is a share among the model's own classes, and as good as the "
        f"model is on the text at hand.\n{noted}"
    )
