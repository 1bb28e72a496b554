"""A toy world of two languages as .spacy files, a configuration, and ways to run and read runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import spacy
import torch
from installed import ARCHITECTURE
from spacy.tokens import Doc, DocBin, Span

from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.adaptation.student import adapt
from spacy_maral.model.architectures import get_encoder, get_span_module
from spacy_maral.training.teacher import train_teacher

NAMES = {"LOC": ["Paris", "Madrid", "York"], "PER": ["Merkel", "Obama", "Pedro"]}
OTHERS = {"source": ["visited", "met", "in", "the"], "target": ["lebt", "und", "nach", "trifft"]}

CONFIG = f"""
[system]
seed = 3

[nlp]
lang = "xx"
pipeline = ["transformer","maral_ner"]

[components]

[components.transformer]
factory = "transformer"

[components.transformer.model]
@architectures = "{ARCHITECTURE}"
name = "ENCODER"

[components.transformer.model.get_spans]
@span_getters = "spacy-maral.bounded_windows.v1"
max_words = 24
stride = 16
max_chars = 60

[components.transformer.model.tokenizer_config]
use_fast = true

[components.maral_ner]
factory = "maral_ner"

[components.maral_ner.model]
@architectures = "spacy-maral.SpanModel.v1"
max_width = 3
dim = 8
hidden_width = 24
pseudo_count = 200

[components.maral_ner.model.tok2vec]
@architectures = "spacy-maral.WordPieceEnds.v1"

[teacher]
loss = "cross_entropy"
decision = "linear"
epochs = 4
batch_tokens = 200
min_updates = 0
learn_rate = 1e-3
head_learn_rate = 2e-2
precision = "float32"
freeze_embeddings = false
freeze_layers = 0

[student]
prior_scale = 1.0
epochs = 4
batch_tokens = 200
min_updates = 0
learn_rate = 1e-3
head_learn_rate = 2e-2
precision = "float32"
select = "last"
freeze_embeddings = false
freeze_layers = 0

[adaptation]
warmup_epochs = 1
target_labels = "hard"
neighbours = 10
bank_outside_rate = 0.2
target_prior_scale = 0.5
"""


def make_docs(side: str, n_docs: int, seed: int, *, labelled: bool = True) -> list[Doc]:
    rng = np.random.default_rng(seed)
    vocab, docs = spacy.blank("xx").vocab, []
    for _ in range(n_docs):
        words, ents = [], []
        for _ in range(int(rng.integers(1, 4))):
            words += rng.choice(OTHERS[side], int(rng.integers(1, 3))).tolist()
            if rng.random() < 0.7:
                label = str(rng.choice(list(NAMES)))
                ents.append((len(words), len(words) + 1, label))
                words.append(str(rng.choice(NAMES[label])))
        doc = Doc(vocab, words=words)
        if labelled:
            doc.set_ents([Span(doc, s, e, label=x) for s, e, x in ents], default="outside")
        docs.append(doc)
    return docs


def write(path: Path, docs: list[Doc]) -> Path:
    DocBin(docs=docs).to_disk(path)
    return path


def make_world(folder: Path, encoder: Path) -> dict[str, Path]:
    """Data, configuration, a trained teacher and its pseudo-labels."""
    config = folder / "toy.cfg"
    config.write_text(CONFIG.replace("ENCODER", str(encoder)), encoding="utf8")
    paths = {
        "source": write(folder / "source.spacy", make_docs("source", 80, 0)),
        "dev": write(folder / "dev.spacy", make_docs("source", 30, 1)),
        "target": write(folder / "target.spacy", make_docs("target", 60, 2)),
    }
    teacher = train_teacher(
        config, source=paths["source"], dev=paths["dev"], output=folder / "teacher"
    )
    labels = pseudo_label(teacher, paths["target"], folder / "labels.npz")
    return {"config": config, **paths, "teacher": teacher, "labels": labels}


def adapt_in(world, output, *, overrides=None, **changed) -> Path:
    arguments = {k: world[k] for k in ("teacher", "source", "target", "dev")}
    return adapt(
        world["config"], output=output, overrides=overrides or {}, **{**arguments, **changed}
    )


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    nlp = spacy.load(path)
    module = get_span_module(nlp.get_pipe("maral_ner").model)
    encoder = get_encoder(nlp)[0]
    parts = {"span": module.state_dict(), "encoder": encoder.state_dict()}
    return {f"{p}.{name}": t.clone() for p, state in parts.items() for name, t in state.items()}


def rows_of(path: Path) -> list[dict]:
    lines = (path / "training" / "log.jsonl").read_text(encoding="utf8").splitlines()
    return [json.loads(line) for line in lines]


def f1_of(path: Path, docs: list[Doc]) -> float:
    nlp, right, n = spacy.load(path), 0, 0
    for doc in docs:
        found = {
            (e.start, e.end, e.label_) for e in nlp(Doc(nlp.vocab, [t.text for t in doc])).ents
        }
        gold = {(e.start, e.end, e.label_) for e in doc.ents}
        right, n = right + len(found & gold), n + len(found) + len(gold)
    return 2 * right / n
