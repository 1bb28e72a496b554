from __future__ import annotations

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_maral.errors import MaralError
from spacy_maral.evaluation.evaluate import (
    as_entities,
    evaluate_pipeline,
    load_pipeline,
    read_entities,
)
from spacy_maral.evaluation.metrics import Score


@Language.component("maral_test_witness")
def witness(doc: Doc) -> Doc:
    """Fails if anything of the gold documents but words and spaces arrives."""
    assert not doc.has_annotation("ENT_IOB")
    assert not doc.ents and not doc.user_data and not doc.cats
    assert not any(token.is_sent_start for token in doc[1:])
    return doc


@pytest.fixture
def ruled() -> Language:
    nlp = spacy.blank("xx")
    nlp.add_pipe("maral_test_witness")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        [
            {"label": "LOC", "pattern": "Paris"},
            {"label": "PER", "pattern": "Ada"},
            {"label": "MISC", "pattern": "Monday"},
        ]
    )
    return nlp


def gold_doc(vocab: Vocab, text: str, *ents: tuple[int, int, str]) -> Doc:
    words = text.split(" ")
    doc = Doc(vocab, words=words, spaces=[False] * len(words))
    doc.set_ents([Span(doc, *ent) for ent in ents], default="outside")
    doc.user_data["secret"] = "gold"
    doc[1].is_sent_start = True
    return doc


@pytest.fixture
def gold_docs() -> list[Doc]:
    vocab = Vocab()
    return [
        gold_doc(vocab, "Ada Lovelace in Paris", (0, 2, "PER"), (3, 4, "LOC")),
        gold_doc(vocab, "Acme of Paris on Monday", (0, 1, "ORG"), (2, 3, "LOC")),
        gold_doc(vocab, "Nobody there"),
    ]


def test_an_unknown_label_is_named():
    doc = gold_doc(Vocab(), "by me and Ada Lovelace", (3, 5, "PER"))
    with pytest.raises(
        MaralError, match=r"M401.*document 0, .* at word 3 has the label 'PER'.* LOC, ORG\."
    ):
        as_entities(list(read_entities([doc])), ["LOC", "ORG"])


def test_pipelines_are_scored_on_fresh_documents(ruled, gold_docs):
    before = [doc.to_bytes() for doc in gold_docs]
    result = evaluate_pipeline(ruled, gold_docs)
    assert [doc.to_bytes() for doc in gold_docs] == before
    assert result.report.labels == ["LOC", "MISC", "ORG", "PER"]
    assert result.report.micro == Score(2 / 4, 2 / 4, 2 / 4, 4)
    assert result.report.per_type["ORG"] == Score(0, 0, 0, 1)
    assert (result.report.boundary, result.report.spurious, result.report.missed) == (1, 1, 1)
    assert (result.n_docs, result.n_words) == (3, 11)
    assert result.words_per_second == pytest.approx(11 / result.seconds)
    assert result.report.paper_protocol is None


@pytest.mark.parametrize("spaces", [[True, False, True, False], None])
def test_fresh_documents_have_the_same_text(spaces):
    seen = []
    name = f"maral_test_texts_{spaces is None}"
    Language.component(name, func=lambda doc: seen.append(doc.text) or doc)
    nlp = spacy.blank("xx")
    nlp.add_pipe(name)
    doc = Doc(Vocab(), words=["Don", "'t", "\n", "go"], spaces=spaces)
    doc.set_ents([], default="outside")
    evaluate_pipeline(nlp, [doc])
    assert seen == [doc.text]


def test_documents_without_annotation_do_not_count(ruled, gold_docs, tmp_path, caplog):
    raw = Doc(gold_docs[0].vocab, words=["Paris"])
    found = evaluate_pipeline(ruled, [*gold_docs, raw])
    assert "W402" in caplog.text and "1 of 4 documents of the data" in caplog.text
    assert found.report.to_dict() == evaluate_pipeline(ruled, gold_docs).report.to_dict()
    assert found.n_docs == len(gold_docs)
    path = tmp_path / "raw.spacy"
    DocBin(docs=[raw]).to_disk(path)
    with pytest.raises(MaralError, match=r"raw\.spacy"):
        evaluate_pipeline(ruled, path)


def test_progress_is_shown_for_every_document(ruled, gold_docs, monkeypatch):
    from spacy_maral.evaluation import evaluate

    shown = []

    def bar(docs, **options):
        shown.append([options["total"], 0])
        for doc in docs:
            shown[-1][1] += 1
            yield doc

    monkeypatch.setattr(evaluate, "tqdm", bar)
    evaluate_pipeline(ruled, gold_docs)
    assert shown == [[len(gold_docs), len(gold_docs)]]


def test_files_and_batch_sizes_make_no_difference(ruled, gold_docs, tmp_path):
    path = tmp_path / "test.spacy"
    DocBin(docs=gold_docs).to_disk(path)
    reports = [
        evaluate_pipeline(ruled, data, batch_size=size).report.to_dict()
        for data, size in ((gold_docs, None), (path, None), (path, 1))
    ]
    assert reports[0] == reports[1] == reports[2]


def test_the_width_of_the_papers_protocol_is_the_models(make_nlp, gold_docs):
    nlp = make_nlp(["LOC", "PER", "PROD"], model={"max_width": 1})
    report = evaluate_pipeline(nlp, gold_docs).report
    assert report.max_width == 1
    assert report.paper_protocol.support == 3
    assert set(report.per_type) == {"LOC", "ORG", "PER", "PROD"}
    assert evaluate_pipeline(nlp, gold_docs, max_width=2).report.paper_protocol.support == 4


def test_scores_are_those_of_spacys_evaluation(make_nlp, train_examples):
    nlp = make_nlp()
    golds = [example.reference for example in train_examples(nlp)]
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(15):
        nlp.update(train_examples(nlp), sgd=optimizer)
    report = evaluate_pipeline(nlp, golds).report
    theirs = nlp.evaluate(train_examples(nlp))
    assert report.micro[:3] == pytest.approx([theirs[f"ents_{x}"] for x in "prf"])
    assert report.f1 > 0


def test_pipelines_that_cannot_be_loaded_are_named(tmp_path):
    with pytest.raises(MaralError, match=r"nosuch.*cannot be loaded"):
        load_pipeline(tmp_path / "nosuch")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "meta.json").write_text("{", encoding="utf8")
    with pytest.raises(MaralError, match="broken"):
        load_pipeline(tmp_path / "broken")
