"""Several annotators as one, and labels that are missing because no annotator says anything."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from test_adaptation import FAST, TARGET, make_hook, make_run
from test_annotators import LABELS, READING, annotate, docs_of, ruler, table_of
from toys import noisy_labels, toy_corpus
from typer.testing import CliRunner
from worlds import NAMES, OTHERS, adapt_in, make_docs, rows_of, write

from spacy_maral.adaptation.annotators import read_names, read_silver
from spacy_maral.adaptation.chunks import Task, label_docs, load_annotator
from spacy_maral.adaptation.diagnostics import Diagnostics
from spacy_maral.adaptation.label_target import pseudo_label
from spacy_maral.adaptation.merge import Annotation, merge_labels, without_overlaps
from spacy_maral.adaptation.pseudo_labels import PseudoLabels, read_labels, without_texts
from spacy_maral.adaptation.start_labels import start_labels
from spacy_maral.adaptation.target_names import Strings
from spacy_maral.cli import app
from spacy_maral.data.docs import read_docs
from spacy_maral.errors import MaralError
from spacy_maral.model.name_files import names_to_bytes
from spacy_maral.model.names import NameMemory, span_keys
from spacy_maral.model.spans import OUTSIDE, UNKNOWN, Candidates
from spacy_maral.training.corpus import digest_docs
from spacy_maral.training.hooks import Hook
from spacy_maral.training.inputs import Inputs
from spacy_maral.training.settings import AdaptationSettings
from spacy_maral.training.target_gold import text_key, text_keys

PARTIAL = replace(READING, partial=True)


def annotation(name, table, known=None, *, is_model=False):
    return Annotation(name, PseudoLabels(table, LABELS, 2, "d", known=known), is_model)


def known_texts(labels, docs):
    """Texts of the candidates whose labels are not missing, with their most probable class."""
    votes = iter(labels.votes.tolist())
    return {
        docs[i][start : end + 1].text: vote
        for (i, start, end), vote in zip(table_of(labels, docs), votes, strict=True)
        if vote != UNKNOWN
    }


def target_docs(world):
    return list(DocBin().from_disk(world["target"]).get_docs(spacy.blank("xx").vocab))


# one annotator that names some entities only


def test_what_a_partial_annotator_does_not_touch_is_missing():
    docs = docs_of("Ada met New York", "Ada", "nobody")
    labels = annotate(ruler([("New York", "LOC")]), docs, PARTIAL, "names")
    assert known_texts(labels, docs) == {
        "New York": 1, "New": 0, "York": 0, "met New": 0, "met New York": 0, "Ada met New": 0,
    }  # fmt: skip
    assert annotate(ruler([("Ada", "PER")]), docs, READING, "names").known is None


def test_a_partial_file_may_lack_documents(tmp_path, warned):
    row = {"text": "Ada met Bob", "ents": [[0, 3, "PER", 0.4], [8, 11, "PET"]]}
    (tmp_path / "s.jsonl").write_text(json.dumps(row), encoding="utf8")
    docs = docs_of("Bob met Ada", "Ada met Bob")
    with pytest.raises(MaralError, match=r"M154.*lacks 1 of 2 target documents"):
        read_silver(tmp_path / "s.jsonl", docs, READING)
    labels = read_silver(tmp_path / "s.jsonl", docs, PARTIAL)
    # an entity with a low score is a statement, too
    assert known_texts(labels, docs) == {"Ada": 0, "Ada met": 0, "Ada met Bob": 0}
    assert "[W610]" in warned()
    assert "lacks 1 of 2 target documents" in warned() and "label PET 1" in warned()
    assert "The labels of their words are missing." in warned()


def test_a_name_memory_knows_its_strings_only(tmp_path):
    docs = docs_of("Ada met Bob", "Rome was not met")
    candidates = Candidates([1, 1, 1], 1)
    memory = NameMemory.of(
        span_keys(["Ada", "Rome", "not"], candidates),
        np.array([[0.1, 0.0, 0.9], [0.2, 0.7, 0.1], [0.9, 0.1, 0.0]]),
    )
    (tmp_path / "names").write_bytes(names_to_bytes(memory, LABELS))
    labels = read_names(tmp_path / "names", docs, READING)
    assert known_texts(labels, docs) == {"Ada": 2, "Rome": 1, "not": 0}
    np.testing.assert_allclose(table_of(labels, docs)[1, 0, 0], [0.2, 0.7, 0.1], atol=1e-5)
    assert labels.digest == digest_docs(docs)
    loaded = load_annotator(tmp_path / "names")
    again = label_docs(loaded, docs, Task("", "names", READING))
    assert (again.probabilities == labels.probabilities).all()
    with pytest.raises(MaralError, match="M503"):
        read_names(tmp_path / "names", docs, replace(READING, labels=["ORG"]))


# several annotators


def tables(n, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.dirichlet(np.ones(3) / 5, n) for _ in range(3)]


def test_the_mean_and_its_agreement():
    corpus = toy_corpus(4)
    given = [annotation(name, t) for name, t in zip("abc", tables(corpus.n_spans), strict=True)]
    merged, reports = merge_labels(given, corpus.span_words(), "mean")
    classes = np.stack([without_overlaps(one.labels, corpus.span_words()) for one in given])
    agreed = (classes == classes[0]).all(0) & (classes[0] == merged.probabilities.argmax(1))
    assert (merged.reliable == agreed).all()
    assert 0 < merged.reliable.sum() < corpus.n_spans and merged.known is None
    mean = np.mean([one.labels.probabilities for one in given], axis=0)
    kept = merged.probabilities[:, OUTSIDE] != 1
    np.testing.assert_allclose(merged.probabilities[kept], mean[kept], atol=1e-6)
    assert [report.name for report in reports] == ["a", "b", "c"]
    for votes, report in zip(classes, reports, strict=True):
        for c, label in enumerate(LABELS, start=1):
            found = votes == c
            right = report.classes[label]
            assert right.found == pytest.approx(found.sum())
            assert right.precision == pytest.approx(mean[found, c].mean())
            assert right.recall == pytest.approx(mean[found, c].sum() / mean[:, c].sum())


@pytest.mark.parametrize("how", ["mean", "dawid-skene"])
def test_who_is_silent_has_no_say(how):
    corpus = toy_corpus(30)
    first, second, third = tables(corpus.n_spans)
    masks = np.random.default_rng(1).random((2, corpus.n_spans)) < 0.3
    given = [annotation("a", first, masks[0]), annotation("b", second, masks[1])]
    merged, _ = merge_labels(given, corpus.span_words(), how)
    assert (merged.known == masks.any(0)).all()
    assert (merged.probabilities[~merged.known] == [1, 0, 0]).all()
    if how == "mean":
        alone = masks[0] & ~masks[1] & (merged.probabilities[:, OUTSIDE] != 1)
        np.testing.assert_allclose(merged.probabilities[alone], first[alone], atol=1e-6)
        assert not merged.reliable[~merged.known].any()
    all_known, _ = merge_labels([*given, annotation("c", third)], corpus.span_words(), how)
    assert all_known.known is None


def test_one_annotator_and_models_alone():
    corpus = toy_corpus(4)
    words, (first, second, _) = corpus.span_words(), tables(corpus.n_spans)
    one = annotation("a", first)
    alone, reports = merge_labels([one], words, "dawid-skene")
    assert alone is one.labels and reports == []
    models = [annotation("a", first, is_model=True), annotation("b", second, is_model=True)]
    merged, mean = (merge_labels(models, words, how)[0] for how in ("dawid-skene", "mean"))
    assert (merged.probabilities == mean.probabilities).all()
    other = Annotation("b", PseudoLabels(second, ["PER"], 2, "d"), False)
    with pytest.raises(MaralError, match=r"M339.*b and a do not match: their labels is \['PER'\]"):
        merge_labels([one, other], words, "mean")


def test_entities_of_the_merged_labels_do_not_overlap():
    corpus = toy_corpus(30)
    given = [annotation(name, t) for name, t in zip("abc", tables(corpus.n_spans), strict=True)]
    for how in ("mean", "dawid-skene"):
        merged, _ = merge_labels(given, corpus.span_words(), how)
        starts, ends = corpus.span_words()
        taken = np.zeros(ends.max() + 1, dtype=int)
        for i in np.flatnonzero(merged.votes):
            taken[starts[i] : ends[i] + 1] += 1
        assert taken.max() == 1


def test_two_annotators_without_a_model_are_a_guess(warned):
    corpus = toy_corpus(4)
    given = [annotation(name, t) for name, t in zip("abc", tables(corpus.n_spans), strict=True)]
    merge_labels(given, corpus.span_words(), "dawid-skene")
    merge_labels(given[:2], corpus.span_words(), "mean")
    with_model = [given[0], given[1]._replace(is_model=True)]
    merge_labels(with_model, corpus.span_words(), "dawid-skene")
    assert warned() == ""
    merge_labels(given[:2], corpus.span_words(), "dawid-skene")
    assert "[W611]" in warned()
    assert "no pipeline with maral_ner among the annotators (a, b)" in warned()


# files with missing labels


def test_missing_labels_are_saved_and_stay_with_their_documents(world, tmp_path):
    docs = target_docs(world)
    paths = []
    for i, some in enumerate((docs[:20], docs[20:])):
        write(tmp_path / f"{i}.spacy", some)
        paths.append(tmp_path / f"{i}.npz")
        names = ruler([("Paris", "LOC")])
        pseudo_label(
            names, tmp_path / f"{i}.spacy", paths[-1], labels=LABELS, max_width=3,
            partial=names if i else (),
        )  # fmt: skip
    first, second = (
        PseudoLabels.load(path, digest=digest_docs(some))
        for path, some in zip(paths, (docs[:20], docs[20:]), strict=True)
    )
    assert first.known is None and 0 < second.known.mean() < 0.5
    inputs = Inputs.read(None, target=[tmp_path / "0.spacy", tmp_path / "1.spacy"])
    both = read_labels(paths, inputs)
    assert (
        both.known == np.concatenate([np.ones(len(first.probabilities), bool), second.known])
    ).all()
    votes_of: list[list[int]] = [[] for _ in docs]
    for key, vote in zip(table_of(both, docs), both.votes.tolist(), strict=True):
        votes_of[key[0]].append(vote)
    keys = text_keys(docs[:5])
    left = without_texts(both, inputs, keys)
    kept = [i for i, doc in enumerate(docs) if text_key(doc) not in keys]
    assert 0 < len(kept) == len(inputs.docs["target"]) < len(docs)
    assert left.votes.tolist() == [vote for i in kept for vote in votes_of[i]]
    damaged = replace(second, known=second.known[1:])
    assert "rows are known" in damaged.problem()


# training with missing labels


def half_known(seed=0):
    pseudo = noisy_labels(TARGET, TARGET.classes, noise=0.3, seed=0)
    return replace(pseudo, known=np.random.default_rng(seed).random(TARGET.n_spans) < 0.5)


@pytest.mark.parametrize(
    "changed",
    [
        {"filter": False}, {"guidance_mean": "class", "filter_limit": "doubt"},
        {"guidance_weights": "graded", "names": "all"}, {"guidance_mean": "class", "names": "all"},
        {"target_labels": "soft", "statistics": "all"},
    ],
)  # fmt: skip
def test_missing_labels_stay_out_of_training(tmp_path, changed):
    pseudo = half_known()
    keys = np.random.default_rng(2).integers(0, 30, TARGET.n_spans).astype(np.uint64)
    hook = make_hook(pseudo=pseudo, keys=keys, diagnose_with_gold=True, **changed)
    words = {
        side: [["w"] * n for n in np.diff(stream.share.corpus.doc_words)]
        for side, stream in (("source", hook.source), ("target", hook.target))
    }
    seen = []

    class Watch(Hook):
        def on_epoch_end(self, epoch):
            seen.append((hook.labels, hook.target.weights.copy(), hook.target.classes.copy()))
            return {}

    diagnostics = Diagnostics(tmp_path / "diagnostics", hook, words)
    rows = make_run(tmp_path, hook, hooks=[diagnostics, Watch()]).train(resume=False)
    assert len(seen) == 4
    for labels, weights, classes in seen:
        assert (labels.known == pseudo.known).all()
        assert (weights[~pseudo.known] == 0).all() and weights[pseudo.known].any()
        assert (classes[~pseudo.known] == UNKNOWN).all()
        assert (labels.probabilities[~pseudo.known] == pseudo.probabilities[~pseudo.known]).all()
    for row in rows:
        assert sum(row["pseudo_labels"].values()) == pseudo.known.sum()
    text = (tmp_path / "diagnostics" / ".epoch-0002.json").read_text(encoding="utf8")
    assert sum(json.loads(text)["pseudo_labels"]) == pseudo.known.sum()


def test_what_the_missing_labels_say_does_not_matter(tmp_path):
    pseudo = half_known()
    other = pseudo.probabilities.copy()
    other[~pseudo.known] = [0.98, 0.01, 0.01]
    runs = [
        make_run(tmp_path / name, make_hook(pseudo=labels, **FAST)).train(resume=False)
        for name, labels in (("a", pseudo), ("b", replace(pseudo, probabilities=other)))
    ]
    for row, same in zip(*runs, strict=True):
        assert row["losses"] == same["losses"] and row["dev_f1"] == same["dev_f1"]


def test_missing_labels_do_not_count_in_the_labels_that_a_student_starts_with():
    docs = docs_of(*["Ada met Bob and Ada"] * 3, "Bob saw Ada")
    names = ruler([("Ada", "PER")])
    labels = annotate(names, docs, PARTIAL, "names")
    settings = AdaptationSettings(label_offset=3.0, names_mixed_weight=0.5)
    strings = Strings.of(docs, labels.max_width)
    new, _ = start_labels(labels.probabilities, strings, settings, None, labels.known)
    assert (new[~labels.known] == [1, 0, 0]).all()
    changed = np.where(labels.known[:, None], labels.probabilities, np.float32([0.2, 0.5, 0.3]))
    again, _ = start_labels(changed, strings, settings, None, labels.known)
    assert (again == new).all()


def test_a_list_of_some_names_does_not_teach_that_the_others_are_none(world, tmp_path):
    """A student of a gazetteer of one name of three finds the others, unless they count as outside."""
    names = ruler([("Paris", "LOC"), ("Merkel", "PER")])
    found = {}
    for name, partial in (("partial", [names]), ("complete", [])):
        labels = pseudo_label(
            names, world["target"], tmp_path / f"{name}.npz", source=world["source"],
            config=world["config"], partial=partial,
        )  # fmt: skip
        output = adapt_in(
            world, tmp_path / name, teacher=None, labels=labels,
            overrides={"adaptation.warmup_epochs": 4, "adaptation.target_weight": 4.0},
        )  # fmt: skip
        found[name] = recall_of_others(output, {"Paris", "Merkel"})
    assert found["partial"] > 0.9
    assert found["complete"] < found["partial"] - 0.2
    labelled = rows_of(tmp_path / "partial")[0]["pseudo_labels"]
    assert labelled["O"] < rows_of(tmp_path / "complete")[0]["pseudo_labels"]["O"] / 2


def recall_of_others(path, known):
    """Share of the entities of other names that a pipeline finds."""
    nlp, docs = spacy.load(path), make_docs("target", 60, 8)
    right = n = 0
    for doc in docs:
        found = {
            (e.start, e.label_)
            for e in nlp(spacy.tokens.Doc(nlp.vocab, [t.text for t in doc])).ents
        }
        others = [e for e in doc.ents if e.text not in known]
        n += len(others)
        right += sum((e.start, e.label_) in found for e in others)
    return right / n


# end to end


def test_teacher_list_and_noisy_file(world, tmp_path):
    """All kinds of annotators at once, and what the console gets to know of them."""
    rng = np.random.default_rng(0)
    docs = target_docs(world)
    rows = []
    for doc in docs:
        ents = [
            [e.start_char, e.end_char, e.label_ if rng.random() < 0.8 else str(rng.choice(LABELS))]
            for e in doc.ents if rng.random() < 0.7
        ]  # fmt: skip
        rows.append(json.dumps({"text": doc.text, "ents": ents}))
    (tmp_path / "silver.jsonl").write_text("\n".join(rows), encoding="utf8")
    names = ruler([(name, "LOC") for name in NAMES["LOC"][:2]] + [(OTHERS["target"][0], "LOC")])
    reports = []
    path = pseudo_label(
        [world["teacher"], names, tmp_path / "silver.jsonl"], world["target"],
        tmp_path / "labels.npz", partial=names, report=reports.append,
    )  # fmt: skip
    [report] = reports
    assert [set(one.classes) for one in report.annotators] == [set(LABELS)] * 3
    _, listed, silver = report.annotators
    assert listed.classes["PER"].found == 0 and listed.classes["PER"].recall == 0
    # a word that is no name is a third or more of what the list finds
    assert listed.classes["LOC"].precision < 0.8 < silver.classes["LOC"].precision + 0.2
    labels = PseudoLabels.load(path, digest=digest_docs(docs))
    assert labels.known is None and labels.reliable is None
    gold = {
        (i, e.start, e.end - 1): LABELS.index(e.label_) + 1
        for i, d in enumerate(docs)
        for e in d.ents
    }
    votes = dict(zip(table_of(labels, docs), labels.votes.tolist(), strict=True))
    assert report.entities == {
        label: list(votes.values()).count(i) for i, label in enumerate(LABELS, start=1)
    }
    assert (report.sentences, report.words) == (len(docs), sum(map(len, docs)))
    wrong = [key for key, vote in votes.items() if vote != gold.get(key, 0)]
    assert len(wrong) < 0.05 * len(gold)


def test_the_console_shows_how_right_annotators_are(world, tmp_path):
    ruler([("Paris", "LOC")]).to_disk(tmp_path / "names")
    command = [
        "pseudo-label", str(world["teacher"]), str(world["target"]), "-o", str(tmp_path / "l.npz"),
        "--also", str(tmp_path / "names"), "--partial", str(tmp_path / "names"),
    ]  # fmt: skip
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines()]
    listed = next(i for i, line in enumerate(lines) if line[:1] == [str(tmp_path / "names")])
    assert lines[listed][1] == "LOC" and float(lines[listed][3]) > 90
    assert lines[listed + 1] == ["PER", "0", "-", "0.0"]


def test_the_console_counts_the_entities_of_one_annotator(world, tmp_path):
    output = tmp_path / "l.npz"
    command = ["pseudo-label", str(world["teacher"]), str(world["target"]), "-o", str(output)]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    docs = list(read_docs(world["target"]))
    votes = PseudoLabels.load(output, digest=digest_docs(docs)).votes
    lines = [" ".join(line.split()) for line in shown.output.splitlines()]
    for number, label in enumerate(LABELS, start=1):
        assert f"{label} {(votes == number).sum():,}" in lines and (votes == number).any()
    assert f"sentences {len(docs)}" in lines and f"words {sum(map(len, docs)):,}" in lines
    assert "Annotators" not in shown.output


def test_annotators_that_do_not_fit_together(world, tmp_path):
    names = ruler([("Paris", "LOC")])
    given, output = [world["teacher"], names], tmp_path / "labels.npz"
    with pytest.raises(MaralError, match=r"M610.*'nowhere' is marked as partial .*is not one of"):
        pseudo_label(given, world["target"], output, partial="nowhere")
    with pytest.raises(MaralError, match=r"M611.*combine is 'vote', but has to be one of"):
        pseudo_label(given, world["target"], output, combine="vote")
    with pytest.raises(MaralError, match=r"M612.*which says something about every span"):
        pseudo_label(given, world["target"], output, partial=[str(world["teacher"])])
    # a pipeline in memory is itself, not every pipeline that looks like it
    with pytest.raises(MaralError, match=r"M610.*is not one of"):
        pseudo_label(given, world["target"], output, partial=ruler([("Paris", "LOC")]))
    assert not output.exists()


def test_a_span_that_every_annotator_takes_for_outside_is_not_reliable():
    """Each prefers another one of the spans that overlap; their mean prefers the one between."""
    words = Candidates([2], 2).words
    one = np.array([[0.2, 0.8, 0], [0.3, 0.7, 0], [0.9, 0.1, 0]], dtype=np.float32)
    given = [annotation("a", one, is_model=True), annotation("b", one[::-1].copy(), is_model=True)]
    merged, _ = merge_labels(given, words, "mean")
    assert merged.probabilities.argmax(1).tolist() == [0, 1, 0]
    assert merged.reliable.tolist() == [False, False, False]
    merged, _ = merge_labels([given[0], given[0]], words, "mean")
    assert merged.probabilities.argmax(1).tolist() == [1, 0, 0] and merged.reliable.all()
