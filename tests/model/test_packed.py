from __future__ import annotations

import copy
import pickle

import pytest
import torch
from test_encoder_files import pipeline
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from spacy_maral.model.architectures import get_encoder
from spacy_maral.model.encoder.packed import pack
from spacy_maral.model.encoder.weights import has_bfloat16

SIZES = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 40, "pad_token_id": 1,
}  # fmt: skip
FAMILIES = [
    (BertModel, BertConfig), (RobertaModel, RobertaConfig), (XLMRobertaModel, XLMRobertaConfig)
]  # fmt: skip
# sums in another order, of numbers of a size of about 1
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 0.1}


def make(model, config, **settings):
    torch.manual_seed(0)
    encoder = model(config(**SIZES, **settings)).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(0.1, 0.3)
    return encoder


def batch(padded=True):
    ids = torch.randint(2, 50, (3, 11), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    if padded:
        mask[0, 7:] = mask[2, 2:] = 0
        ids[mask == 0] = 1
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(params=FAMILIES, ids=lambda pair: pair[0].__name__)
def encoder(request):
    return make(*request.param)


# 11 pieces of one row, and 33 of three: neither is a number that is multiplied
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dtype", list(CLOSE))
def test_gives_what_the_encoder_gives(encoder, padded, dtype, rows):
    given = {name: tensor[:rows] for name, tensor in batch(padded).items()}
    encoder.to(dtype)
    packed = pack(encoder)
    if dtype == torch.bfloat16 and not has_bfloat16():
        assert packed is None
        return
    with torch.no_grad():
        wanted, found = encoder(**given), packed(**given)
    visible = given["attention_mask"].bool()
    assert found.keys() == wanted.keys()
    assert found.last_hidden_state.dtype == found.pooler_output.dtype == torch.float32
    for one, other in (
        (wanted.last_hidden_state[visible], found.last_hidden_state[visible]),
        (wanted.pooler_output, found.pooler_output),
    ):
        torch.testing.assert_close(one.float(), other, atol=CLOSE[dtype], rtol=CLOSE[dtype])


def test_token_types_are_read(encoder):
    types = torch.zeros((3, 11), dtype=torch.int64)
    with torch.no_grad():
        if encoder.config.type_vocab_size > 1:
            types[:, 5:] = 1
        wanted, found = (
            encoder(**batch(), token_type_ids=types),
            pack(encoder)(**batch(), token_type_ids=types),
        )
    visible = batch()["attention_mask"].bool()
    torch.testing.assert_close(
        wanted.last_hidden_state[visible], found.last_hidden_state[visible], atol=1e-5, rtol=1e-5
    )


def test_without_a_pooler():
    encoder = make(BertModel, BertConfig)
    encoder.pooler = None
    with torch.no_grad():
        assert pack(encoder)(**batch()).pooler_output is None


def test_notices_new_weights(encoder):
    packed = pack(encoder)
    assert packed.is_current(encoder)
    assert not packed.is_current(copy.deepcopy(encoder))
    sgd = torch.optim.AdamW(encoder.parameters(), fused=True)
    encoder(**batch()).last_hidden_state.sum().backward()
    sgd.step()
    assert not packed.is_current(encoder)
    packed = pack(encoder)
    encoder.encoder.layer[2].output.dense.bias.data = torch.zeros(32)
    assert not packed.is_current(encoder)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_act": "relu"}, {"is_decoder": True}, {"output_hidden_states": True},
        {"output_attentions": True}, {"position_embedding_type": "relative_key"},
        {"return_dict": False},
    ],
)  # fmt: skip
def test_other_settings_are_left_to_the_encoder(settings):
    assert pack(make(BertModel, BertConfig, **settings)) is None


def test_other_encoders_are_left_to_themselves():
    config = DistilBertConfig(vocab_size=50, dim=32, n_layers=1, n_heads=2, hidden_dim=48)
    assert pack(DistilBertModel(config)) is None
    encoder = make(BertModel, BertConfig)
    packed = pack(encoder)
    handle = encoder.register_forward_pre_hook(lambda *args: None)
    assert pack(encoder) is None and not packed.is_current(encoder)
    handle.remove()
    assert packed.is_current(encoder)
    encoder.encoder.layer[0].output.register_forward_hook(lambda *args: None)
    assert pack(encoder) is None
    assert pack(make(BertModel, BertConfig).double()) is None


def test_copies_pack_their_own(encoder):
    packed = pack(encoder)
    assert copy.deepcopy(packed) is None and pickle.loads(pickle.dumps(packed)) is None


def test_a_pipeline_predicts_with_its_present_weights(encoder_dir):
    nlp = pipeline(encoder_dir)
    encoder, _, _ = get_encoder(nlp)
    doc = nlp("Anna visits Berlin")
    before = doc._.trf_data.model_output.last_hidden_state.copy()
    with torch.no_grad():
        encoder.encoder.layer[1].output.dense.bias[0] += 5
    after = nlp("Anna visits Berlin")._.trf_data.model_output.last_hidden_state
    ids = torch.from_numpy(doc._.trf_data.wordpieces.input_ids)
    with torch.no_grad():
        wanted = encoder.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert abs(after - before).max() > 0.1
    assert abs(after - wanted.last_hidden_state.numpy()).max() < 1e-5


def test_processors_that_nobody_tried_are_left_to_torch(encoder, monkeypatch):
    assert pack(encoder) is not None
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert pack(encoder) is None


def test_bfloat16_is_packed_only_where_the_processor_has_it(monkeypatch):
    """oneDNN raises an error elsewhere."""
    encoder = make(*FAMILIES[0]).to(torch.bfloat16)
    monkeypatch.setattr("spacy_maral.model.encoder.packed.has_bfloat16", lambda: False)
    assert pack(encoder) is None
    assert pack(encoder.float()) is not None
