"""Encoders that people try: from training with frozen layers to a loaded pipeline, each family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
import transformers
from installed import ARCHITECTURE, OURS
from spacy.cli.package import package
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam
from tiny_tokenizer import SPECIAL, build_tokenizer
from worlds import CONFIG, f1_of, make_docs, write

from spacy_maral.adaptation.student import adapt
from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import class_scores, get_encoder, get_span_module
from spacy_maral.model.encoder.layers import layer_stack, split_encoder
from spacy_maral.model.encoder.releases import DTYPE
from spacy_maral.training.network import Network
from spacy_maral.training.pipelines import as_pipeline
from spacy_maral.training.teacher import train_teacher

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 66, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
FAMILIES = {
    "Bert": {**SIZES, "layer_norm_eps": 1e-12},
    "XLMRoberta": SIZES,
    "DebertaV2": {
        **SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "DistilBert": {
        "dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 66,
        "dropout": 0.0, "attention_dropout": 0.0,
    },
    "Electra": {**SIZES, "embedding_size": 16},
    "ModernBert": {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48,
        "max_position_embeddings": 66, "local_attention": 8, "global_attn_every_n_layers": 2,
        "reference_compile": False, "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0,
        "eos_token_id": 2, "pad_token_id": 1,
    },
}  # fmt: skip


def make_encoder(folder: Path, family: str) -> Path:
    """A tiny random encoder of a family, whose tokenizer makes token_type_ids for each."""
    classes = [getattr(transformers, f"{family}{part}", None) for part in ("Config", "Model")]
    if None in classes:
        pytest.skip(f"transformers {transformers.__version__} has no {family}")
    tokenizer = build_tokenizer()
    settings = {"pad_token_id": SPECIAL.index("<pad>"), **FAMILIES[family]}
    config = classes[0](vocab_size=tokenizer.get_vocab_size(), **settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classes[1](config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>",
             "mask": "<mask>"}  # fmt: skip
    facts = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in names.items()},
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(facts), encoding="utf8")
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, tmp_path_factory):
    """Folder with an encoder, data, a configuration, and a teacher with a frozen lowest layer."""
    folder = tmp_path_factory.mktemp(request.param)
    encoder = make_encoder(folder / "encoder", request.param)
    text = CONFIG.replace(ARCHITECTURE, OURS)
    (folder / "toy.cfg").write_text(text.replace("ENCODER", str(encoder)), encoding="utf8")
    write(folder / "source.spacy", make_docs("source", 60, 0))
    write(folder / "dev.spacy", make_docs("source", 20, 1))
    train_teacher(
        folder / "toy.cfg", source=folder / "source.spacy", dev=folder / "dev.spacy",
        output=folder / "teacher", overrides={"teacher.freeze_layers": 1, "teacher.epochs": 3},
    )  # fmt: skip
    return folder


def test_a_teacher_is_trained_saved_and_loaded(trained, tmp_path):
    dev = make_docs("source", 20, 1)
    assert f1_of(trained / "teacher", dev) > 0.5
    nlp = spacy.load(trained / "teacher")
    before = transformers.AutoModel.from_pretrained(trained / "encoder")
    (_, first), (_, was) = layer_stack(get_encoder(nlp)[0]), layer_stack(before)
    for number, changed in enumerate([False, True, True]):
        pairs = zip(first[number].parameters(), was[number].parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs) == changed
    text = " ".join(token.text for token in dev[0])
    nlp.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again")
    for one, other in zip(nlp(text).ents, again(text).ents, strict=True):
        assert (one.start, one.end, one.label_) == (other.start, other.end, other.label_)
        assert one._.maral_score == other._.maral_score
    facts = [{**e.config.to_dict(), "_name_or_path": ""} for e in (get_encoder(again)[0], before)]
    # numbers such as BERT's layer_norm_eps, 1e-12, too
    assert facts[0] == {**facts[1], "return_dict": True, DTYPE: facts[0][DTYPE]}


def test_training_and_prediction_give_the_same_scores(trained):
    nlp = spacy.load(trained / "teacher")
    docs = make_docs("source", 12, 3)
    pipeline = as_pipeline(nlp, None)
    corpus = pipeline.encode(docs, labelled=False, name="docs")
    pipe = nlp.get_pipe("maral_ner")
    network = pipeline.network.eval()
    network.precision = "float32"
    for i, doc in enumerate(docs):
        if not len(doc):
            continue
        with torch.no_grad():
            output = network(network.batch(corpus, np.array([i])))
            found = network.span_model.class_scores(output).numpy()
        own = nlp.get_pipe("transformer")(Doc(nlp.vocab, words=[t.text for t in doc]))
        wanted = class_scores(pipe.model, pipe.model.predict([own]))
        np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_parts_of_an_encoder_give_what_it_gives(trained, layers):
    encoder = transformers.AutoModel.from_pretrained(trained / "encoder").eval()
    names = [name for name, _ in encoder.named_modules()]
    ids = torch.randint(5, 60, (3, 14), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    lower, upper = split_encoder(encoder, layers)
    with torch.no_grad():
        wanted = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        found = upper(lower(ids, mask), mask)
    torch.testing.assert_close(found[mask > 0], wanted[mask > 0], rtol=0, atol=1e-6)
    assert [name for name, _ in encoder.named_modules()] == names
    with pytest.raises(MaralError, match="the encoder has 3 layers"):
        split_encoder(encoder, 3)


def test_frozen_layers_get_no_gradient_and_all_above_do(trained):
    encoder = transformers.AutoModel.from_pretrained(trained / "encoder")
    span_model = get_span_module(spacy.load(trained / "teacher").get_pipe("maral_ner").model)
    network = Network(encoder, span_model, pad_id=1)
    network.freeze(embeddings=True, layers=2)
    _, stack = layer_stack(encoder)
    assert all(p.requires_grad for p in stack[2].parameters())
    assert not any(p.requires_grad for layer in stack[:2] for p in layer.parameters())
    ids = torch.randint(5, 60, (2, 9), generator=torch.Generator().manual_seed(1))
    lower, upper = network._split
    upper(lower(ids, torch.ones_like(ids)).detach(), torch.ones_like(ids)).square().sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in stack[2].parameters())
    if hasattr(encoder, "final_norm"):
        assert encoder.final_norm.weight.grad is not None


def test_spacy_trains_it_further(trained):
    nlp = spacy.load(trained / "teacher")
    docs = make_docs("source", 20, 5)
    examples = [Example(Doc(nlp.vocab, words=[t.text for t in doc]), doc) for doc in docs]
    losses = []
    sgd = Adam(learn_rate=1e-3)
    for _ in range(5):
        losses.append(nlp.update(examples, sgd=sgd)["maral_ner"])
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


def test_a_student_of_each_family_is_packaged_and_loaded(trained, tmp_path):
    target = write(trained / "target.spacy", make_docs("target", 30, 2, labelled=False))
    student = adapt(
        trained / "toy.cfg", teacher=trained / "teacher", source=trained / "source.spacy",
        dev=trained / "dev.spacy", target=target, output=trained / "student",
        overrides={"student.epochs": 2, "student.freeze_layers": 1},
    )  # fmt: skip
    package(student, tmp_path, create_sdist=False, name="toy")
    (meta,) = tmp_path.glob("*/*/*/meta.json")  # the data that a wheel holds
    texts = ["Merkel visited Paris", "", "Obama met Pedro in York"]
    found, wanted = (list(spacy.load(path).pipe(texts)) for path in (meta.parent, student))
    assert [doc.text for doc in found] == texts
    for one, other in zip(found, wanted, strict=True):
        assert [(e.text, e.label_, e._.maral_score) for e in one.ents] == [
            (e.text, e.label_, e._.maral_score) for e in other.ents
        ]


def test_layers_that_are_one_module_cannot_be_frozen():
    config = transformers.AlbertConfig(
        vocab_size=50, embedding_size=8, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=16,
    )  # fmt: skip
    with pytest.raises(MaralError, match="the encoder has 0 layers"):
        split_encoder(transformers.AlbertModel(config), 1)
