"""Missing annotation is not outside: in the loop, the component, scores, counts and inputs."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example, biluo_tags_to_spans
from spacy.vocab import Vocab
from toys import LABELS as TOY_LABELS
from toys import K, toy_corpus, toy_network
from worlds import NAMES, adapt_in, make_docs, rows_of, tensors_of, write

from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.adaptation.refinery import sample_bank
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.evaluate import evaluate_pipeline
from spacy_maral.evaluation.metrics import noise_ratio
from spacy_maral.evaluation.mistakes import judge
from spacy_maral.evaluation.tables import classes_without_labels
from spacy_maral.experiments.tables import missing_labels
from spacy_maral.model.architectures import get_encoder, get_span_module
from spacy_maral.model.gold import annotated_runs
from spacy_maral.model.losses import CrossEntropy, MaxMargin, SupCon, label_spans
from spacy_maral.model.spans import UNKNOWN, class_shares
from spacy_maral.training.corpus import digest_docs, encode
from spacy_maral.training.logging import describe_row
from spacy_maral.training.network import predict_entities
from spacy_maral.training.objective import batch_loss
from spacy_maral.training.processes import ALONE
from spacy_maral.training.shares import Share
from spacy_maral.training.streams import source_stream
from spacy_maral.training.teacher import train_teacher

LABELS = ["LOC", "PER"]
TAGS = [
    ["B-PER", "L-PER", "-", "-", "U-LOC", "O"],
    ["-", "-", "-"],
    ["O", "U-PER", "O", "O"],
    ["-", "U-LOC", "-", "O", "O"],
]


def tagged(tags: list[str], vocab: Vocab, words: list[str] | None = None) -> Doc:
    """A document with tags; - is missing annotation, as in spaCy."""
    doc = Doc(vocab, words=words or [f"w{i}" for i in range(len(tags))])
    ents = [span for span in biluo_tags_to_spans(doc, tags) if span.label_]
    missing = [doc[i : i + 1] for i, tag in enumerate(tags) if tag == "-"]
    doc.set_ents(ents, missing=missing, default="outside")
    return doc


def wanted_classes(docs: list[Doc], width: int) -> list[int]:
    """Class of each candidate, by a loop."""
    found = []
    for doc in docs:
        gold = {(e.start, e.end - 1): LABELS.index(e.label_) + 1 for e in doc.ents}
        for i in range(len(doc)):
            for j in range(i, min(i + width, len(doc))):
                known = all(token.ent_iob != 0 for token in doc[i : j + 1])
                found.append(gold.get((i, j), 0) if known else UNKNOWN)
    return found


@pytest.fixture
def encoded(make_nlp):
    nlp = make_nlp(LABELS, model={"max_width": 3})
    docs = [tagged(tags, nlp.vocab) for tags in TAGS]
    _, tokenizer, get_spans = get_encoder(nlp)
    corpus = encode(docs, tokenizer, get_spans, LABELS, 3, labelled=True, name="source")
    return nlp, docs, corpus


def test_candidates_that_touch_missing_annotation_are_unknown(encoded):
    _, docs, corpus = encoded
    assert corpus.classes.tolist() == wanted_classes(docs, 3)
    for doc, tags in zip(docs, TAGS, strict=True):
        runs = "".join("x" if tag != "-" else " " for tag in tags).split()
        assert annotated_runs(doc) == [len(run) for run in runs]
    whole = tagged(["O"] * 3, docs[0].vocab)
    assert digest_docs([whole], labelled=True) != digest_docs([docs[1]], labelled=True)
    assert digest_docs([whole]) == digest_docs([docs[1]])


def test_class_counts_and_priors_are_those_of_the_known_spans(encoded):
    nlp, docs, corpus = encoded
    known = corpus.classes[corpus.classes != UNKNOWN]
    counts = np.bincount(known, minlength=3)
    stream = source_stream(Share.of(corpus, ALONE), 3, 1.0)
    assert stream.prior.tolist() == class_shares(counts).tolist()
    examples = [Example(Doc(nlp.vocab, words=[t.text for t in doc]), doc) for doc in docs]
    module = nlp.get_pipe("maral_ner")
    module.initialize(lambda: examples, nlp=nlp, labels=LABELS)
    prior = get_span_module(module.model).statistics.prior.numpy()
    np.testing.assert_allclose(prior, counts / counts.sum(), rtol=1e-6)


@pytest.mark.parametrize("loss", [MaxMargin, CrossEntropy, SupCon])
def test_the_loss_of_a_batch_is_that_of_its_known_spans(loss):
    corpus, network = toy_corpus(8), toy_network(dropout=0.0)
    rng = np.random.default_rng(0)
    known = rng.random(corpus.n_spans) < 0.6
    whole = corpus.classes.copy()
    corpus.classes = np.where(known, whole, UNKNOWN).astype(np.int16)
    stream = source_stream(Share.of(corpus, ALONE), K, 1.0)
    batch = network.batch(corpus, np.arange(8))
    found = batch_loss(network, network(batch), stream, batch, loss())
    output = network(batch)
    some = torch.from_numpy(known[batch.span_ids])
    part = type(output)(output.z[some], output.logits[some])
    spans = label_spans(
        network.span_model, part, torch.from_numpy(whole[batch.span_ids].astype(np.int64))[some],
        log_prior=torch.from_numpy(np.log(stream.prior).astype(np.float32)),
    )  # fmt: skip
    wanted = loss()(spans)
    assert found.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert (found.classes.numpy()[~some.numpy()] == UNKNOWN).all()
    found.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_dev_scores_leave_out_predictions_on_missing_annotation():
    corpus, network = toy_corpus(6), toy_network(dropout=0.0)
    network.span_model.statistics.seen += 1
    with torch.no_grad():
        network.span_model.head.bias += torch.tensor([0.0, 5.0, 0.0])
    network.span_model.decision = "linear"
    every = predict_entities(network, corpus, batch_tokens=200)
    assert len(every.docs) > 10
    hidden = every.docs < 3
    owner = np.repeat(np.arange(6), np.diff(corpus.doc_spans))
    corpus.classes = np.where(owner < 3, UNKNOWN, corpus.classes).astype(np.int16)
    kept = predict_entities(network, corpus, batch_tokens=200)
    for column, wanted in zip(kept, every, strict=True):
        assert column.tolist() == wanted[~hidden].tolist()


def test_unknown_spans_are_in_no_bank_and_no_noise():
    classes = np.array([0, 1, UNKNOWN, UNKNOWN, 2, 0])
    assert sample_bank(classes, 1.0, np.zeros(6)).tolist() == [0, 1, 4, 5]
    pseudo = np.array([0, 1, 1, 0, 1, 1])
    assert noise_ratio(pseudo, classes) == pytest.approx(2 / 3)


def test_evaluation_is_that_of_spacy(world):
    """Predicted entities that touch missing annotation count neither as right nor as wrong."""
    import spacy

    nlp, rng = spacy.load(world["teacher"]), np.random.default_rng(1)
    docs = []
    for doc in make_docs("source", 40, 7):
        hidden = [doc[i : i + 1] for i in range(len(doc)) if rng.random() < 0.3]
        ents = [e for e in doc.ents if not any(h.start == e.start for h in hidden)]
        copy = Doc(doc.vocab, words=[t.text for t in doc])
        copy.set_ents([Span(copy, e.start, e.end, label=e.label_) for e in ents],
                      missing=[copy[h.start : h.end] for h in hidden], default="outside")  # fmt: skip
        docs.append(copy)
    docs += make_docs("source", 5, 8, labelled=False)
    found = evaluate_pipeline(nlp, docs)
    examples = [Example(nlp(Doc(nlp.vocab, words=[t.text for t in d])), d) for d in docs]
    wanted = get_ner_prf(examples)
    scores = (found.report.precision, found.report.recall, found.report.f1)
    assert scores == pytest.approx([wanted["ents_p"], wanted["ents_r"], wanted["ents_f"]])
    assert 0 < found.report.micro.support < sum(len(d.ents) for d in make_docs("source", 40, 7))
    judged = judge(nlp, docs, n_mistakes=50)
    assert judged.report.micro == found.report.micro
    for mistake in judged.mistakes:
        start, end = mistake.entity.start, mistake.entity.end
        assert start <= end and docs[mistake.doc].has_annotation("ENT_IOB")
    with pytest.raises(MaralError, match="M402"):
        evaluate_pipeline(nlp, make_docs("source", 3, 8, labelled=False))


# inputs of a run


def test_unannotated_documents_change_nothing(world, tmp_path, caplog):
    docs = make_docs("source", 20, 0)
    raw = make_docs("source", 60, 5, labelled=False)
    mixed = [doc for i, one in enumerate(docs) for doc in (one, *raw[3 * i : 3 * i + 3])]
    few = {"dev": world["dev"], "overrides": {"teacher.epochs": 1}}
    teachers = []
    with caplog.at_level(logging.WARNING, "spacy"):
        for name, given in (("alone", docs), ("mixed", mixed)):
            source = write(tmp_path / f"{name}.spacy", given)
            teachers.append(
                train_teacher(world["config"], source=source, output=tmp_path / name, **few)
            )
    alone, together = map(tensors_of, teachers)
    assert all(torch.equal(alone[name], together[name]) for name in alone)
    assert [r.getMessage() for r in caplog.records if "W332" in r.getMessage()] == [
        f"[W332] 60 of 80 documents of {tmp_path / 'mixed.spacy'} have no entity annotation. They "
        "are left out: missing annotation does not say that there are no entities."
    ]


def test_dev_data_that_measure_nothing_are_refused_before_training(world, tmp_path):
    renamed = make_docs("source", 5, 1)
    for doc in renamed:
        doc.set_ents([Span(doc, e.start, e.end, label="GPE") for e in doc.ents])
    bare = make_docs("source", 5, 1)
    for doc in bare:
        doc.set_ents([], default="outside")
    cases = {
        "M332": make_docs("source", 5, 1, labelled=False), "M333.*GPE": renamed, "M333.*none": bare,
    }  # fmt: skip
    for code, docs in cases.items():
        dev = write(tmp_path / "dev.spacy", docs)
        with pytest.raises(MaralError, match=code):
            train_teacher(
                world["config"], source=world["source"], dev=dev, output=tmp_path / "teacher"
            )
        with pytest.raises(MaralError, match=code):
            adapt_in(world, tmp_path / "student", dev=dev)
    assert not (tmp_path / "teacher" / "meta.json").exists()


# what a teacher does not find is said


def test_labels_that_the_target_lacks_are_said(caplog):
    table = np.zeros((4, K))
    table[:, 0] = 1
    labels = PseudoLabels(table, TOY_LABELS, 2, "x")
    labels.warn("silver.jsonl")
    assert "W333" in caplog.text and "silver.jsonl found nothing" in caplog.text
    caplog.clear()
    table[0] = [0.1, 0.9, 0.0]
    labels.warn("silver.jsonl")
    assert "W334" in caplog.text and caplog.text.count("PER") == 1 and "LOC" not in caplog.text
    caplog.clear()
    table[1] = [0.1, 0.0, 0.9]
    labels.warn("silver.jsonl")
    assert not caplog.text


def test_a_class_without_pseudo_labels_is_in_line_report_and_table(
    world, tmp_path, caplog, quick_map
):
    from spacy_maral.evaluation.report.page import write_report

    saved = PseudoLabels.load(
        world["labels"], digest=digest_docs(make_docs("target", 60, 2, labelled=False))
    )
    saved.probabilities[:, 2] = 0
    saved.probabilities[:, 0] = 1 - saved.probabilities[:, 1]
    saved.save(tmp_path / "labels.npz")
    overrides = {"student.epochs": 1, "adaptation.guidance": "none"}
    run = adapt_in(world, tmp_path / "run", labels=tmp_path / "labels.npz", overrides=overrides)
    assert "W334" in caplog.text and sorted(NAMES) == LABELS
    (row,) = rows_of(run)
    assert classes_without_labels(row) == ["PER"]
    assert " | no pseudo-label PER | " in describe_row(row, 1)
    write_report(run, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf8")
    assert "no target span has a pseudo-label of: PER" in text
    result = {"variant": "maral", "dataset": "w", "source": "en", "target": "de", "seed": 0}
    assert missing_labels([{**result, "without_labels": ["PER"]}, result]) == [
        "maral, w en→de, seed 0: no target span had a pseudo-label of PER.\n"
    ]
