"""A pipeline of spaCy's own components that learns from the text that a teacher labels."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import ConfigValidationError
from worlds import make_docs, write

from spacy_maral.errors import MaralError
from spacy_maral.scale.distil import silver, tok2vec
from spacy_maral.scale.distil.silver import annotate_silver
from spacy_maral.scale.distil.tok2vec import distil_tok2vec

ALONE = """
import importlib.metadata as metadata
import sys

ABSENT = ("torch", "transformers", "spacy_transformers", "spacy_maral")
found = metadata.distributions

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ImportError(name)

def present(**arguments):
    for one in found(**arguments):
        if one.metadata["Name"].replace("-", "_") not in ABSENT:
            yield one

# spaCy imports the factories of all packages that say that they have some
metadata.distributions = present
sys.meta_path.insert(0, Absent())
import spacy

nlp = spacy.load(sys.argv[1])
doc = nlp(sys.argv[2])
found = doc.spans["sc"] if "sc" in doc.spans else doc.ents
print([(span.text, span.label_) for span in found], nlp.pipe_names)
assert "torch" not in sys.modules and "spacy_maral" not in sys.modules
"""


def alone(path: Path, text: str) -> str:
    """What a process without torch and this package prints of a text."""
    command = [sys.executable, "-c", ALONE, str(path), text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def found_in(path: Path) -> set[str]:
    """The entities that a pipeline finds in a sentence, in this process."""
    return {ent.text for ent in spacy.load(path)("lebt Merkel nach Paris").ents}


def train_docs(work: Path) -> list:
    vocab = spacy.blank("xx").vocab
    files = sorted((work / "corpus" / "train").glob("*.spacy"))
    return [doc for file in files for doc in DocBin().from_disk(file).get_docs(vocab)]


@pytest.fixture(scope="module")
def kept():
    """The folders of what was trained on, which a finished run deletes, copied before."""
    return {}


@pytest.fixture(scope="module")
def small(world, texts, labelled, short, kept, tmp_path_factory):
    """A distilled pipeline, measured on labelled sentences, of a teacher with our own tokenizer."""
    folder = tmp_path_factory.mktemp("distilled")
    output, teacher = folder / "small", shutil.copytree(world["teacher"], folder / "teacher")
    config = (teacher / "config.cfg").read_text(encoding="utf8")
    assert '"spacy.Tokenizer.v1"' in config
    (teacher / "config.cfg").write_text(
        config.replace('"spacy.Tokenizer.v1"', '"spacy-maral.Tokenizer.v1"'), encoding="utf8"
    )
    finish = tok2vec.finish

    def look(nlp, teacher):
        kept["train"] = train_docs(output / "training" / "distil")
        finish(nlp, teacher)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tok2vec, "finish", look)
        result = distil_tok2vec(teacher, texts, output, test=labelled, doubt=0.2, overrides=short)
    return output, result


def test_it_loads_with_spacy_alone_and_finds_what_the_teacher_finds(small):
    output, result = small
    assert alone(output, "lebt Merkel nach Paris") == (
        "[('Merkel', 'PER'), ('Paris', 'LOC')] ['tok2vec', 'ner']\n"
    )
    before, after = result.parity.reports
    assert after.f1 > 0.9 and before.f1 > 0.9


def test_the_card_names_teacher_sizes_and_both_scores(small, world):
    output, result = small
    meta = json.loads((output / "meta.json").read_text("utf8"))
    report = meta["maral_smaller"]["distil"]
    assert report == json.loads((output / "distil.json").read_text("utf8")) == result.facts
    assert report["teacher"].startswith("xx_") and report["to"] == "tok2vec"
    assert 2**17 < report["bytes"]["after"] < 2**20
    notes = meta["notes"]
    for part in (report["teacher"], "files, MiB", "F1 on de.spacy", "words/s", "texts ("):
        assert part in notes
    f1 = report["test"]["f1"]
    assert f"{100 * f1['before']:.2f} | {100 * f1['after']:.2f}" in notes
    # nothing of this machine
    assert str(output.parent) not in (output / "config.cfg").read_text("utf8")
    assert not (output / "training").exists()


def test_what_it_is_trained_on(small, kept, texts):
    counts = small[1].facts["silver"]
    docs = kept["train"]
    lines = [x for f in ("a.txt", "b.txt") for x in (texts / f).read_text("utf8").splitlines()]
    assert counts["documents"] == len(docs) > 300 and counts["held_out"] > 0
    left_out = sum(counts["left_out"].values())
    assert counts["documents"] + counts["held_out"] + left_out == len(lines)
    assert counts["words"] == sum(map(len, docs))
    assert counts["entities"] == sum(len(doc.ents) for doc in docs)
    missing = [token.ent_iob == 0 for doc in docs for token in doc]
    assert counts["doubtful_words"] == sum(missing)
    # the texts that it is measured on are not among them
    measured = {doc.text for doc in make_docs("target", 60, 6)}
    assert counts["left_out"]["in the labelled data"] == sum(x in measured for x in lines) > 0
    assert not {doc.text for doc in docs} & measured
    assert [doc.text for doc in docs] != [x for x in lines if x in {doc.text for doc in docs}]


@pytest.mark.parametrize("text", ["lebt Paris nach Merkel", "a  b Paris"])
def test_doubtful_words_are_missing_and_not_outside(text):
    doc = spacy.blank("xx")(text)
    start = text.index("Paris")
    entity = {"start": start, "end": start + 5, "label": "LOC", "score": 0.9}
    row = {"entities": [entity], "doubtful": [{"start": 0, "end": 1}]}
    assert annotate_silver(doc, row) == 1
    assert [token.ent_iob_ for token in doc][:1] == [""] and len(doc.ents) == 1
    row["doubtful"] = [{"start": 0, "end": len(text)}]
    assert annotate_silver(doc, row) == len(doc) and not doc.ents
    assert {token.ent_iob for token in doc} == {0}


def test_spancat_learns_from_texts_without_doubt(world, texts, labelled, short, tmp_path):
    result = distil_tok2vec(
        world["teacher"], texts, tmp_path / "small", component="spancat", dev=labelled, doubt=0.2,
        overrides={**short, "components.spancat.suggester.max_size": 2},
    )  # fmt: skip
    printed = alone(tmp_path / "small", "lebt Merkel nach Paris")
    assert "('Merkel', 'PER')" in printed and "['tok2vec', 'spancat']" in printed
    assert result.parity.reports[1].f1 > 0.9
    assert result.facts["silver"]["doubtful_words"] == 0
    assert result.facts["silver"]["held_out"] == 0


def test_gold_text_joins_and_labels_must_fit(world, texts, short, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(silver, "FILE_DOCS", 100)
    monkeypatch.setattr(tok2vec, "train", lambda plan, config, work, gpu_id: seen.update(
        docs=train_docs(work), config=config, n_files=len([*(work / "corpus/train").iterdir()])
    ) or 1 / 0)  # fmt: skip
    arguments = (world["teacher"], texts, tmp_path / "small")
    with pytest.raises(ZeroDivisionError):
        distil_tok2vec(*arguments, gold=world["source"], overrides=short)
    gold = {
        doc.text for doc in DocBin().from_disk(world["source"]).get_docs(spacy.blank("xx").vocab)
    }
    found = [doc.text in gold for doc in seen["docs"]]
    assert sum(found) == 80 and seen["n_files"] > 4
    # spread over the files
    assert np.ptp(np.flatnonzero(found)) > 0.7 * len(found)
    docs = make_docs("source", 5, 9)
    for doc in docs:
        doc.set_ents([spacy.tokens.Span(doc, 0, 1, label="PRODUCT")])
    other = write(tmp_path / "other.spacy", docs)
    with pytest.raises(MaralError, match=r"M572.*PRODUCT.*LOC, PER"):
        distil_tok2vec(world["teacher"], texts, tmp_path / "x", gold=other)


def test_much_text_is_streamed(world, texts, short, tmp_path, monkeypatch):
    from spacy_maral.scale.distil import spacy_config

    monkeypatch.setattr(spacy_config, "STREAMED", 100)
    monkeypatch.setattr(silver, "FILE_DOCS", 100)
    epochs = []
    train = tok2vec.train

    def look(plan, config, work, gpu_id):
        epochs.append(config["training"]["max_epochs"])
        return train(plan, config, work, gpu_id=gpu_id)

    monkeypatch.setattr(tok2vec, "train", look)
    distil_tok2vec(world["teacher"], texts, tmp_path / "small", overrides=short)
    assert epochs == [-1]
    assert found_in(tmp_path / "small") == {"Merkel", "Paris"}


def test_a_stopped_run_goes_on(world, texts, short, tmp_path, monkeypatch):
    short = {**short, "training.max_steps": 20, "training.eval_frequency": 10}
    output = tmp_path / "small"
    real = tok2vec.write_silver
    monkeypatch.setattr(tok2vec, "write_silver", lambda *_, **_more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        distil_tok2vec(world["teacher"], texts, output, overrides=short)
    done = output / "training" / "distil" / "annotated"
    times = {p.name: p.stat().st_mtime_ns for p in done.glob("*.jsonl.gz")}
    assert len(times) == 2
    after = {}
    monkeypatch.setattr(tok2vec, "write_silver", lambda *given, **more: after.update(
        (p.name, p.stat().st_mtime_ns) for p in done.glob("*.jsonl.gz")
    ) or real(*given, **more))  # fmt: skip
    distil_tok2vec(world["teacher"], texts, output, overrides=short)
    assert after == times and (output / "meta.json").is_file()
    # a finished one is replaced, its teacher and another folder are not
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for place, code in ((world["teacher"], "M544"), (tmp_path / "other", "M406")):
        with pytest.raises(MaralError, match=code):
            distil_tok2vec(world["teacher"], texts, place, overrides=short)


def test_vectors_are_taken_over(world, texts, short, tmp_path):
    nlp = spacy.blank("xx")
    for word in ("Paris", "Merkel"):
        nlp.vocab.set_vector(word, np.ones(10, dtype=np.float32))
    nlp.to_disk(tmp_path / "vectors")
    spacy.blank("xx").to_disk(tmp_path / "none")
    with pytest.raises(MaralError, match="M570"):
        distil_tok2vec(world["teacher"], texts, tmp_path / "x", vectors=tmp_path / "none")
    output = tmp_path / "small"
    result = distil_tok2vec(
        world["teacher"], texts, output, vectors=tmp_path / "vectors", overrides=short
    )
    assert result.facts["vectors"]["from"] == "vectors" and result.parity is None
    loaded = spacy.load(output)
    # spaCy makes room for more
    assert loaded.vocab.vectors.n_keys == 2 and loaded.vocab.vectors.shape[1] == 10
    embed = loaded.config["components"]["tok2vec"]["model"]["embed"]
    assert embed["include_static_vectors"] is True
    assert found_in(output) == {"Merkel", "Paris"}


def test_vectors_of_an_override_come_before_those_of_the_encoder(
    world, texts, short, monkeypatch, tmp_path
):
    nlp = spacy.blank("xx")
    nlp.vocab.set_vector("Paris", np.ones(10, dtype=np.float32))
    nlp.to_disk(tmp_path / "mine")
    monkeypatch.setattr(tok2vec, "encoder_vectors", None)
    changed = {**short, "initialize.vectors": str(tmp_path / "mine")}
    result = distil_tok2vec(world["teacher"], texts, tmp_path / "x", overrides=changed)
    assert result.facts["vectors"]["from"] == "mine" and result.facts["vectors"]["dim"] == 10


def test_words_get_vectors_of_the_teachers_encoder(small, world, texts, short, tmp_path):
    output, result = small
    loaded = spacy.load(output)
    rows, dim = loaded.vocab.vectors.shape
    found = {"from": "the teacher's encoder", "mode": "floret", "rows": rows, "dim": dim}
    assert result.facts["vectors"] == found and dim == 32
    assert f"{rows:,} rows of 32 numbers" in json.loads((output / "meta.json").read_text())["notes"]
    assert loaded("Merkels")[0].has_vector
    none = distil_tok2vec(world["teacher"], texts, tmp_path / "x", vectors="none", overrides=short)
    assert none.facts["vectors"] is None
    assert spacy.load(tmp_path / "x").vocab.vectors.size == 0
    assert found_in(tmp_path / "x") == {"Merkel", "Paris"}


def test_a_teacher_without_an_encoder_has_no_vectors_to_give(
    world, texts, short, monkeypatch, tmp_path
):
    monkeypatch.setattr(tok2vec, "has_encoder", lambda nlp: False)
    result = distil_tok2vec(world["teacher"], texts, tmp_path / "x", overrides=short)
    assert result.facts["vectors"] is None and found_in(tmp_path / "x") == {"Merkel", "Paris"}


def test_too_little_text(world, short, tmp_path):
    (tmp_path / "a.txt").write_text("lebt und\nnach\n", encoding="utf8")
    with pytest.raises(MaralError, match="M571"):
        distil_tok2vec(world["teacher"], tmp_path / "a.txt", tmp_path / "x", overrides=short)


def test_wrong_settings_are_refused_before_the_work(world, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(tok2vec, "annotate_corpus", lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(MaralError, match=r"M577.*training.max_step\..*training.max_steps"):
        distil_tok2vec(world["teacher"], texts, tmp_path / "x", overrides={"training.max_step": 9})
    for change in ({"training.max_steps": "many"}, {"nowhere.x": 1}):
        with pytest.raises(ConfigValidationError, match=r"(?s)max_steps.*integer|nowhere -> x"):
            distil_tok2vec(world["teacher"], texts, tmp_path / "x", overrides=change)
    with pytest.raises(MaralError, match=r"component.*ner, spancat"):
        distil_tok2vec(world["teacher"], texts, tmp_path / "x", component="parser")
