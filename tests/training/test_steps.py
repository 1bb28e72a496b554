"""How many updates a run has, and how its batches become smaller with little text."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toys import toy_corpus, toy_settings
from worlds import adapt_in, rows_of, tensors_of

from spacy_maral.training.shares import Share
from spacy_maral.training.steps import SMALLEST_BATCH, count_updates, fit_batches, plan_epoch
from spacy_maral.training.teacher import train_teacher


@pytest.fixture(scope="module")
def shares():
    return [Share.of(toy_corpus(150)), Share.of(toy_corpus(90, seed=1))]


def settings(**changed):
    return toy_settings(**{"epochs": 4, "batch_tokens": 384, "min_updates": 0, **changed})


def test_batches_become_smaller_until_there_are_enough_updates(shares):
    given = settings(min_updates=60)
    assert count_updates(shares, given, 0) < 30
    fitted, note = fit_batches(shares, given, 0)
    n = count_updates(shares, fitted, 0)
    assert 60 <= n < 90 and SMALLEST_BATCH < fitted.batch_tokens < 200
    assert fitted == given.model_copy(update={"batch_tokens": fitted.batch_tokens})
    assert note.startswith(f"Little text: batch_tokens = {fitted.batch_tokens} make {n} updates")
    assert "min_updates = 60" in note and "\n" not in note
    # settings and data alone decide
    assert fit_batches(shares, given, 0) == (fitted, note)


def test_enough_updates_change_nothing(shares):
    for given in (settings(), settings(batch_docs=1)):
        n = count_updates(shares, given, 0)
        given = given.model_copy(update={"min_updates": n if given.batch_docs else 0})
        fitted, note = fit_batches(shares, given, 0)
        assert fitted is given and not note


def test_batches_have_a_smallest_size_and_smaller_ones_stay(shares):
    fitted, note = fit_batches(shares, settings(min_updates=10**6), 0)
    assert fitted.batch_tokens == SMALLEST_BATCH and "1000000" in note
    given = settings(min_updates=10**6, batch_tokens=20)
    assert fit_batches(shares, given, 0) == (given, "")


def test_accumulation_is_given_up_first(shares):
    given = settings(min_updates=20, accumulate=8, batch_tokens=200)
    fitted, note = fit_batches(shares, given, 0)
    assert (fitted.batch_tokens, fitted.accumulate) == (200, 1) and "accumulate = 1" in note


def test_updates_count_the_last_steps_of_an_epoch(shares):
    one, three = settings(batch_docs=7), settings(batch_docs=7, accumulate=3)
    steps = len(plan_epoch(shares, one, 0, 0))
    assert steps == -(-150 // 7) and count_updates(shares, one, 0) == 4 * steps
    assert count_updates(shares, three, 0) == 4 * -(-steps // 3)


def test_the_shorter_side_repeats(shares):
    plan = plan_epoch(shares, settings(batch_docs=10), 3, 1)
    longer, shorter = (np.concatenate(docs).tolist() for docs in zip(*plan, strict=True))
    assert sorted(longer) == list(range(150))
    assert sorted(shorter[:90]) == list(range(90)) and len(shorter) == 150


FEW = {"teacher.epochs": 1, "teacher.batch_tokens": 400, "teacher.min_updates": 8}


def test_a_run_says_so_and_resumes_with_the_same_steps(world, tmp_path, capsys):
    files = {k: world[k] for k in ("source", "dev")}
    output = train_teacher(world["config"], output=tmp_path / "t", overrides=FEW, **files)
    assert capsys.readouterr().out.count("Little text: batch_tokens = ") == 1
    summary = json.loads((output / "training" / "summary.json").read_text(encoding="utf8"))
    assert summary["updates"] == sum(row["steps"] for row in rows_of(output)) >= 8
    assert summary["batch_tokens"] < summary["settings"]["teacher"]["batch_tokens"] == 400


def test_a_student_resumes_with_the_same_steps(world, tmp_path, monkeypatch):
    few = {"student.epochs": 2, "student.batch_tokens": 400, "student.min_updates": 16}
    whole = adapt_in(world, tmp_path / "whole", labels=world["labels"], overrides=few)
    from spacy_maral.training.loop import Run

    save = Run._save

    def stop(self, epoch, progress):
        save(self, epoch, progress)
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Run, "_save", stop)
        with pytest.raises(RuntimeError, match="killed"):
            adapt_in(world, tmp_path / "out", labels=world["labels"], overrides=few)
    adapt_in(world, tmp_path / "out", labels=world["labels"], overrides=few, resume=True)
    assert sum(row["steps"] for row in rows_of(whole)) >= 16
    for name, tensor in tensors_of(whole).items():
        assert (tensor == tensors_of(tmp_path / "out")[name]).all(), name
