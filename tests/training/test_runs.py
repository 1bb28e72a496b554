from __future__ import annotations

import json

import numpy as np
import pytest
import spacy
import torch
from spacy.cli.package import package
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from test_encoder_families import make_encoder
from thinc.api import Config
from toys import assert_equal, without_timings
from transformers import AutoConfig, AutoModelForMaskedLM, XLMRobertaModel
from worlds import (
    NAMES,
    adapt_in,
    f1_of,
    make_docs,
    rows_of,
    tensors_of,
    write,
)

from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.data.config import read_config
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.metrics import Entities, score_entities
from spacy_maral.model.architectures import get_span_module
from spacy_maral.model.names import NameMemory, span_keys
from spacy_maral.model.spans import Candidates, softmax
from spacy_maral.model.visible import VisibleWords
from spacy_maral.training import pipelines
from spacy_maral.training.network import Network
from spacy_maral.training.teacher import train_teacher

# the whole road


def test_a_teacher_is_an_ordinary_pipeline(world):
    rows = rows_of(world["teacher"])
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    best = max(rows, key=lambda row: (row["dev_f1"], row["epoch"]))
    assert best["dev_f1"] > 0.8
    nlp = spacy.load(world["teacher"])
    assert nlp.pipe_names == ["transformer", "maral_ner"]
    assert nlp.get_pipe("maral_ner").labels == ("LOC", "PER")
    assert get_span_module(nlp.get_pipe("maral_ner").model).decision == "linear"
    assert nlp.meta["performance"]["source_dev_ents_f"] == best["dev_f1"]
    dev = list(DocBin().from_disk(world["dev"]).get_docs(nlp.vocab))
    assert f1_of(world["teacher"], dev) == pytest.approx(best["dev_f1"])


def test_a_package_is_named_after_a_language_that_spacy_lacks(world, tmp_path):
    text = world["config"].read_text(encoding="utf8") + '\n[languages]\ntarget = "swa"\n'
    (tmp_path / "sw.cfg").write_text(text, encoding="utf8")
    few = {k: world[k] for k in ("source", "dev")} | {"overrides": {"teacher.epochs": 1}}
    teacher = train_teacher(tmp_path / "sw.cfg", output=tmp_path / "t", **few)
    nlp = spacy.load(teacher)
    assert nlp.lang == "xx" and nlp.meta["lang"] == "sw"
    nlp.to_disk(tmp_path / "again")
    assert spacy.load(tmp_path / "again").meta["lang"] == "sw"
    (tmp_path / "packages").mkdir()
    package(tmp_path / "again", tmp_path / "packages", create_sdist=False, name="toy")
    folder = tmp_path / "packages" / "sw_toy-0.0.0" / "sw_toy" / "sw_toy-0.0.0"
    assert spacy.load(folder)("Merkel visited Paris").text == "Merkel visited Paris"


def test_a_finished_run_leaves_a_summary_and_no_checkpoints(world):
    left = {path.name for path in (world["teacher"] / "training").iterdir()}
    assert left == {"log.jsonl", "summary.json"}
    summary = json.loads((world["teacher"] / "training" / "summary.json").read_text())
    assert summary["seed"] == 3 and summary["select"] == "source_dev"
    assert summary["seconds"] > 0 and summary["precision"] == "float32"
    rows = rows_of(world["teacher"])
    assert rows[summary["selected_epoch"] - 1]["score"] == max(row["score"] for row in rows)
    assert not list(world["teacher"].glob("*.tmp"))


def test_a_saved_pipeline_is_trained_further_without_forgetting(world, tmp_path):
    docs = make_docs("source", 40, 5)
    nlp = spacy.load(world["teacher"])
    rate = read_config(world["config"])["teacher"]["learn_rate"]
    assert nlp.config["training"]["optimizer"]["learn_rate"] == pytest.approx(rate / 10)
    before = f1_of(world["teacher"], docs)
    sgd = nlp.resume_training()
    for _ in range(10):
        examples = [Example(Doc(nlp.vocab, [t.text for t in doc]), doc) for doc in docs]
        nlp.update(examples, sgd=sgd)
    nlp.to_disk(tmp_path)
    assert f1_of(tmp_path, docs) >= before > 0.6


def test_a_student_is_saved_with_the_names_of_its_target(world, tmp_path):
    overrides = {
        "adaptation.names": "all", "adaptation.names_type_weight": 0.5,
        "adaptation.save_names": True, "adaptation.names_mixed_weight": 0.125,
        "student.epochs": 2,
    }  # fmt: skip
    output = adapt_in(world, tmp_path / "student", labels=world["labels"], overrides=overrides)
    nlp = spacy.load(output)
    pipe = nlp.get_pipe("maral_ner")
    assert pipe.cfg["names"] == {"type_weight": 0.5, "mixed_weight": 0.125}
    # the memory is that of the saved student's own probabilities on the target
    docs = list(DocBin().from_disk(world["target"]).get_docs(nlp.vocab))
    docs = [Doc(nlp.vocab, words=[token.text for token in doc]) for doc in docs]
    with nlp.select_pipes(disable="maral_ner"):
        docs = list(nlp.pipe(docs))
    spans = pipe.score_spans(docs)
    keys = span_keys(VisibleWords.of(docs).texts, spans.candidates)
    wanted = NameMemory.of(keys, softmax(spans.scores))
    assert len(wanted) > 5
    assert (pipe.names.keys == wanted.keys).mean() > 0.9
    (place,), (other,) = (m.find(np.array([key_of("Merkel")]))[1] for m in (pipe.names, wanted))
    assert pipe.names.mentions[place] == wanted.mentions[other] > 5
    np.testing.assert_allclose(pipe.names.sums[place], wanted.sums[other], rtol=1e-3, atol=1e-2)
    # without the setting there is none
    plain = spacy.load(adapt_in(
        world, tmp_path / "plain", labels=world["labels"],
        overrides={"student.epochs": 1, "adaptation.save_names": False},
    )).get_pipe("maral_ner")  # fmt: skip
    assert plain.names is None and plain.cfg["names"] is None


def key_of(word):
    return span_keys([word], Candidates([1], 1))[0]


def test_a_student_is_adapted_and_loads(world, tmp_path):
    output = adapt_in(world, tmp_path / "student", labels=world["labels"])
    nlp = spacy.load(output)
    assert get_span_module(nlp.get_pipe("maral_ner").model).decision == "likelihood"
    doc = nlp("Merkel lebt und trifft Obama nach Paris")
    assert all(ent.label_ in NAMES for ent in doc.ents)
    assert f1_of(output, make_docs("target", 30, 8)) > 0.6
    rows = rows_of(output)
    assert all("noise_ratio" not in row for row in rows)
    assert [row["alpha"] is None for row in rows] == [False, False, False, True]
    # the prior that is saved is that of the target
    prior = get_span_module(nlp.get_pipe("maral_ner").model).statistics.prior
    assert prior.sum().item() == pytest.approx(1) and prior.argmax() == 0 and len(set(prior)) == 3
    # the teacher labels as it decides, whether it is asked now or was asked before
    asked = adapt_in(world, tmp_path / "asked")
    assert_equal(tensors_of(asked), tensors_of(output))
    assert without_timings(rows_of(asked)) == without_timings(rows)


def test_pseudo_labels_are_what_the_teacher_says(world):
    nlp = spacy.load(world["teacher"])
    docs = list(DocBin().from_disk(world["target"]).get_docs(nlp.vocab))
    with np.load(world["labels"], allow_pickle=False) as file:
        p = file["probabilities"].astype(float)
    np.testing.assert_allclose(p.sum(1), 1, atol=5e-3)
    place, kept = 0, []
    for i, doc in enumerate(docs):
        spans = [(j, k) for j in range(len(doc)) for k in range(j, min(j + 3, len(doc)))]
        rows = p[place : place + len(spans)]
        kept += [
            (i, *s, int(row.argmax())) for s, row in zip(spans, rows, strict=True) if row.argmax()
        ]
        place += len(spans)
    assert place == len(p)
    predicted = [
        (i, e.start, e.end - 1, ["LOC", "PER"].index(e.label_) + 1)
        for i, doc in enumerate(nlp.pipe([Doc(nlp.vocab, [t.text for t in d]) for d in docs]))
        for e in doc.ents
    ]
    columns = [Entities(*np.array(x, dtype=np.int64).reshape(-1, 4).T) for x in (kept, predicted)]
    assert score_entities(*columns, ["LOC", "PER"]).f1 == 1


def test_gold_of_the_target_changes_nothing(world, tmp_path):
    plain = adapt_in(world, tmp_path / "plain")
    docs = make_docs("target", 60, 2)
    for doc in docs:
        doc.set_ents([Span(doc, 0, 1, label="NONSENSE")], default="outside")
    results = [
        adapt_in(world, tmp_path / name, target=write(tmp_path / f"{name}.spacy", changed))
        for name, changed in (
            ("poisoned", docs), ("unlabelled", make_docs("target", 60, 2, labelled=False))
        )
    ]  # fmt: skip
    for result in results:
        assert_equal(tensors_of(result), tensors_of(plain))


@pytest.mark.parametrize(
    "overrides",
    [
        {"adaptation.init": "teacher"},
        {"adaptation.mlm_weight": 0.1},
        {"adaptation.target_labels": "soft", "student.decision": "posterior"},
        {"student.loss": "supcon", "student.select": "source_dev"},
        {"student.loss": "cross_entropy", "student.decision": "linear"},
        {"student.freeze_layers": 1, "adaptation.features": "clean"},
        {"student.precision": "bfloat16", "student.accumulate": 2},
        {"adaptation.diagnose_with_gold": True},
    ],
    ids=lambda overrides: "-".join(map(str, overrides.values())),
)
def test_variants(world, tmp_path, overrides):
    overrides = {"student.epochs": 3, **overrides}
    output = adapt_in(world, tmp_path / "out", overrides=overrides)
    rows = rows_of(output)
    assert len(rows) == 3 and rows[-1]["losses"]["source"] < rows[0]["losses"]["source"]
    assert ("target_mlm" in rows[0]["losses"]) == ("adaptation.mlm_weight" in overrides)
    assert ("noise_ratio" in rows[0]) == ("adaptation.diagnose_with_gold" in overrides)
    tensors, teacher = tensors_of(output), tensors_of(world["teacher"])
    assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())
    if "adaptation.init" in overrides:
        # it goes on from the teacher's classes
        assert (tensors["span.statistics.seen"] > teacher["span.statistics.seen"]).all()
    assert not torch.equal(
        tensors["encoder.encoder.layer.1.output.dense.weight"],
        teacher["encoder.encoder.layer.1.output.dense.weight"],
    )


def test_what_is_computed_once_is_kept_for_the_next_training(world, tmp_path, monkeypatch):
    cache, labels = tmp_path / "cache", world["labels"]
    frozen = {"student.freeze_layers": 1, "student.epochs": 2}
    plain = adapt_in(world, tmp_path / "plain", overrides=frozen, labels=labels)
    assert not (plain / "training" / "cache").exists(), "its own goes with the run"
    kept = {**frozen, "student.cache": str(cache), "adaptation.save_names": False}
    first = adapt_in(world, tmp_path / "first", overrides=kept, labels=labels)
    files = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    # source, target (also its sample) and dev: their pieces, and what the frozen layer gives
    assert len(files) == 6

    def refuse(*args, **kwargs):
        raise AssertionError("it is in the cache")

    monkeypatch.setattr(pipelines, "encode", refuse)
    monkeypatch.setattr(Network, "_run_frozen", refuse)
    # what a student reads at its end, once, is not kept
    monkeypatch.setattr("spacy_maral.adaptation.student.settle_target", lambda *_: {})
    second = adapt_in(world, tmp_path / "second", overrides=kept, labels=labels)
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == files
    model = "transformer/model"
    assert (second / model).read_bytes() == (first / model).read_bytes()
    for other in (first, second):
        assert_equal(tensors_of(other), tensors_of(plain))
        assert without_timings(rows_of(other)) == without_timings(rows_of(plain))


def test_the_console_tells_each_epoch(world, tmp_path, capsys):
    logger = {"@loggers": "spacy.ConsoleLogger.v3"}
    adapt_in(world, tmp_path / "out", overrides={"student.logger": logger, "student.epochs": 2})
    shown = " ".join(capsys.readouterr().out.split())
    for row in rows_of(tmp_path / "out"):
        assert f"epoch {row['epoch']}/2 | source {row['losses']['source']:.4f}" in shown
        assert f"dev F1 {100 * row['dev_f1']:.2f}" in shown
        assert f"changed {row['changed']:,}" in shown
        steps = sum(r["steps"] for r in rows_of(tmp_path / "out")[: row["epoch"]])
        total = sum(row["losses"].values())
        assert f"{row['epoch']} {steps} 0.00 {total:.2f}" in shown  # spaCy's own table


# what cannot be used


def test_unusable_pseudo_labels(world, tmp_path):
    other = write(tmp_path / "other.spacy", make_docs("target", 60, 77))
    with pytest.raises(MaralError, match="their digest is"):
        adapt_in(world, tmp_path / "out", target=other, labels=world["labels"])
    broken = tmp_path / "broken.npz"
    broken.write_bytes(world["labels"].read_bytes()[:200])
    for path in (broken, tmp_path / "nowhere.npz"):
        with pytest.raises(MaralError, match="cannot be read"):
            adapt_in(world, tmp_path / "out", labels=path)
    wider = {"components.maral_ner.model.max_width": 4}
    with pytest.raises(MaralError, match=r"up to 3 words, but the student has max_width = 4"):
        adapt_in(world, tmp_path / "out", overrides=wider)
    assert not (tmp_path / "out" / "meta.json").exists()


def test_pseudo_labels_of_other_labels_or_a_newer_release(world, tmp_path, monkeypatch):
    p = np.full((2, 3), 1 / 3)
    PseudoLabels(p, ["LOC", "PER"], 3, "d").save(tmp_path / "ok.npz")
    found = PseudoLabels.load(tmp_path / "ok.npz", digest="d", labels=["LOC", "PER"])
    np.testing.assert_allclose(found.probabilities, p, atol=1e-3)
    with pytest.raises(MaralError, match=r"labels is \['LOC', 'PER'\], this run\s+has \['LOC'\]"):
        PseudoLabels.load(tmp_path / "ok.npz", digest="d", labels=["LOC"])
    monkeypatch.setattr("spacy_maral.adaptation.pseudo_labels.FORMAT_VERSION", 5)
    PseudoLabels(p, ["LOC", "PER"], 3, "d").save(tmp_path / "new.npz")
    monkeypatch.undo()
    with pytest.raises(MaralError, match="format version 5"):
        PseudoLabels.load(tmp_path / "new.npz", digest="d")


def test_unusable_folders_and_files(world, tmp_path):
    with pytest.raises(MaralError, match="no spaCy pipeline"):
        pseudo_label(tmp_path, world["target"], tmp_path / "labels.npz")
    spacy.blank("xx").to_disk(tmp_path / "blank")
    with pytest.raises(MaralError, match="has no component 'maral_ner'"):
        adapt_in(world, tmp_path / "out", teacher=tmp_path / "blank")
    nothing = tmp_path / "nothing.spacy"
    for problem in ("does not exist", "holds no sentence", "not a readable .spacy file"):
        with pytest.raises(MaralError, match=problem):
            pseudo_label(world["teacher"], nothing, tmp_path / "labels.npz")
        if not nothing.exists():
            DocBin().to_disk(nothing)
        else:
            nothing.write_bytes(b"PK not a DocBin")
    assert not (tmp_path / "labels.npz").exists()


def test_a_source_without_entities(world, tmp_path):
    docs = make_docs("source", 5, 0, labelled=False)
    for code in ("M332", "M312"):
        source = write(tmp_path / "u.spacy", docs)
        with pytest.raises(MaralError, match=code):
            train_teacher(world["config"], source=source, dev=world["dev"], output=tmp_path / "out")
        for doc in docs:
            doc.set_ents([], default="outside")


def test_an_encoder_without_a_language_model_head(world, tmp_path, encoder_dir):
    headless = tmp_path / "headless"
    XLMRobertaModel.from_pretrained(encoder_dir).save_pretrained(headless)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (headless / name).write_bytes((encoder_dir / name).read_bytes())
    overrides = {
        "components.transformer.model.name": str(headless), "adaptation.mlm_weight": 0.1
    }  # fmt: skip
    with pytest.raises(MaralError, match="no masked-language-model head") as error:
        adapt_in(world, tmp_path / "out", overrides=overrides)
    assert "XLMRobertaModel" in str(error.value)


def test_a_language_model_head_in_parts_is_refused(world, tmp_path):
    """DistilBERT's head is three layers of the model itself, without a name of their own."""
    encoder = make_encoder(tmp_path / "distilbert", "DistilBert")
    config = AutoConfig.from_pretrained(encoder)
    AutoModelForMaskedLM.from_config(config).save_pretrained(encoder)
    overrides = {
        "components.transformer.model.@architectures": "spacy-maral.TransformerModel.v1",
        "components.transformer.model.name": str(encoder), "adaptation.mlm_weight": 0.1,
    }  # fmt: skip
    with pytest.raises(MaralError, match=r"M334.*distilbert"):
        adapt_in(world, tmp_path / "out", overrides=overrides)


def test_a_configuration_without_the_component(world, tmp_path):
    config = Config().from_disk(world["config"])
    config["nlp"]["pipeline"] = ["transformer"]
    del config["components"]["maral_ner"]
    config.to_disk(tmp_path / "bare.cfg")
    with pytest.raises(MaralError, match="the configuration has no component 'maral_ner'"):
        train_teacher(
            tmp_path / "bare.cfg", source=world["source"], dev=world["dev"], output=tmp_path / "o"
        )
