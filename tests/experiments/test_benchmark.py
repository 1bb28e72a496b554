from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise, product
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from pydantic import create_model
from spacy.tokens import Doc, DocBin
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.data.config import read_config
from spacy_maral.data.docs import read_docs
from spacy_maral.data.files import digest
from spacy_maral.errors import MaralError
from spacy_maral.experiments import runs as runs_module
from spacy_maral.experiments.corpora import choose_sentences, file_hash, prepare_corpora, raw_files
from spacy_maral.experiments.matrix import (
    Matrix,
    choose_runs,
    configs_of,
    plan_runs,
    read_matrix,
    relevant,
)
from spacy_maral.experiments.overrides import STUDENT_SECTIONS
from spacy_maral.experiments.processes import run_process
from spacy_maral.experiments.results import is_plain
from spacy_maral.experiments.runs import Benchmark, as_many_steps, run_all, summarise_training
from spacy_maral.experiments.tables import write_tables
from spacy_maral.training.interrupts import Interrupted
from spacy_maral.training.settings import SCHEMAS

ROOT = Path(__file__).parents[2]
MATRIX = ROOT / "configs/benchmark_study.yml"
PAGE = ROOT / "configs/benchmark.yml"
QUICK = ROOT / "configs/benchmark_quick.yml"
WIDTH = "components.maral_ner.model.max_width"
TEMPERATURE = "components.maral_ner.model.temperature"
ENCODER = "components.transformer.model.name"
LINEAR = {"student.loss.@losses": "spacy-maral.CrossEntropy.v1", "student.decision": "linear"}
SELF_TRAINING = {
    **LINEAR, "adaptation.filter": False, "adaptation.guidance": "none", "adaptation.names": "off",
    "adaptation.label_offset": 0.0,
}  # fmt: skip
PRIOR_1 = {"student.prior_scale": 1.0, "adaptation.target_prior_scale": 1.0}
ALPHA_FAST = {"adaptation.alpha_start": 0.65, "adaptation.alpha_end": 0.3}
GRADED = {"adaptation.guidance_weights": "graded"}
# What the names say, and nothing else may differ.
CHANGES: dict[str, dict[str, Any]] = {
    "alpha_fast": ALPHA_FAST,
    "self_training": SELF_TRAINING,
    "maral_9000": {},
    "self_training_9000": SELF_TRAINING,
    "maral": {},
    "maral_translated": {},
    "maral_100": {},
    "maral_100_suggested": {},
    "maral_no_names": {"adaptation.names": "off", "adaptation.save_names": False},
    "no_mmc": LINEAR,
    "supcon": {"student.loss.@losses": "spacy-maral.SupCon.v1"},
    "no_outside": {"student.outside_weight": 0},
    "outside_weight_03": {"student.outside_weight": 0.3},
    "outside_weight_01": {"student.outside_weight": 0.1},
    "no_filter": {"adaptation.filter": False},
    "no_label_offset": {"adaptation.label_offset": 0.0},
    "filter_unlimited": {"adaptation.filter_limit": "none"},
    "class_guidance": {"adaptation.guidance_mean": "class"},
    "graded_guidance": GRADED,
    "graded_fast": {**GRADED, **ALPHA_FAST},
    "graded_clean": {**GRADED, **ALPHA_FAST, "adaptation.features": "clean"},
    "neighbours_20": {"adaptation.neighbours": 20},
    "no_refinery": {"adaptation.guidance": "none"},
    "no_global": {"adaptation.guidance": "local"},
    "no_local": {"adaptation.guidance": "global"},
    "hard_labels": {"adaptation.target_labels": "hard"},
    "soft_labels": {"adaptation.target_labels": "soft"},
    "features_clean": {"adaptation.features": "clean"},
    "prior_1": PRIOR_1,
    "prior_01": {"student.prior_scale": 1.0, "adaptation.target_prior_scale": 0.1},
    "posterior": {**PRIOR_1, "student.decision": "posterior"},
    "temperature_003": {TEMPERATURE: 0.03},
    "temperature_015": {TEMPERATURE: 0.15},
    "temperature_03": {TEMPERATURE: 0.3},
    "statistics_all": {"adaptation.statistics": "all"},
    "statistics_source": {"adaptation.statistics": "source"},
    "head_rate_0003": {"student.head_learn_rate": 0.0003},
    "head_rate_003": {"student.head_learn_rate": 0.003},
    "pseudo_count_300": {"components.maral_ner.model.pseudo_count": 300},
    "width_4": {WIDTH: 4},
    "width_8": {WIDTH: 8},
    "width_12": {WIDTH: 12},
    "init_teacher": {"adaptation.init": "teacher"},
    "six_layers": {"student.freeze_layers": 6},
    "nine_layers": {"student.freeze_layers": 3},
    "self_training_six_layers": {**SELF_TRAINING, "student.freeze_layers": 6},
    "mlm": {"adaptation.mlm_weight": 1.0},
}


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


# the matrix that is shipped


@cache
def shipped(path: Path) -> Matrix:
    """A matrix that is shipped, read and checked once: each of its variants is a configuration."""
    return read_matrix(path)


@cache
def shipped_configs(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a variant's teacher and student, by their dotted names."""
    matrix = shipped(MATRIX)
    teacher, student = configs_of(matrix, matrix.variants[name], seed=0)
    return flat(teacher), flat(student)


def test_all_variants_are_there():
    matrix = shipped(MATRIX)
    teachers = {name: v.teacher for name, v in matrix.variants.items() if not v.adapt}
    all_layers = {"teacher.freeze_layers": 0}
    names = ("teacher", "teacher_translated", "teacher_100", "teacher_100_suggested", "supervised")
    plain: dict[str, dict] = {name: {} for name in names}
    changed = {
        "teacher_500_updates": {"teacher.min_updates": 500},
        "teacher_all_layers": all_layers,
    }
    assert teachers == {**plain, **changed}
    gold = {
        name: v.target_gold_choice for name, v in matrix.variants.items() if v.target_gold == 100
    }
    assert gold == {
        f"{model}_100{choice}": choice[1:] or "random"
        for model in ("teacher", "maral")
        for choice in ("", "_suggested")
    }
    translated = {name for name, v in matrix.variants.items() if v.translate}
    assert translated == {"teacher_translated", "maral_translated"}
    assert set(matrix.variants) == {*teachers, *CHANGES}
    assert matrix.diagnose and matrix.study and matrix.test_half == "study"
    sizes = {name: v.target_sentences for name, v in matrix.variants.items() if v.target_sentences}
    assert sizes == {"maral_9000": 9000, "self_training_9000": 9000}


def test_the_page_has_few_variants_and_another_half():
    """They are those of the study, so that one file can say what the other has chosen."""
    page, study = shipped(PAGE), shipped(MATRIX)
    assert list(page.variants) == [
        "teacher", "self_training", "maral", "maral_no_names", "teacher_100", "maral_100", "supervised",
    ]  # fmt: skip
    assert page.variants == {name: study.variants[name] for name in page.variants}
    assert {(v.adapt, v.train_on) for v in page.variants.values()} == {
        (False, "source"), (True, "source"), (False, "target"),
    }  # fmt: skip
    assert (page.test_half, study.test_half) == ("page", "study")
    same = (
        "config", "pairs", "seeds", "source_sentences", "target_sentences", "test_sentences",
        "dev_sentences",
    )  # fmt: skip
    assert all(getattr(page, name) == getattr(study, name) for name in same)
    assert [pair.name for pair in page.pairs] == [
        "wikiann-en-de", "wikiann-en-nl", "wikiann-de-nl", "multiconer2-en-bn",
        "multiconer2-en-fa", "conll-en-nl", "uner-en-da",
    ]  # fmt: skip
    assert len(page.seeds) == 3 and len(plan_runs(page)) == 147


def test_the_quick_benchmark_asks_less_of_the_same_study():
    quick, study = read_matrix(QUICK), read_matrix(MATRIX)
    assert quick.variants == {name: study.variants[name] for name in quick.variants}
    assert set(quick.pairs) < set(study.pairs) and quick.test_half == study.test_half == "study"
    assert quick.source_sentences < study.source_sentences and quick.seeds == study.seeds


@pytest.mark.slow
@pytest.mark.parametrize("path", [PAGE, QUICK, MATRIX], ids=["page", "quick", "study"])
def test_the_public_files_are_found(path, tmp_path):
    """Every file that a run of a shipped matrix needs, under its publisher's name."""
    folder = os.environ.get("MARAL_DATA")
    if folder is None:
        pytest.skip("MARAL_DATA names no folder with the public data sets")
    matrix = read_matrix(path)
    benchmark = Benchmark(matrix, Path(folder), tmp_path)
    assert {
        run.name: missing for run in plan_runs(matrix) if (missing := benchmark.missing(run))
    } == {}


@pytest.mark.parametrize("name", CHANGES)
def test_variants_change_what_they_say(name):
    for before, after, expected in zip(
        shipped_configs("maral"), shipped_configs(name),
        ({WIDTH: CHANGES[name][WIDTH]} if WIDTH in CHANGES[name] else {}, CHANGES[name]),
        strict=True,
    ):  # fmt: skip
        # what the base leaves to the schemas' defaults is not in it
        differs = {key for key in before | after if before.get(key) != after.get(key)}
        assert differs <= set(expected)
        assert {key: after[key] for key in expected} == expected


def test_teachers_are_shared_where_their_settings_are_the_same(tmp_path):
    matrix = shipped(MATRIX)
    runs = plan_runs(matrix)
    benchmark = Benchmark(matrix, tmp_path, tmp_path)
    keys = {
        run.variant: benchmark.teacher_key(run)
        for run in runs
        if run.seed == 0 and run.pair.name == "wikiann-en-de"
    }
    own = {name: keys[name] for name in keys if keys[name] != keys["maral"]}
    pairs = [(f"teacher{x}", f"maral{x}") for x in ("_100", "_100_suggested", "_translated")]
    changed = {"width_4", "width_12", "teacher_all_layers", "teacher_500_updates"}
    assert set(own) == changed.union(*pairs)
    assert all(own[teacher] == own[student] for teacher, student in pairs)
    assert len(set(own.values())) == 7
    of_maral = {
        (r.pair.name, r.seed): benchmark.teacher_key(r) for r in runs if r.variant == "maral"
    }
    assert len(of_maral) == 21
    # one for all target languages of a source of a dataset, one a seed
    assert len(set(of_maral.values())) == 15
    assert len({benchmark.run_key(run) for run in runs if run.variant == "maral"}) == 21
    # a ceiling and its teacher share the teacher, but not the result
    assert keys["supervised"] == keys["teacher"]
    results = {
        run.variant: benchmark.run_key(run)
        for run in runs
        if run.seed == 0 and run.pair.name == "wikiann-en-de"
    }
    assert results["supervised"] != results["teacher"]


@pytest.mark.parametrize(
    ("section", "name", "default", "other"),
    [("adaptation", "filter_limit", "doubt", "none"), ("student", "outside_weight", 1.0, 0.5)],
)
def test_a_changed_default_makes_another_run(monkeypatch, section, name, default, other):
    plain = read_config(MATRIX.parent / "maral_small.cfg", {"paths.encoder": "e5"})
    same, changed = plain.copy(), plain.copy()
    same[section][name], changed[section][name] = default, other
    before = relevant(plain, STUDENT_SECTIONS)
    assert name not in plain[section] and relevant(same, STUDENT_SECTIONS) == before
    schema = SCHEMAS[section]
    field = (schema.model_fields[name].annotation, other)
    monkeypatch.setitem(SCHEMAS, section, create_model("Later", __base__=schema, **{name: field}))
    assert relevant(plain, STUDENT_SECTIONS) == relevant(changed, STUDENT_SECTIONS) != before


# reading a matrix

CEILING = {"adapt": False, "train_on": "target"}
DEMO = {"dataset": "demo", "source": "en", "target": "de"}


def write_matrix(folder: Path, **changed: Any) -> Path:
    config = folder / "base.cfg"
    if not config.is_file():
        config.write_text((ROOT / "configs/maral_small.cfg").read_text("utf8"), encoding="utf8")
    content = {
        "config": "base.cfg",
        "source_sentences": 6,
        "target_sentences": 5,
        "pairs": [DEMO],
        "variants": {"teacher": {"adapt": False}, "maral": {}},
        **changed,
    }
    path = folder / "matrix.yml"
    srsly.write_yaml(path, {k: v for k, v in content.items() if v is not None})
    return path


def variants(**overrides: Any) -> dict[str, Any]:
    return {"variants": {"odd": {"overrides": overrides}}}


def own(**changed: Any) -> dict[str, Any]:
    """A dataset of the user's own."""
    files = {part: f"{part}-{{lang}}.jsonl" for part in ("train", "dev", "test")}
    return {"datasets": [{"name": "mine", "format": "jsonl", "files": files, **changed}]}


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"config": "missing.cfg"}, "M422", "missing.cfg"),
        ({"config": None}, "M421", "config"),
        ({"pears": []}, "M421", "pears"),
        ({"pairs": [{"dataset": "x", "source": "en", "target": "de"}]}, "M421", "known are demo"),
        (own(name="demo"), "M421", "two datasets named demo"),
        (own(format="x"), "M421", "datasets.0.format = 'x': there is no such format"),
        (own(files={"train": "a", "dev": "b"}), "M421", "datasets.0.files.test"),
        (own(files={"train": "{part}", "dev": "b", "test": "c"}), "M421", "files.train"),
        (own(files={"train": "../a", "dev": "b", "test": "c"}), "M421", "below the folder"),
        (own(label_map=3), "M421", "label_map"),
        ({"pairs": []}, "M421", "pairs"),
        ({"seeds": [-1]}, "M421", "seeds.0"),
        ({"seeds": [0, 1, 0]}, "M421", "seeds = [0, 1, 0]: 0 is listed more than once"),
        ({"variants": {"a": {"seeds": []}}}, "M421", "a.seeds"),
        ({"pairs": [DEMO, DEMO]}, "M421", "demo-en-de is listed more than once"),
        (
            {"seeds": [0, 1], "variants": {"a": {"seeds": [1, 0, 1]}}}, "M421",
            "variants.a.seeds = [1, 0, 1]: 1 is listed more than once",
        ),
        ({"source_sentences": 0}, "M421", "source_sentences = 0"),
        ({"test_half": "dev"}, "M421", "test_half = 'dev'"),
        ({"variants": {"a b": {}}}, "M421", "a b"),
        (variants(**{"student.lost": 1}), "M423", "[student] lost = 1"),
        (variants(**{"student.loss": "hinge"}), "M423", "variants.odd: "),
        (variants(**{"adaptation.warmup_epochs": 0}), "M423", "warmup_epochs"),
        (variants(**{"student.decision": "linear"}), "M423", "linear"),
        (variants(**{"components.maral_ner.model.width": 3}), "M423", "has no such key"),
        (variants(**{"component.maral_ner.model.dim": 3}), "M423", "no section"),
        (variants(dim=3), "M423", "overrides.dim"),
        (variants(**{WIDTH: 4}), "M423", "up to 8 words"),
        ({"variants": {"a": {"adapt": False, "overrides": {WIDTH: 4}}}}, "M423", "a.overrides"),
        ({"variants": {"a": {"adapt": False, "target_sentences": 9}}}, "M423", "a.target_sentences"),
        ({"variants": {"a": {"train_on": "target"}}}, "M423", "a.train_on"),
        ({"variants": {"a": {**CEILING, "target_gold": 9}}}, "M423", "a.target_gold"),
        ({"variants": {"a": {**CEILING, "translate": True}}}, "M423", "a.translate"),
        ({"variants": {"a": {"adapt": False, "train_on": "both"}}}, "M421", "a.train_on"),
        ({"variants": {"a": {"target_sentences": 0}}}, "M421", "a.target_sentences = 0"),
        ({"variants": {"a": {"target_gold": 0}}}, "M421", "a.target_gold = 0"),
        ({"variants": {"a": {"target_gold_choice": "suggested"}}}, "M423", "set target_gold, the"),
        ({"variants": {"a": {"seeds": [7]}}}, "M423", "variants.a.seeds"),
        ({"variants": {"a": {"teacher": {"teacher.epochs": 0}}}}, "M423", "epochs = 0"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path, changed, code, said):
    path = write_matrix(tmp_path, **changed)
    with pytest.raises(MaralError) as error:
        read_matrix(path)
    assert str(error.value).startswith(f"[{code}]")
    assert said in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    ("variant", "encoder", "said"),
    [
        ({"overrides": {"system.seed": 7}}, None, "overrides.system.seed = 7: the key 'seeds'"),
        ({"teacher": {"system.seed": 7}}, None, "teacher.system.seed = 7: the key 'seeds'"),
        ({"overrides": {"paths.encoder": "a"}}, "b", "overrides.paths.encoder = 'a': the option"),
        ({"teacher": {ENCODER: "a"}}, "b", f"teacher.{ENCODER} = 'a': the option --encoder"),
        (
            {"overrides": {"teacher.epochs": 3}}, None,
            "overrides.teacher.epochs = 3: the training of the student",
        ),
        (
            {"teacher": {"student.epochs": 3}}, None,
            "teacher.student.epochs = 3: the training of the teacher",
        ),
        ({"teacher": {"student.loss": "supcon"}}, None, "teacher.student.loss = 'supcon'"),
        (
            {"teacher": {"adaptation.init": "teacher"}}, None,
            "teacher.adaptation.init = 'teacher': the training",
        ),
        ({"overrides": {"paths.train": "a"}}, None, "overrides.paths.train = 'a'"),
        ({"overrides": {"paths.cache": "a"}}, None, "overrides.paths.cache = 'a': all runs share"),
        (
            {"overrides": {"student.cache": "a"}}, None,
            "overrides.student.cache = 'a': all runs share",
        ),
        (
            {"overrides": {"adaptation.diagnose_with_gold": True}}, None,
            "overrides.adaptation.diagnose_with_gold = True: the key 'diagnose'",
        ),
        (
            {"overrides": {"paths.encoder": "a", ENCODER: "b"}}, None,
            "overrides.paths.encoder = 'a': the training of the student does not read it",
        ),
        (
            {"overrides": {"adaptation.init": "teacher", TEMPERATURE: 0.3}}, None,
            f"overrides.{TEMPERATURE} = 0.3: the student starts from the teacher",
        ),
    ],
)  # fmt: skip
def test_overrides_without_effect_are_refused(tmp_path, variant, encoder, said):
    path = write_matrix(tmp_path, variants={"odd": variant})
    with pytest.raises(MaralError) as error:
        read_matrix(path, None if encoder is None else Path(encoder))
    assert str(error.value).startswith("[M428]") and f"variants.odd.{said}" in str(error.value)
    assert str(error.value).count("variants.") == 1


def test_all_overrides_without_effect_are_named_at_once(tmp_path):
    some = {
        "one": {"overrides": {"system.seed": 7, "student.epochs": 3, "paths.dev": "a"}},
        "two": {"adapt": False, "teacher": {"system.seed": 7}},
    }
    with pytest.raises(MaralError, match=r"\[M428\]") as error:
        read_matrix(write_matrix(tmp_path, variants=some))
    places = [line.partition(" =")[0].strip() for line in str(error.value).splitlines()[1:-1]]
    assert places == [
        "variants.one.overrides.system.seed", "variants.one.overrides.paths.dev",
        "variants.two.teacher.system.seed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "variant",
    [
        {"overrides": {"adaptation.init": "teacher", "components.maral_ner.spans_key": "sc"}},
        {"overrides": {"paths.encoder": "a"}, "teacher": {ENCODER: "a"}},
        {"overrides": {"adaptation.target_labels": "soft", "student.loss": "max_margin"}},
        {"overrides": {"adaptation.init": "teacher", "components.maral_ner.threshold": 0.3}},
        {"overrides": {"adaptation.init": "teacher", WIDTH: 4}, "teacher": {WIDTH: 4}},
    ],
)
def test_overrides_that_a_training_reads_are_taken(tmp_path, variant):
    """Whether or not their value is that of the configuration."""
    config = (ROOT / "configs/maral_small.cfg").read_text("utf8")
    own = 'factory = "maral_ner"\nthreshold = 0.1\nspans_key = null'
    base = config.replace('factory = "maral_ner"', own)
    (tmp_path / "base.cfg").write_text(base, encoding="utf8")
    assert list(read_matrix(write_matrix(tmp_path, variants={"a": variant})).variants) == ["a"]


@pytest.mark.parametrize("path", [PAGE, QUICK, MATRIX], ids=["page", "quick", "study"])
def test_the_shipped_variants_are_valid_with_an_encoder(path):
    assert read_matrix(path, Path("encoder")).variants == shipped(path).variants


def test_a_configuration_without_a_section_is_refused(tmp_path):
    text = (ROOT / "configs/maral_small.cfg").read_text("utf8")
    before, _, after = text.partition("[adaptation]\n")
    rest = after[after.find("\n[") + 1 :] if "\n[" in after else ""
    (tmp_path / "short.cfg").write_text(before + rest, encoding="utf8")
    with pytest.raises(MaralError, match=r"M423.*M301.*\[adaptation\]"):
        read_matrix(write_matrix(tmp_path, config="short.cfg"))


def test_a_teacher_that_sees_the_target_may_see_more_of_it(tmp_path):
    for setting in ({"translate": True}, {"target_gold": 2}):
        some = {"a": {"adapt": False, "target_sentences": 9, **setting}}
        assert (
            read_matrix(write_matrix(tmp_path, variants=some)).variants["a"].target_sentences == 9
        )


@pytest.mark.parametrize("text", [None, "{", "\udcff"])
def test_a_training_without_a_readable_summary(tmp_path, text):
    (tmp_path / "training").mkdir()
    if text is not None:
        (tmp_path / "training" / "summary.json").write_bytes(text.encode("utf8", "surrogateescape"))
    with pytest.raises(MaralError, match=r"M427.*summary\.json"):
        summarise_training(tmp_path)


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "\t: x"])
def test_what_is_no_yaml_of_keys_is_refused(tmp_path, text):
    path = tmp_path / "matrix.yml"
    path.write_text(text, encoding="utf8")
    with pytest.raises(MaralError, match=r"\[M420\].*matrix.yml"):
        read_matrix(path)


def names(runs) -> list[str]:
    return [run.name for run in runs]


def test_the_first_seed_is_done_for_all_before_the_next(tmp_path):
    pairs = [{"dataset": "demo", "source": "en", "target": t} for t in ("de", "es")]
    some = {"teacher": {"adapt": False}, "maral": {}, "supcon": {"seeds": [2]}}
    matrix = read_matrix(write_matrix(tmp_path, pairs=pairs, seeds=[5, 2], variants=some))
    runs = plan_runs(matrix)
    assert names(runs) == [
        "demo-en-de-teacher-5", "demo-en-de-maral-5", "demo-en-es-teacher-5",
        "demo-en-es-maral-5", "demo-en-de-teacher-2", "demo-en-de-maral-2", "demo-en-de-supcon-2",
        "demo-en-es-teacher-2", "demo-en-es-maral-2", "demo-en-es-supcon-2",
    ]  # fmt: skip
    chosen = choose_runs(runs, ["maral, supcon", "en-es", "2"])
    assert names(chosen) == ["demo-en-es-maral-2", "demo-en-es-supcon-2"]
    assert choose_runs(runs, []) == runs
    with pytest.raises(MaralError, match=r"\[M424\].*'fr'.*supcon.*demo-en-es.*5, 2"):
        choose_runs(runs, ["fr"])
    chosen = choose_runs(runs, ["maral,supcon,5"])
    assert names(chosen) == ["demo-en-de-maral-5", "demo-en-es-maral-5"]
    with pytest.raises(MaralError, match=r"\[M424\].*'supcon, 5, en-es'.*: supcon with seed 2\."):
        choose_runs(runs, ["supcon,5", "en-es"])


# data


def test_datasets_of_the_users_own(tmp_path):
    """Own names, own format, own labels; another map makes other files."""
    pairs = [{"dataset": "mine", "source": "en", "target": "de"}]
    for lang, name in (("en", "Ada"), ("de", "Emma")):
        for part in ("train", "dev", "test"):
            path = tmp_path / "data" / "mine" / f"{part}-{lang}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [
                {"text": f"{name} {n} {part}", "label": [[0, len(name), "human"]]} for n in range(9)
            ]
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf8")
    (tmp_path / "map.json").write_text('{"human": "PER"}', encoding="utf8")
    found = []
    for label_map in ("map.json", {"human": "H"}):
        matrix = read_matrix(write_matrix(tmp_path, pairs=pairs, **own(label_map=label_map)))
        files = raw_files(matrix, plan_runs(matrix)[0], tmp_path / "data")
        corpora = prepare_corpora(files, tmp_path / "out", gold=False)
        assert corpora.sizes == {"train": 6, "dev": 9, "target": 5, "test": 9}
        found.append({ent.label_ for doc in read_docs(corpora.test) for ent in doc.ents})
        assert not any(doc.has_annotation("ENT_IOB") for doc in read_docs(corpora.target))
    assert found == [{"PER"}, {"H"}]


def test_the_text_of_brat_counts_in_any_case_of_its_ending(tmp_path):
    hashes = []
    for text in ("Ada sang", "Eva sang"):
        (tmp_path / "0.ANN").write_text("T1\tPER 0 3\tAda\n", encoding="utf8")
        (tmp_path / "0.TXT").write_text(text, encoding="utf8")
        file_hash.cache_clear()
        hashes.append(file_hash(tmp_path / "0.ANN"))
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("name", ["{part}-{lang}", "{part}-{lang}/0.ann"])
@pytest.mark.parametrize("ending", [".ann", ".txt", ".tok"])
def test_files_of_brat_and_folders_of_them_are_read_and_told_apart(tmp_path, name, ending):
    """By the text and its words as by the annotation, and not by what brat notes beside them."""
    parts = ("train", "dev", "test")
    mine = own(format="brat", files={part: name.replace("{part}", part) for part in parts})
    pairs = [{"dataset": "mine", "source": "en", "target": "de"}]
    matrix = read_matrix(write_matrix(tmp_path, pairs=pairs, **mine))
    (run, _), data = plan_runs(matrix), tmp_path / "data"
    assert len(Benchmark(matrix, data, tmp_path).missing(run)) == 4
    for lang, part in product(("en", "de"), parts):
        lines = [f"Ada {n} {part}" for n in range(9)]
        starts = accumulate((len(line) + 1 for line in lines[:-1]), initial=0)
        path = data / "mine" / f"{part}-{lang}" / "0.ann"
        path.parent.mkdir(parents=True)
        entities = [f"T{n}\tPER {at} {at + 3}\tAda\n" for n, at in enumerate(starts, start=1)]
        path.write_text("".join(entities), encoding="utf8")
        for other in (".txt", ".tok"):
            path.with_suffix(other).write_text("\n".join(lines) + "\n", encoding="utf8")
    file_hash.cache_clear()
    assert Benchmark(matrix, data, tmp_path).missing(run) == []
    before = raw_files(matrix, run, data)
    corpora = prepare_corpora(before, tmp_path / "out", gold=False)
    assert corpora.sizes == {"train": 6, "dev": 9, "target": 5, "test": 9}
    assert all(doc.ents for doc in read_docs(corpora.test))
    keys = {role: file.key for role, file in before.items()}
    changed = data / "mine" / "test-de" / f"0{ending}"
    (changed.parent / ".stats_cache").write_text("9", encoding="utf8")
    file_hash.cache_clear()
    assert {role: file.key for role, file in raw_files(matrix, run, data).items()} == keys
    changed.write_text(changed.read_text("utf8").replace("Ada", "Eva"), encoding="utf8")
    file_hash.cache_clear()
    after = {role: file.key for role, file in raw_files(matrix, run, data).items()}
    assert [role for role in keys if after[role] != keys[role]] == ["test"]


def write_raw(folder: Path, *, n: int = 12) -> Path:
    for lang, name in (("en", "Ada"), ("de", "Emma"), ("es", "Eva")):
        for part in ("train", "dev", "test"):
            path = folder / "demo" / lang / part
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"{lang}:{name}\tB-PER\n{lang}:{part}{i}\tO\n\n" for i in range(n)]
            path.write_text("".join(lines), encoding="utf8")
    return folder


def texts(path: Path) -> list[str]:
    return [doc.text for doc in DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)]


def test_corpora_are_cut_alike_and_only_the_diagnosis_has_labels(tmp_path):
    data = write_raw(tmp_path / "raw")
    matrix = read_matrix(write_matrix(tmp_path, dev_sentences=4))
    (run,) = choose_runs(plan_runs(matrix), ["maral"])
    files = raw_files(matrix, replace(run, seed=3), data)
    corpora = prepare_corpora(files, tmp_path / "c", gold=True)
    assert corpora.sizes == {"train": 6, "dev": 4, "target": 5, "test": 12}
    docs = {
        name: list(DocBin().from_disk(getattr(corpora, name)).get_docs(spacy.blank("xx").vocab))
        for name in ("train", "target", "target_gold", "test")
    }
    assert not any(doc.has_annotation("ENT_IOB") for doc in docs["target"])
    assert all(doc.ents for name in ("train", "target_gold", "test") for doc in docs[name])
    assert texts(corpora.target) == texts(corpora.target_gold)
    again = prepare_corpora(
        raw_files(matrix, replace(run, seed=3), data), tmp_path / "d", gold=False
    )
    assert again.target_gold is None and texts(again.train) == texts(corpora.train)
    other = prepare_corpora(
        raw_files(matrix, replace(run, seed=4), data), tmp_path / "c", gold=False
    )
    assert texts(other.train) != texts(corpora.train) and other.test == corpora.test


def test_halves_of_a_test_set_are_apart_and_make_it_up(tmp_path):
    """Whatever the seed and the order of the file; the other parts stay whole."""
    data = write_raw(tmp_path / "raw", n=40)

    def drawn(name: str, half: str | None, seed: int = 0, **changed: Any) -> list[str]:
        matrix = read_matrix(write_matrix(tmp_path, test_half=half, **changed))
        run = replace(plan_runs(matrix)[0], seed=seed)
        corpora = prepare_corpora(raw_files(matrix, run, data), tmp_path / name, gold=False)
        assert (corpora.sizes["dev"], corpora.sizes["train"]) == (40, 6)
        found = texts(corpora.test)
        assert corpora.sizes["test"] == len(found)
        return found

    every, study, page = (drawn("c", half) for half in (None, "study", "page"))
    assert study and page and not {*study} & {*page}
    assert sorted([*study, *page]) == sorted(every) and len(every) == 40
    for half, wanted in (("study", 0), ("page", 1)):
        bits = {hashlib.sha256(text.encode()).digest()[0] & 1 for text in drawn("c", half)}
        assert bits == {wanted}
    assert drawn("c", "page", seed=7) == page
    some = drawn("c", "page", test_sentences=3)
    assert len(some) == 3 and {*some} < {*page}
    path = data / "demo/de/test"
    path.write_text("\n\n".join(reversed(path.read_text().strip().split("\n\n"))) + "\n\n")
    file_hash.cache_clear()
    assert drawn("d", "page") == page[::-1]


def test_results_say_which_half_they_were_measured_on(tmp_path, commands):
    found = []
    for half in (None, "study", "page"):
        benchmark, runs = start(tmp_path, write_matrix(tmp_path, test_half=half))
        run_all(benchmark, runs[:1], lambda: None)
        result = benchmark.result(runs[0])
        assert result["test_half"] == half
        found.append(result["sizes"]["test"])
    assert found[0] == found[1] + found[2] and min(found) > 0
    # the teacher is the same one
    assert commands.done.count("train-teacher") == 1


def test_a_variant_may_have_more_target_text(tmp_path, commands):
    sizes = {"maral": {}, "more": {"target_sentences": 9}}
    benchmark, runs = start(tmp_path, write_matrix(tmp_path, variants=sizes))
    run_all(benchmark, runs, lambda: None)
    plain, more = (benchmark.result(run) for run in runs)
    assert (plain["sizes"]["target"], more["sizes"]["target"]) == (5, 9)
    assert plain["sizes"]["train"] == more["sizes"]["train"]
    assert commands.done.count("train-teacher") == 1 and commands.done.count("adapt") == 2
    assert commands.done.count("pseudo-label") == 2
    assert is_plain(plain) and not is_plain(more)


def test_labelled_target_sentences_are_apart_from_the_raw_text_and_the_test_set(tmp_path):
    data = write_raw(tmp_path / "raw", n=20)
    # the test set has a sentence of the training part
    test, train = (data / "demo/de" / part for part in ("test", "train"))
    shared = train.read_text(encoding="utf8").split("\n\n")[4]
    test.write_text(test.read_text(encoding="utf8") + shared + "\n\n", encoding="utf8")
    matrix = read_matrix(write_matrix(tmp_path))
    (run,) = choose_runs(plan_runs(matrix), ["maral"])
    files = raw_files(matrix, run, data)

    def draw(n, *, seed=0, folder="c"):
        of_seed = raw_files(matrix, replace(run, seed=seed), data)
        return prepare_corpora(of_seed, tmp_path / folder, gold=False, n_annotated=n)

    few, more = draw(4), draw(14)
    assert few.sizes["annotated"] == 4 and more.sizes["annotated"] == 14
    assert all(doc.ents for doc in read_docs(few.annotated))
    found, larger = set(texts(few.annotated)), set(texts(more.annotated))
    assert found < larger and len(larger) == 14
    assert not larger & {*texts(more.target), *texts(more.test)}
    assert texts(draw(4, folder="d").annotated) == texts(few.annotated)
    assert set(texts(draw(4, seed=1).annotated)) != found
    # of 20, five are raw text, and the shared one is in the test set
    with pytest.raises(MaralError, match=r"\[M517\] 16 labelled.*demo/de/train.*only 1[45] can"):
        draw(16)
    plain = prepare_corpora(files, tmp_path / "c", gold=False)
    assert plain.annotated is None and plain.target == few.target and "annotated" not in plain.sizes


def test_a_variant_may_have_labelled_target_sentences(tmp_path, commands):
    sizes = {
        "teacher": {"adapt": False}, "maral": {},
        "teacher_3": {"adapt": False, "target_gold": 3}, "maral_3": {"target_gold": 3},
    }  # fmt: skip
    pairs = [{"dataset": "demo", "source": "en", "target": t} for t in ("de", "es")]
    benchmark, runs = start(tmp_path, write_matrix(tmp_path, variants=sizes, pairs=pairs))
    assert run_all(benchmark, runs, lambda: None) == {}
    trained = [
        (c, o.get("--target-gold")) for c, o in commands.calls if c in ("train-teacher", "adapt")
    ]
    given = [path for _, path in trained if path is not None]
    # a teacher without gold for both languages, one with gold for each; students of both kinds
    assert [c for c, path in trained if path is None] == ["train-teacher", "adapt", "adapt"]
    assert len(given) == 4 and len(set(given)) == 2
    assert all("-annotated-3-" in path for path in given)
    results = {run.name: benchmark.result(run) for run in runs}
    with_gold = results["demo-en-de-maral_3-0"]
    assert with_gold["target_gold"] == with_gold["sizes"]["annotated"] == 3
    assert not is_plain(with_gold) and is_plain(results["demo-en-de-maral-0"])
    assert results["demo-en-de-maral-0"]["sizes"]["target"] == with_gold["sizes"]["target"]


def test_a_teacher_without_labelled_target_sentences_may_suggest_them(tmp_path, commands):
    suggested = {"target_gold": 3, "target_gold_choice": "suggested"}
    sizes = {
        "teacher": {"adapt": False}, "teacher_3": {"adapt": False, "target_gold": 3},
        "asked": {"adapt": False, **suggested}, "asked_student": suggested,
    }  # fmt: skip
    benchmark, runs = start(tmp_path, write_matrix(tmp_path, variants=sizes))
    assert run_all(benchmark, runs, lambda: None) == {}
    calls = [(c, o) for c, o in commands.calls if c in ("train-teacher", "adapt", "suggest")]
    # the first teacher suggests, once; the one that has the sentences serves two variants
    assert [c for c, _ in calls] == ["train-teacher"] * 2 + ["suggest", "train-teacher", "adapt"]
    plain, random, asked, teacher, student = (options for _, options in calls)
    assert Path(asked["-o"]).parent == Path(plain["-o"]).parent
    assert "--target-gold" not in plain
    assert teacher["--target-gold"] == student["--target-gold"] != random["--target-gold"]
    gold = read_docs(Path(teacher["--target-gold"]))
    assert len(gold) == 3 and all(doc.ents for doc in gold)
    assert [doc.text for doc in gold] == [text.strip() for text in texts(Path(asked["-o"]))]
    seen = {*texts(Path(student["--target"])), *texts(Path(student["--source"]))}
    assert not seen & {doc.text for doc in gold}
    result = benchmark.result(runs[-1])
    assert result["target_gold_choice"] == "suggested" and result["sizes"]["annotated"] == 3

    many = {"many": {**suggested, "target_gold": 99}}
    benchmark, runs = start(tmp_path, write_matrix(tmp_path, variants=many))
    failed = run_all(benchmark, runs, lambda: None)
    assert "[M517] 99 labelled sentences" in failed["demo-en-de-many-0"]


def test_a_variant_may_translate_its_source(tmp_path, commands):
    variants = {
        "teacher": {"adapt": False}, "maral": {},
        "translated_teacher": {"adapt": False, "translate": True},
        "translated": {"translate": True},
        "asked": {
            "adapt": False, "translate": True, "target_gold": 3, "target_gold_choice": "suggested",
        },
    }  # fmt: skip
    pairs = [{"dataset": "demo", "source": "en", "target": t} for t in ("de", "es")]
    benchmark, runs = start(tmp_path, write_matrix(tmp_path, variants=variants, pairs=pairs))
    assert run_all(benchmark, runs, lambda: None) == {}
    translations = [options for command, options in commands.calls if command == "translate-words"]
    written = [options["-o"] for options in translations]
    # one for each language, of the text that its students see, without its labels
    assert len(set(written)) == len(written) == 2
    for options in translations:
        assert not any(doc.ents for doc in read_docs(options["--target"]))
        assert all(doc.ents for doc in read_docs(options["--source"]))
    sources = {"train-teacher": Counter(), "adapt": Counter()}
    for command, arguments in commands.arguments:
        if command in sources:
            given = [path for name, path in pairwise(arguments) if name == "--source"]
            sources[command][tuple(given)] += 1
    source = translations[0]["--source"]
    both = {(source, path): 1 for path in written}
    assert sources["adapt"] == {(source,): 2, **both}
    # one teacher serves both languages without; with it, two in each: the other has gold
    assert sources["train-teacher"] == {(source,): 1, **dict.fromkeys(both, 2)}
    results = {run.name: benchmark.result(run) for run in runs}
    assert results["demo-en-de-translated-0"]["translate"]
    assert not is_plain(results["demo-en-de-translated-0"])
    assert is_plain(results["demo-en-de-maral-0"])


def test_sentences_are_chosen_by_seed_in_their_order():
    assert list(choose_sentences(5, None, 0, "train")) == [0, 1, 2, 3, 4]
    assert list(choose_sentences(5, 9, 0, "train")) == [0, 1, 2, 3, 4]
    chosen = choose_sentences(1000, 10, 0, "train")
    assert chosen == sorted(set(chosen)) and len(chosen) == 10
    assert chosen == choose_sentences(1000, 10, 0, "train")
    assert chosen != choose_sentences(1000, 10, 1, "train")
    assert chosen != choose_sentences(1000, 10, 0, "dev")


def test_missing_raw_files_are_named(tmp_path):
    matrix = read_matrix(write_matrix(tmp_path))
    run = plan_runs(matrix)[0]
    with pytest.raises(MaralError, match=r"\[M425\].*demo/ with \{lang\}/train"):
        prepare_corpora(raw_files(matrix, run, tmp_path), tmp_path / "c", gold=False)


# running, with the commands played

F1 = {"/teachers/": 0.5, "/students/": 0.6, "/ceilings/": 0.9}
"""What is measured on each kind of model."""
RAW_TARGET = {"words": 9, "labels": {"PER": 2}, "student": {"PER": 1}, "same": 1}


class Commands:
    """Stands for the processes: notes them, and writes what they would."""

    def __init__(self, monkeypatch):
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.arguments: list[tuple[str, list[str]]] = []
        self.broken: str | None = None
        monkeypatch.setattr(runs_module, "run_process", self)

    def __call__(self, words, said, env) -> int:
        command, arguments = words[4], list(map(str, words[5:]))
        options = dict(pairwise(arguments))
        self.calls.append((command, options))
        self.arguments.append((command, arguments))
        if self.broken is not None and self.broken in " ".join(arguments):
            said.write("Traceback\nthe reason\n")
            return 3
        output = Path(options["-o"])
        output.parent.mkdir(parents=True, exist_ok=True)
        if command == "pseudo-label":
            output.write_text("labels", encoding="utf8")
        elif command == "translate-words":
            output.write_bytes(Path(options["--source"]).read_bytes())
        elif command == "suggest":
            # the last sentences of the pool, with nothing that the annotator would see as correct
            docs = list(read_docs(arguments[1]))[-int(options["--number"]) :]
            bare = [Doc(doc.vocab, words=[t.text for t in doc]) for doc in docs]
            DocBin(docs=bare).to_disk(output)
        elif command == "evaluate":
            (f1,) = (f1 for folder, f1 in F1.items() if folder in arguments[0])
            score = {"f1": f1, "precision": f1, "recall": f1}
            output.write_text(
                json.dumps(
                    {"micro": score, "paper_protocol": score, "per_type": {}, "seconds": 1.0}
                )
            )
        else:
            self.train(output / "training", command == "adapt")
        return 0

    def train(self, folder: Path, diagnosed: bool):
        folder.mkdir(parents=True)
        row = {"epoch": 1, "losses": {}, "dev_f1": 0.7, "score": 0.7, "seconds": 2.0}
        if diagnosed:
            row |= {"noise_ratio": 0.2, "noise_ratio_start": 0.3}
        (folder / "log.jsonl").write_text(json.dumps(row) + "\n")
        summary = {
            "selected_epoch": 1, "select": "last", "seconds": 5.0, "peak_memory_bytes": 2**30,
            "threads": 1, "precision": "float32", "versions": {},
        }  # fmt: skip
        if diagnosed:
            summary["raw_target"] = RAW_TARGET
        (folder / "summary.json").write_text(json.dumps(summary))

    @property
    def done(self) -> list[str]:
        return [command for command, _ in self.calls]


@pytest.fixture
def commands(monkeypatch) -> Commands:
    return Commands(monkeypatch)


def start(tmp_path: Path, path: Path, **kwargs: Any) -> tuple[Benchmark, list]:
    data = write_raw(tmp_path / "raw")
    matrix = read_matrix(path)
    return Benchmark(matrix, data, tmp_path / "out", **kwargs), plan_runs(matrix)


def test_a_benchmark_from_start_to_tables(tmp_path, commands):
    pairs = [{"dataset": "demo", "source": "en", "target": t} for t in ("de", "es")]
    benchmark, runs = start(tmp_path, write_matrix(tmp_path, pairs=pairs))
    assert run_all(benchmark, runs, lambda: None) == {}
    assert commands.done == [
        "train-teacher", "evaluate", "evaluate", "pseudo-label", "adapt", "evaluate", "evaluate",
        # the teacher and its score on source dev are there
        "evaluate", "pseudo-label", "adapt", "evaluate", "evaluate",
    ]  # fmt: skip
    (path,) = (tmp_path / "out/runs").glob("demo-en-de-maral-0-*.json")
    result = json.loads(path.read_text())
    assert result["f1"] == 0.6 and result["teacher_f1"] == 0.5 and result["dev_f1"] == 0.6
    assert result["sizes"] == {"train": 6, "dev": 12, "target": 5, "test": 12}
    assert not (tmp_path / "out/students").exists() or not any(
        (tmp_path / "out/students").iterdir()
    )
    write_tables(benchmark.output, benchmark.results(runs))
    listed = json.loads((tmp_path / "out/results.json").read_text())
    assert [r["variant"] for r in listed] == ["teacher", "maral"] * 2
    assert [r.get("raw_target") for r in listed] == [None, RAW_TARGET] * 2
    # nothing is done twice
    commands.calls.clear()
    assert run_all(benchmark, runs, lambda: None) == {} and not commands.calls


def test_a_ceiling_is_trained_on_gold_of_the_target(tmp_path, commands):
    """As many sentences as the teacher has, its dev data, no student; and never on the test set."""
    some = {"teacher": {"adapt": False}, "supervised": CEILING, "maral": {}}
    path = write_matrix(tmp_path, variants=some, target_sentences=9, test_half="page")
    benchmark, runs = start(tmp_path, path, keep_models=True)
    assert run_all(benchmark, runs[:2], lambda: None) == {}
    assert commands.done == ["train-teacher", "evaluate", "evaluate"] * 2
    teacher, ceiling = (options for command, options in commands.calls if command != "evaluate")
    assert ceiling["--dev"] == teacher["--dev"]
    gold = read_docs(ceiling["--source"])
    assert len(gold) == 6 and all(doc.ents for doc in gold)
    assert {doc.text.split()[0] for doc in gold} == {"Emma"}
    assert all("train" in doc.text for doc in gold)
    config = spacy.util.load_config(next((tmp_path / "out/ceilings").glob("*/teacher.cfg")))
    plain = spacy.util.load_config(next((tmp_path / "out/teachers").glob("*/teacher.cfg")))
    assert config["teacher"]["select"] == "last"
    assert config["teacher"]["epochs"] == plain["teacher"]["epochs"]
    result = benchmark.result(runs[1])
    assert (result["f1"], result["teacher_f1"], result["adapted"]) == (0.9, 0.5, False)
    assert result["trained_on"] == "target" and benchmark.result(runs[0])["trained_on"] == "source"
    assert (result["sizes"]["train"], result["sizes"]["target"]) == (6, 9)
    # the share of the gap that the student closes
    assert run_all(benchmark, runs, lambda: None) == {}
    write_tables(benchmark.output, benchmark.results(runs))
    listed = json.loads((tmp_path / "out/results.json").read_text())
    assert [r["gap_closed"] for r in listed] == [0.0, 1.0, pytest.approx(0.25)]
    assert "| maral | 25 | 25 |" in (tmp_path / "out/table.md").read_text()


@pytest.mark.parametrize(
    ("n_target", "epochs"), [(3000, 4), (2999, 4), (1626, 7), (600, 20), (1, 12_000)]
)
def test_fewer_sentences_get_more_epochs(n_target, epochs):
    assert as_many_steps(4, 3000, n_target) == epochs


def test_a_ceiling_of_a_target_with_little_text(tmp_path, commands):
    path = write_matrix(tmp_path, variants={"supervised": CEILING}, source_sentences=None)
    data = write_raw(tmp_path / "raw")
    short = data / "demo/de/train"
    short.write_text("de:Emma\tB-PER\nde:geht\tO\n\n" * 5, encoding="utf8")
    matrix = read_matrix(path)
    benchmark = Benchmark(matrix, data, tmp_path / "out", keep_models=True)
    (run,) = plan_runs(matrix)
    assert benchmark.run(run)["sizes"]["train"] == 5
    config = spacy.util.load_config(next((tmp_path / "out/ceilings").glob("*/teacher.cfg")))
    epochs = run.teacher["teacher"]["epochs"]
    assert config["teacher"]["epochs"] == round(epochs * 12 / 5) > epochs


def test_only_what_has_changed_is_done_again(tmp_path, commands):
    benchmark, runs = start(tmp_path, write_matrix(tmp_path))
    run_all(benchmark, runs, lambda: None)
    commands.calls.clear()
    slower = {"maral": {"overrides": {"student.epochs": 9}}, "teacher": {"adapt": False}}
    changed, runs = start(tmp_path, write_matrix(tmp_path, variants=slower))
    assert [changed.result(run) is None for run in runs] == [True, False]
    run_all(changed, runs, lambda: None)
    assert commands.done == ["adapt", "evaluate", "evaluate"]


def test_results_of_other_settings_stay(tmp_path, commands):
    """The tables show those of the matrix that is run, and nothing is done twice."""
    tables = []
    for size in (6, 4, 6, 4):
        commands.calls.clear()
        benchmark, runs = start(tmp_path, write_matrix(tmp_path, source_sentences=size))
        assert run_all(benchmark, runs, lambda: None) == {}
        results = benchmark.results(runs)
        assert [result["sizes"]["train"] for result in results] == [size, size]
        write_tables(benchmark.output, results)
        tables.append((tmp_path / "out/results.json").read_text())
    assert not commands.calls and tables[:2] == tables[2:] and tables[0] != tables[1]
    assert len(list((tmp_path / "out/runs").iterdir())) == 4


def test_results_under_names_without_settings_are_found(tmp_path, commands):
    """As development versions wrote them: those of the same settings, and not those of others."""
    benchmark, runs = start(tmp_path, write_matrix(tmp_path))
    run_all(benchmark, runs, lambda: None)
    for run in runs:
        path = benchmark.result_path(run)
        path.rename(path.with_name(f"{run.name}.json"))
    commands.calls.clear()
    assert run_all(benchmark, runs, lambda: None) == {} and not commands.calls
    other, runs = start(tmp_path, write_matrix(tmp_path, source_sentences=4))
    assert [other.result(run) for run in runs] == [None, None]
    run_all(other, runs, lambda: None)
    assert len(list((tmp_path / "out/runs").iterdir())) == 4


def test_a_damaged_result_is_made_again(tmp_path, commands):
    benchmark, runs = start(tmp_path, write_matrix(tmp_path))
    run_all(benchmark, runs, lambda: None)
    benchmark.result_path(runs[1]).write_text('{"f1": 0.', encoding="utf8")
    assert benchmark.result(runs[1]) is None
    run_all(benchmark, runs, lambda: None)
    assert benchmark.result(runs[1])["f1"] == 0.6


def test_variants_with_the_same_effect_are_run_once(tmp_path, commands):
    same = {"maral": {}, "soft_labels": {"overrides": {"adaptation.target_labels": "soft"}}}
    benchmark, runs = start(tmp_path, write_matrix(tmp_path, variants=same))
    run_all(benchmark, runs, lambda: None)
    assert commands.done.count("adapt") == 1
    copy = benchmark.result(runs[1])
    assert copy["variant"] == "soft_labels" and copy["same_as"] == "maral" and copy["f1"] == 0.6
    assert copy["overrides"] == {"adaptation.target_labels": "soft"}


@pytest.mark.parametrize("setting", ["paths.encoder", "components.transformer.model.name"])
def test_a_student_with_another_encoder_is_another_run(tmp_path, commands, setting):
    """The encoder counts by its files, wherever they are, and for the student as for the teacher."""
    for name, text in {"one": "1", "copy": "1", "other": "2"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text, encoding="utf8")
    config = (ROOT / "configs/maral_small.cfg").read_text("utf8")
    base = config.replace('"encoders/e5-small"', json.dumps(str(tmp_path / "one")))
    (tmp_path / "base.cfg").write_text(base, encoding="utf8")
    some = {
        "maral": {},
        **{name: {"overrides": {setting: str(tmp_path / name)}} for name in ("copy", "other")},
    }
    benchmark, runs = start(tmp_path, write_matrix(tmp_path, variants=some))
    assert run_all(benchmark, runs, lambda: None) == {}
    assert commands.done.count("train-teacher") == 1 and commands.done.count("adapt") == 2
    plain, copy, other = (benchmark.result(run) for run in runs)
    assert copy["same_as"] == "maral" and "same_as" not in other
    assert plain["settings"] == copy["settings"] != other["settings"]


def test_a_failure_is_told_and_the_rest_is_done(tmp_path, commands):
    two = {"maral": {}, "supcon": {"overrides": {"student.loss.@losses": "spacy-maral.SupCon.v1"}}}
    said: list[str] = []
    benchmark, runs = start(tmp_path, write_matrix(tmp_path, variants=two), say=said.append)
    commands.broken = "students/demo-en-de-maral"
    failed = run_all(benchmark, runs, lambda: None)
    assert list(failed) == ["demo-en-de-maral-0"]
    assert "[M426]" in failed["demo-en-de-maral-0"] and "the reason" in failed["demo-en-de-maral-0"]
    assert "code 3" in failed["demo-en-de-maral-0"]
    assert benchmark.result(runs[1])["f1"] == 0.6
    assert any("FAILED" in text for text in said)
    commands.broken = None
    assert run_all(benchmark, runs, lambda: None) == {}


def test_gold_of_the_target_is_used_when_asked_for_only(tmp_path, commands):
    def adapted() -> dict[str, str]:
        return next(options for command, options in commands.calls if command == "adapt")

    for changed in ({}, {"diagnose": True}, {"study": True}):
        commands.calls.clear()
        folder = tmp_path / "-".join(changed or ["plain"])
        folder.mkdir()
        benchmark, runs = start(folder, write_matrix(folder, **changed), keep_models=True)
        run_all(benchmark, runs, lambda: None)
        config = spacy.util.load_config(next((folder / "out/students").glob("*/student.cfg")))
        assert config["adaptation"].get("diagnose_with_gold", False) == bool(changed)
        assert adapted()["--target"].endswith("-gold.spacy") == bool(changed)
        assert ("--diagnosis" in adapted()) == ("study" in changed)
        labelled = [options for command, options in commands.calls if command == "pseudo-label"]
        assert not any(word.endswith("-gold.spacy") for options in labelled for word in options)


def test_a_run_that_another_process_does_is_left_to_it(tmp_path, commands):
    benchmark, runs = start(tmp_path, write_matrix(tmp_path))
    other = Benchmark(benchmark.matrix, benchmark.data, benchmark.output)
    with other._lock(f"run-{other.result_path(runs[0]).stem}"):
        assert benchmark.run(runs[0]) is None
    assert not commands.calls and benchmark.run(runs[0])["f1"] == 0.5


# a stop in the middle of a command

SAVES = """
import pathlib, signal, sys, time
def save(signum, frame):
    pathlib.Path("saved").write_text("state")
    sys.exit(143)
signal.signal(signal.SIGTERM, save if sys.argv[1] == "polite" else signal.SIG_IGN)
pathlib.Path("ready").write_text("")
time.sleep(60)
"""


def stopped(folder: Path, how: str, requests: int) -> BaseException:
    """What a run of SAVES raises when this process gets SIGTERM so many times."""

    def ask() -> None:
        for _ in range(requests):
            while not (folder / "ready").exists():
                time.sleep(0.05)
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGTERM)

    words = [sys.executable, "-c", f"import os; os.chdir({str(folder)!r})\n{SAVES}", how]
    thread = threading.Thread(target=ask)
    with (folder / "log").open("w") as file, pytest.raises(KeyboardInterrupt) as raised:
        thread.start()
        run_process(words, file, dict(os.environ))
    thread.join()
    return raised.value


def test_a_benchmark_that_is_stopped_lets_its_command_save(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    started = time.monotonic()
    error = stopped(tmp_path, "polite", 1)
    assert isinstance(error, Interrupted) and error.exit_code == 143 and "[W467]" in str(error)
    assert (tmp_path / "saved").read_text() == "state" and time.monotonic() - started < 30
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_second_request_ends_the_command_at_once(tmp_path):
    started = time.monotonic()
    error = stopped(tmp_path, "deaf", 2)
    assert not isinstance(error, Interrupted)
    assert not (tmp_path / "saved").exists() and time.monotonic() - started < 30


def test_a_process_that_ends_has_a_status_and_an_output(tmp_path):
    with (tmp_path / "log").open("w") as file:
        words = [sys.executable, "-c", "import os; print(os.environ['X']); raise SystemExit(5)"]
        assert run_process(words, file, {**os.environ, "X": "said"}) == 5
    assert (tmp_path / "log").read_text() == "said\n"


# the command


def call(*arguments: object):
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


def test_the_command_runs_lists_and_fails(tmp_path, commands):
    path, data, out = write_matrix(tmp_path), write_raw(tmp_path / "raw"), tmp_path / "out"
    listed = call(path, "--data", data, "-o", out, "--dry-run")
    assert listed.exit_code == 0 and listed.stdout.count("to do") == 2 and not commands.calls
    assert not out.exists() and "Missing" not in listed.output
    (data / "demo/de/test").rename(data / "kept")
    lacking = call(path, "--data", data, "-o", out, "--dry-run")
    assert lacking.exit_code == 0 and lacking.stdout.count("no data") == 2
    assert "Missing files" in lacking.output and "demo/de/test" in lacking.output
    (data / "kept").rename(data / "demo/de/test")
    file_hash.cache_clear()
    done = call(path, "--data", data, "-o", out, "--only", "teacher")
    assert done.exit_code == 0, done.output
    assert "[1/1] demo-en-de-teacher-0: F1 50.00" in done.stdout
    assert (out / "table.md").is_file() and (out / "table.csv").is_file()
    commands.broken = "adapt"
    commands.broken = "students"
    failed = call(path, "--data", data, "-o", out)
    assert failed.exit_code == 1
    assert "done before" in failed.stdout and "demo-en-de-maral-0" in failed.stdout
    assert "teacher" in (out / "table.md").read_text()
    odd = call(path, "--data", data, "-o", out, "--only", "fr")
    assert odd.exit_code == 1 and "[M424]" in odd.output
    some = {"a": {"seeds": [0]}, "b": {"seeds": [1]}}
    path = write_matrix(tmp_path, seeds=[0, 1], variants=some)
    none = call(path, "--data", data, "-o", out, "--only", "a,1")
    assert none.exit_code == 1 and "a with seed 0" in none.output


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
