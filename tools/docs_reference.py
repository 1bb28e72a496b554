"""Write the reference pages of the documentation from the code: see build_docs.py."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from docs_cli import write_cli
from docs_text import COMMAND, NOTE, plain, read_docstring, shown, table, type_name
from pydantic.fields import FieldInfo
from spacy.language import Language
from weasel.cli.document import project_document

import spacy_maral
from spacy_maral.errors import Errors, Warnings
from spacy_maral.experiments.matrix import LanguagePair, Matrix, OwnDataset, Parts, Variant
from spacy_maral.model.maral_ner import make_maral_ner
from spacy_maral.training.settings import SCHEMAS, LanguageSettings, MaskedText, Section

ROOT = Path(__file__).resolve().parent.parent
RANGES = {
    "0": "Spans, von Mises-Fisher classes, losses, span model",
    "1": "Data",
    "2": "Architectures, component, configuration files",
    "3": "Training, pseudo-labels, checkpoints",
    "4": "Evaluation, command line, reports, project",
    "5": "Names, labelled sentences of the target, offsets, robustness, the paper, and more",
    "6": "Several annotators, and more",
}


# the configuration


def field_row(name: str, field: FieldInfo) -> list[str]:
    """A setting of a section with its type, bounds, default and description."""
    kind = type_name(field.annotation)
    bounds = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    rules = [
        f"{sign} {getattr(rule, key):g}"
        for rule in field.metadata
        for key, sign in bounds.items()
        if getattr(rule, key, None) is not None
    ]
    default = (
        "required" if field.is_required() else shown(field.get_default(call_default_factory=True))
    )
    kind += f" ({', '.join(rules)})" if rules else ""
    return [f"`{name}`", kind, default, plain(field.description or "")]


def section_table(schema: type[Section], describe: Mapping[str, str] | None = None) -> str:
    rows = [field_row(name, field) for name, field in schema.model_fields.items()]
    for row in rows:
        row[3] = row[3] or (describe or {}).get(row[0].strip("`"), "")
    return table(["Setting", "Type", "Default", "Description"], rows)


def function_table(function: Any, defaults: Mapping[str, Any], skip: Sequence[str] = ()) -> str:
    """Arguments of a registered function with the defaults that a configuration has."""
    rows = []
    for name, kind, text in read_docstring(function).rows:
        if name not in skip:
            default = shown(defaults[name]) if name in defaults else "required"
            if isinstance(defaults.get(name), dict):
                default = "see below"
            rows.append([f"`{name}`", plain(kind), default, plain(text)])
    return table(["Setting", "Type", "Default", "Description"], rows)


def registered() -> Iterator[tuple[str, str, Any]]:
    """Registry, name and function of all that the package registers."""
    entries = distribution("spacy-maral").entry_points
    for entry in sorted(entries, key=lambda entry: (entry.group, entry.name)):
        if entry.group not in ("spacy_cli", "spacy_factories"):
            yield entry.group.partition("_")[2], entry.name, entry.load()


def signature_defaults(function: Any) -> dict[str, Any]:
    found = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in found if p.default is not inspect.Parameter.empty}


def training_table() -> str:
    """The table of what [teacher] and [student] share; where their defaults differ, it has both."""
    teacher, student = (SCHEMAS[name].model_fields for name in ("teacher", "student"))
    rows = [field_row(name, field) for name, field in student.items()]
    for row, name in zip(rows, student, strict=True):
        if teacher[name].default != student[name].default:
            row[2] = f"{field_row(name, teacher[name])[2]}, {row[2]}"
    head = ["Setting", "Type", "Default (teacher, student)", "Description"]
    return table(head, rows)


def write_config() -> str:
    """Sections, factory settings and registered functions."""
    factory = Language.get_factory_meta("maral_ner")
    lines = [
        NOTE, "# Configuration", "",
        "A configuration is a file in spaCy's format. `train-teacher` reads `[teacher]`, `adapt` reads",
        "`[student]` and `[adaptation]`, both build the pipeline of `[nlp]` and `[components]`. Settings that",
        "are left out have the defaults below; unknown ones are refused.",
        f"`{COMMAND} init-config` writes a file with all of them. Any setting is replaced on the command",
        "line: `--student.epochs 3`. Four more that the trainings read: `paths.encoder` (folder or hub name),",
        "`paths.cache` (a folder that the trainings on the same text share, see `cache`), `system.seed`, and",
        '`system.gpu_allocator` (`"pytorch"` on a GPU).', "",
        "## [teacher] and [student]", "", training_table(), "",
        "`[teacher]` has masked language modelling in addition, the student's is in `[adaptation]`.", "",
        section_table(MaskedText), "",
        "### Two dialects of learning rates", "",
        "The trainings of this package have two peak rates, `learn_rate` for the encoder and `head_learn_rate`",
        "for the new span model, and AdamW of PyTorch with one schedule over a known number of steps, since each",
        "epoch ends with filter and refinement. `configs/supervised.cfg` is for `spacy train`, which has one",
        "optimizer for all components, `[training.optimizer]`, with one rate. There, the encoder is a component",
        "that any other one may share, and spaCy does not know which weights are new.", "",
        "## [adaptation]", "", section_table(SCHEMAS["adaptation"]), "",
        "## [languages]", "", "This section may be missing.", "", section_table(LanguageSettings), "",
        "## The component maral_ner", "",
        'In a configuration: `[components.maral_ner]` with `factory = "maral_ner"`.', "",
        function_table(make_maral_ner, factory.default_config, skip=("nlp", "name")), "",
        "### The offset", "",
        "`offset` shifts the scores by which all decisions are made: those of the component, of the",
        "evaluation after each epoch and of the signals of raw target text (`select`), and the pseudo-labels",
        "of a teacher. Confidences, `threshold` and `spans_threshold` go by the shifted scores. Losses, filter",
        "and refinery go by the scores as they are. A student does not take over the offset of its teacher,",
        "whose labels have it in them already. Like `threshold` it is a setting of use: it is saved with the",
        "component, and a configuration that is given anew replaces it. But a value that was changed in Python",
        '(`cfg["threshold"] = 0.8`) and saved stays if the new configuration gives the value that `config.cfg`',
        "has: the component cannot tell the two apart. Numbers by label are a section of the",
        "configuration, `[components.maral_ner.offset]` with a line such as `LOC = 1.0`, or given in Python:",
        '`nlp.get_pipe("maral_ner").set_offset({"LOC": 1.0})`. `spacy.load(config=…)` takes one number for all',
        "labels only, because spaCy cannot replace a number by a section.", "",
    ]  # fmt: skip
    lines += [
        "### Where word vectors come from", "",
        "The span model takes word vectors from its block `[components.maral_ner.model.tok2vec]`:", "",
        table(
            ["Source", "Block", "Trained by"],
            [
                [
                    "a component `transformer`, with the encoder of this package or of spacy-transformers",
                    "`spacy-maral.WordPieceEnds.v1`",
                    "all commands, `spacy train`",
                ],
                [
                    "spaCy's component `tok2vec`: a CNN over hashed features, static or floret vectors",
                    "`spacy-maral.WordVectors.v1` over `spacy.Tok2VecListener.v1` (`configs/tok2vec.cfg`)",
                    "`spacy train`",
                ],
                [
                    "a layer of the component's own, such as `spacy.HashEmbedCNN.v2`",
                    "`spacy-maral.WordVectors.v1` over this layer",
                    "`spacy train`",
                ],
                [
                    "a transformer whose word pieces are pooled",
                    "`spacy-maral.WordVectors.v1` over `spacy-transformers.TransformerListener.v1`",
                    "`spacy train`",
                ],
            ],
        ), "",
        "A pipeline without a transformer is small and fast, but knows the words of its training language only:",
        "for another language it needs vectors that are aligned across languages, and no adaptation trains it.",
        "`pseudo-label` takes its entities and their confidences as labels for a student with a transformer. Its",
        "tok2vec reads words and white space as they are, while a transformer reads them in one form of Unicode.",
        "The other components on the same `tok2vec` go on using it.", "",
        "spacy-curated-transformers 2 needs thinc 9, so that it cannot be installed with spaCy 3.8. Release 0.3.1",
        "can be, but this package is not tested with it.", "",
    ]  # fmt: skip
    for registry, name, function in registered():
        doc = read_docstring(function)
        lines += [f"## {name}", "", f"`@{registry}`. {doc.text}", ""]
        if doc.rows:
            lines += [function_table(function, signature_defaults(function)), ""]
    lines += ["## The file of a benchmark", "", f"What `{COMMAND} benchmark` reads (YAML).", ""]
    for schema in (Matrix, LanguagePair, OwnDataset, Parts, Variant):
        lines += [
            f"### {schema.__name__}",
            "",
            read_docstring(schema).text,
            "",
            section_table(schema),
            "",
        ]
    return "\n".join(lines)


# errors, functions, project


def messages(kind: Any) -> dict[str, str]:
    found = {name: text for name, text in vars(kind).items() if re.fullmatch(r"[MW]\d{3}", name)}
    return {code: found[code].replace("{{", "{").replace("}}", "}") for code in sorted(found)}


def write_errors() -> str:
    """All coded messages."""
    lines = [
        NOTE, "# Errors and warnings", "",
        "Messages begin with a code, as in `[M101]`. Each says what was found and what to do. Words in braces",
        "stand for what is found. In code, errors are a `spacy_maral.MaralError` (a `ValueError`). The ones",
        "that are met most are explained in [troubleshooting](troubleshooting.md).", "",
    ]  # fmt: skip
    for kind, letter, name in ((Errors, "M", "Errors"), (Warnings, "W", "Warnings")):
        codes = messages(kind)
        for digit, title in RANGES.items():
            rows = [[f"`{c}`", plain(text)] for c, text in codes.items() if c[1] == digit]
            if rows:
                lines += [
                    f"## {name} {letter}{digit}xx: {title}",
                    "",
                    table(["Code", "Message"], rows),
                    "",
                ]
    return "\n".join(lines)


def write_api() -> str:
    """The functions of the package."""
    lines = [
        NOTE, "# Python functions", "",
        "What the commands do can be done in code. These names are imported from `spacy_maral`; they are",
        "imported when they are first used, so that `import spacy_maral` costs nothing.", "",
    ]  # fmt: skip
    for name in spacy_maral.__all__:
        value = getattr(spacy_maral, name)
        if not inspect.isfunction(value):
            continue
        doc, defaults = read_docstring(value), signature_defaults(value)
        lines += [f"## {name}", "", doc.text, ""]
        if doc.example:
            lines += [f"```text\n{doc.example}\n```", ""]
        rows = [
            [
                f"`{row}`",
                plain(kind),
                f"`{defaults[row]!r}`" if row in defaults else "required",
                plain(text),
            ]
            for row, kind, text in doc.rows
        ]
        lines += [table(["Name", "Type", "Default", "Description"], rows), ""]
        for word, text in (("Returns", doc.returns), ("Raises", doc.raises)):
            if text:
                lines += [f"**{word}** {plain(text)}", ""]
    others = [n for n in spacy_maral.__all__ if not inspect.isfunction(getattr(spacy_maral, n))]
    lines += ["Also: " + ", ".join(f"`{name}`" for name in others) + ".", ""]
    return "\n".join(lines)


def write_project() -> str:
    """What `spacy project document` says, with links from this folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "project.md"
        project_document(ROOT, path, no_emoji=True)
        text = path.read_text(encoding="utf8")
    return NOTE + re.sub(r"\]\((?=project\.yml|assets/)", "](../", text).rstrip() + "\n"


PAGES = {
    "cli.md": write_cli,
    "config.md": write_config,
    "errors.md": write_errors,
    "api.md": write_api,
    "project.md": write_project,
}


def write_pages() -> dict[str, str]:
    """RETURNS (dict): Pages by file name."""
    return {name: write() for name, write in PAGES.items()}
