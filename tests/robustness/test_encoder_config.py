"""A saved encoder is the one that was trained, and neither loading nor saving runs its code."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spacy
import srsly
import torch
import transformers
from make_golden import GOLDEN
from packaging.version import Version
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    XLMRobertaConfig,
    XLMRobertaModel,
    modeling_utils,
)

from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import get_encoder, get_span_module
from spacy_maral.model.encoder.files import check_encoder

ARCHITECTURE = "spacy-maral.TransformerModel.v1"
RELEASE = Version(transformers.__version__)
LABELS = ["LOC", "PER"]


def make_pipeline(encoder: Path, **config: Any) -> spacy.language.Language:
    nlp = spacy.blank("xx")
    model = {"@architectures": ARCHITECTURE, "name": str(encoder), **config}
    model["get_spans"] = {"@span_getters": "spacy-maral.bounded_windows.v1"}
    nlp.add_pipe("transformer", config={"model": model})
    nlp.add_pipe("maral_ner", config={"model": {"hidden_width": 16, "dim": 8, "max_width": 3}})
    nlp.config["initialize"]["components"] = {"maral_ner": {"labels": LABELS}}
    nlp.initialize()
    return nlp


def random_encoder(folder: Path, tokens: Path, seed: int) -> Path:
    """An encoder with random settings, many of them small numbers."""
    rng = np.random.default_rng(seed)
    small = lambda: float(10.0 ** rng.uniform(-16, -4))  # noqa: E731
    config_class, model_class = [(BertConfig, BertModel), (XLMRobertaConfig, XLMRobertaModel)][
        seed % 2
    ]
    sizes = json.loads((tokens / "config.json").read_text(encoding="utf8"))
    config = config_class(
        vocab_size=sizes["vocab_size"], pad_token_id=1, type_vocab_size=1,
        max_position_embeddings=66, hidden_size=16, num_attention_heads=int(rng.choice([1, 2, 4])),
        num_hidden_layers=int(rng.integers(1, 4)), intermediate_size=24, layer_norm_eps=small(),
        hidden_act=str(rng.choice(["gelu", "relu", "silu"])), hidden_dropout_prob=small(),
        initializer_range=float(rng.uniform(0.01, 0.5)), task_specific_params={"x": small()},
    )  # fmt: skip
    torch.manual_seed(seed)
    model = model_class(config)
    with torch.no_grad():
        # as in e5-small: without eps, a padding vector of zeros becomes NaN
        model.embeddings.word_embeddings.weight[1] = 0
        model.embeddings.position_embeddings.weight[1] = 0
        model.embeddings.token_type_embeddings.weight[0] = 0
    shutil.copytree(tokens, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    model.save_pretrained(folder)
    return folder


def scores(nlp: spacy.language.Language) -> np.ndarray:
    docs = [nlp.make_doc(text) for text in ("Angela Merkel in Paris", "a b c d e f g", "x")]
    docs = list(nlp.get_pipe("transformer").pipe(docs))
    return nlp.get_pipe("maral_ner").predict(docs).scores


def plain(nlp: spacy.language.Language) -> dict[str, Any]:
    config = get_encoder(nlp)[0].config.to_dict()
    config.pop("_name_or_path")
    return config


@pytest.mark.parametrize("seed", range(6))
def test_loaded_is_saved(tmp_path, encoder_dir, seed):
    """All values of a configuration, and all scores, after loading and after saving again."""
    nlp = make_pipeline(random_encoder(tmp_path / "encoder", encoder_dir, seed))
    wanted, known = scores(nlp), plain(nlp)
    files = []
    for name in ("new", "loaded", "loaded again"):
        nlp.to_disk(tmp_path / name)
        files.append((tmp_path / name / "transformer" / "model").read_bytes())
        nlp = spacy.load(tmp_path / name)
        assert plain(nlp) == known
        np.testing.assert_array_equal(scores(nlp), wanted)
    # transformers writes a tokenizer that it has loaded in other words once
    assert files[1] == files[2]


def edited(folder: Path, **values: Any) -> Path:
    """The golden model with other values in its encoder's configuration."""
    shutil.copytree(GOLDEN / "0.1" / "model", folder)
    file = folder / "transformer" / "model"
    outer = srsly.msgpack_loads(file.read_bytes())
    (shims,) = [shims for shims in outer["shims"] if shims]
    inner = srsly.msgpack_loads(shims[0])
    shims[0] = srsly.msgpack_dumps({**inner, "config": {**inner["config"], **values}})
    file.write_bytes(srsly.msgpack_dumps(outer))
    return folder


def test_eps_that_0_1_rounded_to_0_is_read_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match=r"^\[W209\].*layer_norm_eps"):
        nlp = spacy.load(edited(tmp_path / "old", layer_norm_eps=0.0))
    assert get_encoder(nlp)[0].config.layer_norm_eps == XLMRobertaConfig().layer_norm_eps > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(tmp_path, value):
    nlp = spacy.load(GOLDEN / "0.1" / "model")
    with torch.no_grad():
        get_span_module(nlp.get_pipe("maral_ner").model).hidden.bias[0] = value
    with pytest.raises(MaralError, match=r"^\[M005\]"):
        nlp("Angela Merkel")


def with_code(folder: Path, encoder: Path, trap: Path, file: str, model_type: str) -> Path:
    """An encoder that names Python code, which makes a folder when it is run."""
    shutil.copytree(encoder, folder)
    values = json.loads((folder / file).read_text(encoding="utf8"))
    names = {"AutoConfig": "code.C", "AutoModel": "code.M", "AutoTokenizer": ["code.T", "code.T"]}
    values = {**values, "auto_map": names, "model_type": model_type, "tokenizer_class": "T"}
    (folder / file).write_text(json.dumps(values), encoding="utf8")
    code = f"import os\nos.mkdir({str(trap)!r})\nfrom transformers import XLMRobertaConfig\n"
    code += "from transformers import XLMRobertaModel\n\nclass C(XLMRobertaConfig):\n    pass\n"
    code += "\nclass M(XLMRobertaModel):\n    config_class = C\n"
    (folder / "code.py").write_text(code, encoding="utf8")
    return folder


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_in_an_encoder_is_refused_without_asking(tmp_path, encoder_dir, monkeypatch, file):
    monkeypatch.setattr("builtins.input", lambda prompt="": pytest.fail("it asks"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    trap = tmp_path / "trap"
    encoder = with_code(tmp_path / "encoder", encoder_dir, trap, file, "unknown")
    refused = pytest.raises(MaralError, match=rf"^\[M230\] {encoder / file} ")
    # transformers 5 takes no notice of the class that it would need code for
    ignored = RELEASE.major >= 5 and file == "tokenizer_config.json"
    with nullcontext() if ignored else refused:
        make_pipeline(encoder)
    assert not trap.exists()


def test_code_in_a_saved_pipeline_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda prompt="": pytest.fail("it asks"))
    names = {"AutoConfig": "code.C", "AutoModel": "code.M"}
    with pytest.raises(MaralError, match=r"^\[M224\]"):
        spacy.load(edited(tmp_path / "model", auto_map=names, model_type="unknown"))
    # transformers has this architecture itself
    spacy.load(edited(tmp_path / "known", auto_map=names))


KERNEL = "someone/kernel:attend"
# older releases of transformers know no kernels
HAS_KERNELS = hasattr(modeling_utils, "is_kernels_available")
# from 5.3 on they are not taken from the file
TAKES_KERNELS = Version("5.3") > RELEASE


@pytest.fixture
def kernels(monkeypatch):
    """The names of the kernels that transformers fetches, as where the package kernels is installed."""
    fetched = []

    def get_kernel(name):
        fetched.append(name)
        return SimpleNamespace(attend=None)

    monkeypatch.setattr(modeling_utils, "is_kernels_available", lambda: True, raising=False)
    monkeypatch.setattr(modeling_utils, "get_kernel", get_kernel, raising=False)
    return fetched


def test_a_kernel_that_an_encoder_names_is_not_fetched(tmp_path, encoder_dir, kernels):
    """CVE-2026-4372"""
    key = "_attn_implementation_internal"
    shutil.copytree(encoder_dir, tmp_path / "encoder")
    file = tmp_path / "encoder" / "config.json"
    values = json.loads(file.read_text(encoding="utf8"))
    file.write_text(json.dumps({**values, key: KERNEL}), encoding="utf8")
    if not TAKES_KERNELS:
        check_encoder(str(tmp_path / "encoder"))
        assert len(make_pipeline(tmp_path / "encoder")("Angela Merkel")) == 2
        spacy.load(edited(tmp_path / "model", **{key: KERNEL}))
        assert not kernels
        return
    with pytest.raises(MaralError, match=rf"^\[M593\].*{KERNEL}"):
        make_pipeline(tmp_path / "encoder")
    with pytest.raises(MaralError, match=r"^\[M593\]"):
        check_encoder(str(tmp_path / "encoder"))
    with pytest.raises(MaralError, match=r"^\[M593\]"):
        spacy.load(edited(tmp_path / "model", **{key: KERNEL}))
    assert not kernels
    if HAS_KERNELS:
        # without the check it is fetched, and only then found not to fit
        with pytest.raises(KeyError, match="kernel"):
            AutoModel.from_pretrained(tmp_path / "encoder", trust_remote_code=False)
        assert kernels == ["someone/kernel"]


def test_code_that_the_configuration_trusts_is_run_with_a_warning(
    tmp_path, encoder_dir, monkeypatch
):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hub"))
    trap = tmp_path / "trap"
    encoder = with_code(tmp_path / "encoder", encoder_dir, trap, "config.json", "xlm-roberta")
    trust = {"trust_remote_code": True}
    with pytest.warns(UserWarning, match=r"^\[W210\]"):
        nlp = make_pipeline(encoder, transformer_config=trust, tokenizer_config={})
    assert trap.exists()
    assert len(nlp("Angela Merkel")) == 2
