from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spacy_maral.errors import MaralError
from spacy_maral.model.span_model import SpanModel, SpanOutput
from spacy_maral.model.spans import N_SHAPES, OUTSIDE, enumerate_spans

H, K, W = 7, 4, 3


@pytest.fixture
def model() -> SpanModel:
    torch.manual_seed(3)
    return SpanModel(
        H, K, max_width=W, dim=5, hidden_width=11, width_embedding=3, shape_embedding=4, dropout=0.5
    ).eval()


def make_inputs(lengths, *, seed=0, dtype=torch.float32):
    """Random word vectors and all candidate spans of documents that stand one after the other."""
    generator = torch.Generator().manual_seed(seed)
    n_words = sum(lengths)
    first, last = torch.randn(2, n_words, H, generator=generator, dtype=dtype)
    shapes = torch.randint(N_SHAPES, (n_words,), generator=generator).to(torch.int8)
    starts, ends, offsets = enumerate_spans(lengths, W)
    base = np.repeat(np.cumsum([0, *lengths[:-1]]), np.diff(offsets))
    return first, last, shapes, torch.from_numpy(starts + base), torch.from_numpy(ends + base)


def literal_forward(model: SpanModel, first, last, shapes, starts, ends) -> SpanOutput:
    """The MLP on the concatenation, one span after the other."""
    z, logits = [], []
    for j, end in zip(starts.tolist(), ends.tolist(), strict=True):
        morphology = sum(model.shapes.weight[shapes[i].item()] for i in range(j, end + 1))
        e = torch.cat([first[j], last[end], model.widths.weight[end - j], morphology])
        u = model.output(F.gelu(model.hidden(e)))
        z.append(u / u.norm())
        logits.append(model.head(u))
    return SpanOutput(torch.stack(z), torch.stack(logits))


@pytest.mark.parametrize("lengths", [[1], [2, 5], [4, 0, 1, 9]])
def test_first_layer_is_the_linear_layer_on_the_concatenation(model, lengths):
    inputs = make_inputs(lengths)
    found, expected = model(*inputs), literal_forward(model, *inputs)
    torch.testing.assert_close(found.z, expected.z, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_the_concatenation(model):
    slow = copy.deepcopy(model)
    inputs = make_inputs([3, 6])
    weights = torch.randn(len(inputs[3]), 5 + K, generator=torch.Generator().manual_seed(9))
    gradients = []
    for module, forward in ((model, model), (slow, lambda *x: literal_forward(slow, *x))):
        first, last = (x.clone().requires_grad_() for x in inputs[:2])
        out = forward(first, last, *inputs[2:])
        (torch.cat([out.z, out.logits], dim=1) * weights).sum().backward()
        named = {name: p.grad for name, p in module.named_parameters()}
        gradients.append({"first": first.grad, "last": last.grad, **named})
    fast, literal = gradients
    assert all(gradient is not None and gradient.any() for gradient in fast.values())
    for name in literal:
        torch.testing.assert_close(fast[name], literal[name], rtol=2e-4, atol=2e-5, msg=name)


def test_a_span_does_not_depend_on_the_rest_of_a_large_batch():
    torch.manual_seed(0)
    model = SpanModel(16, K, max_width=8, dim=64, hidden_width=384).eval()
    n_words, tail = 6000, 20
    first, last = torch.randn(2, n_words, 16)
    shapes = torch.randint(N_SHAPES, (n_words,))
    starts, ends, _ = (torch.from_numpy(x) for x in enumerate_spans([tail], 8))
    offset = n_words - tail
    with torch.no_grad():
        alone = model(first[offset:], last[offset:], shapes[offset:], starts, ends)
        within = model(first, last, shapes, starts + offset, ends + offset)
        rho = [model.statistics.score(out.z) for out in (alone, within)]
    torch.testing.assert_close(rho[0], rho[1], rtol=0, atol=1e-4)


def test_features_have_unit_norm(model):
    z = model(*make_inputs([4, 4])).z
    torch.testing.assert_close(z.norm(dim=1), torch.ones(len(z)))


def test_no_spans(model):
    out = model(*make_inputs([0]))
    assert out.z.shape == (0, 5)
    assert out.logits.shape == (0, K)
    assert model.class_scores(out).shape == (0, K)


def test_dropout_is_for_training_only(model):
    inputs = make_inputs([5])
    assert torch.equal(model(*inputs).z, model(*inputs).z)
    model.train()
    assert not torch.equal(model(*inputs).z, model(*inputs).z)


def test_dropout_takes_word_vectors_and_hidden_units(model):
    model.train()
    calls: list[tuple[int, ...]] = []
    model.dropout.register_forward_hook(lambda _, args, out: calls.append(tuple(out.shape)))
    inputs = make_inputs([5])
    model(*inputs)
    assert calls == [(5, H), (5, H), (len(inputs[3]), 11)]


def test_half_precision_stays_close_and_gives_float32(model):
    inputs = make_inputs([6])
    exact = model(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(inputs[0].bfloat16(), inputs[1].bfloat16(), *inputs[2:])
        scores = model.class_scores(out)
    assert out.z.dtype == out.logits.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(out.z, exact.z, rtol=0, atol=0.05)
    torch.testing.assert_close(out.z.norm(dim=1), torch.ones(len(out.z)))


# decision rules


@pytest.fixture
def trained(model):
    """A model whose classes 0, 1 and 3 were seen."""
    z = F.normalize(torch.randn(40, 5, generator=torch.Generator().manual_seed(1)), dim=1)
    classes = torch.tensor([0, 1, 3, 0, 0] * 8)
    model.statistics.update(z, classes)
    model.statistics.set_prior(torch.tensor([6.0, 2.0, 1.0, 1.0]))
    return model


@pytest.mark.parametrize("decision", ["likelihood", "posterior", "linear"])
def test_class_scores(trained, decision):
    trained.decision = decision
    out = trained(*make_inputs([4]))
    scores = trained.class_scores(out)
    rho = trained.statistics.score(out.z)
    expected = {
        "likelihood": rho,
        "posterior": rho + torch.tensor([0.6, 0.2, 0.1, 0.1]).log(),
        "linear": out.logits,
    }[decision]
    assert (scores[:, 2] == -torch.inf).all()
    torch.testing.assert_close(scores[:, [0, 1, 3]], expected[:, [0, 1, 3]])


def test_outside_can_be_predicted_before_anything_was_seen(model):
    scores = model.class_scores(model(*make_inputs([4])))
    assert scores[:, OUTSIDE].isfinite().all()
    assert (scores[:, 1:] == -torch.inf).all()


def test_scoring_leaves_the_statistics_alone(trained):
    before = {name: buffer.clone() for name, buffer in trained.named_buffers()}
    trained.class_scores(trained(*make_inputs([4])))
    for name, buffer in trained.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_the_classes_are_saved_but_not_trained(trained):
    fresh = SpanModel(
        H, K, max_width=W, dim=5, hidden_width=11, width_embedding=3, shape_embedding=4, seed=8
    ).eval()
    inputs = make_inputs([4])
    assert not torch.equal(fresh.statistics.mean, trained.statistics.mean)
    fresh.load_state_dict(trained.state_dict())
    out = fresh(*inputs)
    assert torch.equal(fresh.class_scores(out), trained.class_scores(trained(*inputs)))
    assert not any(name.startswith("statistics") for name, _ in fresh.named_parameters())


def test_the_start_means_follow_the_seed_alone():
    means = []
    for torch_seed, seed in ((0, 5), (1, 5), (0, 6)):
        torch.manual_seed(torch_seed)
        means.append(SpanModel(H, K, dim=5, seed=seed).statistics.mean)
    assert torch.equal(means[0], means[1])
    assert not torch.equal(means[0], means[2])


# settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decision", "argmax"),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", float("nan")),
        ("max_width", 0),
        ("dim", 0),
        ("hidden_width", -3),
        ("width_embedding", 0),
        ("shape_embedding", 0),
        ("temperature", 0.0),
        ("pseudo_count", -1.0),
    ],
)
def test_settings_out_of_range_are_named_with_their_value(name, value):
    with pytest.raises(MaralError, match=str(value)) as error:
        SpanModel(H, K, **{name: value})
    shown = str(error.value)
    assert shown.startswith("[M003]" if name == "decision" else f"[M004] {name} must be ")


def test_means_may_count_for_nothing_at_the_start():
    assert SpanModel(H, K, pseudo_count=0.0).statistics.count.eq(0).all()


def test_more_classes_than_fit_the_space():
    with pytest.raises(MaralError, match=r"M023.*12 class means"):
        SpanModel(H, 12, dim=4)


def test_the_head_is_a_linear_layer_before_normalisation(model):
    assert isinstance(model.head, nn.Linear)
    inputs = make_inputs([5])
    out = model(*inputs)
    # features are unit vectors, the head's input is not
    implied = out.z @ model.head.weight.T + model.head.bias
    assert not torch.allclose(implied, out.logits)
