"""Find gold labels that are probably wrong, by the scores of models that have not seen them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc

from ..data.convert import write_docs
from ..data.docs import read_docs
from ..data.files import prove_writable, write_file
from ..errors import Errors, MaralError, refuse_unused
from ..evaluation.evaluate import load_pipeline, read_gold
from ..evaluation.span_scores import COMPONENT, score_spans
from ..model.spans import OUTSIDE, UNKNOWN, softmax
from .target_gold import number_texts
from .teacher import train_teacher

SHOWN, FOLDS = 0.5, 5
# number of documents whose scores the log of a fold's training has
LOGGED = 200


@dataclass(frozen=True)
class Suspect:
    """A span whose gold label is doubtful.

    start, end: First and last word. text: Its words. gold, predicted: Label, "O" for none. probability: Of the
    predicted label. suspicion: 1 - the probability of the gold label.
    """

    start: int
    end: int
    text: str
    gold: str
    predicted: str
    probability: float
    suspicion: float


@dataclass(frozen=True)
class SuspectSentence:
    """A document with its suspects, the most doubtful first. doc: Its number in the file, from 0."""

    doc: int
    text: str
    suspicion: float
    suspects: list[Suspect]

    def to_dict(self, doc: Doc) -> dict[str, Any]:
        """RETURNS (dict): The document's text and entities, by characters, with its suspects."""
        return {
            "doc": self.doc,
            "text": self.text,
            "entities": [[ent.start_char, ent.end_char, ent.label_] for ent in doc.ents],
            "suspicion": round(self.suspicion, 4),
            "suspects": [
                {
                    "start": doc[s.start].idx,
                    "end": doc[s.end].idx + len(doc[s.end]),
                    "text": s.text,
                    "gold": s.gold,
                    "predicted": s.predicted,
                    "probability": round(s.probability, 4),
                    "suspicion": round(s.suspicion, 4),
                }
                for s in self.suspects
            ],
        }


def find_suspects(
    data: str | Path,
    output: str | Path,
    *,
    model: str | Path | None = None,
    config: str | Path | None = None,
    folds: int | None = None,
    overrides: dict[str, Any] | None = None,
    gpu_id: int = -1,
) -> list[SuspectSentence]:
    """Rank labelled documents by how doubtful their gold labels are.

    The scores have to come from models that have not seen the labels: a model that was not trained
    on the file, or one for each fold, trained on the other folds.

    EXAMPLE: find_suspects("train.spacy", "suspects.jsonl", config="maral.cfg")

    data (str | Path): Labelled documents (.spacy).
    output (str | Path): File for the documents (.jsonl), the most doubtful first.
    model (str | Path | None): Folder of a pipeline that was not trained on the file.
    config (str | Path | None): Configuration to train the models of the folds with, by its section
        [teacher]; needed without a model.
    folds (int | None): Number of folds, 5 by default; only with a configuration.
    overrides (dict): Settings that replace those of the configuration; only with one.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (list[SuspectSentence]): All documents with an entity, by gold or prediction, ranked.
    RAISES (MaralError): If there is neither model nor configuration, there are fewer different
        texts than folds, all entities are in one fold, or a file cannot be read or written.
    """
    prove_writable(Path(output), inputs=[data, *([] if config is None else [config])])
    if (model is None) == (config is None):
        raise MaralError(Errors.M566)
    if model is not None:
        given = [*(["folds"] if folds is not None else []), *(overrides or ())]
        reason = "the pipeline of --model is not trained"
        refuse_unused([f"--{name}" for name in given], reason, "give --config in place of --model")
    every = read_docs(data)
    docs = read_gold(every, str(data))
    if model is not None:
        found = rank_suspects(load_pipeline(model, gpu_id=gpu_id), docs)
    else:
        parts = deal_folds(docs, FOLDS if folds is None else folds)
        _check_entities(docs, parts, data)
        found = _by_folds(docs, parts, config, overrides, gpu_id)  # type: ignore[arg-type]
    found.sort(key=lambda sentence: -sentence.suspicion)
    # documents without annotation count in the numbers, too
    numbers = [i for i, doc in enumerate(every) if doc.has_annotation("ENT_IOB")]
    found = [replace(sentence, doc=numbers[sentence.doc]) for sentence in found]
    rows = (json.dumps(s.to_dict(every[s.doc]), ensure_ascii=False) for s in found)
    write_file(Path(output), "".join(f"{row}\n" for row in rows))
    return found


def rank_suspects(nlp: Language, docs: Sequence[Doc]) -> list[SuspectSentence]:
    """Rank documents by their most doubtful gold label, by the scores of one pipeline.

    The doubt about a span is 1 - the probability of its gold class, which is outside where the
    pipeline finds an entity that gold does not have. Gold labels that the pipeline does not have are
    not judged.

    nlp (Language): The pipeline, which has not been trained on the documents.
    docs (Sequence[Doc]): Labelled documents.
    RETURNS (list[SuspectSentence]): Documents with an entity by gold or prediction, ranked.
    """
    spans = score_spans(nlp, docs)
    names = ["O", *nlp.get_pipe(COMPONENT).labels]  # type: ignore[attr-defined]
    probabilities = softmax(spans.scores) if len(spans.docs) else spans.scores
    rows = np.arange(len(spans.docs))
    doubt = 1.0 - probabilities[rows, np.maximum(spans.gold, OUTSIDE)]
    doubt[spans.gold == UNKNOWN] = 0.0
    best = probabilities.argmax(axis=1) if len(rows) else rows
    by_doc: dict[int, list[Suspect]] = {}
    for i in np.argsort(-doubt, kind="stable").tolist():
        number, start, end = int(spans.docs[i]), int(spans.starts[i]), int(spans.ends[i])
        by_doc.setdefault(number, []).append(
            Suspect(
                start, end, docs[number][start : end + 1].text,
                "?" if spans.gold[i] == UNKNOWN else names[spans.gold[i]],
                names[best[i]], float(probabilities[i, best[i]]), float(doubt[i]),
            )
        )  # fmt: skip
    return [
        SuspectSentence(
            number, docs[number].text, every[0].suspicion,
            [one for one in every if one.suspicion >= SHOWN] or every[:1],
        )
        for number, every in by_doc.items()
    ]  # fmt: skip


def _by_folds(
    docs: Sequence[Doc],
    parts: Sequence[NDArray[np.int64]],
    config: str | Path,
    overrides: dict[str, Any] | None,
    gpu_id: int,
) -> list[SuspectSentence]:
    """Rank the documents of each fold by a model that is trained on the other folds."""
    found = []
    # the labels that are judged choose neither the epoch nor the offset of who judges them
    settings = {**(overrides or {}), "teacher.select": "last", "teacher.offset": 0.0}
    for part in parts:
        others = np.setdiff1d(np.arange(len(docs)), part)
        with _files(docs, others) as (folder, train, dev):
            teacher = train_teacher(
                config, source=train, dev=dev, output=folder / "model", overrides=settings,
                gpu_id=gpu_id,
            )  # fmt: skip
            nlp = load_pipeline(teacher, gpu_id=gpu_id)
        found += [
            replace(sentence, doc=int(part[sentence.doc]))
            for sentence in rank_suspects(nlp, [docs[i] for i in part])
        ]
    return found


def deal_folds(docs: Sequence[Doc], folds: int) -> list[NDArray[np.int64]]:
    """Deal documents to folds at random, with a fixed seed; copies of a text are in one fold.

    RETURNS (list): Numbers of documents, ascending.
    RAISES (MaralError): If there are fewer different texts than folds.
    """
    texts = number_texts(docs)
    n_texts = len(np.unique(texts))
    if not 2 <= folds <= n_texts:
        raise MaralError(Errors.M567.format(folds=folds, n_docs=len(docs), n_texts=n_texts))
    order = np.random.default_rng(0).permutation(n_texts)
    return [np.flatnonzero(np.isin(texts, part)) for part in np.array_split(order, folds)]


def _check_entities(
    docs: Sequence[Doc], parts: Sequence[NDArray[np.int64]], path: str | Path
) -> None:  # fmt: skip
    """RAISES (MaralError): If one fold has all entities, so that a model of the others would learn none."""
    counts = [sum(bool(docs[i].ents) for i in part) for part in parts]
    if not any(counts):
        raise MaralError(Errors.M312.format(path=path))
    if max(counts) == sum(counts):
        found = {"n": max(counts), "n_docs": len(docs), "folds": len(parts)}
        raise MaralError(Errors.M579.format(path=path, **found))


@contextmanager
def _files(docs: Sequence[Doc], train: NDArray[np.int64]) -> Iterator[tuple[Path, Path, Path]]:
    """Write the documents to train on, and some of them for the log, to files that are removed later."""
    numbers = train.tolist()
    dev = [i for i in numbers if docs[i].ents][:LOGGED]
    with TemporaryDirectory(prefix="maral-fold-") as name:
        folder = Path(name)
        paths = folder / "train.spacy", folder / "dev.spacy"
        for path, chosen in zip(paths, (numbers, dev), strict=True):
            write_docs(path, [docs[i] for i in chosen])
        yield folder, *paths
