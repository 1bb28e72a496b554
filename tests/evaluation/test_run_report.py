from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
import spacy
from browser import look_at, needs_browser
from spacy.tokens import Doc, Span
from typer.testing import CliRunner
from worlds import adapt_in, make_docs, rows_of, write

from spacy_maral.cli import app
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.evaluate import evaluate_pipeline
from spacy_maral.evaluation.mistakes import CONTEXT, judge
from spacy_maral.evaluation.report.figures import crop_bins, mixture_curves, tsne
from spacy_maral.evaluation.report.overview import Scored
from spacy_maral.evaluation.report.page import NO_RECORDS, TEACHER, render_report, write_report
from spacy_maral.evaluation.report.run_record import read_run, read_sample

pytestmark = pytest.mark.usefixtures("quick_map")

SECTIONS = ["scores", "curves", "labels", "geometry", "map", "errors", "run"]
VOID = {"meta", "br", "link", "img", "hr"}
EVIL = "<script>alert(1)</script>"
KINDS = {
    "wrong type": "wrong_type", "wrong ends": "boundary",
    "wrong ends and type": "boundary_and_type", "no entity here": "spurious",
}  # fmt: skip


class Page(HTMLParser):
    """Reads a page, refuses tags that do not match, and keeps what the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.ids, self.words, self._open = text, [], [], "", []
        self.section, self.by_section = "", {}
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        if tag == "section":
            self.section = found["id"]
        self.by_section.setdefault(self.section, []).append((tag, found))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.words += data + " "

    def count(self, tag: str, css: str = "", section: str | None = None) -> int:
        tags = self.tags if section is None else self.by_section.get(section, [])
        return sum(t == tag and (not css or css in a.get("class", "").split()) for t, a in tags)


def check(text: str) -> Page:
    """What holds for any report."""
    page = Page(text)
    assert [i for i in page.ids if i in SECTIONS] == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    links = [a["href"] for t, a in page.tags if t == "a"]
    assert links and all(link.removeprefix("#") in page.ids for link in links)
    assert not re.search(r"https?://|src=|@import|url\(", text)
    assert not {"script", "iframe", "object", "link", "img", "form"} & {t for t, _ in page.tags}
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    assert page.count("svg") == sum(a.get("role") == "img" for t, a in page.tags if t == "svg")
    assert "prefers-color-scheme: dark" in text and "default-src 'none'" in text
    assert not re.search(r"\bnan\b|\binf\b|None|Traceback", page.words)
    return page


@pytest.fixture(scope="module")
def student(world, tmp_path_factory):
    """A student with gold for its diagnosis, and a test set that it makes mistakes on."""
    folder = tmp_path_factory.mktemp("report")
    overrides = {"student.epochs": 4, "adaptation.diagnose_with_gold": True}
    docs = make_docs("target", 40, 12)
    for i, doc in enumerate(docs):  # mistakes of every kind, as gold sees it
        ents = list(doc.ents)
        if ents and i % 4 == 0:
            ents[0] = Span(doc, ents[0].start, ents[0].end, label="NEW")
        if ents and i % 4 == 1 and ents[0].start > 0:
            ents[0] = Span(doc, ents[0].start - 1, ents[0].end, label=ents[0].label_)
        if ents and i % 4 == 2 and ents[0].start > 0:
            ents[0] = Span(doc, ents[0].start - 1, ents[0].end, label="NEW")
        if i % 4 == 3:
            ents = ents[1:]
        doc.set_ents(ents, default="outside")
    test = write(folder / "test.spacy", docs)
    return {
        "run": adapt_in(world, folder / "student", overrides=overrides),
        "test": test,
        "docs": docs,
    }


@pytest.fixture
def copied(student, tmp_path):
    """A copy of the student's run that a test may damage."""
    return shutil.copytree(student["run"], tmp_path / "copied")


def run(*arguments: object):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


# the whole page


def test_a_report_with_gold_has_everything(student, tmp_path):
    output = tmp_path / "deep" / "report.html"
    result = run(student["run"], "-o", output, "--gold", student["test"])
    assert result.exit_code == 0, result.output
    page = check(output.read_text(encoding="utf8"))
    rows = rows_of(student["run"])
    for text in (
        "Adaptation: student", "Loss", "Source development set", "Reliable share",
        "Changed labels", "Noise ratio", "Mean ρ by truth", "Class means", "The optimum",
        "Compactness, source", "Compactness, target", "Low margin, target", "Map of the spans",
        "Confusion", "Kinds of errors", "The most confident mistakes", "gold ↓",
        "The least reliable pseudo-labels", "−1/(K − 1) = −0.50 for 3 classes",
        "F1, test.spacy", "wrong ends", f"{100 * rows[-1]['dev_f1']:.2f}", "torch", "epochs",
    ):  # fmt: skip
        assert text in page.words, text
    missed = judge(spacy.load(student["run"]), student["docs"]).missed
    assert page.count("p", "absent") == (not missed)
    # both components and the cut, for each class and epoch that was split
    epochs = read_run(student["run"]).epochs
    n_mixtures = sum(m is not None for epoch in epochs for m in epoch["mixtures"])
    assert n_mixtures > 3
    assert page.count("polyline", "low") == page.count("polyline", "high") == n_mixtures
    n_cuts = sum(m is not None and m["cut"] is not None for e in epochs for m in e["mixtures"])
    assert page.count("line", "cut") <= n_cuts and page.count("line", "cut") > 0
    # two tables of cosines, and one of confusion with the label that only gold has
    assert page.count("rect", "cell", "geometry") == 18
    assert page.count("rect", "cell", "errors") == 16
    with np.load(student["run"] / "training/diagnostics/.epoch-0004.npz") as file:
        assert page.count("circle", section="map") == (file["side"] == 0).sum()
        assert page.count("path", section="map") == (file["side"] == 1).sum()
    assert page.count("li", "card", "labels") == 10
    assert page.count("li", "card", "errors") == 10 + len(missed)
    # the page is the same each time
    run(student["run"], "-o", tmp_path / "again.html", "--gold", student["test"])
    assert (tmp_path / "again.html").read_bytes() == output.read_bytes()


@needs_browser
def test_a_browser_shows_every_figure(world, student, tmp_path):
    compared = f"{world['teacher']}", f"{student['run']}"
    for name, runs in (("one", [student["run"], "--teacher", world["teacher"]]), ("two", compared)):
        result = run(*runs, "-o", tmp_path / f"{name}.html", "--gold", student["test"])
        assert result.exit_code == 0, result.output
    assert look_at(tmp_path, [("/one.html", "#map svg circle"), ("/two.html", "svg")]) == {}


def test_a_report_without_labelled_data_says_so(student, tmp_path):
    write_report(student["run"], tmp_path / "report.html")
    page = check((tmp_path / "report.html").read_text(encoding="utf8"))
    assert page.count("p", "absent", "errors") == 1 and "--gold" in page.words
    assert "Confusion" not in page.words
    assert page.count("li", "card", "labels") == 10


def test_the_development_set_serves_without_gold(world, student, tmp_path):
    result = run(student["run"], "-o", tmp_path / "report.html", "--dev", world["dev"])
    assert result.exit_code == 0, result.output
    page = check((tmp_path / "report.html").read_text(encoding="utf8"))
    assert "F1, dev.spacy" in page.words and "Confusion" in page.words


def test_a_teacher_has_curves_and_errors(world, tmp_path):
    output = tmp_path / "report.html"
    write_report(world["teacher"], output, gold=[world["dev"]])
    page = check(output.read_text(encoding="utf8"))
    assert "Teacher: teacher" in page.words and page.words.count(TEACHER) == 2
    assert page.count("g", "line", "curves") == 1 + 3 + 2  # loss, scores, concentrations
    assert "Confusion" in page.words and "Reliable share" not in page.words


def test_a_run_without_diagnostics_and_one_that_is_not_finished(copied, tmp_path):
    shutil.rmtree(copied / "training" / "diagnostics")
    page = check(render_report(read_run(copied)))
    assert page.words.count(NO_RECORDS) == 3 and "Reliable share" in page.words
    (copied / "training" / "summary.json").unlink()
    page = check(render_report(read_run(copied)))
    assert "The run is not finished" in page.words


def test_one_epoch(copied):
    record = read_run(copied)
    record.rows, record.epochs = record.rows[:1], record.epochs[:1]
    page = check(render_report(record))
    assert "1 of 1" in page.words and not page.count("polyline", section="curves")
    assert page.count("circle", section="curves") == page.count("g", "line", "curves") >= 7


# text from data


def test_nothing_from_the_run_becomes_html(copied, tmp_path):
    for path in sorted((copied / "training" / "diagnostics").glob("*.json")):
        epoch = json.loads(path.read_text(encoding="utf8"))
        epoch["classes"] = ["O", EVIL, '"><b onload=x>']
        for span in epoch["doubtful"]:
            span["words"] = [EVIL + w for w in span["words"]]
        path.write_text(json.dumps(epoch), encoding="utf8")
    for path in sorted((copied / "training" / "diagnostics").glob("*.npz")):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        arrays["text"] = np.full(len(arrays["text"]), EVIL)
        np.savez(path, **arrays)
    log = copied / "training" / "log.jsonl"
    log.write_text(log.read_text().replace('"source":', f'"{EVIL}":'), encoding="utf8")
    summary = copied / "training" / "summary.json"
    summary.write_text(summary.read_text().replace("Linux", EVIL), encoding="utf8")
    text = render_report(read_run(copied))
    assert "<script" not in text and "<b onload" not in text
    page = check(text)
    assert page.words.count(EVIL) > 20


def test_nothing_from_the_gold_documents_becomes_html(student, tmp_path):
    nlp = spacy.load(student["run"])
    vocab = nlp.vocab
    docs = []
    for doc in student["docs"][:10]:
        words = [EVIL, *(t.text for t in doc)]
        evil = Doc(vocab, words=words)
        evil.set_ents([Span(evil, 0, 1, label="<i>")], default="outside")
        docs.append(evil)
    text = render_report(read_run(student["run"]), [Scored("<u>.spacy", judge(nlp, docs))])
    assert not re.search("<script|<i>|<u>", text)
    page = check(text)
    assert page.count("li", "card", "errors") >= 10 and EVIL in page.words


def test_script_tags_in_labels_texts_and_the_folder_name_are_escaped(student, tmp_path):
    name = "<script>alert(2)"
    folder = shutil.copytree(student["run"], tmp_path / name)
    nlp = spacy.load(folder)
    docs = []
    for doc in student["docs"][:10]:
        evil = Doc(nlp.vocab, words=[*(t.text for t in doc), "<script>alert(3)"])
        evil.set_ents([Span(evil, len(doc), len(doc) + 1, label=EVIL)], default="outside")
        docs.append(evil)
    text = render_report(read_run(folder), [Scored("<script>.spacy", judge(nlp, docs))])
    assert "<script" not in text
    page = check(text)
    assert page.words.count(name) == 2  # title and heading
    assert page.words.count("<script>alert(3)") >= 20  # prediction and gold
    assert page.words.count(EVIL) >= 10 + 3  # mistakes, table, matrix, bars
    assert page.words.count("<script>.spacy") == 4  # verdict, tile, table, heading


# what a pipeline gets wrong


def test_mistakes_are_those_that_the_evaluation_counts(student):
    nlp, docs = spacy.load(student["run"]), student["docs"]
    before = dict(nlp.get_pipe("maral_ner").cfg)
    found = judge(nlp, docs, n_mistakes=10_000)
    assert nlp.get_pipe("maral_ner").cfg == before
    report = evaluate_pipeline(nlp, docs).report
    assert found.report.to_dict() == report.to_dict()
    assert (found.n_docs, found.n_words) == (40, sum(map(len, docs)))
    kinds = Counter(mistake.kind for mistake in found.mistakes)
    assert kinds == Counter({name: getattr(report, kind) for name, kind in KINDS.items()})
    assert min(kinds[name] for name in KINDS) > 0
    confidences = [mistake.confidence for mistake in found.mistakes]
    assert confidences == sorted(confidences, reverse=True)
    assert 0 < confidences[-1] <= confidences[0] <= 1
    for mistake in found.mistakes:
        doc = docs[mistake.doc]
        assert mistake.words == [t.text for t in doc]
        assert mistake.entity in mistake.predicted and mistake.entity not in mistake.gold
        assert mistake.gold == [(e.start, e.end - 1, e.label_) for e in doc.ents]
    assert judge(nlp, docs, n_mistakes=3).mistakes == found.mistakes[:3]


def test_mistakes_in_long_documents_come_with_the_words_around(student):
    nlp = spacy.load(student["run"])
    words = ["lebt"] * 60 + ["Merkel"] + ["und"] * 60
    doc = Doc(nlp.vocab, words=words)
    doc.set_ents([], default="outside")
    found = judge(nlp, [doc], n_mistakes=100)
    name = ["lebt"] * CONTEXT + ["Merkel"] + ["und"] * CONTEXT
    (mistake,) = [
        m for m in found.mistakes if "Merkel" in m.words[m.entity.start : m.entity.end + 1]
    ]
    width = mistake.entity.end - mistake.entity.start
    assert len(mistake.words) == 2 * CONTEXT + 1 + width
    assert mistake.entity.start == CONTEXT
    assert " ".join(mistake.words) in " ".join(["lebt", "lebt", *name, "und", "und"])
    assert all(0 <= e.start <= e.end < len(mistake.words) for e in mistake.predicted)


# pieces


def test_cropped_bins_keep_their_counts():
    edges = np.linspace(-14, 14, 241)
    counts = np.zeros(240, dtype=np.int64)
    counts[3], counts[100], counts[180], counts[239] = 1, 400, 600, 50
    wrong = counts // 2
    new, (kept, half), below = crop_bins(edges, [counts, wrong])
    assert below == 1 and kept.sum() == 1050 and half.sum() == 525
    assert len(new) == len(kept) + 1 <= 61
    np.testing.assert_allclose(np.diff(new), new[1] - new[0])
    for place in (100, 180, 239):
        middle = (edges[place] + edges[place + 1]) / 2
        b = np.searchsorted(new, middle) - 1
        assert kept[b] == counts[place] and half[b] == wrong[place]


def test_curves_expect_as_many_as_there_are():
    mixture = {"means": [-2.0, 3.0], "sds": [1.0, 0.5], "weights": [0.25, 0.75]}
    edges = np.linspace(-14, 14, 113)
    curves = mixture_curves(mixture, edges, 800, 1e9)
    for curve, n, mean in zip(curves, (200, 600), (-2, 3), strict=True):
        x, y = np.array(curve.points).T
        assert np.trapezoid(y, x) / (edges[1] - edges[0]) == pytest.approx(n, rel=1e-3)
        assert x[y.argmax()] == pytest.approx(mean, abs=0.2)
    capped = mixture_curves(mixture, edges, 800, 10.0)
    assert max(y for _, y in capped[1].points) == 10


def test_projections_part_what_is_apart_and_repeat():
    rng = np.random.default_rng(0)
    centres = np.eye(6, dtype=np.float32)[:2].repeat(40, 0)
    z = centres + 0.05 * rng.normal(size=(80, 6)).astype(np.float32)
    places = tsne(z, 3)
    assert places.shape == (80, 2) and (places == tsne(z, 3)).all()
    middles = [places[:40].mean(0), places[40:].mean(0)]
    radius = max(np.linalg.norm(places[:40] - middles[0], axis=1).max(), 1e-9)
    assert np.linalg.norm(middles[0] - middles[1]) > 1.5 * radius
    for n in range(5):
        assert tsne(z[:n], 0).shape == (n, 2)


# what cannot be read


def test_a_folder_without_a_run(tmp_path):
    result = run(tmp_path, "-o", tmp_path / "report.html")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert "[M440]" in result.stderr and str(tmp_path) in result.stderr
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("log.jsonl", "", "M441"),
        ("log.jsonl", '{"epoch": 1', "M441"),
        ("log.jsonl", '{"epoch": 1}\n', "M441"),
        ("summary.json", "[1]", "M441"),
        ("diagnostics/.epoch-0002.json", "\udcff", "M441"),
        ("diagnostics/.epoch-0002.json", '{"format_version": 99}', "M442"),
        ("diagnostics/.epoch-0002.json", "{}", "M442"),
        ("diagnostics/.epoch-0002.json", '{"format_version": 1}', "M441"),
        ("diagnostics/.epoch-0004.npz", "PK", "M441"),
    ],
)
def test_damaged_files_are_named(copied, tmp_path, name, content, code):
    path = copied / "training" / name
    path.write_bytes(content.encode("utf8", "surrogateescape"))
    with pytest.raises(MaralError, match=code) as error:
        write_report(copied, tmp_path / "report.html")
    assert str(path) in str(error.value)


def test_a_record_that_cannot_be_drawn_is_named(copied, tmp_path):
    """Valid JSON with a value of another kind, which no check of the files sees."""
    path = copied / "training" / "log.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
    rows[-1]["losses"] = "x"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    with pytest.raises(MaralError, match=r"M535.*") as error:
        write_report(copied, tmp_path / "report.html")
    assert str(copied) in str(error.value) and not (tmp_path / "report.html").exists()


def test_a_missing_sample_leaves_the_map_out(copied):
    (copied / "training" / "diagnostics" / ".epoch-0004.npz").unlink()
    record = read_run(copied)
    assert read_sample(record) is None
    assert check(render_report(record)).count("p", "absent", "map") == 1


def test_unlabelled_documents_are_refused(student, tmp_path):
    bare = write(tmp_path / "bare.spacy", make_docs("target", 3, 0, labelled=False))
    result = run(student["run"], "-o", tmp_path / "report.html", "--gold", bare)
    assert result.exit_code == 1 and "[M402] No document of" in result.stderr
