from __future__ import annotations

import csv
import io
from statistics import mean, stdev
from typing import Any

import pytest
import scipy.stats

from spacy_maral.experiments.results import against_plain
from spacy_maral.experiments.study import rank_epochs, settings_table, spearman, study_table
from spacy_maral.experiments.tables import (
    csv_table,
    difference_table,
    gap_table,
    markdown,
    warning_table,
)


def result(variant: str, seed: int, f1: float, **changed: Any) -> dict[str, Any]:
    return {
        "dataset": "demo", "source": "en", "target": "de", "variant": variant, "seed": seed,
        "adapted": variant != "teacher", "overrides": {}, "teacher_overrides": {}, "f1": f1, "teacher_f1": 0.5 + seed / 100,
        "precision": f1, "recall": f1, "paper_f1": f1, "dev_f1": 0.9, "seconds": 10.0,
        "peak_memory_bytes": 2**30, "epochs": [], "selected_epoch": None,
        "settings": variant, "precision_format": "bfloat16", "sizes": {"target": 10}, **changed,
    }  # fmt: skip


RESULTS = [
    result("teacher", 0, 0.50), result("teacher", 1, 0.51),
    result("maral", 0, 0.60, noise_start=0.5, noise_end=0.25), result("maral", 1, 0.64),
]  # fmt: skip


def test_tables_have_means_deviations_and_differences():
    lines = markdown(RESULTS).splitlines()
    f1s = (0.60, 0.64)
    assert f"| {100 * mean(f1s):.2f} ± {100 * stdev(f1s):.2f} (+11.50) |" in "\n".join(lines)
    assert next(line for line in lines if line.startswith("| maral")) == (
        "| maral | 62.00 ± 2.83 (+11.50) | 62.00 | +11.50 | 2 |"
    )
    assert "| 0.500 | 0.250 |" in "\n".join(lines)
    rows = list(csv.DictReader(io.StringIO(csv_table(RESULTS))))
    assert [row["variant"] for row in rows] == ["teacher", "maral"]
    assert float(rows[1]["f1_mean"]) == pytest.approx(0.62)
    assert float(rows[1]["f1_sd"]) == pytest.approx(stdev(f1s), abs=1e-6)
    assert float(rows[1]["delta_mean"]) == pytest.approx(0.115)
    assert rows[1]["seeds"] == "2" and rows[0]["noise_end_mean"] == ""


def test_means_over_pairs_want_all_pairs():
    half = [*RESULTS, result("teacher", 0, 0.3, target="es", teacher_f1=0.3)]
    lines = markdown(half).splitlines()
    assert "| teacher | 50.50 ± 0.71 | 30.00 | 40.25 | +0.00 | 1-2 |" in lines
    assert "| maral | 62.00 ± 2.83 (+11.50) | - | - | - | 0-2 |" in lines


def test_variants_are_compared_on_the_pairs_and_seeds_of_both():
    overrides = {"adaptation.filter": False}
    variants = [
        result("no_filter", 0, 0.58, overrides=overrides, noise_end=0.3, dev_f1=0.91),
        # seed 2 and Spanish have no other side
        result("no_filter", 2, 0.99, overrides=overrides),
        result("no_filter", 0, 0.99, target="es", overrides=overrides),
        result("wide", 0, 0.61, teacher_overrides={"components.maral_ner.model.max_width": 12}),
        result("wide", 1, 0.63, teacher_overrides={"components.maral_ner.model.max_width": 12}),
    ]
    table = difference_table([*RESULTS, *variants]).splitlines()
    assert table[0].startswith("| variant | demo en→de | demo en→es | F1 |")
    assert table[2:] == [
        "| no_filter | -2.00 | - | -2.00 | -2.00 | -2.00 | +1.00 | +5.00 | 1 |",
        "| wide | +0.00 ± 1.41 | - | +0.00 ± 1.41 | +0.00 ± 1.41 | +0.00 ± 1.41 | +0.00 ± 0.00 | - | 2 |",
    ]
    said = markdown([*RESULTS, *variants])
    assert "Differences to maral in points" in said and "\n".join(table) in said
    # without another student, or without the configuration as it is, there is nothing to compare
    assert "Differences" not in markdown(RESULTS)
    assert "Differences" not in markdown([RESULTS[0], *variants])


def test_the_gap_is_that_between_the_teacher_and_the_ceiling():
    """Of the same pair and seed; a pair without a ceiling above its teacher has no share."""
    ceiling = {"adapted": False, "trained_on": "target"}
    german = [
        *RESULTS,
        result("supervised", 0, 0.70, **ceiling), result("supervised", 1, 0.76, **ceiling),
        # its own teacher does not count
        result("wide", 1, 0.56, teacher_f1=0.1, teacher_overrides={"a.b": 1}),
        # no ceiling has this seed
        result("maral", 2, 0.99), result("teacher", 2, 0.52),
    ]  # fmt: skip
    # 10 of 20 and 13 of 25 points; 5 of 25
    assert gap_table(german).splitlines() == [
        "| variant | demo en→de | all |", "| --- | ---: | ---: |",
        "| maral | 51 | 51 |", "| wide | 20 | 20 |",
    ]  # fmt: skip
    spanish = [
        result("teacher", 0, 0.5, target="es", teacher_f1=0.5),
        result("maral", 0, 0.6, target="es", teacher_f1=0.5),
        result("supervised", 0, 0.8, target="es", teacher_f1=0.5, **ceiling),
    ]
    # 23 of 45 points in German, 10 of 30 in Spanish
    assert "| maral | 51 | 33 | 44 |" in gap_table([*german, *spanish])
    assert "| wide | 20 | - | - |" in gap_table([*german, *spanish])
    spanish[2]["f1"] = 0.4
    assert "| maral | 51 | - | 51 |" in gap_table([*german, *spanish])
    text = markdown(german)
    assert "Gap closed in percent" in text and "| maral | 51 | 51 |" in text
    assert "| supervised | 73.00 ± 4.24 (+22.50) |" in text
    rows = {row["variant"]: row for row in csv.DictReader(io.StringIO(csv_table(german)))}
    assert float(rows["maral"]["gap_closed"]) == pytest.approx(0.23 / 0.45, abs=1e-6)
    assert gap_table(RESULTS) == "" and "Gap closed" not in markdown(RESULTS)


def test_warnings_are_counted_by_what_became_of_the_student():
    def raw(n: int) -> dict[str, Any]:
        return {"words": 1000, "labels": {"A": 100}, "student": {"A": n}, "same": min(n, 100)}

    # the teachers of seeds 0 to 4 have 0.50 to 0.54
    students = [
        result("maral", 0, 0.48, raw_target=raw(200)), result("maral", 1, 0.48, raw_target=raw(100)),
        result("maral", 2, 0.515, raw_target=raw(30)), result("maral", 3, 0.55, raw_target=raw(110)),
        result("maral", 4, 0.56, raw_target=raw(130)), result("maral", 5, 0.1),
    ]  # fmt: skip
    assert warning_table(students).splitlines()[2:] == [
        "| loses more than 1 point | 2 | 1 |",
        "| within 1 point | 1 | 1 |",
        "| gains more than 1 point | 2 | 1 |",
    ]
    assert warning_table(students) in markdown([*RESULTS, *students])
    assert warning_table(RESULTS) == "" and "warned" not in markdown(RESULTS)


def test_no_result_is_no_table():
    assert markdown([]) == "No run is finished.\n"


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_that_of_scipy(seed):
    import numpy as np

    a, b = np.random.default_rng(seed).integers(0, 5, (2, 9))
    assert spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    assert spearman([1, 1, 1], [1, 2, 3]) is None and spearman([1], [1]) is None


def test_the_study_ranks_epochs():
    epochs = [
        {"epoch": e, "score": s, "target_agreement": a, "target_f1": f}
        for e, s, a, f in ((1, 0.8, 0.9, 0.60), (2, 0.9, 0.7, 0.55), (3, 0.9, 0.8, 0.57))
    ]
    rho, lost = rank_epochs(epochs, "target_agreement")
    assert rho == pytest.approx(1) and lost == 0
    rho, lost = rank_epochs(epochs, "score")
    # of the two best by source dev the later
    assert rho < 0 and lost == pytest.approx(0.03)
    table = study_table([result("maral", 0, 0.6, epochs=epochs)])
    assert "| target_agreement | +1.00 | +1.00 | 0.00 |" in table
    assert "| target_density | - | - | - |" in table
    assert study_table(RESULTS) == ""


def settings_run(
    variant: str, seed: int, f1: float, score: float, **changed: Any
) -> dict[str, Any]:
    """A run whose first epoch is the one that was saved."""
    rows = [{"epoch": e, "score": s, "target_f1": f1} for e, s in ((1, score), (2, 0.99))]
    overrides = {} if variant == "maral" else {"adaptation.filter": variant}
    return result(
        variant,
        seed,
        f1,
        **{"overrides": overrides, "epochs": rows, "selected_epoch": 1, **changed},
    )


def test_the_study_ranks_settings():
    plain = [
        settings_run("maral", 0, 0.60, 0.80), settings_run("maral", 1, 0.70, 0.90),
        settings_run("maral", 0, 0.30, 0.80, target="es"),
    ]  # fmt: skip
    others = [
        settings_run("a", 0, 0.58, 0.81), settings_run("b", 0, 0.55, 0.79),
        settings_run("c", 0, 0.65, 0.80), settings_run("d", 0, 0.61, 0.86),
        # against the other seed: better by its score, worse in F1
        settings_run("a", 1, 0.69, 0.92),
        # too few for a correlation of their own
        settings_run("a", 0, 0.31, 0.83, target="es"),
    ]  # fmt: skip
    apart = [
        settings_run("same", 0, 0.60, 0.80, settings="maral"),
        settings_run("no_side", 2, 0.9, 0.99),
        settings_run("wide", 0, 0.9, 0.99, teacher_overrides={"a.b": 1}),
        settings_run("other_format", 0, 0.9, 0.99, precision_format="float32"),
        settings_run("more_text", 0, 0.9, 0.99, sizes={"target": 20}),
        settings_run("other_source", 0, 0.9, 0.99, translate=True),
        settings_run("with_gold", 0, 0.9, 0.99, target_gold=100),
        settings_run("no_epochs", 0, 0.9, 0.99, epochs=[]),
        settings_run("not_saved", 0, 0.9, 0.99, selected_epoch=None),
    ]
    compared = against_plain([*plain, *others, *apart])
    assert [(own["variant"], own["seed"]) for own, _ in compared[:6]] == [
        ("a", 0), ("b", 0), ("c", 0), ("d", 0), ("a", 1), ("a", 0)
    ]  # fmt: skip
    assert "no_side" not in {own["variant"] for own, _ in compared}
    # changes of the score and of F1, by hand
    scores = [0.01, -0.01, 0, 0.06, 0.02, 0.03]
    f1s = [-0.02, -0.05, 0.05, 0.01, -0.01, 0.01]
    of_german, of_all = (scipy.stats.spearmanr(scores[:n], f1s[:n]).statistic for n in (5, 6))
    table = settings_table(compared)
    # where it is higher: -2 +1 -1 +1; the others: -5 and +5
    assert f"| source_dev | {of_german:+.2f} | - | {of_all:+.2f} | -0.25 (4) | +0.00 (2) |" in table
    # criteria that no run has are not there
    assert "target_density" not in table and "| last" not in table
    assert table in markdown([*plain, *others, *apart])
    assert settings_table(compared[:4]) == settings_table([]) == ""
    assert "changed settings" not in markdown(plain)
