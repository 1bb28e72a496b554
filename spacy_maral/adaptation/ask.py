"""Ask expensive annotators for the sentences that a teacher doubts, and for none of them twice."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from tqdm.auto import tqdm

from ..data.convert import write_bytes
from ..data.files import digest, writing_output
from ..data.formats.registry import read_texts
from ..errors import Errors, MaralError
from ..evaluation.evaluate import show_progress, without_labels
from ..model.visible import VisibleWords
from ..training.folders import digest_pipeline
from ..training.interrupts import sole_run
from ..training.pipelines import Pipeline
from .annotators import Reading, scored_spans
from .chunks import Task, label_docs
from .doubt import choose_docs, usable_sentences
from .merge import Annotation, known_of, merge_labels
from .pseudo_labels import PseudoLabels, check_alike

FINGERPRINT = 12


class Expert(NamedTuple):
    """An expensive annotator, its name in messages, and whether it names some entities only."""

    annotator: Pipeline | Language | Path
    name: str
    partial: bool = False


def ask_experts(
    experts: Sequence[Expert],
    labels: PseudoLabels,
    docs: Sequence[Doc],
    reading: Reading,
    *,
    max_share: float,
    folder: Path,
) -> PseudoLabels:
    """Replace a teacher's labels of the sentences that it doubts most by those of experts.

    The choice is that of `suggest`: each sentence is chosen for doubtful names that no other has.
    Documents with the same text get the same answer.

    experts (Sequence[Expert]): What to ask; the labels of several are averaged (see `merge_labels`).
        The teacher's labels stay where partial ones say nothing.
    labels (PseudoLabels): The teacher's labels of all documents.
    docs (Sequence[Doc]): The documents.
    reading (Reading): How entities become labels.
    max_share (float): Largest share of the different sentences to ask for.
    folder (Path): Folder of the answers (see `ask`).
    RETURNS (PseudoLabels): The labels, with the number of sentences asked for.
    RAISES (MaralError): If an expert fails, or its labels do not fit those of the teacher.
    """
    usable = usable_sentences(docs)
    # 0.29 * 100 is slightly less than 29
    n = int(max_share * len(usable) + 1e-9)
    choice = choose_docs(docs, labels, usable, n=n, seed=0)
    asked = [docs[i] for i in choice.sentences[: choice.n_doubtful].tolist()]
    counts = f"{len(asked):,} most doubtful of {len(usable):,} sentences (limit {n:,})"
    tqdm.write(f"Asks for the {counts}")
    if not asked:
        return labels
    texts = {doc.text.strip() for doc in asked}
    answered = np.array([doc.text.strip() in texts for doc in docs])
    shown = [doc for doc, is_shown in zip(docs, answered.tolist(), strict=True) if is_shown]
    found = []
    for annotator, name, partial in experts:
        own = replace(reading, partial=partial, may_be_empty=True)
        if isinstance(annotator, Language):
            annotator = ask(annotator, asked, name, folder, own)
        answers = label_docs(annotator, shown, Task("", name, own))
        found.append(Annotation(name, answers, isinstance(annotator, Pipeline)))
    candidates = VisibleWords.of(shown).candidates(labels.max_width)
    merged, _ = merge_labels(found, candidates.words, "mean")
    sizes = np.diff(VisibleWords.of(docs).candidates(labels.max_width).offsets)
    return put_in(merged, labels, np.repeat(answered, sizes), len(asked))


def put_in(
    found: PseudoLabels, labels: PseudoLabels, rows: NDArray[np.bool_], n_asked: int
) -> PseudoLabels:
    """Put labels in place of some of the rows of others, where they are not missing.

    found (PseudoLabels): Labels of the rows, of the same classes and width.
    rows (NDArray[np.bool_]): Which rows of `labels` they replace, shape (n_spans,).
    n_asked (int): Number of sentences asked for.
    RAISES (MaralError): If the entity labels or widths differ.
    """
    check_alike([labels, found], ["the teacher", "the asked annotators"])
    probabilities = labels.probabilities.astype(np.float32)
    known = known_of(found)
    replaced = np.flatnonzero(rows)[known]
    probabilities[replaced] = found.probabilities[known]
    reliable = None
    if found.reliable is not None:
        reliable = np.ones(len(rows), dtype=bool)
        reliable[replaced] = found.reliable[known]
    return replace(labels, probabilities=probabilities, reliable=reliable, asked=n_asked)


def ask(nlp: Language, docs: Sequence[Doc], name: str, folder: Path, reading: Reading) -> Path:
    """Ask a pipeline for the entities of documents, one after the other.

    An answer is on the disk before the next question. Documents whose answers are there are not
    asked for; a pipeline with other settings or files has answers of its own.

    nlp (Language): The pipeline.
    docs (Sequence[Doc]): The documents, whose own entities are ignored.
    name (str): Name of the pipeline in messages.
    folder (Path): Folder of the answers of all pipelines.
    reading (Reading): Where a pipeline's entities and their scores are.
    RETURNS (Path): The answers, as a file of silver entities (see `read_silver`).
    RAISES (MaralError): If the pipeline fails, or the answers cannot be read or written.
    """
    path = folder / f"{fingerprint(nlp, reading)}.jsonl"
    with sole_run(folder):
        known = read_answers(path)
        new = [doc for doc in docs if doc.text not in known]
        n_before = len(docs) - len(new)
        counts = f"{len(new):,} sentences to ask for, {n_before:,} answered before in {path}"
        tqdm.write(f"{name}: {counts}")
        with writing_output(path), path.open("a", encoding="utf8", newline="\n") as file:
            for number, doc in enumerate(show_progress(without_labels(nlp, new), len(new))):
                row = answer(
                    nlp, doc, reading, name, f"{n_before + number:,} of {len(docs):,}", path
                )
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
    return path


def fingerprint(nlp: Language, reading: Reading) -> str:
    """Identify a pipeline by its settings and files, and by what is read of its documents."""
    files = digest_pipeline(nlp.path) if nlp.path is not None and nlp.path.is_dir() else ""
    settings = [nlp.config.to_str(), files, reading.score_attr, reading.spans_key]
    return digest(settings)[:FINGERPRINT]


def read_answers(path: Path) -> set[str]:
    """Read the texts that are answered; half a row that a killed process has left is cut off.

    A whole one that an editor has left without a line end gets it, since more rows may follow.
    """
    if not path.is_file():
        return set()
    written = path.read_bytes()
    size = written.rfind(b"\n") + 1
    if written[size:]:
        kept = written + b"\n" if _is_row(written[size:]) else written[:size]
        write_bytes(path, kept)
        size = len(kept)
    return {annotated.text for annotated in read_texts(path)} if size else set()


def _is_row(line: bytes) -> bool:
    """Whether a line is a whole object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def answer(
    nlp: Language, doc: Doc, reading: Reading, name: str, done: str, path: Path
) -> dict[str, Any]:
    """Ask a pipeline for the entities of a document; RETURNS (dict): A row of silver entities.

    done (str): How many answers are in `path`, for the message.
    RAISES (MaralError): If the pipeline fails, or a score is not a number from 0 to 1.
    """
    try:
        found = nlp(doc)
    # a component can raise anything, such as the errors of a network
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        shown = {"annotator": name, "text": doc.text[:80], "problem": problem}
        raise MaralError(Errors.M581.format(**shown, done=done, path=path)) from error
    spans = [
        (span, score) for span, score in scored_spans(found, reading, name) if span.text.strip()
    ]
    entities = [
        {"start": span.start_char, "end": span.end_char, "label": span.label_, "score": score}
        for span, score in spans
    ]
    return {"text": doc.text, "entities": entities}
