"""Teacher, pseudo-labels and student by one command."""

from __future__ import annotations

import re
import shutil

import pytest
import spacy
from typer.testing import CliRunner
from worlds import adapt_in, tensors_of

from spacy_maral.adaptation import train as module
from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.cli import app
from spacy_maral.data.config import read_config
from spacy_maral.data.docs import read_docs
from spacy_maral.errors import MaralError
from spacy_maral.model.maral_ner import set_names, set_use
from spacy_maral.model.names import NameMemory
from spacy_maral.training.teacher import train_teacher

SHORT = {"teacher.epochs": 1, "student.epochs": 2}


@pytest.fixture(scope="module")
def config(world, tmp_path_factory):
    """The world's configuration, with its files in [paths]."""
    path = tmp_path_factory.mktemp("train") / "maral.cfg"
    names = {"train": "source", "dev": "dev", "target": "target"}
    lines = [f'{key} = "{world[name]}"' for key, name in names.items()]
    text = world["config"].read_text(encoding="utf8")
    path.write_text("\n".join(["[paths]", *lines, "", text]), encoding="utf8")
    return path


@pytest.fixture(scope="module")
def steps(world, tmp_path_factory):
    """What the three commands give."""
    folder = tmp_path_factory.mktemp("steps")
    files = {k: world[k] for k in ("source", "dev")}
    teacher = train_teacher(world["config"], output=folder / "teacher", overrides=SHORT, **files)
    labels = pseudo_label(teacher, world["target"], folder / "labels.npz")
    adapt_in(world, folder / "student", teacher=teacher, labels=labels, overrides=SHORT)
    return folder


def assert_same(found, expected):
    for name in ("teacher", "student"):
        one, two = tensors_of(found / name), tensors_of(expected / name)
        assert one.keys() == two.keys() and all((one[key] == two[key]).all() for key in one), name


def test_one_command_gives_what_the_three_give(config, steps, tmp_path):
    result = CliRunner().invoke(
        app,
        ["train", str(config), "-o", str(tmp_path / "out"), "--teacher.epochs", "1",
         "--student.epochs", "2"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "teacher", "labels.npz", "student",
    }  # fmt: skip
    assert_same(tmp_path / "out", steps)


@pytest.mark.parametrize("where", ["pseudo_label", "adapt"])
def test_a_killed_training_resumes_where_it_was(config, steps, tmp_path, monkeypatch, where):
    def killed(*args, **kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(module, where, killed)
        with pytest.raises(RuntimeError, match="killed"):
            module.train(config, output=tmp_path, overrides=SHORT)
    labelled = (tmp_path / "labels.npz").is_file()
    assert labelled == (where == "adapt")
    if labelled:
        monkeypatch.setattr(module, "pseudo_label", killed)
    student = module.train(config, output=tmp_path, overrides=SHORT, resume=True)
    assert student == tmp_path / "student"
    assert_same(tmp_path, steps)


def test_labels_are_those_of_the_teacher_that_is_there(config, tmp_path):
    """A run of other settings is continued as its messages say: by deleting what they name."""
    module.train(config, output=tmp_path, overrides=SHORT)
    other = {**SHORT, "teacher.epochs": 2}
    for name in ("teacher", "student"):
        with pytest.raises(MaralError, match=rf"(?s)M323.*delete \S+{name}.training") as error:
            module.train(config, output=tmp_path, overrides=other, resume=True)
        shutil.rmtree(re.search(r"delete (\S+) to train", str(error.value))[1])
    module.train(config, output=tmp_path, overrides=other, resume=True)
    new = pseudo_label(
        tmp_path / "teacher", read_config(config)["paths"]["target"], tmp_path / "new"
    )
    assert new.read_bytes() == (tmp_path / "labels.npz").read_bytes()


def test_a_student_that_starts_from_its_teacher_has_settings_of_its_own(world, tmp_path):
    nlp = spacy.load(world["teacher"])
    memory = NameMemory.empty(3)
    set_names(nlp, "maral_ner", memory, {"type_weight": 0.5, "mixed_weight": 0.5})
    set_use(nlp, "maral_ner", threshold=0.9, offset=1.5, scores=False, spans_key="old")
    nlp.to_disk(tmp_path / "teacher")
    overrides = {"adaptation.init": "teacher", "adaptation.save_names": False, "student.epochs": 1,
                 "student.offset": 0.0, "components.maral_ner.spans_key": "sc",
                 "components.maral_ner.overwrite": False}  # fmt: skip
    adapt_in(world, tmp_path / "student", teacher=tmp_path / "teacher", overrides=overrides)
    pipe = spacy.load(tmp_path / "student").get_pipe("maral_ner")
    own = [pipe.names, *(pipe.cfg[key] for key in ("names", "threshold", "offset"))]
    assert own == [None, None, 0.0, 0.0]
    assert [pipe.cfg[key] for key in ("spans_key", "overwrite", "scores")] == ["sc", False, True]


def test_options_go_before_paths(world, tmp_path, monkeypatch):
    calls = {}
    for name in ("train_teacher", "pseudo_label", "adapt"):
        monkeypatch.setattr(
            module, name, lambda *args, name=name, **more: calls.update({name: (args, more)})
        )
    text = '[paths]\ntrain = ["a.spacy","b.spacy"]\ndev = "d.spacy"\ntarget = "t.txt"\n'
    path = tmp_path / "a.cfg"
    path.write_text(text + '[languages]\ntarget = "de"\n[teacher]\n[student]\n', encoding="utf8")
    target = str(tmp_path / "u.txt")
    (tmp_path / "u.txt").write_text("lebt Merkel nach Paris\n", encoding="utf8")
    module.train(
        path, output=tmp_path / "out", dev="other.spacy", overrides={"paths.target": target}
    )
    assert calls["train_teacher"][1]["source"] == ["a.spacy", "b.spacy"]
    assert calls["pseudo_label"][0][1:] == (target, tmp_path / "out" / "labels.npz")
    assert not {"target", "lang"} & calls["train_teacher"][1].keys()
    adapted = calls["adapt"][1]
    assert (adapted["dev"], adapted["target"], adapted["lang"]) == ("other.spacy", target, "de")


def test_the_teacher_models_the_language_of_the_target(world, tmp_path, monkeypatch):
    """In masked language modelling, if it does any."""
    asked = {}

    def train_teacher(*args, **more):
        asked.update(more)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train_teacher", train_teacher)
    (tmp_path / "a.txt").write_text("lebt Merkel nach Paris\n", encoding="utf8")
    with pytest.raises(KeyboardInterrupt):
        module.train(
            world["config"], output=tmp_path / "out", source=world["source"], dev=world["dev"],
            target=tmp_path / "a.txt", lang="de", overrides={"teacher.mlm_weight": 0.001},
        )  # fmt: skip
    assert (asked["target"], asked["lang"]) == (tmp_path / "a.txt", "de")


def test_missing_paths_are_named(world, tmp_path):
    with pytest.raises(MaralError, match=r"M561.*paths\.train, paths\.target.*--source, --target"):
        module.train(world["config"], output=tmp_path, dev=world["dev"])


@pytest.mark.parametrize(
    ("names", "lang", "wanted"),
    [
        (["raw.txt"], None, "M337"), (["raw.txt", "raw.txt"], ["de", "fr", "nl"], "M338"),
        (["none.spacy"], None, "M101"), (["none.txt"], "de", "M101"),
    ],
)  # fmt: skip
def test_a_wrong_target_is_found_before_the_teacher_is_trained(
    world, tmp_path, monkeypatch, names, lang, wanted
):
    (tmp_path / "raw.txt").write_text("lebt Merkel nach Paris\n" * 3, encoding="utf8")
    monkeypatch.setattr(module, "train_teacher", None)
    with pytest.raises(MaralError, match=wanted):
        module.train(
            world["config"], output=tmp_path / "out", source=world["source"], dev=world["dev"],
            target=[tmp_path / name for name in names], lang=lang,
        )  # fmt: skip


def test_several_processes_are_refused(world, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MaralError, match=r"M562.*torchrun"):
        module.train(world["config"], output=tmp_path)


def test_translated_text_is_a_further_source(config, world, tmp_path, monkeypatch):
    """A file for each target, in its language; a repeated command makes none anew."""
    calls = {}
    for name in ("train_teacher", "pseudo_label", "adapt"):
        monkeypatch.setattr(
            module, name, lambda *args, name=name, **more: calls.update({name: more})
        )
    german = tmp_path / "de.txt"
    german.write_text("\n".join(doc.text for doc in read_docs(world["target"])), encoding="utf8")
    result = CliRunner().invoke(
        app,
        ["train", str(config), "-o", str(tmp_path / "out"), "--translate", "--target", str(german),
         "--target", str(world["target"]), "--lang", "de", "--lang", "es"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    files = [tmp_path / "out" / f"translated-{i}.spacy" for i in (1, 2)]
    sources = [world["source"], *files]
    assert calls["train_teacher"]["source"] == calls["adapt"]["source"] == sources
    originals = read_docs(world["source"])
    for path in files:
        docs = read_docs(path)
        assert [[e.text for e in d.ents] for d in docs] == [
            [e.text for e in d.ents] for d in originals
        ]
        assert [d.text for d in docs] != [d.text for d in originals]

    (tmp_path / "out" / "teacher" / "training").mkdir(parents=True)
    (tmp_path / "out" / "teacher" / "training" / "summary.json").write_text("{}", encoding="utf8")
    monkeypatch.setattr(module, "translate_words", None)
    again = {"target": [german, world["target"]], "lang": ["de", "es"], "resume": True}
    module.train(config, output=tmp_path / "out", translate=True, **again)
    assert calls["adapt"]["source"] == sources
    again["lang"] = ["de", "es", "fr"]
    with pytest.raises(MaralError, match="M338"):
        module.train(config, output=tmp_path / "out", translate=True, **again)


def test_translations_of_a_run_that_has_not_begun_are_made_anew(config, tmp_path, monkeypatch):
    """What its text was is known once the teacher has begun; then nothing is overwritten."""
    made = []
    monkeypatch.setattr(module, "translate_words", lambda *args, **_: made.append(args[3]))
    for name in ("train_teacher", "pseudo_label", "adapt"):
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    path = tmp_path / "translated-1.spacy"
    path.write_bytes(b"of another target")
    module.train(config, output=tmp_path, translate=True, resume=True)
    assert made == [path]
    (tmp_path / "teacher" / "training" / "epoch-0001").mkdir(parents=True)
    with pytest.raises(MaralError, match="M316"):
        module.train(config, output=tmp_path, translate=True)
    assert made == [path] and path.read_bytes() == b"of another target"
