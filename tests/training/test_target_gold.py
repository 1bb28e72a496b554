"""Labelled sentences of the target: which join the training, which are held out, and what they do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from toys import assert_equal
from worlds import adapt_in, make_docs, rows_of, tensors_of, write

from spacy_maral.adaptation.pseudo_labels import read_labels, without_texts
from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import get_span_module
from spacy_maral.model.offsets import balanced_offset, best_f1_offset
from spacy_maral.training.inputs import Inputs
from spacy_maral.training.settings import StudentSettings, TeacherSettings
from spacy_maral.training.target_gold import (
    MOST_REPEATS,
    TargetGold,
    count_repeats,
    is_held_out,
    text_key,
)
from spacy_maral.training.teacher import train_teacher

VOCAB = spacy.blank("xx").vocab
LABELS = ["LOC", "PER"]
SHORT = {"teacher.epochs": 2}


def labelled(words: str, *ents: tuple[int, int, str], spaces=None) -> Doc:
    doc = Doc(VOCAB, words=words.split(), spaces=spaces)
    doc.set_ents([Span(doc, s, e, label=x) for s, e, x in ents], default="outside")
    return doc


def numbered(n: int, start: int = 0) -> list[Doc]:
    """Gold sentences that all differ, with one entity each."""
    return [labelled(f"Nummer {i} lebt in Paris", (4, 5, "LOC")) for i in range(start, start + n)]


def relabelled(docs: list[Doc], which) -> list[Doc]:
    """The same sentences, with PER in place of LOC in some."""
    return [
        labelled(" ".join(t.text for t in doc), (4, 5, "PER" if which(doc) else "LOC"))
        for doc in docs
    ]


def chosen(docs, *, source=(), dev=(), select="last", **settings) -> TargetGold | None:
    inputs = Inputs(
        docs={"target_gold": list(docs), "source": list(source) or numbered(400, 1000), "dev": list(dev)}
    )  # fmt: skip
    found = StudentSettings(select=select, **settings)
    return TargetGold.choose(inputs, "gold.spacy", LABELS, found)


def held(doc: Doc) -> bool:
    return is_held_out(text_key(doc), 0.2)


# numbers


@pytest.mark.parametrize(
    ("n_source", "n_gold", "share", "repeats"),
    [
        (3000, 100, 0.15, 5), (3000, 80, 0.15, 7), (3000, 100, 1 / 6, 6), (3000, 3000, 0.15, 1),
        (3000, 10, 0.15, 8), (3000, 100, 0.5, 8), (600, 80, 0.5, 8), (10, 100, 0.15, 1),
        (100, 100, 0.5, 1), (100, 100, 0.75, 3),
    ],
)  # fmt: skip
def test_gold_is_repeated_up_to_its_share(n_source, n_gold, share, repeats):
    assert count_repeats(n_source, n_gold, share) == repeats
    if 1 < repeats < MOST_REPEATS:
        found = repeats * n_gold / (repeats * n_gold + n_source)
        assert abs(found - share) <= n_gold / n_source


def test_the_digest_of_the_text_holds_out_whatever_else_there_is():
    keys = [text_key(doc) for doc in numbered(2000)]
    by_share = {s: {k for k in keys if is_held_out(k, s)} for s in (0.0, 0.1, 0.2, 0.5)}
    assert not by_share[0.0] and by_share[0.1] < by_share[0.2] < by_share[0.5]
    for share, found in by_share.items():
        assert len(found) / 2000 == pytest.approx(share, abs=0.03)
    # a growing file moves no sentence from one side to the other
    few, more = chosen(numbered(60)), chosen(numbered(90))
    assert {d.text for d in few.held_out} == {d.text for d in more.held_out if int(d[1].text) < 60}


def test_the_same_sentence_in_other_words_has_the_same_key():
    one = labelled("Lindner sagt : nein .")
    other = labelled("Lindner sagt: nein.")
    assert text_key(one) == text_key(other) != text_key(labelled("Lindner sagt nein ."))
    assert text_key(labelled("Zürich")) == text_key(labelled("Zu\u0308rich"))


# which sentences


def test_from_fifty_sentences_on_a_fifth_is_held_out():
    assert not chosen(numbered(49)).held_out
    gold = chosen(numbered(50))
    assert {d.text for d in gold.held_out} == {d.text for d in numbered(50) if held(d)}
    assert gold.n_train + len(gold.held_out) == 50 and 4 <= len(gold.held_out) <= 16
    assert not chosen(numbered(50), target_gold_holdout=0.0).held_out
    assert chosen(numbered(20), target_gold_holdout=0.5).held_out


def test_sentences_of_the_development_data_are_left_out(caplog):
    docs = numbered(60)
    dev = [labelled(f"Nummer {i} lebtin Paris") for i in range(5)]
    gold = chosen(docs, dev=dev)
    assert "[W511] 5 of 60 sentences of gold.spacy" in caplog.text
    kept = {doc.text for part in gold.train for doc in part} | {d.text for d in gold.held_out}
    assert kept == {doc.text for doc in docs[5:]}
    with pytest.raises(MaralError, match=r"\[M512\] No sentence of gold\.spacy.*of 60, 0 are"):
        chosen(docs, dev=docs)


def test_sentences_of_the_source_are_not_held_out():
    docs = numbered(60)
    shared = [doc for doc in docs if held(doc)][:2]
    gold = chosen(docs, source=[*numbered(100, 1000), *shared])
    texts = {d.text for d in gold.held_out}
    assert texts and not texts & {d.text for d in shared}
    assert {d.text for d in shared} <= {d.text for part in gold.train for d in part}


def test_labels_that_the_source_lacks_are_refused():
    docs = [*numbered(3), labelled("die Firma Lindner", (2, 3, "ORG"))]
    with pytest.raises(MaralError, match=r"\[M511\] gold\.spacy: sentence 4.*'Lindner'.*'ORG'"):
        chosen(docs)


def test_an_epoch_cannot_be_chosen_without_sentences(world, tmp_path):
    """The run is refused before any work is done."""
    message = r"\[M510\].*target_gold.*--target-gold"
    with pytest.raises(MaralError, match=message):
        teach(world, tmp_path / "t", None, **{"teacher.select": "target_gold"})
    with pytest.raises(MaralError, match=message):
        adapt_in(world, tmp_path / "s", overrides={"student.select": "target_gold"})
    assert not any((tmp_path / name).exists() for name in "ts")


def test_without_held_out_sentences_the_epoch_is_chosen_as_usual(caplog):
    few = chosen(numbered(10), select="target_gold")
    for kind, usual in ((StudentSettings, "last"), (TeacherSettings, "source_dev")):
        assert few.adjusted(kind(select="target_gold")).select == usual
        assert f'[W510] None of the 10 labelled sentences of the target is held out, so that none can choose the epoch: select = "{usual}"' in caplog.text  # fmt: skip
    assert few.adjusted(StudentSettings(select="source_dev")).select == "source_dev"
    many = StudentSettings(select="target_gold")
    assert chosen(numbered(60)).adjusted(many) is many


def test_documents_without_annotation_are_left_out(tmp_path, caplog):
    bare = Doc(VOCAB, words=["Bonn"])
    path = write(tmp_path / "gold.spacy", [*numbered(3), bare])
    assert len(Inputs.read(target_gold=path).docs["target_gold"]) == 3
    assert "[W332] 1 of 4 documents" in caplog.text
    with pytest.raises(MaralError, match=r"\[M332\]"):
        Inputs.read(target_gold=write(tmp_path / "bare.spacy", [bare]))


def test_the_files_of_several_languages_join_the_source_as_parts_of_it(world, tmp_path):
    paths = [
        write(tmp_path / "de.spacy", numbered(6)),
        write(tmp_path / "fr.spacy", numbered(4, 9)),
    ]
    inputs = Inputs.read(source=world["source"], target_gold=paths)
    gold = TargetGold.choose(inputs, paths, LABELS, StudentSettings())
    gold.join(inputs, type("Ranks", (), {"is_first": False}))
    assert gold.repeats == count_repeats(80, 10, 0.5) == 8
    assert inputs.parts["source"].names == ("source", "de (target gold)", "fr (target gold)")
    assert inputs.parts["source"].sizes == (80, 8 * 6, 8 * 4)
    assert [d.text for d in inputs.docs["source"][80:]] == [
        d.text for docs in (numbered(6), numbered(4, 9)) for d in docs * 8
    ]


# in a run from files


@pytest.fixture(scope="module")
def gold_file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("gold") / "gold.spacy", numbered(60))


def teach(world, output, gold, **changed):
    return train_teacher(
        world["config"], source=world["source"], dev=world["dev"], output=output,
        target_gold=gold, overrides={**SHORT, **changed},
    )  # fmt: skip


def summary_of(path) -> dict:
    return json.loads((path / "training" / "summary.json").read_text(encoding="utf8"))


@pytest.mark.parametrize("run", ["teacher", "student"])
def test_held_out_sentences_are_measured_and_never_trained_on(world, tmp_path, gold_file, run):
    """Other labels of the sentences held out change the measure and no weight."""

    def train(name, docs):
        path = write(tmp_path / f"{name}.spacy", docs)
        if run == "teacher":
            return teach(world, tmp_path / name, path)
        return adapt_in(
            world, tmp_path / name, labels=world["labels"], target_gold=path,
            overrides={"student.epochs": 2},
        )  # fmt: skip

    docs = numbered(60)
    first = train("first", docs)
    other = train("other", relabelled(docs, held))
    trained = train("trained", relabelled(docs, lambda doc: not held(doc)))
    assert_equal(tensors_of(other), tensors_of(first))
    with pytest.raises(AssertionError):
        assert_equal(tensors_of(trained), tensors_of(first))
    found, changed = ([row["target_gold_f1"] for row in rows_of(x)] for x in (first, other))
    assert found[-1] > changed[-1]
    n_held = sum(map(held, docs))
    assert summary_of(first)["data"]["target_gold"] == {
        "documents": 60, "trained": 60 - n_held, "repeats": 2, "held_out": n_held,
        "holdout": 0.2,
    }  # fmt: skip
    assert summary_of(first)["data"]["source"]["documents"] == 80 + 2 * (60 - n_held)


def test_the_best_epoch_on_the_held_out_sentences_is_kept(world, tmp_path, gold_file, capsys):
    path = teach(
        world, tmp_path / "t", gold_file,
        **{"teacher.select": "target_gold", "teacher.epochs": 3, "teacher.head_learn_rate": 0.003},
    )  # fmt: skip
    rows = rows_of(path)
    best = max(rows, key=lambda row: (row["target_gold_f1"], row["epoch"]))
    assert len({row["target_gold_f1"] for row in rows}) > 1
    assert summary_of(path)["selected_epoch"] == best["epoch"]
    said = capsys.readouterr().out
    assert f"| target gold F1 {100 * rows[0]['target_gold_f1']:.2f} |" in said
    assert f"Saved epoch {best['epoch']}: the best on the held-out target sentences" in said


def test_held_out_sentences_move_the_offset(world, tmp_path):
    """They have more entities than those that are trained on, and the model is hardly trained."""

    def more(doc: Doc) -> Doc:
        text = " ".join(token.text for token in doc)
        return labelled(text, (1, 2, "PER"), (4, 5, "LOC")) if held(doc) else doc

    docs = [more(doc) for doc in numbered(60)]
    path = teach(
        world, tmp_path / "t", write(tmp_path / "gold.spacy", docs),
        **{"teacher.epochs": 1, "teacher.offset": "auto", "teacher.head_learn_rate": 1e-4},
    )  # fmt: skip
    pipe = spacy.load(path).get_pipe("maral_ner")
    rule = best_f1_offset(rows_of(path)[-1]["dev_f1"])
    assert abs(pipe.cfg["offset"] - rule) > 0.1
    nlp = spacy.load(path, config={"components": {"maral_ner": {"offset": 0.0}}})
    blank = [Doc(nlp.vocab, words=[t.text for t in doc]) for doc in docs if held(doc)]
    found = nlp.get_pipe("maral_ner").score_spans(list(nlp.pipe(blank, disable=["maral_ner"])))
    gold = np.zeros(len(found.scores), dtype=np.int64)
    wanted = balanced_offset(found.scores, found.candidates.words, gold, 2 * len(blank), rule)
    assert pipe.cfg["offset"] == pytest.approx(wanted, abs=2e-3)
    assert summary_of(path)["offset"] == pipe.cfg["offset"]


def test_gold_spans_count_in_the_class_statistics(world, tmp_path):
    """The prior of a model is the share of each class among the spans of source and gold."""
    gold = numbered(20)
    path = teach(
        world, tmp_path / "t", write(tmp_path / "gold.spacy", gold),
        **{"teacher.target_gold_share": 0.5},
    )  # fmt: skip
    source = list(DocBin().from_disk(world["source"]).get_docs(VOCAB))
    docs = source + 4 * gold
    n_spans = sum(min(3, len(doc) - i) for doc in docs for i in range(len(doc)))
    n_loc, n_per = (sum(e.label_ == x for doc in docs for e in doc.ents) for x in LABELS)
    wanted = np.array([n_spans - n_loc - n_per, n_loc, n_per]) / n_spans
    prior = get_span_module(spacy.load(path).get_pipe("maral_ner").model).statistics.prior
    np.testing.assert_allclose(prior.numpy(), wanted, rtol=1e-5)


def test_few_sentences_are_all_trained_on_and_the_console_says_so(world, tmp_path, capsys):
    path = teach(world, tmp_path / "t", write(tmp_path / "gold.spacy", numbered(20)))
    assert "target_gold_f1" not in rows_of(path)[0]
    said = (
        "20 sentences are trained on, each 4 times (50 % of the labelled sentences); none is held"
    )
    assert said in capsys.readouterr().out


def test_other_gold_is_another_run(world, tmp_path, gold_file):
    output = teach(world, tmp_path / "t", gold_file)
    changed = write(tmp_path / "gold.spacy", relabelled(numbered(60), held))
    with pytest.raises(MaralError, match=r"\[M323\](.|\n)*target_gold data: .*60 documents"):
        train_teacher(
            world["config"], source=world["source"], dev=world["dev"], output=output,
            target_gold=changed, overrides=SHORT, resume=True,
        )  # fmt: skip


def test_raw_text_is_read_without_the_gold_sentences(world, tmp_path):
    target = make_docs("target", 60, 2)
    gold = [target[3], target[10], *numbered(3)]
    same = {text_key(doc) for doc in gold}
    left = [i for i, doc in enumerate(target) if text_key(doc) not in same]
    assert 40 < len(left) < 59
    output = adapt_in(
        world, tmp_path / "out", labels=world["labels"], overrides={"student.epochs": 1},
        target_gold=write(tmp_path / "gold.spacy", gold),
    )  # fmt: skip
    assert summary_of(output)["data"]["target"]["documents"] == len(left)
    inputs = Inputs.read(target=world["target"])
    whole = read_labels(world["labels"], inputs)
    found = without_texts(whole, inputs, same)
    one = Inputs.read(target=write(tmp_path / "left.spacy", [target[i] for i in left]))
    assert found.digest != whole.digest and len(inputs.docs["target"]) == len(left)
    np.savez_compressed(
        tmp_path / "left.npz", **{**np.load(world["labels"]), "probabilities": found.probabilities, "digest": found.digest}
    )  # fmt: skip
    np.testing.assert_array_equal(
        read_labels(tmp_path / "left.npz", one).probabilities, found.probabilities
    )
    # the rows of a document are its own
    sizes = [sum(min(3, len(doc) - i) for i in range(len(doc))) for doc in target]
    ends = np.cumsum(sizes)
    last = slice(ends[left[-1]] - sizes[left[-1]], ends[left[-1]])
    np.testing.assert_array_equal(
        whole.probabilities[last], found.probabilities[-sizes[left[-1]] :]
    )


def test_raw_text_of_gold_sentences_alone_is_refused(world, tmp_path):
    halves = [
        write(tmp_path / "de.spacy", make_docs("target", 60, 2)),
        write(tmp_path / "fr.spacy", numbered(3)),
    ]
    with pytest.raises(MaralError, match=r"\[M513\] Every sentence of fr "):
        adapt_in(
            world, tmp_path / "out", target=halves, target_gold=halves[1],
            overrides={"student.epochs": 1},
        )  # fmt: skip
