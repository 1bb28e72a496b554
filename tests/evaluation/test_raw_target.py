"""What a student finds in raw target text beside its pseudo-labels, and when its user is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import spacy
from worlds import adapt_in

from spacy_maral.data.docs import read_docs
from spacy_maral.evaluation.raw_target import agreement, compare_on_raw, departures
from spacy_maral.evaluation.report.card import CardFacts, write_card
from spacy_maral.evaluation.report.overview import verdict
from spacy_maral.evaluation.report.run_record import read_run

LABELS = ["LOC", "PER"]


def found(labels: tuple[int, int], student: tuple[int, int], same: int, words: int = 1000) -> dict:
    counts = (dict(zip(LABELS, pair, strict=True)) for pair in (labels, student))
    return {"words": words, **dict(zip(("labels", "student"), counts, strict=True)), "same": same}


def test_it_counts_the_entities_of_both():
    before = np.array([0, 1, 2, 2, 0, 1])
    after = np.array([0, 1, 1, 2, 2, 0])
    raw = compare_on_raw(before, after, LABELS, 7)
    assert raw == found((2, 2), (2, 2), same=2, words=7)
    # F1 of the student with the labels as gold: 2 of 4 are right, 2 of 4 are found
    assert agreement(raw) == pytest.approx(0.5)
    assert agreement(compare_on_raw(before[:1], after[:1], LABELS, 1)) == 1
    # spans whose label is missing
    before, after = np.append(before, [-1, -1]), np.append(after, [2, 0])
    assert compare_on_raw(before, after, LABELS, 7) == raw


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (found((100, 100), (110, 105), 180), []),
        # few entities change by chance
        (found((10, 10), (20, 5), 12), []),
        (
            found((100, 100), (190, 150), 150),
            ["70 % more entities", "340 per 1,000 words, not 200", "90 % more LOC: 190", "agree on 56 %"],
        ),
        (found((100, 100), (100, 40), 139), ["30 % fewer entities", "60 % fewer PER: 40"]),
        (found((100, 0), (100, 60), 99), ["60 % more entities", "finds more PER: 60", "have 0"]),
        (found((100, 100), (100, 100), 90), ["agree on 45 %"]),
    ],
)  # fmt: skip
def test_it_says_what_departs(raw, said):
    sentences = departures(raw)
    assert all(any(part in sentence for sentence in sentences) for part in said)
    assert bool(sentences) == bool(said)
    if len(said) == 1:
        assert len(sentences) == 1


def test_adapt_card_and_report_tell_of_a_student_that_departs(world, tmp_path, caplog):
    """Without outside spans in the loss, a student takes everything for an entity."""

    def run(name, **overrides):
        caplog.clear()
        student = adapt_in(world, tmp_path / name, overrides=overrides)
        raw = json.loads((student / "training" / "summary.json").read_text())["raw_target"]
        said = [text for text in caplog.messages if "[W509]" in text]
        card = write_card(student, CardFacts(), output=tmp_path / "card.json")["notes"]
        return student, raw, "".join(said), verdict(read_run(student), []), card

    student, raw, said, words, card = run("fine", **{"adaptation.save_names": False})
    assert not said and not departures(raw) and agreement(raw) > 0.9
    nlp = spacy.load(student)
    docs = [doc for doc in read_docs(world["target"]) if len(doc)]
    ents = [ent for doc in docs for ent in nlp(doc.text).ents]
    assert raw["words"] == sum(map(len, docs))
    assert sum(raw["student"].values()) == pytest.approx(len(ents), rel=0.02)
    _, raw, said, words, card = run("broken", **{"student.outside_weight": 0.0})
    wanted = departures(raw)
    assert wanted and "more entities" in wanted[0]
    assert all(sentence in said and sentence in words for sentence in wanted)
    assert "more entities than its pseudo-labels" in card
