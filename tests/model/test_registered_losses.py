"""The losses of the registry: what each is, a loss of one's own, and the names of release 0.1."""

from __future__ import annotations

import logging

import catalogue
import pytest
import spacy
import torch
from spacy.util import registry
from thinc.api import Config
from torch.nn.functional import one_hot

from spacy_maral.data.config import read_config
from spacy_maral.errors import MaralError
from spacy_maral.model.checks import LOSSES_OF_0_1, make_loss, translate_loss
from spacy_maral.model.losses import LabelledSpans, MaxMargin, label_spans, trains_head
from spacy_maral.model.span_model import SpanModel, SpanOutput
from spacy_maral.training.settings import StudentSettings, TeacherSettings

K, N, DIM = 4, 30, 6


@pytest.fixture(scope="module")
def spans() -> LabelledSpans:
    """Spans of a span model whose classes have seen some; the last three take no part."""
    rng = torch.Generator().manual_seed(0)
    model = SpanModel(5, K, max_width=2, dim=DIM, hidden_width=8, pseudo_count=3.0)
    z = torch.nn.functional.normalize(torch.randn(N, DIM, generator=rng), dim=1)
    targets = torch.randint(0, K, (N,), generator=rng)
    model.statistics.update(z, targets)
    targets[-3:] = -1
    logits = torch.randn(N, K, generator=rng)
    log_prior = torch.tensor([0.7, 0.1, 0.1, 0.1]).log()
    output = SpanOutput(z.requires_grad_(), logits.requires_grad_())
    return label_spans(model, output, targets, log_prior=log_prior, outside_weight=0.3)


def test_soft_labels_count_as_their_most_probable_class(spans):
    """In the weights and for losses of classes; the loss of a distribution keeps all of it."""
    model = SpanModel(5, K, max_width=2, dim=DIM, hidden_width=8)
    output, soft = SpanOutput(spans.z, spans.logits), torch.full((N, K), 0.1)
    soft[range(N), spans.targets] = 0.7
    given = torch.linspace(0, 1, N)
    found = label_spans(model, output, soft, weights=given, outside_weight=0.3)
    assert found.targets is soft and torch.equal(found.classes, spans.targets)
    assert found.known.tolist() == [False] + [True] * (N - 1)
    factors = [0.3 if target == 0 else 1.0 for target in spans.targets.tolist()]
    assert found.weights.tolist() == pytest.approx(
        [f * g for f, g in zip(factors, given.tolist(), strict=True)]
    )


def mean_of(losses: torch.Tensor, spans: LabelledSpans) -> torch.Tensor:
    """Mean by weight, span by span."""
    total, weight, losses = 0.0, 0.0, losses.detach()
    for i in range(len(losses)):
        factor = 0.3 if int(spans.targets[i]) == 0 else 1.0
        factor *= i < N - 3
        total, weight = total + factor * float(losses[i]), weight + factor
    return torch.tensor(total / weight)


def test_max_margin_is_the_softmax_of_rho_with_prior(spans):
    scores = spans.statistics.score(spans.z) + spans.log_prior
    losses = torch.logsumexp(scores, 1) - scores[range(N), spans.targets]
    torch.testing.assert_close(make_loss(MAX)(spans), mean_of(losses, spans))


def test_cross_entropy_is_of_the_head(spans):
    losses = torch.logsumexp(spans.logits, 1) - spans.logits[range(N), spans.targets]
    torch.testing.assert_close(make_loss(CE)(spans), mean_of(losses, spans))


def test_supcon_is_of_the_features(spans):
    z, tau = spans.z.detach().double(), spans.statistics.temperature
    known = range(N - 3)
    total = weight = 0.0
    for i in known:
        same = [j for j in known if j != i and spans.targets[i] == spans.targets[j]]
        if not same:
            continue
        rest = torch.stack([z[i] @ z[j] / tau for j in known if j != i]).logsumexp(0)
        loss = sum(float(rest - z[i] @ z[j] / tau) for j in same) / len(same)
        factor = 0.3 if int(spans.targets[i]) == 0 else 1.0
        total, weight = total + factor * loss, weight + factor
    assert make_loss(SUPCON)(spans).item() == pytest.approx(total / weight, rel=1e-5)


MAX, CE, SUPCON = ({"@losses": name} for name in LOSSES_OF_0_1.values())


@pytest.mark.parametrize("block", [MAX, CE, SUPCON], ids=lambda block: block["@losses"])
def test_a_loss_says_whether_it_trains_the_head(spans, block):
    loss = make_loss(block)
    (gradient,) = torch.autograd.grad(loss(spans), spans.logits, allow_unused=True)
    assert trains_head(loss) == (gradient is not None and bool(gradient.any()))


@pytest.mark.parametrize("block", [MAX, CE, SUPCON], ids=lambda block: block["@losses"])
def test_spans_without_a_class_take_no_part(spans, block):
    loss = make_loss(block)
    fewer = spans._replace(
        z=spans.z[:-3], logits=spans.logits[:-3], targets=spans.targets[:-3],
        weights=spans.weights[:-3], known=spans.known[:-3],
    )  # fmt: skip
    torch.testing.assert_close(loss(spans), loss(fewer))


def test_soft_labels_count_as_a_distribution(spans):
    hard = one_hot(spans.targets, K).float()
    soft = spans._replace(targets=hard)
    assert torch.equal(soft.classes, spans.classes)
    for block in (MAX, CE, SUPCON):
        torch.testing.assert_close(make_loss(block)(soft), make_loss(block)(spans))


@pytest.fixture
def squared_error():
    """A loss that a user registers, with a setting of its own."""

    @registry.losses("squared_error.v1")
    def make_squared_error(factor: float = 1.0):
        def squared_error(spans: LabelledSpans) -> torch.Tensor:
            errors = (spans.rho().softmax(1) - one_hot(spans.classes, K)).square().sum(1)
            return factor * (spans.weights * errors).sum() / spans.weights.sum()

        return squared_error

    yield {"@losses": "squared_error.v1", "factor": 2.0}
    # there is no public way to take a function out of a registry
    catalogue._remove((*registry.losses.namespace, "squared_error.v1"))


def test_a_loss_of_ones_own(spans, squared_error):
    settings = StudentSettings(loss=squared_error)
    once = StudentSettings(loss={"@losses": "squared_error.v1"})
    found = [make_loss(s.loss)(spans).item() for s in (settings, once)]
    assert found[0] == 2 * found[1] > 0 and settings == StudentSettings(loss=squared_error)
    assert settings.model_dump()["loss"] == squared_error
    config = {"loss": {"@losses": "squared_error.v1"}}
    pipe = spacy.blank("xx").add_pipe("maral_ner", config=config)
    assert pipe.loss.__name__ == "squared_error"


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"@losses": "hinge.v1"}, "hinge.v1"),
        ({"@losses": "L2Distance.v1"}, "L2Distance is no loss of labelled spans"),
        ({"@losses": "spacy-maral.MaxMargin.v1", "margin": 1}, "margin"),
        ("hinge", "no loss of labelled spans"),
        (None, "no loss of labelled spans"),
    ],
)
def test_what_is_no_loss_is_refused_with_those_there_are(block, problem):
    with pytest.raises(MaralError, match="M227") as error:
        make_loss(block)
    assert problem in str(error.value) and "spacy-maral.CrossEntropy.v1" in str(error.value)


@pytest.mark.parametrize("old", LOSSES_OF_0_1)
def test_the_names_of_0_1_are_translated_with_a_warning(caplog, monkeypatch, old):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    assert translate_loss(old) == {"@losses": LOSSES_OF_0_1[old]}
    assert caplog.text.count("W207") == 1
    settings = TeacherSettings(loss=old, decision="likelihood")
    assert settings.loss == {"@losses": LOSSES_OF_0_1[old]}
    pipe = spacy.blank("xx").add_pipe("maral_ner", config={"loss": old})
    assert type(pipe.loss) is type(make_loss(settings.loss))
    assert caplog.text.count("W207") == 3


@pytest.mark.parametrize("text", ['loss = "max_margin"', '\n[student.loss]\n@losses = "mine.v1"'])
def test_an_override_of_0_1_replaces_either_form(tmp_path, text):
    path = tmp_path / "old.cfg"
    path.write_text(f"[student]\nepochs = 2\n{text}\n", encoding="utf8")
    found = read_config(path, {"student.loss": "supcon"})
    assert StudentSettings(**found["student"]).loss == SUPCON


def test_a_decision_by_the_head_needs_a_loss_that_trains_it():
    with pytest.raises(MaralError, match=r"M208.*MaxMargin"):
        spacy.blank("xx").add_pipe("maral_ner", config={"decision": "linear"})
    config = {"decision": "linear", "loss": CE}
    assert spacy.blank("xx").add_pipe("maral_ner", config=config).cfg["decision"] == "linear"


def test_the_default_of_the_component_is_max_margin():
    assert isinstance(spacy.blank("xx").add_pipe("maral_ner").loss, MaxMargin)
    config = Config().from_str('[loss]\n@losses = "spacy-maral.MaxMargin.v1"')
    assert isinstance(registry.resolve(config)["loss"], MaxMargin)
