"""Sentences that an expensive annotator is asked for: which, how often, and what becomes of the answers."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from typer.testing import CliRunner
from worlds import NAMES, adapt_in, make_docs, write

from spacy_maral.adaptation.annotators import Reading
from spacy_maral.adaptation.ask import Expert, ask_experts
from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.adaptation.pseudo_labels import PseudoLabels, load_for, read_labels
from spacy_maral.cli import app
from spacy_maral.data.docs import read_docs
from spacy_maral.errors import MaralError
from spacy_maral.model.spans import Candidates
from spacy_maral.training.corpus import digest_docs
from spacy_maral.training.inputs import Inputs
from spacy_maral.training.pipelines import load_pipeline

LABELS = ["LOC", "PER"]
READING = Reading(LABELS, 2)
ASKED = SimpleNamespace(texts=[], fail_at=None)
TEXTS = [
    "Anna lebt in Bonn .", "Kiel und Ulm .", "es regnet in Ulm .", "nichts geschieht hier .",
    "Kiel ist am Meer .", "Anna lebt in Bonn .", "es ist kalt .", "es ist warm .", "wer ist da ?",
    "niemand ist da .",
]  # fmt: skip
DOUBTS = {
    "Anna": [0.3, 0.1, 0.6],
    "Bonn": [0.3, 0.6, 0.1],
    "Kiel": [0.6, 0.4, 0],
    "Ulm": [0.8, 0.2, 0],
}
# of the nine different texts: the two names of the first, then Kiel and Ulm
WANTED = TEXTS[:2]


@Language.factory("counting_expert", default_config={"labels": {}})
def make_counting_expert(nlp, name, labels):
    """Finds known words, and counts what it is asked, as an expensive pipeline would on its bill."""

    def respond(doc):
        if len(ASKED.texts) == ASKED.fail_at:
            raise ConnectionError("the line is down")
        ASKED.texts.append(doc.text)
        found = [Span(doc, t.i, t.i + 1, labels[t.text]) for t in doc if t.text in labels]
        doc.set_ents(found, default="outside")
        return doc

    return respond


@pytest.fixture(autouse=True)
def count():
    ASKED.texts, ASKED.fail_at = [], None


def expert(**labels) -> Language:
    nlp = spacy.blank("xx")
    nlp.add_pipe("counting_expert", config={"labels": labels})
    return nlp


KNOWING = {"Anna": "PER", "Bonn": "LOC", "Kiel": "LOC", "Ulm": "LOC"}


def docs_of(texts) -> list[Doc]:
    vocab = spacy.blank("xx").vocab
    lists = [text.split() for text in texts]
    return [Doc(vocab, words=words, spaces=[True] * (len(words) - 1) + [False]) for words in lists]


def judged(docs) -> PseudoLabels:
    """A teacher's labels by word; it is certain of all other spans."""
    found = Candidates([len(doc) for doc in docs], READING.max_width)
    rows = [
        DOUBTS.get(docs[i][start].text if start == end else "", [1.0, 0.0, 0.0])
        for i, start, end in zip(
            found.owner, found.starts.tolist(), found.ends.tolist(), strict=True
        )
    ]
    return PseudoLabels(
        np.array(rows, dtype=np.float32), LABELS, READING.max_width, digest_docs(docs)
    )


def ask_all(experts, docs, folder, max_share=0.23, reading=READING) -> PseudoLabels:
    return ask_experts(
        [Expert(one, f"expert {i}") for i, one in enumerate(experts)], judged(docs), docs, reading,
        max_share=max_share, folder=folder,
    )  # fmt: skip


def rows_of_doc(labels: PseudoLabels, docs, number: int):
    offsets = Candidates([len(doc) for doc in docs], labels.max_width).offsets
    return labels.probabilities[offsets[number] : offsets[number + 1]]


def answers_in(folder) -> list[dict]:
    (path,) = folder.glob("*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def test_only_the_most_doubtful_sentences_are_asked_for(tmp_path, capsys):
    docs = docs_of(TEXTS)
    labels = ask_all([expert(**KNOWING)], docs, tmp_path)
    # 23 % of nine different texts are two
    assert sorted(ASKED.texts) == sorted(WANTED) and labels.asked == 2
    before = judged(docs)
    for number, text in enumerate(TEXTS):
        own, old = (rows_of_doc(one, docs, number) for one in (labels, before))
        if text in WANTED:
            # Anna of the first (also of its repetition), Kiel of the second
            assert own[0].tolist() == pytest.approx(
                [0.1, 0, 0.9] if "Anna" in text else [0.1, 0.9, 0]
            )
        else:
            np.testing.assert_array_equal(own, old)
    assert labels.digest == before.digest and labels.reliable is None
    shown = capsys.readouterr().out
    assert "Asks for the 2 most doubtful of 9 sentences (limit 2)" in shown
    assert "expert 0: 2 sentences to ask for, 0 answered before" in shown


def test_to_find_no_entity_in_the_doubtful_sentences_is_an_answer(tmp_path):
    docs, before = docs_of(TEXTS), judged(docs_of(TEXTS))
    labels = ask_all([expert()], docs, tmp_path / "one")
    assert labels.asked == 2
    for number, text in enumerate(TEXTS):
        own, old = (rows_of_doc(one, docs, number) for one in (labels, before))
        if text in WANTED:
            np.testing.assert_allclose(own, np.tile([0.9, 0.05, 0.05], (len(own), 1)), rtol=1e-6)
        else:
            np.testing.assert_array_equal(own, old)
    both = ask_all([expert(**KNOWING), expert()], docs, tmp_path / "two")
    assert rows_of_doc(both, docs, 0)[0].tolist() == pytest.approx([0.5, 0.025, 0.475])
    with pytest.raises(MaralError, match=r"M341.*label X"):
        ask_all([expert(Anna="X")], docs, tmp_path / "three")


def test_entities_that_no_label_can_have_are_no_wrong_labels(tmp_path, caplog):
    """Those that the label map leaves out, and those that are too long."""
    docs = docs_of(TEXTS)
    none = ask_all([expert()], docs, tmp_path / "none")
    mapped = Reading(LABELS, 2, label_map={"DATE": None})
    labels = ask_all([expert(Anna="DATE")], docs, tmp_path / "mapped", reading=mapped)
    np.testing.assert_array_equal(labels.probabilities, none.probabilities)
    assert "[W335]" in caplog.text and "left out by the label map 2" in caplog.text
    row = {"text": TEXTS[0], "entities": [{"start": 0, "end": 17, "label": "LOC"}]}
    other = {"text": TEXTS[1], "entities": []}
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (row, other)), encoding="utf8")
    labels = ask_all([path], docs, tmp_path / "long")
    np.testing.assert_array_equal(labels.probabilities, none.probabilities)
    with pytest.raises(MaralError, match=r"M341.*label X 2"):
        ask_all([expert(Anna="DATE", Bonn="X")], docs, tmp_path / "wrong", reading=mapped)


def test_the_teacher_keeps_what_a_partial_expert_says_nothing_about(tmp_path):
    docs = docs_of(TEXTS)
    names = Expert(expert(Anna="PER"), "names", partial=True)
    labels = ask_experts(
        [names], judged(docs), docs, READING, max_share=0.23, folder=tmp_path
    )  # fmt: skip
    before = judged(docs)
    own, old = (rows_of_doc(one, docs, 0) for one in (labels, before))
    assert own[0].tolist() == pytest.approx([0.1, 0, 0.9]) and own[1, 0] == pytest.approx(0.9)
    np.testing.assert_array_equal(own[2:], old[2:])
    np.testing.assert_array_equal(*(rows_of_doc(one, docs, 1) for one in (labels, before)))


@pytest.mark.parametrize(("share", "n"), [(0.11, 0), (0.12, 1), (0.34, 2), (1.0, 2)])
def test_no_more_than_the_share_and_no_more_than_is_doubtful(tmp_path, share, n):
    docs = docs_of(TEXTS)
    labels = ask_all([expert(**KNOWING)], docs, tmp_path, max_share=share)
    assert len(ASKED.texts) == labels.asked == n
    if not n:
        np.testing.assert_array_equal(labels.probabilities, judged(docs).probabilities)


def test_nothing_is_asked_twice(tmp_path, capsys):
    docs, nlp = docs_of(TEXTS), expert(**KNOWING)
    first = ask_all([nlp], docs, tmp_path)
    again = ask_all([nlp], docs, tmp_path)
    assert len(ASKED.texts) == 2 and again.asked == 2
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert "expert 0: 0 sentences to ask for, 2 answered before" in capsys.readouterr().out
    # a larger share takes in the answers of a smaller one
    DOUBTS["kalt"] = [0.5, 0.5, 0.0]
    try:
        ask_all([nlp], docs, tmp_path, max_share=0.34)
    finally:
        del DOUBTS["kalt"]
    assert sorted(ASKED.texts) == sorted([*WANTED, "es ist kalt ."])


def test_other_settings_are_asked_anew_and_answers_of_both_are_kept(tmp_path):
    docs = docs_of(TEXTS)
    ask_all([expert(**KNOWING)], docs, tmp_path)
    other = ask_all([expert(Anna="LOC")], docs, tmp_path)
    assert len(ASKED.texts) == 4 and len(list(tmp_path.glob("*.jsonl"))) == 2
    assert rows_of_doc(other, docs, 0)[0].argmax() == 1
    # another map of the labels reads the same answers
    mapped = Reading(LABELS, 2, label_map={"PER": "LOC"})
    found = ask_all([expert(**KNOWING)], docs, tmp_path, reading=mapped)
    assert len(ASKED.texts) == 4 and rows_of_doc(found, docs, 0)[0].argmax() == 1


def test_other_files_of_a_pipeline_are_another_pipeline(tmp_path):
    docs = docs_of(TEXTS)
    for pattern in ("Anna", "Bonn"):
        nlp = spacy.blank("xx")
        nlp.add_pipe("entity_ruler").add_patterns([{"label": "PER", "pattern": pattern}])
        nlp.to_disk(tmp_path / "ruler")
        labels = ask_all([spacy.load(tmp_path / "ruler")], docs, tmp_path / "answers")
        place = 0 if pattern == "Anna" else -3
        assert rows_of_doc(labels, docs, 0)[place].argmax() == 2
    assert len(list((tmp_path / "answers").glob("*.jsonl"))) == 2


def test_a_failure_costs_no_answer(tmp_path):
    docs, nlp = docs_of(TEXTS), expert(**KNOWING)
    ASKED.fail_at = 1
    with pytest.raises(
        MaralError, match=r"\[M581\] expert 0 failed .*ConnectionError: the line is down.* 1 of 2"
    ):
        ask_all([nlp], docs, tmp_path)
    assert [row["text"] for row in answers_in(tmp_path)] == ASKED.texts
    ASKED.fail_at = None
    labels = ask_all([nlp], docs, tmp_path)
    assert sorted(ASKED.texts) == sorted(WANTED) and labels.asked == 2


def test_half_an_answer_of_a_killed_process_is_asked_for_again(tmp_path):
    docs, nlp = docs_of(TEXTS), expert(**KNOWING)
    whole = ask_all([nlp], docs, tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    last = ASKED.texts[-1]
    again = ask_all([nlp], docs, tmp_path)
    assert ASKED.texts[2:] == [last] and path.read_bytes() == content
    np.testing.assert_array_equal(whole.probabilities, again.probabilities)
    path.write_bytes(content[:10])
    ask_all([nlp], docs, tmp_path)
    assert path.read_bytes() == content


def test_a_corrected_answer_without_a_line_end_is_kept(tmp_path):
    """Editors leave out the end of the last line."""
    docs = docs_of(TEXTS)
    ask_all([expert()], docs, tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    first, last = answers_in(tmp_path)
    start = last["text"].index("Ulm")
    last["entities"] = [{"start": start, "end": start + 3, "label": "LOC", "score": 0.7}]
    path.write_text(f"{json.dumps(first)}\n{json.dumps(last)}", encoding="utf8")
    ASKED.texts.clear()
    ask_all([expert()], docs, tmp_path)
    assert ASKED.texts == [] and answers_in(tmp_path) == [first, last]
    assert path.read_bytes().endswith(b"}\n")


def test_several_experts_must_agree(tmp_path):
    docs = docs_of(TEXTS)
    silver = tmp_path / "silver.jsonl"
    rows = [{"text": text, "entities": [[0, 4, "PER"]]} for text in WANTED]
    silver.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    labels = ask_all([expert(**KNOWING), silver], docs, tmp_path / "answers")
    assert labels.reliable is not None
    offsets = Candidates([len(doc) for doc in docs], 2).offsets
    unsure = np.flatnonzero(~labels.reliable).tolist()
    # Bonn of the first text and its repetition; Kiel and Ulm of the second
    places = {0: [6], 1: [0, 4], 5: [6]}
    assert unsure == [offsets[d] + i for d, found in places.items() for i in found]
    assert len(ASKED.texts) == 2


def test_a_span_group_and_its_scores_are_answers(tmp_path):
    nlp = spacy.blank("xx")

    @Language.component("grouping")
    def grouping(doc):
        doc.spans["all"] = [Span(doc, 0, 1, "LOC"), Span(doc, 0, 2, "PER")]
        doc.spans["all"].attrs["scores"] = [0.6, 0.75]
        return doc

    nlp.add_pipe("grouping")
    docs = docs_of(TEXTS)
    labels = ask_all([nlp], docs, tmp_path, reading=Reading(LABELS, 2, spans_key="all"))
    np.testing.assert_allclose(rows_of_doc(labels, docs, 0)[1], [0.25, 0, 0.75])
    assert [len(row["entities"]) for row in answers_in(tmp_path)] == [2, 2]


# the function and the command, with a trained teacher


@pytest.fixture
def saved(tmp_path):
    nlp = expert(**{word: label for label, words in NAMES.items() for word in words})
    nlp.to_disk(tmp_path / "expert")
    return tmp_path / "expert"


def test_a_large_pipeline_and_its_soft_labels(world, tmp_path):
    """A pipeline with maral_ner is asked for probabilities; here the teacher itself answers."""
    target = write(tmp_path / "raw.spacy", make_docs("target", 40, 5, labelled=False))
    output = pseudo_label(
        world["teacher"],
        target,
        tmp_path / "all.npz",
        only_doubtful=world["teacher"],
        max_share=0.5,
    )
    docs = read_docs(target)
    found = load_for(output, docs, None)
    alone = load_for(pseudo_label(world["teacher"], target, tmp_path / "one.npz"), docs, None)
    assert 0 < found.asked <= 20 and alone.asked == 0
    # batches of other sentences round differently
    np.testing.assert_allclose(found.probabilities, alone.probabilities, atol=2e-3)


def test_a_student_learns_from_both(world, saved, tmp_path):
    target = write(tmp_path / "raw.spacy", make_docs("target", 40, 5, labelled=False))
    output = pseudo_label(saved, target, tmp_path / "labels.npz", only_doubtful=world["teacher"])
    n = len(ASKED.texts)
    docs = read_docs(target)
    assert 0 < n <= 0.2 * len({doc.text for doc in docs})
    assert load_for(output, docs, LABELS).asked == n
    two = Inputs.read(target=[target, target])
    assert read_labels([output, output], two).asked == 2 * n
    student = adapt_in(
        world, tmp_path / "student", target=target, labels=output, overrides={"student.epochs": 1}
    )
    assert load_pipeline(student).labels == LABELS


def test_what_cannot_be_is_refused_before_anything_is_asked(world, saved, tmp_path):
    output = tmp_path / "labels.npz"
    for share in (0, 1.1, float("nan")):
        with pytest.raises(MaralError, match=r"\[M580\]"):
            pseudo_label(
                saved, world["target"], output, only_doubtful=world["teacher"], max_share=share
            )
    with pytest.raises(MaralError, match=r"\[M515\].*expert"):
        pseudo_label(world["teacher"], world["target"], output, only_doubtful=saved)
    with pytest.raises(MaralError, match=r"\[M578\] --max-share .*--only-doubtful"):
        pseudo_label(saved, world["target"], output, max_share=0.1)
    assert not ASKED.texts and not output.exists()


def test_the_command_counts_and_resumes(world, saved, tmp_path):
    output = tmp_path / "labels.npz"
    words = [
        "pseudo-label",
        saved,
        world["target"],
        "-o",
        output,
        "--only-doubtful",
        world["teacher"],
    ]
    words = [str(word) for word in [*words, "--max-share", 0.1]]
    ASKED.fail_at = 2
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and "[M581]" in result.output, result.output
    ASKED.fail_at = None
    result = CliRunner().invoke(app, words)
    n = len(ASKED.texts)
    assert result.exit_code == 0, result.output
    assert f"{n - 2} sentences to ask for, 2 answered before in" in result.output
    assert len(set(ASKED.texts)) == n == len(answers_in(tmp_path / "labels.npz.answers"))
    n_texts = len({doc.text for doc in read_docs(world["target"])})
    assert 2 < n <= 0.1 * n_texts
    assert int(np.load(output)["asked"]) == n
