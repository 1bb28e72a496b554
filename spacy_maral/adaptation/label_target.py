"""Pseudo-labels of target text, from a maral_ner pipeline or any other annotator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc

from ..data.config import read_config
from ..data.docs import read_docs
from ..data.files import Paths, as_paths, prove_writable
from ..data.labels import LabelMap, load_label_map
from ..errors import Errors, MaralError, refuse_unused
from ..model.machine import use_device
from ..model.maral_ner import DEFAULT_MODEL
from ..model.spans import class_counts
from ..model.visible import VisibleWords
from ..training.inputs import Inputs
from ..training.pipelines import COMPONENT, Pipeline
from .annotators import Reading
from .ask import Expert, ask_experts
from .chunks import Annotator, Mapper, Task, label_docs, load_annotator, with_probabilities
from .merge import COMBINE, Annotation, AnnotatorReport, Combine, merge_labels
from .pseudo_labels import PseudoLabels

MAX_SHARE = 0.2


def pseudo_label(
    model: Annotator | Sequence[Annotator],
    target: Paths,
    output: str | Path,
    *,
    labels: Sequence[str] | None = None,
    source: Paths | None = None,
    config: str | Path | None = None,
    max_width: int | None = None,
    label_map: str | Path | LabelMap | None = None,
    confidence: float = 0.9,
    score_attr: str | None = None,
    spans_key: str | None = None,
    partial: Annotator | Sequence[Annotator] = (),
    combine: Combine = "dawid-skene",
    only_doubtful: Annotator | None = None,
    max_share: float | None = None,
    lang: str | Sequence[str] | None = None,
    gpu_id: int = -1,
    engine: Mapper | None = None,
    code: str | Path | None = None,
    report: Callable[[LabelReport], None] | None = None,
) -> Path:
    """Label text of the target language with a teacher, or with any other annotators.

    A pipeline with maral_ner gives soft labels. Any other pipeline, or a file, gives entities: the
    class of an entity gets the entity's score, or else the confidence, and outside gets the rest;
    all other spans are outside with the confidence, or their labels are missing if the annotator is
    partial. Several annotators are weighed by how right they are, which needs no gold labels (see
    `merge_labels`).

    With `only_doubtful`, that pipeline labels the text, and the annotators are asked only for the
    sentences that it doubts most (see `suggest`). Their answers are kept beside the output: another
    call with the same arguments asks only for what is not answered yet.

    EXAMPLE: pseudo_label("teacher", "de.spacy", "labels.npz")
    EXAMPLE: pseudo_label(["en_core_web_trf", "silver.jsonl"], "de.txt", "labels.npz", lang="de",
        labels=["LOC", "PER"], label_map={"PERSON": "PER", "GPE": "LOC"})
    EXAMPLE: pseudo_label("prompted", "de.spacy", "labels.npz", only_doubtful="teacher")
    EXAMPLE: pseudo_label(["teacher", "gazetteer"], "de.spacy", "labels.npz", partial="gazetteer")

    model (Annotator | Sequence[Annotator]): Folder or name of a pipeline, a pipeline, a file of
        silver entities (.spacy, .jsonl), or a name memory; or several of them.
    target (Paths): Documents (.spacy), whose entities are ignored, or raw text.
    output (str | Path): File for the labels (.npz).
    labels (Sequence[str] | None): Entity labels of the model to be trained. Not needed with a
        maral_ner pipeline.
    source (Paths | None): Labelled source data (.spacy) to take the labels from.
    config (str | Path | None): Configuration to take the longest span from.
    max_width (int | None): Longest span, in words; by default that of the teacher, of the
        configuration, or of the component.
    label_map (str | Path | LabelMap | None): New names for the annotators' labels (see
        `load_label_map`); labels that are not in the map stay as they are.
    confidence (float): Probability of entities without a score, and of outside for spans that are
        not entities; above 0.5, at most 1.
    score_attr (str | None): Extension attribute with the score of an entity; by default
        ent._.maral_score or ent._.score, whichever is set.
    spans_key (str | None): Read doc.spans[spans_key] and its scores in place of doc.ents.
    partial (Annotator | Sequence[Annotator]): Those of the annotators that name some entities only,
        such as gazetteers, and say nothing about other words. A name memory always is one.
    combine (Combine): How several annotators are combined: "dawid-skene", or "mean" for the mean of
        their probabilities, with the spans on which all agree as reliable ones. Those that
        are asked for doubtful sentences only are averaged.
    only_doubtful (Annotator | None): Pipeline with maral_ner whose doubts choose the sentences that
        the annotators are asked for, and whose labels all others keep; None to ask for all.
    max_share (float | None): Largest share of the sentences to ask for, above 0, at most 1; by default
        0.2. Only with `only_doubtful`.
    lang (str | Sequence[str] | None): Language of raw text; one for all, or one for each target.
    gpu_id (int): GPU to use, -1 for the CPU.
    engine (Mapper | None): Distributes the work, such as a `scale.RayEngine`; None to label in this
        process. The labels are the same. Doubtful sentences are always asked for by this process.
    code (str | Path | None): Python file that the workers of an engine import first.
    report (Callable | None): Called with the counts of the text and its entities, and with how right
        each annotator is, if there are several (see `LabelReport`).
    RETURNS (Path): The file.
    RAISES (MaralError): If an annotator or a document cannot be used, the labels are unknown, or the
        file cannot be written.
    """
    output = Path(output)
    given, some = as_annotators(model), as_annotators(partial)
    read = [Path(one) for one in (*given, *some) if isinstance(one, str | Path)]
    # of folders, no file of labels is read
    prove_writable(output, inputs=[path for path in (*as_paths(target), *read) if path.is_file()])
    check_combination(given, some, combine)
    share = MAX_SHARE if max_share is None else max_share
    if only_doubtful is None:
        reason = "the annotators are asked for all sentences"
        remedy = "name the pipeline that labels the others with --only-doubtful"
        refuse_unused([] if max_share is None else ["--max-share"], reason, remedy)
    else:
        check_share(share)
        prove_writable(answers_folder(output), folder=True)
    use_device(gpu_id)
    docs = Inputs.read(lang, target=target).docs["target"]
    loaded, experts = [Loaded.load(one, some, gpu_id) for one in given], []
    if only_doubtful is not None:
        teacher = Loaded.load(only_doubtful, some, gpu_id)
        with_probabilities(teacher.annotator, teacher.name)
        loaded, experts = [teacher], loaded
    every = [*loaded, *experts]
    known = model_facts(every, labels=labels, source=source, max_width=max_width)
    width = known[1] or max_width or config_width(config)
    reading = Reading(
        known[0], width, confidence, load_label_map(label_map), score_attr, spans_key,
        (lang,) if isinstance(lang, str) else tuple(lang or ("xx",)),
    )  # fmt: skip
    found = [one.label(docs, reading, engine, code) for one in loaded]
    words = VisibleWords.of(docs).candidates(reading.max_width).words
    merged, reports = merge_labels(found, words, combine)
    if experts:
        asked = [Expert(one.annotator, one.name, one.partial) for one in experts]
        folder = answers_folder(output)
        merged = ask_experts(asked, merged, docs, reading, max_share=share, folder=folder)
    merged.warn(", ".join(one.name for one in every))
    merged.save(output)
    if report is not None:
        report(LabelReport.of(merged, docs, reports))
    return output


@dataclass(frozen=True)
class LabelReport:
    """What pseudo-labels say about a text.

    sentences, words: Size of the text. entities: Number of entities by label. annotators: How right
    each annotator is by what all say together; none if there is one only.
    """

    sentences: int
    words: int
    entities: dict[str, int]
    annotators: Sequence[AnnotatorReport] = ()

    @classmethod
    def of(
        cls, labels: PseudoLabels, docs: Sequence[Doc], annotators: Sequence[AnnotatorReport]
    ) -> LabelReport:
        """Count the entities of labels without overlaps, and the words of their documents."""
        found = class_counts(labels.votes, len(labels.labels) + 1)[1:].tolist()
        entities = dict(zip(labels.labels, found, strict=True))
        return cls(len(docs), sum(map(len, docs)), entities, annotators)


@dataclass(frozen=True)
class Loaded:
    """An annotator that is loaded.

    given: What was given for it. name: Its name in messages. annotator: What finds entities, as
    `load_annotator` returns it. partial: Whether it names some entities only.
    """

    given: Annotator
    name: str
    annotator: Pipeline | Language | Path
    partial: bool

    @classmethod
    def load(cls, given: Annotator, partial: Sequence[Annotator], gpu_id: int) -> Loaded:
        """Load an annotator.

        partial (Sequence[Annotator]): Annotators that name some entities only.
        RAISES (MaralError): If there is no such pipeline, or it says something about every span, and
            so cannot be partial.
        """
        one = cls(given, describe(given), load_annotator(given, gpu_id), is_among(given, partial))
        if one.partial and isinstance(one.annotator, Pipeline):
            raise MaralError(Errors.M612.format(annotator=one.name))
        return one

    def label(
        self, docs: Sequence[Doc], reading: Reading, engine: Mapper | None, code: str | Path | None
    ) -> Annotation:
        """Label documents (see `label_docs`), by the workers of an engine if there is one."""
        source_code = None if code is None else str(Path(code).absolute())
        own = replace(reading, partial=self.partial)
        number = getattr(engine, "gpu_id", -1)
        task = Task(address(self.given, engine), self.name, own, number, source_code)
        labels = label_docs(self.annotator, docs, task, engine)
        return Annotation(self.name, labels, isinstance(self.annotator, Pipeline))


def as_annotators(given: Annotator | Sequence[Annotator]) -> list[Annotator]:
    """Turn one annotator or several into a list."""
    return [given] if isinstance(given, Annotator) else list(given)


def check_share(share: float) -> None:
    """Refuse a share that is none.

    RAISES (MaralError): If it is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise MaralError(Errors.M580.format(value=share))


def answers_folder(output: Path) -> Path:
    """Folder of the answers to the questions for a file of labels."""
    return output.with_name(f"{output.name}.answers")


def check_combination(
    given: Sequence[Annotator], partial: Sequence[Annotator], combine: str
) -> None:
    """Check which annotators are partial, and how they are combined.

    RAISES (MaralError): If a partial annotator is none of those given, or there is no such way.
    """
    unknown = [describe(one) for one in partial if not is_among(one, given)]
    if unknown:
        names = ", ".join(map(describe, given))
        raise MaralError(Errors.M610.format(unknown=", ".join(unknown), annotators=names))
    if combine not in COMBINE:
        raise MaralError(Errors.M611.format(value=repr(combine), known=", ".join(COMBINE)))


def is_among(one: Annotator, others: Sequence[Annotator]) -> bool:
    """Whether an annotator is one of several: the same pipeline in memory, or the same path or name."""
    if isinstance(one, Language):
        return any(one is other for other in others)
    return str(one) in [str(other) for other in others if not isinstance(other, Language)]


def address(given: Annotator, engine: Mapper | None) -> str:
    """The path or name by which workers find an annotator.

    RAISES (MaralError): If there are workers, and the annotator is a pipeline in memory.
    """
    if isinstance(given, Language):
        if engine is not None:
            found = {"name": "model", "rule": "a folder or name, for the workers to load"}
            raise MaralError(Errors.M481.format(**found, value=describe(given)))
        return describe(given)
    return str(Path(given).absolute()) if Path(given).exists() else str(given)


def describe(given: Annotator) -> str:
    """The name of an annotator in messages."""
    if isinstance(given, Language):
        return f"{given.meta['lang']}_{given.meta['name']} ({', '.join(given.pipe_names)})"
    return str(given)


def model_facts(
    annotators: Sequence[Loaded],
    *,
    labels: Sequence[str] | None,
    source: Paths | None,
    max_width: int | None = None,
) -> tuple[list[str], int]:
    """Entity labels of the model to be trained, and the teacher's longest span; 0 if unknown.

    RAISES (MaralError): If no labels are given or found, or a maral_ner pipeline has other labels or
        another longest span than the one given.
    """
    wanted = sorted({label.strip() for label in labels or ()} - {""})
    for path in as_paths(source or ()) if not wanted else ():
        wanted = sorted({*wanted, *(ent.label_ for doc in read_docs(path) for ent in doc.ents)})
    for one in annotators:
        teacher = one.annotator
        if isinstance(teacher, Pipeline):
            if wanted and wanted != sorted(teacher.labels):
                found = {"path": one.name, "other": "the labels given", "what": "labels"}
                raise MaralError(Errors.M339.format(**found, found=teacher.labels, wanted=wanted))
            width = teacher.network.span_model.max_width
            if max_width not in (None, width):
                found = {"path": one.name, "other": "the option given", "what": "max_width"}
                raise MaralError(Errors.M339.format(**found, found=width, wanted=max_width))
            return teacher.labels, width
    if not wanted:
        raise MaralError(Errors.M340.format(annotator=annotators[0].name))
    return wanted, 0


def config_width(path: str | Path | None) -> int:
    """Longest span of a configuration, or of the component's own settings."""
    model = DEFAULT_MODEL
    if path is not None:
        components = read_config(path, interpolate=False).get("components", {})
        model = {**DEFAULT_MODEL, **components.get(COMPONENT, {}).get("model", {})}
    return int(model["max_width"])
