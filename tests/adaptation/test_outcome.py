"""What adapt says of a student beside its teacher, on target sentences that neither was trained on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import spacy
from spacy.tokens import Doc
from worlds import adapt_in, make_docs, write

from spacy_maral.adaptation.outcome import score_teacher
from spacy_maral.evaluation.against_teacher import compare_scores, describe_comparison, is_behind
from spacy_maral.evaluation.evaluate import evaluate_pipeline
from spacy_maral.evaluation.metrics import Score
from spacy_maral.evaluation.report.card import CardFacts, write_card
from spacy_maral.evaluation.report.overview import verdict
from spacy_maral.evaluation.report.run_record import read_run
from spacy_maral.training.target_gold import TargetGold, is_held_out, text_key
from spacy_maral.training.teacher import train_teacher

SUMMARY = "training/summary.json"


@pytest.fixture(scope="module")
def gold():
    return make_docs("target", 60, 29)


@pytest.fixture(scope="module")
def gold_file(gold, tmp_path_factory):
    return write(tmp_path_factory.mktemp("gold") / "gold.spacy", gold)


def read_summary(path) -> dict:
    return json.loads((path / SUMMARY).read_text(encoding="utf8"))


@pytest.mark.parametrize(
    ("teacher", "student", "behind"),
    [(0.5, 0.6, False), (0.6, 0.6, False), (0.6, 0.595, False), (0.6, 0.58, True)],
)
def test_a_student_is_behind_if_its_f1_is_lower_by_a_point(teacher, student, behind):
    scores = (Score(0, 0, f1, 1234) for f1 in (teacher, student))
    found = compare_scores(*scores, 18)
    assert is_behind(found) == behind
    assert describe_comparison(found) == (
        "On the 18 labelled target sentences that are held out (1,234 entities), the student has an F1 "
        f"of {100 * student:.1f} and its teacher {100 * teacher:.1f}."
    )


def test_summary_card_and_report_have_what_users_get_on_held_out_sentences(
    world, gold, gold_file, tmp_path, capsys
):
    student = adapt_in(world, tmp_path / "student", target_gold=gold_file)
    held = [doc for doc in gold if is_held_out(text_key(doc), 0.2)]
    reports = {
        name: evaluate_pipeline(spacy.load(path), held).report
        for name, path in (("teacher", world["teacher"]), ("student", student))
    }
    found = read_summary(student)["held_out_target"]
    assert found == {
        **{name: report.f1 for name, report in reports.items()},
        "documents": len(held), "entities": sum(len(doc.ents) for doc in held),
    }  # fmt: skip
    assert found["teacher"] > 0 < found["student"] and not is_behind(found)
    said = describe_comparison(found)
    assert said in capsys.readouterr().out
    assert said in verdict(read_run(student), [])
    card = write_card(student, CardFacts(), output=tmp_path / "card.json")["notes"]
    assert f"{len(held)} labelled target sentences that are held out" in card


def test_a_student_that_is_behind_is_told(world, gold_file, tmp_path, caplog):
    student = adapt_in(
        world, tmp_path / "student", target_gold=gold_file,
        overrides={"student.head_learn_rate": 1e-6, "student.learn_rate": 1e-7},
    )  # fmt: skip
    said = describe_comparison(read_summary(student)["held_out_target"])
    (message,) = (text for text in caplog.messages if "[W513]" in text)
    assert said in message and "ship the better one" in message


def test_nothing_is_compared_without_entities_or_with_another_kind_of_teacher(
    world, gold, gold_file, tmp_path
):
    chosen = TargetGold((), (), gold, frozenset(), 1, 0.2)
    assert score_teacher(world["teacher"], chosen) is not None
    bare = [Doc(doc.vocab, words=[token.text for token in doc]) for doc in gold]
    for doc in bare:
        doc.set_ents([], default="outside")
    assert score_teacher(world["teacher"], replace(chosen, held_out=bare)) is None
    assert score_teacher(world["teacher"], replace(chosen, held_out=[])) is None
    assert score_teacher(None, chosen) is None and score_teacher(world["teacher"], None) is None
    ruler = spacy.blank("xx")
    ruler.add_pipe("entity_ruler")
    ruler.to_disk(tmp_path / "ruler")
    assert score_teacher(tmp_path / "ruler", chosen) is None


def test_sentences_that_the_teacher_has_learned_compare_nothing(world, gold_file, tmp_path):
    """Digests hold out the same sentences in both runs, unless the shares differ."""

    def held_out(teacher):
        student = adapt_in(
            world, tmp_path / f"of-{teacher.name}", target_gold=gold_file, teacher=teacher,
            overrides={"student.epochs": 2},
        )  # fmt: skip
        return read_summary(student).get("held_out_target")

    def teach(name: str, holdout: float):
        return train_teacher(
            world["config"], source=world["source"], dev=world["dev"], output=tmp_path / name,
            target_gold=gold_file,
            overrides={"teacher.epochs": 1, "teacher.target_gold_holdout": holdout},
        )  # fmt: skip

    assert held_out(teach("more", 0.3)) is not None
    fewer = teach("fewer", 0.1)
    assert held_out(fewer) is None
    # a summary that does not say it
    (fewer / SUMMARY).write_text("{}", encoding="utf8")
    assert held_out(fewer.rename(tmp_path / "silent")) is None
    (tmp_path / "silent" / SUMMARY).unlink()
    assert held_out((tmp_path / "silent").rename(tmp_path / "other")) is None
    # nothing to compare on
    assert "held_out_target" not in read_summary(adapt_in(world, tmp_path / "without"))
