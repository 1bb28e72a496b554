"""Annotators of German WikiAnn (slow): a teacher of English sentences, a list of names, a noisy file.

Needs MARAL_DATA (with wikiann/en and wikiann/de) and MARAL_ENCODER (multilingual-e5-small, for the
settings of configs/maral_small.cfg). `--log-cli-level INFO` shows the scores. The teacher takes some minutes of a core;
MARAL_TEACHER is the folder of one that is trained already.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin

from spacy_maral.adaptation.annotators import Reading, read_silver
from spacy_maral.adaptation.chunks import Task, label_docs, score_docs
from spacy_maral.adaptation.merge import Annotation, merge_labels
from spacy_maral.data.convert import convert
from spacy_maral.model.visible import VisibleWords
from spacy_maral.training.pipelines import load_pipeline
from spacy_maral.training.teacher import train_teacher

logger = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
CONFIG = Path(__file__).parents[2] / "configs" / "maral_small.cfg"
LABELS = ["LOC", "ORG", "PER"]
N_DOCS, MAX_WIDTH = 1000, 8


def sentences(path, n, folder):
    """Some sentences of a file, drawn at random, as documents."""
    lang = path.parent.name
    convert(path, folder / "all.spacy", format="wikiann", lang=lang)
    docs = list(DocBin().from_disk(folder / "all.spacy").get_docs(spacy.blank(lang).vocab))
    chosen = np.random.default_rng(0).permutation(len(docs))[:n]
    return [docs[i] for i in np.sort(chosen)]


def save(path, docs):
    DocBin(docs=docs).to_disk(path)
    return path


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    """German sentences with gold entities."""
    for name in ("MARAL_DATA", "MARAL_ENCODER"):
        if name not in os.environ:
            pytest.skip(f"{name} is not set")
    path = Path(os.environ["MARAL_DATA"]) / "wikiann" / "de" / "train"
    return sentences(path, N_DOCS, tmp_path_factory.mktemp("german"))


@pytest.fixture(scope="module")
def teacher(docs, tmp_path_factory):
    """What a teacher of English sentences says about the German ones."""
    folder, data = tmp_path_factory.mktemp("teacher"), Path(os.environ["MARAL_DATA"]) / "wikiann"
    path = os.environ.get("MARAL_TEACHER") or train_teacher(
        CONFIG,
        source=save(folder / "train.spacy", sentences(data / "en" / "train", N_DOCS, folder)),
        dev=save(folder / "dev.spacy", sentences(data / "en" / "dev", N_DOCS // 2, folder)),
        output=folder / "teacher",
        overrides={"paths.encoder": os.environ["MARAL_ENCODER"]},
    )
    return Annotation("teacher", score_docs(load_pipeline(Path(path)), docs), is_model=True)


def gold_of(docs):
    return {(i, e.start, e.end - 1, e.label_) for i, doc in enumerate(docs) for e in doc.ents}


def list_of_names(docs, *, coverage=None, n_names=None, seed=0):
    """A ruler of names that make up a share of the mentions, or of some names, with their most frequent labels."""
    labels = defaultdict(Counter)
    words = {}
    for doc in docs:
        for ent in doc.ents:
            labels[ent.text][ent.label_] += 1
            words[ent.text] = [{"ORTH": token.text} for token in ent]
    names = list(labels)
    np.random.default_rng(seed).shuffle(names)
    mentions = np.cumsum([labels[name].total() for name in names])
    if n_names is None:
        n_names = int(np.searchsorted(mentions, coverage * mentions[-1]))
    nlp = spacy.blank("de")
    nlp.add_pipe("entity_ruler").add_patterns(
        [
            {"label": labels[name].most_common(1)[0][0], "pattern": words[name]}
            for name in names[:n_names]
        ]
    )
    return nlp


def noisy_file(path, docs, *, kept=0.7, mixed_up=0.15, spurious=0.2, seed=0):
    """A file in which entities are missing, some have another label, and some spans are no entities."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf8") as file:
        for doc in docs:
            ents = [
                [e.start_char, e.end_char, str(rng.choice(LABELS)) if rng.random() < mixed_up else e.label_]
                for e in doc.ents
                if rng.random() < kept
            ]  # fmt: skip
            if rng.random() < spurious:
                start = int(rng.integers(len(doc)))
                span = doc[start : start + int(rng.integers(1, 4))]
                if not any(span.start_char < e[1] and e[0] < span.end_char for e in ents):
                    ents.append([span.start_char, span.end_char, str(rng.choice(LABELS))])
            file.write(json.dumps({"text": doc.text, "ents": ents}) + "\n")
    return path


def entities_of(labels, docs):
    """Entities of labels without overlaps, as `gold_of` has them."""
    candidates = VisibleWords.of(docs).candidates(labels.max_width)
    found = np.flatnonzero(labels.votes > 0)
    starts, ends = candidates.in_documents(found)
    columns = (candidates.owner[found], starts, ends, labels.votes[found])
    return {(i, j, k, LABELS[c - 1]) for i, j, k, c in zip(*columns, strict=True)}


def scores_of(entities, gold):
    """Precision, recall and F1, in percent."""
    right, sizes = len(entities & gold), (len(entities), len(gold))
    return tuple(100 * x for x in (right / sizes[0], right / sizes[1], 2 * right / sum(sizes)))


def listed(nlp, docs, *, partial=True):
    """What a ruler says."""
    reading = Reading(LABELS, MAX_WIDTH, partial=partial)
    return Annotation("list", label_docs(nlp, docs, Task("", "list", reading)), False)


def from_file(path, docs, *, partial=False):
    """What a file says."""
    return Annotation(
        path.stem, read_silver(path, docs, Reading(LABELS, MAX_WIDTH, partial=partial)), False
    )


def copied(annotation):
    """An annotation whose labels may lose their overlaps."""
    labels = annotation.labels
    return annotation._replace(labels=replace(labels, probabilities=labels.probabilities.copy()))


def merged_scores(name, given, docs, how="dawid-skene"):
    """Scores of merged labels, which are shown with what is estimated of each annotator."""
    words = VisibleWords.of(docs).candidates(MAX_WIDTH).words
    labels, reports = merge_labels([copied(one) for one in given], words, how)
    scores = scores_of(entities_of(labels, docs), gold_of(docs))
    logger.info("%-28s%s", name, " ".join(f"{score:6.2f}" for score in scores))
    for one, report in zip(given, reports, strict=False) if how == "dawid-skene" else ():
        for label, precision, recall, *true in compare(one, report, words, docs):
            logger.info(
                "    %-8s%s %3.0f %3.0f, truly %3.0f %3.0f",
                one.name,
                label,
                precision,
                recall,
                *true,
            )
    return scores


def compare(annotation, report, words, docs):
    """Estimated precision and recall of an annotator by label, and the true ones."""
    alone, _ = merge_labels([copied(annotation)], words, "mean")
    sides = entities_of(alone, docs), gold_of(docs)
    for label, right in report.classes.items():
        entities, gold = ({e for e in side if e[3] == label} for side in sides)
        yield label, 100 * right.precision, 100 * right.recall, *scores_of(entities, gold)[:2]


@pytest.mark.parametrize("seed", range(3))
def test_three_annotators_beat_their_mean_and_the_best_of_them(docs, teacher, tmp_path, seed):
    names = list_of_names(docs, coverage=0.3, seed=seed)
    noisy = from_file(noisy_file(tmp_path / "noisy.jsonl", docs, seed=seed), docs)
    given = [teacher, listed(names, docs), noisy]
    alone = [merged_scores(one.name, [one], docs)[2] for one in given]
    means = [
        merged_scores("mean", given, docs, "mean")[2],
        merged_scores("mean, silence is outside", [teacher, listed(names, docs, partial=False), noisy], docs, "mean")[2],
    ]  # fmt: skip
    assert merged_scores("weighed", given, docs)[2] >= max(*alone, *means) + 1


@pytest.mark.parametrize("partial", [True, False])
def test_ten_names_cost_no_recall(docs, teacher, partial):
    names = listed(list_of_names(docs, n_names=10), docs, partial=partial)
    alone = merged_scores("teacher", [teacher], docs)
    assert merged_scores("with ten names", [teacher, names], docs)[1] >= alone[1] - 0.5


@pytest.mark.parametrize("partial", [True, False])
def test_random_labels_are_weighed_to_nothing(docs, teacher, tmp_path, partial):
    path = noisy_file(tmp_path / "random.jsonl", docs, kept=0.0, spurious=1.0)
    guesses = from_file(path, docs, partial=partial)
    alone = merged_scores("teacher", [teacher], docs)
    found = merged_scores("with random labels", [teacher, guesses], docs)
    assert abs(found[2] - alone[2]) < 0.5
