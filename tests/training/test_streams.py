from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from toys import BOS, EOS, PAD, VOCABULARY, K, toy_corpus, toy_network, toy_settings

from spacy_maral.model.losses import CrossEntropy, MaxMargin, SupCon
from spacy_maral.model.spans import class_shares
from spacy_maral.training.masked_lm import MaskedLM
from spacy_maral.training.objective import batch_loss
from spacy_maral.training.shares import Share
from spacy_maral.training.steps import plan_epoch
from spacy_maral.training.streams import Parts, source_stream

MASK = VOCABULARY - 1


def test_shares_are_proportions_and_never_zero():
    np.testing.assert_allclose(class_shares(np.array([6, 2, 2])), [0.6, 0.2, 0.2])
    found = class_shares(np.array([99, 0, 1]))
    assert found.sum() == pytest.approx(1)
    assert 0 < found[1] < found[2]
    assert np.isfinite(np.log(class_shares(np.zeros(3)))).all()


def test_the_source_stream_has_gold_classes_and_their_shares():
    corpus = toy_corpus(12)
    stream = source_stream(Share.of(corpus), K, 0.5)
    assert stream.targets.dtype == stream.classes.dtype == np.int64
    assert (stream.targets == corpus.classes).all() and (stream.classes == corpus.classes).all()
    np.testing.assert_allclose(stream.prior, [np.mean(corpus.classes == c) for c in range(K)])
    assert (stream.prior_scale, stream.weight, stream.weights) == (0.5, 1.0, None)


def step_of(stream, *, docs=5, extra=None, kind=MaxMargin, outside_weight=1.0):
    """The step's loss, the network's scores for the batch's spans, and their numbers."""
    network = toy_network(dropout=0.0)
    network.span_model.statistics.update(
        nn.functional.normalize(
            torch.randn(90, 8, generator=torch.Generator().manual_seed(1)), dim=1
        ),
        torch.arange(90) % K,
    )
    batch = network.batch(stream.corpus, np.arange(docs))
    output = network(batch)
    rho = network.span_model.statistics.score(output.z).detach().double()
    loss = batch_loss(
        network, output, stream, batch, kind(), outside_weight=outside_weight, extra=extra
    )
    return loss, rho, output.logits.detach().double(), batch.span_ids, network


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("kind", [MaxMargin, CrossEntropy])
@pytest.mark.parametrize("outside_weight", [1.0, 0.2, 0.0])
def test_the_loss_is_that_of_the_settings(soft, kind, outside_weight):
    corpus = toy_corpus(8)
    rng = np.random.default_rng(2)
    stream = source_stream(Share.of(corpus), K, 0.7)
    stream.weights = (rng.random(corpus.n_spans) < 0.6).astype(np.float32)
    if soft:
        stream.targets = rng.dirichlet(np.ones(K), corpus.n_spans).astype(np.float32)
    loss, rho, logits, ids, _ = step_of(stream, kind=kind, outside_weight=outside_weight)
    scores = logits
    if kind is MaxMargin:
        scores = rho + 0.7 * torch.from_numpy(stream.prior).log()
    total, weight = 0.0, 0.0
    for row, i in zip(scores.log_softmax(1), ids, strict=True):
        target = np.eye(K)[stream.targets[i]] if not soft else stream.targets[i]
        used = stream.weights[i] * (outside_weight if target.argmax() == 0 else 1)
        total += used * -float(np.dot(target, row.numpy()))
        weight += used
    assert loss.total.item() == pytest.approx(total / weight, rel=1e-4)
    assert loss.parts == {"source": pytest.approx(total / weight, rel=1e-4)}


@pytest.mark.parametrize("outside_weight", [1.0, 0.2])
def test_contrastive_loss_leaves_unreliable_spans_out(outside_weight):
    corpus = toy_corpus(8)
    stream = source_stream(Share.of(corpus), K, 1.0)
    keep = np.random.default_rng(0).random(corpus.n_spans) < 0.5
    stream.weights = keep.astype(np.float32)
    loss, _, _, ids, network = step_of(stream, kind=SupCon, outside_weight=outside_weight)
    z = (
        network(network.batch(corpus, np.arange(5)))
        .z.detach()
        .double()[torch.from_numpy(keep[ids])]
    )
    classes = torch.from_numpy(stream.classes[ids][keep[ids]])
    losses, weights = [], []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        log_sum = torch.stack([z[i] @ z[j] / 0.07 for j in others]).logsumexp(0)
        same = [log_sum - z[i] @ z[j] / 0.07 for j in others if classes[j] == classes[i]]
        if same:
            losses.append(float(torch.stack(same).mean()))
            weights.append(outside_weight if classes[i] == 0 else 1.0)
    assert loss.total.item() == pytest.approx(np.average(losses, weights=weights), rel=1e-4)


def test_a_stream_without_reliable_spans_still_has_a_graph():
    stream = source_stream(Share.of(toy_corpus(8)), K, 1.0)
    stream.weights = np.zeros(stream.corpus.n_spans, dtype=np.float32)
    for kind in (MaxMargin, CrossEntropy, SupCon):
        loss, *_ = step_of(stream, kind=kind)
        assert loss.total.item() == 0
        loss.total.backward()


def test_the_weight_of_a_stream_is_not_in_its_report():
    stream = source_stream(Share.of(toy_corpus(8)), K, 1.0)
    whole, *_ = step_of(stream)
    stream.weight = 0.25
    quarter, *_ = step_of(stream)
    assert quarter.parts == whole.parts
    assert quarter.total.item() == pytest.approx(0.25 * whole.total.item())


def test_class_statistics_take_the_spans_of_the_step():
    corpus = toy_corpus(8)
    stream = source_stream(Share.of(corpus), K, 1.0)
    stream.classes = np.where(np.arange(corpus.n_spans) % 2, corpus.classes, -1)
    network = toy_network(dropout=0.0)
    statistics = network.span_model.statistics
    before = statistics.mean.clone()
    batch = network.batch(corpus, np.arange(4))
    loss = batch_loss(network, network(batch), stream, batch, MaxMargin())
    statistics.update(loss.z, loss.classes)
    counted = stream.classes[batch.span_ids]
    z = loss.z.double()
    for c in range(K):
        rows = z[torch.from_numpy(counted == c)]
        mean = (100 * before[c].double() + rows.sum(0)) / (100 + len(rows))
        torch.testing.assert_close(statistics.mean[c].double(), mean, rtol=1e-5, atol=1e-6)
        assert statistics.seen[c] == len(rows)
    loss.total.backward()  # the new means have not touched the graph


def test_a_pass_has_every_document_once():
    shares = [Share.of(toy_corpus(20))]
    settings = toy_settings(batch_docs=3, batch_tokens=1000)
    plans = [[docs for (docs,) in plan_epoch(shares, settings, s, 0)] for s in (0, 0, 1)]
    for plan in plans:
        assert sorted(np.concatenate(plan).tolist()) == list(range(20))
        assert max(map(len, plan)) == 3
    first, again, other = (np.concatenate(plan).tolist() for plan in plans)
    assert first == again != other


# masked language modelling


class Seen(nn.Linear):
    """A head that remembers what it was given."""

    def forward(self, states):
        self.states = states
        return super().forward(states)


def masked_lm(rate=0.4, dropout=0.0):
    network = toy_network(dropout=dropout)
    fed = []
    network.encoder.register_forward_pre_hook(
        lambda m, args, kwargs: fed.append(kwargs["input_ids"].clone()), with_kwargs=True
    )
    head = Seen(16, VOCABULARY)
    return network, head, fed, MaskedLM(head, 1.0, MASK, [BOS, PAD, EOS, MASK], rate)


def test_a_process_without_a_document_takes_its_shortest_that_has_words(monkeypatch):
    corpus = toy_corpus(3, n_words=(4, 9))
    share = Share.of(corpus)._replace(ranks=SimpleNamespace(size=2, rank=0))
    stream = source_stream(Share.of(corpus), K, 0.0)
    stream.share = share
    monkeypatch.setattr(type(corpus), "doc_lengths", lambda _: np.array([0, 9, 6]))
    batch, counts = stream.batch(np.array([1, 3]), PAD)
    assert batch.docs.tolist() == [2] and not counts
    batch, counts = stream.batch(np.array([2, 3]), PAD)
    assert batch.docs.tolist() == [1] and counts


def test_masked_pieces_are_predicted():
    network, head, fed, loss = masked_lm()
    corpus = toy_corpus(9)
    batch = network.batch(corpus, np.arange(9))
    total, n = loss(network, batch)
    ids = torch.from_numpy(batch.input_ids)
    chosen = fed[0] == MASK
    assert torch.equal(fed[0][~chosen], ids[~chosen])
    assert not torch.isin(ids[chosen], torch.tensor([BOS, PAD, EOS])).any()
    states = network.encode(fed[0], network.tensor(batch.attention_mask))
    torch.testing.assert_close(head.states, states[chosen])
    log_p = (states[chosen] @ head.weight.T + head.bias).double().log_softmax(1)
    expected = -log_p[torch.arange(len(log_p)), ids[chosen]].sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5) and n == len(log_p)
    total.backward()
    assert head.weight.grad.any()
    assert network.encoder.encoder.layer[0].output.dense.weight.grad.any()


def test_the_share_of_masked_pieces():
    network, _, fed, loss = masked_lm(rate=0.25)
    corpus = toy_corpus(300)
    loss(network, network.batch(corpus, np.arange(300)))
    assert (fed[0] == MASK).sum().item() / corpus.n_words == pytest.approx(0.25, abs=0.04)


def test_masks_differ_by_step_and_repeat_by_seed():
    network, _, fed, loss = masked_lm()
    batch = network.batch(toy_corpus(9), np.arange(9))
    for seed in (0, None, 0):
        if seed is not None:
            torch.manual_seed(seed)
        loss(network, batch)
    assert torch.equal(fed[0], fed[2]) and not torch.equal(fed[0], fed[1])


def test_nothing_masked_is_no_loss():
    network, _, _, loss = masked_lm(rate=1e-9)
    value, n = loss(network, network.batch(toy_corpus(2), np.arange(2)))
    assert value.item() == 0 and n == 0
    value.backward()


def test_an_extra_loss_is_added_with_its_weight():
    corpus = toy_corpus(8)
    stream = source_stream(Share.of(corpus), K, 1.0)

    class Extra:
        stream, weight, head = "source", 0.5, nn.Identity()

        def __call__(self, network, batch):
            return network.span_model.head.weight.sum() * 0 + 6.0, 2

    class Other(Extra):
        stream = "target"

    plain, *_ = step_of(stream)
    assert step_of(stream, extra=Other())[0].parts == plain.parts
    loss, *_ = step_of(stream, extra=Extra())
    assert loss.parts == {**plain.parts, "source_mlm": 3.0}
    assert loss.total.item() == pytest.approx(plain.total.item() + 1.5)


# several files


def test_each_part_has_its_own_prior():
    corpus = toy_corpus(9)
    parts = Parts(("de", "fr", "hi"), (2, 3, 4))
    stream = source_stream(Share.of(corpus), K, 0.7, parts)
    rows = parts.spans(Share.of(corpus))
    assert [row.start for row in rows] == [corpus.doc_spans[i] for i in (0, 2, 5)]
    assert rows[-1].stop == corpus.n_spans
    assert parts.of(np.array([8, 0, 1, 2, 4, 5])).tolist() == [2, 0, 0, 1, 1, 2]
    for prior, row in zip(stream.part_priors, rows, strict=True):
        np.testing.assert_allclose(
            prior, class_shares(np.bincount(corpus.classes[row], minlength=K))
        )
    whole = source_stream(Share.of(corpus), K, 0.7)
    np.testing.assert_allclose(stream.prior, whole.prior)


def test_the_loss_takes_the_prior_of_each_spans_part():
    corpus = toy_corpus(9)
    stream = source_stream(Share.of(corpus), K, 0.7, Parts(("de", "fr"), (2, 7)))
    stream.part_priors = np.array([[0.8, 0.1, 0.1], [0.2, 0.3, 0.5]])
    loss, rho, _, ids, _ = step_of(stream)
    part = (ids >= corpus.doc_spans[2]).astype(int)
    assert set(part) == {0, 1}
    scores = rho + 0.7 * torch.from_numpy(stream.part_priors[part]).log()
    expected = -scores.log_softmax(1)[torch.arange(len(ids)), corpus.classes[ids].astype(int)]
    assert loss.total.item() == pytest.approx(expected.mean().item(), rel=1e-4)


def test_parts_with_equal_priors_are_like_one_file():
    corpus = toy_corpus(9)
    stream = source_stream(Share.of(corpus), K, 0.7, Parts(("de", "fr"), (2, 7)))
    stream.part_priors = np.stack([stream.prior, stream.prior])
    parts, *_ = step_of(stream)
    whole, *_ = step_of(source_stream(Share.of(corpus), K, 0.7))
    assert parts.total.item() == whole.total.item()
