"""Sentences to annotate: which are suggested, what the file holds, and the way back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin
from typer.testing import CliRunner
from worlds import make_docs, write

from spacy_maral import suggest
from spacy_maral.adaptation import suggest as module
from spacy_maral.adaptation.doubt import LEVELS
from spacy_maral.adaptation.pseudo_labels import PseudoLabels
from spacy_maral.cli import app
from spacy_maral.data.convert import convert
from spacy_maral.data.docs import read_docs
from spacy_maral.data.rows import open_rows
from spacy_maral.data.sentences import ReadReport
from spacy_maral.errors import MaralError
from spacy_maral.training.inputs import Inputs
from spacy_maral.training.pipelines import load_pipeline
from spacy_maral.training.settings import StudentSettings
from spacy_maral.training.target_gold import TargetGold, text_key

TEXTS = [
    "Anna lebt in Bonn .", "Anna lebt in Bonn und Kiel .", "Kiel und Ulm .", "es regnet in Ulm .",
    "nichts geschieht hier .",
]  # fmt: skip
LABELS = ["LOC", "PER"]


def docs_of(texts) -> list[Doc]:
    vocab = spacy.blank("xx").vocab
    lists = [text.split() for text in texts]
    return [Doc(vocab, words=words, spaces=[True] * (len(words) - 1) + [False]) for words in lists]


def judged(docs, scores: dict[str, list[float]]) -> PseudoLabels:
    """Labels by word, in place of a model's; other words are outside for certain."""
    certain = [0.9999, 0.0001, 0.0]
    rows = [scores.get(token.text, certain) for doc in docs for token in doc]
    return PseudoLabels(np.array(rows), LABELS, 1, "digest")


SCORES = {
    "Anna": [0.01, 0.01, 0.98], "Bonn": [0.3, 0.6, 0.1], "Kiel": [0.6, 0.4, 0.0],
    "Ulm": [0.85, 0.15, 0.0],
}  # fmt: skip


@pytest.fixture
def raw(world, monkeypatch, tmp_path):
    """Five sentences, a teacher that loads, and what it says of them by the words."""
    monkeypatch.setattr(module, "predict", lambda model, docs: judged(docs, SCORES))
    return write(tmp_path / "raw.spacy", docs_of(TEXTS))


def texts(path) -> list[str]:
    return [" ".join(t.text for t in doc) for doc in read_docs(path)]


def test_the_most_doubtful_names_come_first_each_once(world, raw, tmp_path):
    output = tmp_path / "out.spacy"
    found = suggest(world["teacher"], raw, output, n=3)
    # Bonn and Kiel, then Ulm (two sentences), then one at random
    assert texts(output)[0] == TEXTS[1] and texts(output)[1] in TEXTS[2:4]
    assert (found.sentences, found.doubtful) == (3, 2)
    assert found.words == sum(len(text.split()) for text in texts(output))
    first = read_docs(output)[0]
    assert [(e.text, e.label_) for e in first.ents] == [("Anna", "PER"), ("Bonn", "LOC")]
    assert all(doc.has_annotation("ENT_IOB") for doc in read_docs(output))


def test_doubts_count_by_the_length_of_a_sentence(world, tmp_path, monkeypatch):
    """If words are limited: two doubtful names in thirty words, or one in three, with some words more for
    each sentence."""
    monkeypatch.setattr(module, "predict", lambda model, docs: judged(docs, SCORES))
    long, short = "Ulm und Bonn" + " und so fort" * 9, "Kiel . ."
    raw = write(tmp_path / "raw.spacy", docs_of([long, short]))
    doubts = {name: 1 - max(scores) for name, scores in SCORES.items()}
    assert module.SENTENCE == 5
    for sentence in (5, 200):
        monkeypatch.setattr(module, "SENTENCE", sentence)
        suggest(world["teacher"], raw, tmp_path / "out.spacy", n=1)
        assert texts(tmp_path / "out.spacy") == [long]
        suggest(world["teacher"], raw, tmp_path / "out.spacy", n=1, words=99)
        both = (doubts["Ulm"] + doubts["Bonn"]) / (30 + sentence)
        wanted = long if both > doubts["Kiel"] / (3 + sentence) else short
        assert texts(tmp_path / "out.spacy") == [wanted]
        assert (wanted == long) == (sentence == 200)


def test_words_limit_what_is_suggested(world, raw, tmp_path):
    output = tmp_path / "out.spacy"

    def suggested(**limits) -> tuple[int, int]:
        found = suggest(world["teacher"], raw, output, **limits)
        docs = read_docs(output)
        assert (found.sentences, found.words) == (len(docs), sum(map(len, docs)))
        assert found.doubtful <= found.sentences
        return found.sentences, found.words

    for random in (False, True):
        whole = suggested(random=random)
        assert whole == (5, 25) == suggested(words=25, random=random)
        order = texts(output)
        sizes = [len(text.split()) for text in order]
        for words in range(1, 25):
            n = max(1, sum(total <= words for total in np.cumsum(sizes)))
            assert suggested(words=words, random=random) == (n, sum(sizes[:n]))
            assert texts(output) == order[:n]
        assert suggested(words=25, n=2, random=random) == (2, sum(sizes[:2]))
    with pytest.raises(MaralError, match=r"\[M153\] words must be at least 1"):
        suggest(world["teacher"], raw, output, words=0)


def test_a_random_draw_depends_on_the_seed_alone(world, raw, tmp_path):
    drawn = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        found = suggest(
            world["teacher"], raw, tmp_path / f"{name}.spacy", n=5, random=True, seed=seed
        )
        assert (found.sentences, found.doubtful) == (5, 0)
        drawn.append(texts(tmp_path / f"{name}.spacy"))
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(drawn[0]) == sorted(drawn[2]) == sorted(TEXTS)
    # the entities are filled in as well
    by_text = {" ".join(t.text for t in d): d for d in read_docs(tmp_path / "a.spacy")}
    assert [e.text for e in by_text[TEXTS[0]].ents] == ["Anna", "Bonn"]


def test_excluded_and_repeated_sentences_are_not_suggested(world, raw, tmp_path, caplog):
    done = write(tmp_path / "done.spacy", docs_of(TEXTS[1:2]))
    twice = write(tmp_path / "twice.spacy", docs_of([*TEXTS, *TEXTS]))
    suggest(world["teacher"], twice, tmp_path / "out.spacy", n=9, exclude=done)
    assert sorted(texts(tmp_path / "out.spacy")) == sorted(TEXTS[:1] + TEXTS[2:])
    assert "[W512] 9 sentences are wanted, but there are only 4" in caplog.text
    with pytest.raises(MaralError, match=r"\[M516\]"):
        suggest(world["teacher"], twice, tmp_path / "no.spacy", exclude=raw)
    assert not (tmp_path / "no.spacy").exists()


def test_only_a_model_with_doubts_can_suggest(world, raw, tmp_path):
    nlp = spacy.blank("xx")
    nlp.add_pipe("entity_ruler")
    with pytest.raises(MaralError, match=r"\[M515\] xx_pipeline \(entity_ruler\)"):
        suggest(nlp, raw, tmp_path / "out.spacy")
    with pytest.raises(MaralError, match=r"\[M153\] n must be at least 1"):
        suggest(world["teacher"], raw, tmp_path / "out.spacy", n=0)
    with pytest.raises(MaralError, match=r"\[M105\]"):
        suggest(world["teacher"], raw, tmp_path / "out.x", format="x")
    with pytest.raises(MaralError, match=r"\[M171\].*ends in \.ann"):
        suggest(world["teacher"], raw, tmp_path / "out.txt", format="brat")
    with pytest.raises(MaralError, match=r"\[M171\].*ends in \.jsonl"):
        suggest(world["teacher"], raw, tmp_path / "out.jsonl.gz")


def test_the_doubts_are_those_of_the_model(world, tmp_path):
    """Without a stand-in: the names of the first sentence are among the teacher's doubts."""
    target = write(tmp_path / "raw.spacy", make_docs("target", 40, 5, labelled=False))
    found = suggest(world["teacher"], target, tmp_path / "out.spacy", n=40)
    docs = read_docs(tmp_path / "out.spacy")
    assert found.sentences == len({text_key(doc) for doc in docs}) > 30
    assert 0 < found.doubtful < found.sentences
    labels = module.predict(load_pipeline(world["teacher"]), docs)
    sizes = [sum(min(3, len(doc) - i) for i in range(len(doc))) for doc in docs]
    doubts = [
        1 - part.max(1).min() for part in np.split(labels.probabilities, np.cumsum(sizes)[:-1])
    ]
    # rounded to half precision, where the names are found
    assert all(doubt > 0.8 * LEVELS[-1] for doubt in doubts[: found.doubtful])
    assert np.mean(doubts[: found.doubtful]) > np.mean(doubts[found.doubtful :])


def test_raw_text_beside_a_file_of_brat_is_not_replaced(world, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "predict", lambda model, docs: pytest.fail("it is too late"))
    target, output = tmp_path / "news.txt", tmp_path / "news.ann"
    text = "\n".join(TEXTS)
    target.write_text(text, encoding="utf8")
    output.touch()
    with pytest.raises(MaralError, match=r"\[M544\] The output \S*news.txt is one of the inputs"):
        suggest(world["teacher"], target, output, n=2, format="brat", lang="de")
    assert target.read_text(encoding="utf8") == text and not output.read_bytes()


# export, annotate, convert, train


def annotate(format: str, row: dict) -> dict:
    """What a tool gives back of a row whose suggestions an annotator accepts."""
    if format == "prodigy":
        assert "answer" not in row
        return {**row, "answer": "accept", "_input_hash": 1, "_task_hash": 2}
    if format == "label-studio":
        (prediction,) = row.pop("predictions")
        assert "annotations" not in row
        return {"id": 1, **row, "annotations": [{**prediction, "was_cancelled": False}]}
    if format == "argilla":
        value = row.pop("suggestions")["spans"]["value"]
        assert "responses" not in row
        done = {"responses": {"spans": [{"value": value, "status": "submitted"}]}}
        return {**row, **done, "status": "completed"}
    return {"id": 1, **row}


@pytest.mark.parametrize(
    ("format", "suffix"),
    [
        ("prodigy", ".jsonl"), ("label-studio", ".json"), ("argilla", ".json"),
        ("doccano", ".jsonl"), ("jsonl", ".jsonl"), ("jsonl", ".spacy"), ("conll", ".conll"),
    ],
)  # fmt: skip
def test_no_span_is_lost_on_the_way_to_the_training(world, tmp_path, monkeypatch, format, suffix):
    gold = docs_of(" ".join(t.text for t in doc) for doc in make_docs("target", 60, 7))
    spoken = [Doc(gold[0].vocab, words=["«", "Paris", "»", ",", "sagt", "Obama"],
                  spaces=[False, False, False, True, True, False])]  # fmt: skip
    scores = {x: [0.1, 0.8, 0.1] for x in ("Paris", "Madrid", "York")}
    scores |= {x: [0.1, 0.1, 0.8] for x in ("Merkel", "Obama", "Pedro")}
    monkeypatch.setattr(module, "predict", lambda model, docs: judged(docs, scores))
    raw = write(tmp_path / "raw.spacy", [*gold, *spoken])
    output = tmp_path / f"annotate{suffix}"
    found = suggest(world["teacher"], raw, output, n=100, format=format)
    if suffix in (".json", ".jsonl"):
        rows = [
            annotate(format, row) for _, row in open_rows(output, split="", report=ReadReport())
        ]
        output = tmp_path / "annotated.json"
        output.write_text(json.dumps(rows), encoding="utf8")
    back = output
    if suffix != ".spacy":
        back = tmp_path / "gold.spacy"
        convert(output, back, format=format)
    inputs = Inputs.read(source=world["source"], target_gold=back)
    wanted = {
        text_key(doc): [(t.i, t.text) for t in doc if t.text in scores] for doc in [*gold, *spoken]
    }
    docs = inputs.docs["target_gold"]
    assert {text_key(d): [(e.start, e.text) for e in d.ents] for d in docs} == wanted
    assert found.entities == sum(map(len, wanted.values()))
    chosen = TargetGold.choose(inputs, back, LABELS, StudentSettings())
    used = [*(d for part in chosen.train for d in part), *chosen.held_out]
    shared = {text_key(d) for d in inputs.docs["source"]}
    assert len(used) == len(docs) and shared
    corpus = load_pipeline(world["teacher"]).encode(used, labelled=True, name="gold")
    assert len(corpus.entities.docs) == found.entities and not corpus.n_too_wide


@pytest.mark.parametrize("format", ["label-studio", "argilla"])
def test_suggestions_that_nobody_has_looked_at_are_no_gold(world, raw, tmp_path, format):
    suggest(world["teacher"], raw, tmp_path / "out.json", format=format)
    with pytest.raises(MaralError, match=r"\[M155\].*5 rows are left out"):
        convert(tmp_path / "out.json", tmp_path / "gold.spacy")


# the command


def test_the_command_says_what_it_suggests(world, raw, tmp_path):
    output = tmp_path / "out.jsonl"
    arguments = ["suggest", world["teacher"], raw, "-o", output, "--number", 3, "-f", "prodigy"]
    result = CliRunner().invoke(app, [str(x) for x in arguments])
    assert result.exit_code == 0, result.output
    assert "3 sentences" in result.output and "2 by their doubtful names" in result.output
    rows = [json.loads(line) for line in output.read_text(encoding="utf8").splitlines()]
    assert len(rows) == 3 and all(row["tokens"] for row in rows)
    # without a number, as many as there are words for
    limited = [*arguments[:5], "--words", 11]
    result = CliRunner().invoke(app, [str(x) for x in limited])
    assert result.exit_code == 0 and "2 sentences, " in result.output
    more = ["--random", "--seed", 1, "--exclude", raw]
    result = CliRunner().invoke(app, [str(x) for x in (*arguments, *more)])
    assert result.exit_code == 1 and "[M516]" in result.output
    assert len(list(DocBin().from_disk(raw).get_docs(spacy.blank("xx").vocab))) == 5
