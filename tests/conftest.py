"""A tiny XLM-R with a tokenizer of its own, made offline, and pipelines on top of it."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from installed import ARCHITECTURE
from sentences import LABELS, TEXTS
from spacy.language import Language
from spacy.training import Example, offsets_to_biluo_tags
from tiny_tokenizer import SPECIAL, build_tokenizer
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM
from worlds import make_world

MODEL_MAX_LENGTH = 64
WINDOW = {
    "@span_getters": "spacy-maral.bounded_windows.v1",
    "max_words": 24,
    "stride": 16,
    "max_chars": 60,
}


# Files that take long. `make test` begins with them, so that no process is left alone with one.
LONG = (
    "test_ray.py", "test_docs.py", "test_ranks.py", "test_kill.py", "test_tools_digest.py",
    "test_resume.py", "test_determinism.py", "test_safety.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_collection_finish() -> None:
    """Libraries and tests are here to stay: the garbage collector need not look at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums have one order, tiny matrices are not shared out, and forks wait for no thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Temporary files need not survive a power cut. What is written to the disk, see test_durability.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_terminal() -> None:
    """Shells let jobs in the background ignore Ctrl-C, and the processes that these start too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny XLM-R with an LM head: AutoModel and AutoModelForMaskedLM both load it."""
    path = tmp_path_factory.mktemp("encoder")
    tokenizer = build_tokenizer()
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=MODEL_MAX_LENGTH + 2,
        pad_token_id=SPECIAL.index("<pad>"),
        bos_token_id=SPECIAL.index("<s>"),
        eos_token_id=SPECIAL.index("</s>"),
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        XLMRobertaForMaskedLM(config).save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    # XLMRobertaTokenizerFast without a SentencePiece file has no vocab_file to open
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MODEL_MAX_LENGTH,
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf8")
    return path


@pytest.fixture(scope="session")
def smoke_inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Encoder and text of the benchmarks' trial runs, which two programs make."""
    from benchmarks.smoke import make_inputs

    return make_inputs(tmp_path_factory.mktemp("smoke"))


@pytest.fixture
def quick_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places in the map of a report that take no time: t-SNE takes seconds, and has its own test."""
    monkeypatch.setattr("spacy_maral.evaluation.report.figures.tsne", lambda z, seed: z[:, :2])


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What the package has logged in a test so far."""
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    return lambda: " ".join(record.getMessage() for record in caplog.records)


@pytest.fixture
def examples_for() -> Callable[..., list[Example]]:
    """Examples of a pipeline's vocabulary, from texts with character offsets of entities."""

    def make(
        nlp: Language, texts: Iterable[tuple[str, list[tuple[int, int, str]]]]
    ) -> list[Example]:
        result = []
        for text, entities in texts:
            predicted, reference = nlp.make_doc(text), nlp.make_doc(text)
            tags = offsets_to_biluo_tags(reference, entities)
            assert "-" not in tags
            spans = [reference.char_span(*entity) for entity in entities]
            reference.set_ents(spans, default="outside")
            result.append(Example(predicted, reference))
        return result

    return make


@pytest.fixture
def train_examples(examples_for: Callable) -> Callable[[Language], list[Example]]:
    """The labelled sentences of this file as examples for a pipeline."""
    return lambda nlp: examples_for(nlp, TEXTS)


@pytest.fixture
def make_nlp(encoder_dir: Path, examples_for: Callable) -> Callable[..., Language]:
    """Make a pipeline of a tiny transformer and maral_ner.

    labels: Entity labels, None to leave it uninitialised. lang: Its language. model: Settings of
    the span model. **cfg: Settings of maral_ner.
    """

    def make(
        labels: list[str] | None = LABELS,
        *,
        lang: str = "xx",
        model: dict[str, Any] | None = None,
        window: dict[str, Any] | None = None,
        seed: int = 0,
        **cfg: Any,
    ) -> Language:
        spacy.util.fix_random_seed(seed)
        nlp = spacy.blank(lang)
        encoder = {
            "@architectures": ARCHITECTURE,
            "name": str(encoder_dir),
            "get_spans": window or WINDOW,
            "tokenizer_config": {"use_fast": True},
        }
        nlp.add_pipe("transformer", config={"model": encoder})
        settings = {"hidden_width": 32, "dim": 16, "max_width": 4, "dropout": 0.0, **(model or {})}
        nlp.add_pipe("maral_ner", config={"model": settings, **cfg})
        if labels is not None:
            nlp.config["initialize"]["components"] = {"maral_ner": {"labels": labels}}
            texts = [(t, [e for e in ents if e[2] in labels]) for t, ents in TEXTS]
            nlp.initialize(lambda: examples_for(nlp, texts))
        return nlp

    return make


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, encoder_dir: Path) -> dict[str, Path]:
    """Data, a configuration, a trained teacher and its pseudo-labels, see `worlds.make_world`."""
    return make_world(tmp_path_factory.mktemp("world"), encoder_dir)


@pytest.fixture
def timer():
    """The system's timer, which pytest-timeout uses."""
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGALRM, before)
