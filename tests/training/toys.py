"""A toy language as arrays and a tiny encoder: training without documents, tokenizer or files."""

from __future__ import annotations

import numpy as np
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.evaluation.metrics import Entities, score_entities
from spacy_maral.model.span_model import SpanModel
from spacy_maral.model.spans import label_spans, span_counts
from spacy_maral.training.corpus import Corpus
from spacy_maral.training.network import Network, predict_entities
from spacy_maral.training.settings import TrainingSettings

LABELS = ["LOC", "PER"]
K = len(LABELS) + 1
BOS, PAD, EOS, VOCABULARY = 0, 1, 2, 64
OTHER_WORDS, NAMES = range(10, 30), {1: range(30, 36), 2: range(36, 42)}


def offsets(lengths) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def toy_corpus(
    n_docs: int = 24, *, seed: int = 0, max_width: int = 2, labelled: bool = True, n_words=(3, 9)
) -> Corpus:
    """Sentences of one-piece words; names of two types are entities, alone or in pairs."""
    rng = np.random.default_rng(seed)
    docs, entities = [], []
    for i in range(n_docs):
        words: list[int] = []
        wanted = rng.integers(*n_words) if n_words[0] < n_words[1] else n_words[0]
        while len(words) < wanted:
            words.append(int(rng.choice(OTHER_WORDS)))
            if rng.random() < 0.3 and len(words) + 2 <= wanted:
                c, size = int(rng.integers(1, 3)), int(rng.integers(1, 3))
                entities.append((i, len(words), len(words) + size - 1, c))
                words += rng.choice(NAMES[c], size).tolist()
        docs.append(words[:wanted])
    entities = [e for e in entities if e[2] < len(docs[e[0]])]
    lengths = np.array([len(words) for words in docs])
    gold = Entities(*np.array(entities, dtype=np.int64).reshape(-1, 4).T)
    nothing = Entities(*np.zeros((4, 0), dtype=np.int64))
    rows = [np.array([BOS, *words, EOS], dtype=np.int32) for words in docs]
    positions = np.concatenate([np.arange(n) + 1 for n in lengths])
    return Corpus(
        max_width=max_width,
        pieces=np.concatenate(rows),
        row_offsets=offsets([len(row) for row in rows]),
        doc_rows=np.arange(n_docs + 1),
        doc_words=offsets(lengths),
        doc_spans=offsets(span_counts(lengths, max_width)),
        word_row=np.repeat(np.arange(n_docs), lengths),
        word_first=positions,
        word_last=positions,
        word_shapes=np.concatenate([2 * (np.array(words) >= 30) for words in docs]).astype(np.int8),
        entities=gold if labelled else nothing,
        classes=label_spans(lengths, *gold, max_width)[0] if labelled else None,
        n_too_wide=0,
        digest=f"toy-{seed}",
    )


def toy_network(seed: int = 0, *, dropout: float = 0.1, max_width: int = 2) -> Network:
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40, pad_token_id=PAD,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        initializer_range=0.1,
    )  # fmt: skip
    model = SpanModel(
        16, K, max_width=max_width, dim=8, hidden_width=24, dropout=dropout, pseudo_count=100.0
    )
    return Network(XLMRobertaModel(config), model, pad_id=PAD)


def toy_settings(**changed) -> TrainingSettings:
    settings = {
        "epochs": 3, "batch_tokens": 64, "learn_rate": 3e-3, "head_learn_rate": 1e-2,
        "precision": "float32", "select": "last",
        "prior_scale": 1.0, "freeze_embeddings": False, "freeze_layers": 0,
    }  # fmt: skip
    return TrainingSettings(**{**settings, **changed})


def toy_evaluate(dev: Corpus):
    """Scores as a run has them, of a toy corpus."""

    def evaluate(network: Network) -> dict[str, float]:
        report = score_entities(
            dev.entities, predict_entities(network, dev, batch_tokens=512), LABELS
        )
        names = {"precision": report.precision, "recall": report.recall, "f1": report.f1}
        return {"score": report.f1, **{f"dev_{name}": value for name, value in names.items()}}

    return evaluate


def noisy_labels(
    corpus: Corpus, classes: np.ndarray, *, noise: float, seed: int, confidence: float = 0.9
) -> PseudoLabels:
    """Soft pseudo-labels from gold classes: a share of the entities, and as many others, wrong."""
    rng = np.random.default_rng(seed)
    wrong = classes.copy().astype(np.int64)
    entities, outside = np.flatnonzero(classes), np.flatnonzero(classes == 0)
    for i in rng.choice(entities, int(noise * len(entities)), replace=False):
        wrong[i] = (wrong[i] + rng.integers(1, K)) % K
    for i in rng.choice(outside, int(noise * len(entities) / 2), replace=False):
        wrong[i] = rng.integers(1, K)
    probabilities = np.full((len(classes), K), (1 - confidence) / (K - 1), dtype=np.float16)
    probabilities[np.arange(len(classes)), wrong] = confidence
    return PseudoLabels(probabilities, LABELS, corpus.max_width, corpus.digest)


def snapshot(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def without_timings(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in r.items() if k not in ("seconds", "spans_per_second")} for r in rows]
