"""The paper's settings beside a transcription of Algorithm 1 that shares no code with the package."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from algorithm1 import MASK, PAD, Algorithm1, Text
from torch import nn
from toys import VOCABULARY, K, noisy_labels, toy_corpus, toy_evaluate
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from spacy_maral.adaptation.progressive import Adaptation
from spacy_maral.data.config import read_config
from spacy_maral.model.span_model import SpanModel
from spacy_maral.training.hooks import Hook
from spacy_maral.training.loop import Run
from spacy_maral.training.masked_lm import MaskedLM
from spacy_maral.training.network import Network
from spacy_maral.training.settings import read_section
from spacy_maral.training.shares import Share

EPOCHS, SEED, DOCS = 5, 4, 90
CONFIG = "configs/maral_paper.cfg"


def as_text(corpus) -> Text:
    rows = np.split(corpus.pieces, corpus.row_offsets[1:-1])
    shapes = np.split(corpus.word_shapes, corpus.doc_words[1:-1])
    return Text(
        [r.tolist() for r in rows], [s.tolist() for s in shapes], corpus.doc_spans[:-1].tolist()
    )


class Steps(Hook):
    """Keeps the labels at the end of each epoch."""

    def __init__(self, hook):
        self.hook, self.labels = hook, []

    def on_epoch_end(self, epoch):
        self.labels.append(self.hook.labels)
        return {}


class Recording(Run):
    """A run that keeps the losses of each step."""

    def _step(self, epoch, step, batches):
        parts, n_spans = super()._step(epoch, step, batches)
        self.losses.append(tuple(parts[name] for name in ("source", "target", "target_mlm")))
        return parts, n_spans


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Losses and labels by epoch, of the package and of the transcription."""
    config = read_config(CONFIG, {
        "student.epochs": EPOCHS, "student.precision": "float32", "student.select": "last",
    })  # fmt: skip
    student, adaptation = (read_section(config, name) for name in ("student", "adaptation"))
    model = dict(config["components"]["maral_ner"]["model"])
    del model["@architectures"], model["tok2vec"]
    dropouts = config["components"]["transformer"]["model"]["transformer_config"]
    torch.manual_seed(0)
    full = XLMRobertaForMaskedLM(XLMRobertaConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40, pad_token_id=PAD, initializer_range=0.1,
        **dropouts,
    ))  # fmt: skip
    network = Network(full.roberta, SpanModel(16, K, **model), pad_id=PAD)
    source, target = (toy_corpus(DOCS, seed=i, max_width=model["max_width"]) for i in (1, 2))
    teacher = noisy_labels(target, target.classes, noise=0.3, seed=0, confidence=0.4)
    hook = Adaptation(
        network, Share.of(source), Share.of(target), teacher,
        training=student, settings=adaptation, seed=SEED,
    )  # fmt: skip
    steps = Steps(hook)
    extra = MaskedLM(
        full.lm_head, adaptation.mlm_weight, MASK, [0, 1, 2, MASK], adaptation.mask_rate
    )
    run = Recording(
        network=network, streams=[hook.source, hook.target], settings=student,
        evaluate=toy_evaluate(toy_corpus(4, seed=9, max_width=4)), folder=tmp_path_factory.mktemp("run"),
        fingerprint={}, seed=SEED, hooks=[hook, steps], extra=extra,
    )  # fmt: skip
    run.losses = []
    plans = [run._plan(epoch) for epoch in range(EPOCHS)]
    modules = copy.deepcopy(nn.ModuleDict({
        "encoder": full.roberta, "lm_head": full.lm_head,
        **{name: getattr(network.span_model, name) for name in ("widths", "shapes", "hidden", "output")},
    }))  # fmt: skip
    settings = SimpleNamespace(**model, **dict(student), **dict(adaptation))
    literal = Algorithm1(
        modules, network.span_model.statistics.mean, as_text(source), as_text(target),
        source.classes.astype(int), hook.labels.probabilities, settings,
    )  # fmt: skip
    run.train(resume=False)
    return run.losses, steps.labels, follow(literal, plans, settings)


def follow(literal, plans, settings):
    """Run the transcription; RETURNS (tuple): Losses of all steps, and labels by epoch."""
    losses, labels = [], []
    literal.m.train()
    n_steps = sum(map(len, plans))
    for epoch, plan in enumerate(plans):
        seeds = [
            int(np.random.default_rng([SEED, epoch, step, 0]).integers(2**62))
            for step in range(len(plan))
        ]
        losses += literal.epoch(plan, seeds, n_steps)
        if settings.warmup_epochs - 1 <= epoch < EPOCHS - 1:
            alpha = np.linspace(0.95, 0.80, EPOCHS - settings.warmup_epochs)[
                epoch + 1 - settings.warmup_epochs
            ]
            draws = tuple(
                np.random.default_rng([SEED, epoch, i]).random(n)
                for i, n in ((101, len(literal.gold)), (102, len(literal.p)))
            )
            assert literal.improve(alpha, draws, SEED + epoch) > settings.neighbours + 1
        labels.append((literal.p.copy(), literal.y.copy(), literal.reliable.copy()))
    return losses, labels


# with the random weights that transformers 5 draws, rounding decides about a label of the toy
same_toy = pytest.mark.skipif(
    not transformers.__version__.startswith("4."), reason="the toy is one for transformers 4"
)


@same_toy
def test_losses_are_those_of_the_transcription(both):
    losses, _, (expected, _) = both
    assert len(losses) == EPOCHS * np.ceil(DOCS / 8)
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


@same_toy
def test_labels_are_those_of_the_transcription(both):
    _, labels, (_, expected) = both
    for found, (soft, classes, reliable) in zip(labels, expected, strict=True):
        assert (found.reliable == reliable).all()
        assert (found.classes == classes).all()
        np.testing.assert_allclose(found.probabilities, soft, atol=1e-6)


def test_the_toy_has_what_a_run_can_have(both):
    """Labels of several classes doubted, trusted again, and changed."""
    _, _, (_, labels) = both
    (_, first, _), *_, (_, last, _) = labels
    doubted = np.stack([~reliable for *_, reliable in labels])
    assert not doubted[0].any() and len(set(first[doubted[1]])) > 1
    assert (doubted[1] & ~doubted[-1]).any()
    assert (first != last).any() and (last[first != last] != 0).any()
