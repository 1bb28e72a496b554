"""A pipeline whose encoder has fewer layers, trained on the soft labels of the one it is made from."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import spacy
import torch
from installed import ARCHITECTURE, OURS, needs_spacy_transformers
from spacy.tokens import Doc
from spacy.training import Example
from test_encoder_families import FAMILIES, make_encoder
from transformers import AutoConfig, AutoModel
from typer.testing import CliRunner
from worlds import CONFIG, f1_of, make_docs

from spacy_maral.cli import app
from spacy_maral.data.docs import read_docs
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.tables import SELECTED
from spacy_maral.model.encoder.layers import layer_stack
from spacy_maral.model.maral_ner import set_use
from spacy_maral.scale.distil import cutting, layers
from spacy_maral.scale.distil.cutting import choose_layers
from spacy_maral.scale.distil.layers import distil_layers
from spacy_maral.scale.shrink.parity import Parity
from spacy_maral.scale.shrink.pipelines import find_encoder
from spacy_maral.training.settings import StudentSettings
from spacy_maral.training.teacher import train_teacher

N_LAYERS = 4
EPOCHS = {"student.epochs": 3, "student.min_updates": 0, "student.batch_tokens": 200,
          "student.learn_rate": 1e-3, "student.precision": "float32"}  # fmt: skip


@pytest.fixture(scope="module")
def deep(world, encoder_dir, tmp_path_factory):
    """A trained teacher with four layers."""
    folder = tmp_path_factory.mktemp("deep")
    encoder = folder / "encoder"
    shutil.copytree(encoder_dir, encoder)
    settings = AutoConfig.from_pretrained(encoder, num_hidden_layers=N_LAYERS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(settings).save_pretrained(encoder)
    config = folder / "deep.cfg"
    text = CONFIG.replace("ENCODER", str(encoder))
    config.write_text(
        text.replace(ARCHITECTURE, OURS),
        encoding="utf8",
    )
    return train_teacher(
        config, source=world["source"], dev=world["dev"], output=folder / "teacher",
        overrides={"teacher.epochs": 6},
    )  # fmt: skip


@pytest.fixture(scope="module")
def cut(deep, texts, labelled, tmp_path_factory):
    output = tmp_path_factory.mktemp("cut") / "small"
    return output, distil_layers(
        deep, texts, output, keep="0,2", test=labelled, overrides=EPOCHS, lang="xx"
    )


@pytest.mark.parametrize(
    "keep, n_layers, wanted",
    [
        ("6", 12, [0, 2, 4, 7, 9, 11]), ("1", 12, [0]), ("2", 3, [0, 2]), ("11", 12, None),
        ("0,3,6,9,11", 12, [0, 3, 6, 9, 11]), ("5,", 12, "numbers"), ("0", 12, "from 1 to 11"),
        ("12", 12, "from 1 to 11"), ("3,1", 12, "ascend"), ("1,1", 12, "ascend"),
        ("0,12", 12, "from 0 to 11"), ("0,1", 2, "from 0 to 1"), ("six", 12, "numbers"),
        ("", 12, "numbers"),
    ],
)  # fmt: skip
def test_layers_to_keep(keep, n_layers, wanted):
    if isinstance(wanted, str):
        with pytest.raises(MaralError, match=f"M574.*{wanted}.*has {n_layers}"):
            choose_layers(keep, n_layers)
        return
    found = choose_layers(keep, n_layers)
    assert found == sorted({*found}) and found[-1] < n_layers
    assert wanted is None or found == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_encoder_computes_what_its_layers_do(family, tmp_path):
    """A cut encoder against one whose left-out layers pass their input on."""
    source = make_encoder(tmp_path / family, family)
    nlp = spacy.blank("xx")
    model = {
        "@architectures": "spacy-maral.TransformerModel.v1", "name": str(source),
        "get_spans": {"@span_getters": "spacy-maral.bounded_windows.v1"},
    }  # fmt: skip
    nlp.add_pipe("transformer", config={"model": model})
    doc = Doc(nlp.vocab, ["Merkel", "lebt", "nach", "Paris"])
    nlp.initialize(lambda: [Example(doc, doc)])
    shim = find_encoder(nlp)[0]
    if family == "ModernBert":
        with pytest.raises(MaralError, match=r"M575.*1 and 0 differ in kind"):
            cutting.cut_layers(shim, [1, 2])
    # of ModernBERT, the third layer is of the first one's kind
    keep, skipped = ([0, 1], 2) if family == "ModernBert" else ([0, 2], 1)
    old = shim._model.eval()
    _, stack = layer_stack(old)
    ids = torch.tensor([[0, 5, 6, 7, 2]])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def skip(module, inputs, kwargs, output):
        states = inputs[0] if inputs else next(iter(kwargs.values()))
        return (states, *output[1:]) if isinstance(output, tuple) else states

    handle = stack[skipped].register_forward_hook(skip, with_kwargs=True)
    with torch.no_grad():
        wanted = old(**given).last_hidden_state
    handle.remove()
    cutting.cut_layers(shim, keep)
    assert len(layer_stack(shim._model)[1]) == 2
    with torch.no_grad():
        found = shim._model.eval()(**given).last_hidden_state
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_it_has_fewer_layers_and_learns_from_the_teacher(deep, cut):
    output, result = cut
    nlp = spacy.load(output)
    assert len(layer_stack(find_encoder(nlp)[0]._model)[1]) == 2
    before, after = result.parity.reports
    assert after.f1 > 0.9 and before.f1 > 0.9
    assert f1_of(output, make_docs("target", 40, 7)) > 0.9
    # it is an ordinary pipeline, which can be trained further
    doc = nlp.make_doc("lebt Merkel")
    assert "maral_ner" in nlp.update([Example(doc, nlp.make_doc("lebt Merkel"))])


def test_it_has_no_threshold_of_its_teacher(deep, texts, labelled, tmp_path):
    nlp = spacy.load(deep)
    set_use(nlp, "maral_ner", threshold=0.97)
    nlp.to_disk(tmp_path / "careful")
    distil_layers(
        tmp_path / "careful", texts, tmp_path / "small", keep="0,2", overrides=EPOCHS, lang="xx"
    )
    pipe = spacy.load(tmp_path / "small").get_pipe("maral_ner")
    assert pipe.cfg["threshold"] == 0


def test_the_card_of_fewer_layers(cut):
    output, result = cut
    meta = json.loads((output / "meta.json").read_text("utf8"))
    report = meta["maral_smaller"]["distil"]
    assert report == result.facts and report["kept"] == [0, 2]
    assert report["layers"] == {"before": N_LAYERS, "after": 2}
    assert "| layers | 4 | 2 |" in meta["notes"] and report["teacher"] in meta["notes"]
    assert report["bytes"]["after"] < report["bytes"]["before"]


@pytest.mark.parametrize(
    "select, dev, wanted",
    [("last", None, "last"), ("source_dev", None, "teacher"), ("source_dev", [], "dev")],
)
def test_what_chooses_the_epoch_is_named(select, dev, wanted):
    labelled = SimpleNamespace(dev=dev)
    assert layers.describe_choice(StudentSettings(select=select), labelled) == wanted
    assert wanted in SELECTED


def test_the_soft_labels_are_the_teachers(deep, texts):
    """The targets of a span against the probabilities that the teacher's component gives it."""
    from spacy_maral.model.spans import softmax
    from spacy_maral.training.pipelines import as_pipeline, load_pipeline
    from spacy_maral.training.settings import StudentSettings

    teacher, docs = load_pipeline(deep), make_docs("target", 5, 8, labelled=False)
    student = as_pipeline(spacy.load(deep), StudentSettings(freeze_layers=0))
    stream = layers.soft_stream(student, teacher, docs, StudentSettings())
    nlp = spacy.load(deep)
    copies = [Doc(nlp.vocab, [token.text for token in doc]) for doc in docs]
    for name in nlp.pipe_names[:-1]:
        copies = list(nlp.get_pipe(name).pipe(copies))
    wanted = softmax(nlp.get_pipe("maral_ner").predict(copies).scores)
    # the labels are computed in bfloat16 where the processor has it, with 8 bits of precision
    torch.testing.assert_close(
        torch.tensor(stream.targets), torch.tensor(wanted).float(), rtol=0, atol=0.03
    )
    sure = wanted.max(1) > 0.6
    assert (stream.targets.argmax(1) == wanted.argmax(1))[sure].all() and sure.mean() > 0.5
    assert stream.prior.sum() == pytest.approx(1)


def test_it_goes_on_and_is_not_done_twice(
    deep, texts, world, labelled, tmp_path, monkeypatch, caplog
):
    output, dev = tmp_path / "small", tmp_path / "dev.spacy"
    shutil.copyfile(labelled, dev)
    arguments = {
        "keep": "2",
        "overrides": EPOCHS,
        "gold": world["source"],
        "lang": "xx",
        "dev": dev,
    }
    real, is_finished = layers.report_small, layers.is_finished
    monkeypatch.setattr(layers, "report_small", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        distil_layers(deep, texts, output, **arguments)
    monkeypatch.setattr(layers, "prepare", lambda *a: pytest.fail("trained again"))
    monkeypatch.setattr(layers, "report_small", real)
    # what was read at the beginning is not read again
    monkeypatch.setattr(layers, "is_finished", lambda *a: dev.unlink() or is_finished(*a))
    result = distil_layers(deep, texts, output, **arguments)
    assert result.facts["gold"]["documents"] == 80 and "W304" in caplog.text
    assert result.facts["test"]["data"] == "dev.spacy"
    assert result.parity.reports[0].micro.support == sum(len(x.ents) for x in read_docs(labelled))
    monkeypatch.setattr(layers, "is_finished", is_finished)
    shutil.copyfile(labelled, dev)
    with pytest.raises(MaralError, match=r"(?s)M323.*layers: "):
        distil_layers(deep, texts, output, **{**arguments, "keep": "3"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for place, code in ((deep, "M544"), (tmp_path / "other", "M406")):
        with pytest.raises(MaralError, match=code):
            distil_layers(deep, texts, place, **arguments)


@needs_spacy_transformers
def test_the_encoder_of_spacy_transformers_keeps_its_layers(world, texts, tmp_path):
    with pytest.raises(MaralError, match="M464"):
        distil_layers(world["teacher"], texts, tmp_path / "x")


def test_wrong_input_of_layers(deep, texts, tmp_path, monkeypatch):
    with pytest.raises(MaralError, match=r"(?s)M302.*epochs = 0"):
        distil_layers(deep, texts, tmp_path / "x", keep="2", overrides={"student.epochs": 0})
    with pytest.raises(MaralError, match=r"select.*source_dev, last"):
        distil_layers(
            deep, texts, tmp_path / "x", keep="2", overrides={"student.select": "target_gold"}
        )
    logger = {"student.logger": {"@loggers": "nowhere.v1"}}
    with monkeypatch.context() as patch, pytest.raises(MaralError, match=r"M621.*nowhere.v1"):
        patch.setattr(layers, "prepare", lambda *a: pytest.fail("worked"))
        distil_layers(deep, texts, tmp_path / "x", keep="2", lang="xx", overrides=logger)
    (tmp_path / "a.txt").write_text("lebt und nach und nach\n", encoding="utf8")
    with pytest.raises(MaralError, match="M576"):
        distil_layers(deep, tmp_path / "a.txt", tmp_path / "x", keep="2", lang="xx")


def test_the_command(deep, texts, labelled, short, tmp_path, monkeypatch):
    monkeypatch.setattr(Parity, "f1_change", -5.0)

    def run(*words):
        return CliRunner().invoke(app, ["distil", str(deep), str(texts), *map(str, words)])

    refused = run("-o", tmp_path / "x", "--to", "layers", "--doubt", "0.1", "--vectors", "v")
    assert refused.exit_code == 1 and "M573" in refused.output
    assert "--vectors, --doubt" in refused.output
    few = {**short, "training.max_steps": 20, "training.eval_frequency": 10}
    overrides = [x for name, value in few.items() for x in (f"--{name}", json.dumps(value))]
    done = run("-o", tmp_path / "small", "--to", "tok2vec", "--dev", labelled, *overrides)
    assert done.exit_code == 0, done.output
    assert "F1 on de.spacy" in done.output and "Saved pipeline" in done.output
    assert "W570" in done.output and "-5.00" in done.output
    settings = [x for name, value in EPOCHS.items() for x in (f"--{name}", str(value))]
    done = run("-o", tmp_path / "cut", "--to", "layers", "--keep", "2", "-l", "xx", *settings)
    assert done.exit_code == 0, done.output
    assert "layers" in done.output and "W451" in done.output
    assert ": the one that agrees most with the teacher on held-out text" in done.output
