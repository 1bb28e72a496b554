"""Pseudo-labels in chunks, by this process or by workers."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin
from worlds import NAMES

from spacy_maral.adaptation.chunks import ChunkWorker, Task, load_annotator, pack, predict
from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.adaptation.target_names import read_target
from spacy_maral.errors import MaralError


class Workers:
    """An engine whose workers are in this process, and answer in a strange order."""

    gpu_id = -1

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.sizes: list[int] = []

    def map_items(self, worker, argument, items):
        self.tasks.append(argument)
        one, other = worker(argument), worker(argument)
        self.sizes = [len(DocBin().from_bytes(item)) for item in items]
        found = {n: (one, other)[n % 2](items[n]) for n in reversed(range(len(items)))}
        yield from (found[n] for n in range(len(items)))


@pytest.fixture
def chunks_of_seven(monkeypatch):
    monkeypatch.setattr("spacy_maral.adaptation.chunks.CHUNK_DOCS", 7)


def test_workers_give_the_same_file(world, tmp_path, chunks_of_seven):
    engine = Workers()
    pseudo_label(world["teacher"], world["target"], tmp_path / "here.npz")
    pseudo_label(world["teacher"], world["target"], tmp_path / "there.npz", engine=engine)
    n_docs = len(DocBin().from_disk(world["target"]))
    assert engine.sizes == [7] * (n_docs // 7) + [n_docs % 7] * (n_docs % 7 > 0)
    assert len(engine.sizes) > 2
    assert (tmp_path / "here.npz").read_bytes() == (tmp_path / "there.npz").read_bytes()
    assert engine.tasks[0].model == str(world["teacher"].absolute())
    assert not engine.tasks[0].reading.spans_key


def test_workers_of_any_pipeline_give_the_same_file(world, tmp_path, chunks_of_seven):
    nlp = spacy.blank("xx")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        [{"label": label, "pattern": name} for label, names in NAMES.items() for name in names]
    )
    nlp.to_disk(tmp_path / "ruler")
    given = ([tmp_path / "ruler", world["teacher"]], world["target"])
    for name, engine in (("here", None), ("there", Workers())):
        pseudo_label(*given, tmp_path / name, labels=["LOC", "PER"], engine=engine)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


def test_a_chunk_is_labelled_as_it_is_alone(world, chunks_of_seven):
    teacher = load_annotator(world["teacher"])
    docs = list(DocBin().from_disk(world["target"]).get_docs(teacher.nlp.vocab))[:20]
    parts = [predict(teacher, docs[i : i + 7]).probabilities for i in (0, 7, 14)]
    assert np.array_equal(predict(teacher, docs).probabilities, np.concatenate(parts))


def test_documents_without_words_may_fill_a_chunk(world, chunks_of_seven):
    teacher = load_annotator(world["teacher"])
    some = list(DocBin().from_disk(world["target"]).get_docs(teacher.nlp.vocab))[:2]
    for words in ([], ["\u200b", " "]):
        nothing = [Doc(teacher.nlp.vocab, words=words)] * 14
        labels = predict(teacher, [*some, *nothing])
        assert np.array_equal(labels.probabilities, predict(teacher, some).probabilities)
        read = read_target(teacher, [*some, *nothing], names=True)
        assert np.array_equal(read.classes, read_target(teacher, some, names=True).classes)
        with pytest.raises(MaralError, match="M303"):
            predict(teacher, nothing)


@pytest.mark.parametrize("width", [2, 5])
def test_the_longest_span_is_that_of_the_teacher(world, tmp_path, width):
    output = tmp_path / "labels.npz"
    with pytest.raises(MaralError, match=f"M339.*max_width is 3 and {width}"):
        pseudo_label(world["teacher"], world["target"], output, max_width=width)
    assert not output.exists()
    pseudo_label(world["teacher"], world["target"], output, max_width=3)
    assert output.read_bytes() == world["labels"].read_bytes()


def test_workers_get_words_only():
    nlp = spacy.blank("xx")
    doc = Doc(nlp.vocab, words=["Paris", ",", "x"], spaces=[False, True, False])
    doc.set_ents([doc[:1]], default="outside")
    doc.ents = [doc.char_span(0, 5, "LOC")]
    doc.user_data["secret"] = 1
    (found,) = DocBin().from_bytes(pack([doc])).get_docs(spacy.blank("xx").vocab)
    assert [(token.text, token.whitespace_) for token in found] == [
        (token.text, token.whitespace_) for token in doc
    ]
    assert not found.has_annotation("ENT_IOB") and not found.user_data
    assert not found.has_unknown_spaces
    loose = Doc(nlp.vocab, words=["a", "b"])
    (found,) = DocBin().from_bytes(pack([loose])).get_docs(nlp.vocab)
    assert found.has_unknown_spaces


def test_workers_cannot_load_what_is_only_here(world, tmp_path):
    nlp = spacy.load(world["teacher"])
    with pytest.raises(MaralError, match=r"M481.*maral_ner"):
        pseudo_label(nlp, world["target"], tmp_path / "labels.npz", engine=Workers())


def test_code_of_workers_is_imported(world, tmp_path):
    code = tmp_path / "code.py"
    code.write_text("raise RuntimeError('imported')")
    task = Task(str(world["teacher"]), "teacher", None, code=str(code))
    with pytest.raises(RuntimeError, match="imported"):
        ChunkWorker(task)
