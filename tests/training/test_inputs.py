"""Several files a side, raw text, and what a student needs of a teacher."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import Config
from worlds import adapt_in, make_docs, rows_of, write

from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.adaptation.pseudo_labels import PseudoLabels, read_labels
from spacy_maral.adaptation.student import StudentPlan
from spacy_maral.errors import MaralError
from spacy_maral.training.inputs import Inputs, warn_of_words
from spacy_maral.training.teacher import train_teacher

SHORT = {"student.epochs": 2}
CHINESE = {"@tokenizers": "spacy.zh.ChineseTokenizer", "segmenter": "char"}


@pytest.fixture(scope="module")
def halves(world, tmp_path_factory):
    """The target in two files."""
    folder = tmp_path_factory.mktemp("halves")
    docs = list(DocBin().from_disk(world["target"]).get_docs(spacy.blank("xx").vocab))
    return [write(folder / "de.spacy", docs[:25]), write(folder / "fr.spacy", docs[25:])]


def test_several_targets_have_priors_and_reports_of_their_own(world, halves, tmp_path):
    overrides = {**SHORT, "adaptation.diagnose_with_gold": True}
    labels = [
        pseudo_label(world["teacher"], half, tmp_path / f"{half.stem}.npz") for half in halves
    ]
    output = adapt_in(world, tmp_path / "out", target=halves, labels=labels, overrides=overrides)
    for row in rows_of(output):
        assert list(row["targets"]) == ["de", "fr"]
        for name, count in row["pseudo_labels"].items():
            parts = [target["pseudo_labels"][name] for target in row["targets"].values()]
            assert sum(parts) == count and all(parts)
        assert all("noise_ratio" in target for target in row["targets"].values())
    whole = adapt_in(world, tmp_path / "whole", labels=world["labels"], overrides=overrides)
    assert all("targets" not in row for row in rows_of(whole))
    # the same labels, with other priors
    first, other = rows_of(output)[0], rows_of(whole)[0]
    assert first["noise_ratio_start"] == pytest.approx(other["noise_ratio_start"])
    assert first["losses"]["target"] != other["losses"]["target"]


def test_one_file_of_labels_for_several_targets(world, halves, tmp_path):
    labels = pseudo_label(world["teacher"], halves, tmp_path / "labels.npz")
    one, whole = np.load(labels), np.load(world["labels"])
    np.testing.assert_array_equal(one["probabilities"], whole["probabilities"])
    assert str(one["digest"]) == str(whole["digest"])
    inputs = Inputs.read(target=halves)
    assert inputs.sizes() == {"target files": "25 + 35"}
    single = [
        pseudo_label(world["teacher"], half, tmp_path / f"{half.stem}.npz") for half in halves
    ]
    joined, read = read_labels(single, inputs), read_labels(labels, inputs)
    np.testing.assert_allclose(joined.probabilities, read.probabilities, atol=2e-3)
    assert joined.digest == read.digest and joined.reliable is None
    with pytest.raises(MaralError, match=r"M306.*their digest is"):
        read_labels(single[::-1], inputs)
    with pytest.raises(MaralError, match=r"M338.*3 files of pseudo-labels for 2 targets"):
        read_labels([*single, single[0]], inputs)
    mask = np.zeros(len(np.load(single[0])["probabilities"]), dtype=bool)
    part = PseudoLabels.load(single[0], digest=str(np.load(single[0])["digest"]))
    part.reliable = mask
    part.save(single[0])
    joined = read_labels(single, inputs)
    assert not joined.reliable[: len(mask)].any() and joined.reliable[len(mask) :].all()


def test_several_sources(world, tmp_path):
    more = write(tmp_path / "more.spacy", make_docs("source", 20, 11))
    teacher = train_teacher(
        world["config"], source=[world["source"], more], dev=[str(world["dev"]), more],
        output=tmp_path / "teacher", overrides={"teacher.epochs": 1},
    )  # fmt: skip
    assert rows_of(teacher)[0]["dev_f1"] >= 0
    adapt_in(world, tmp_path / "out", source=[world["source"], more], overrides=SHORT)


def test_a_run_with_other_parts_is_not_resumed(world, halves, tmp_path):
    target = write(
        tmp_path / "all.spacy",
        [doc for path in halves for doc in Inputs.read(target=path).docs["target"]],
    )
    adapt_in(world, tmp_path / "out", target=target, overrides=SHORT)
    with pytest.raises(MaralError, match=r'target files: not set is now "25 \+ 35"'):
        adapt_in(world, tmp_path / "out", target=halves, overrides=SHORT, resume=True)


@pytest.mark.parametrize(
    ("nlp", "names", "lang", "warned"),
    [
        ({"lang": "xx"}, ["a.txt", "b.txt"], ["de", "zh"], ["b.txt"]),
        ({"lang": "zh"}, ["b.txt"], "zh-hans", []),
        ({"lang": "zh", "tokenizer": CHINESE}, ["b.txt"], "zh", []),
        ({"lang": "zh", "tokenizer": {**CHINESE, "segmenter": "jieba"}}, ["b.txt"], "zh", ["b.txt"]),
        ({"lang": "de"}, ["a.txt"], "de", []), ({}, ["a.txt", "de.spacy"], ["nl", "zh"], []),
    ],
)  # fmt: skip
def test_words_that_the_pipeline_will_not_find_give_a_warning(
    halves, tmp_path, caplog, nlp, names, lang, warned
):
    for name, text in (("a.txt", "lebt Merkel nach Paris"), ("b.txt", "他昨天从北京去了巴黎。")):
        (tmp_path / name).write_text(text, encoding="utf8")
    paths = [tmp_path / name if name != "de.spacy" else halves[0] for name in names]
    warn_of_words(Config({"nlp": nlp}), paths, lang)
    assert caplog.text.count("[W104]") == len(warned)
    assert all(f"{name}: the tokenizer of" in caplog.text for name in warned)


def test_raw_text_is_read_the_same_each_time(world, tmp_path):
    docs = make_docs("target", 60, 2)
    raw = tmp_path / "raw.txt"
    raw.write_text("\n".join(doc.text + " ." for doc in docs), encoding="utf8")
    labels = pseudo_label(world["teacher"], raw, tmp_path / "labels.npz", lang="de")
    adapt_in(world, tmp_path / "out", target=raw, labels=labels, lang="de", overrides=SHORT)
    with pytest.raises(MaralError, match=r"M337.*raw text, and its language is not known"):
        adapt_in(world, tmp_path / "out2", target=raw, labels=labels)
    with pytest.raises(MaralError, match=r"M338.*3 languages for 2 targets"):
        Inputs.read(["de", "fr", "hi"], target=[raw, raw])


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ({}, True), ({"student.epochs": 3}, False), ({"adaptation.guidance": "none"}, True),
        ({"adaptation.guidance": "none", "adaptation.filter": False}, False),
    ],
)  # fmt: skip
def test_labels_that_are_never_improved_give_a_warning(world, caplog, given, warned):
    overrides = {"student.epochs": 2, "adaptation.warmup_epochs": 2, **given}
    StudentPlan.read(world["config"], overrides).check(world["teacher"], None, None)
    assert ("[W336]" in caplog.text) == warned


def test_packed_documents_are_read_as_the_documents_that_they_are(world, tmp_path):
    packed = tmp_path / "target.spacy.gz"
    packed.write_bytes(gzip.compress(world["target"].read_bytes()))
    found = [Inputs.read(target=path).docs["target"] for path in (world["target"], packed)]
    assert [doc.text for doc in found[1]] == [doc.text for doc in found[0]]


def test_a_student_needs_a_teacher_or_labels(world, tmp_path):
    with pytest.raises(MaralError, match=r"M335.*neither a teacher nor a file of pseudo-labels"):
        adapt_in(world, tmp_path / "out", teacher=None)
    overrides = {"adaptation.init": "teacher"}
    with pytest.raises(MaralError, match=r"M336.*but there is none"):
        adapt_in(world, tmp_path / "out", teacher=None, labels=world["labels"], overrides=overrides)
