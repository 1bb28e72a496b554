from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from toys import toy_corpus

from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import get_encoder
from spacy_maral.model.spans import enumerate_spans, word_shapes
from spacy_maral.training import corpus as module
from spacy_maral.training.corpus import (
    Corpus,
    digest_docs,
    encode,
    make_batch,
    members,
    plan_batches,
)

LABELS = ["LOC", "ORG", "PER"]
WORDS = ["Angela", "Merkel", "visited", "Paris", "in", "May", ".", "東京", "রবি", "New", "York"]
ENTITIES = [(0, 0, 2, "PER"), (0, 3, 4, "LOC"), (1, 5, 6, "ORG"), (3, 1, 6, "PER")]


def make_docs(vocab) -> list[Doc]:
    rng = np.random.default_rng(0)
    docs = [Doc(vocab, words=rng.choice(WORDS, n).tolist()) for n in (6, 70, 0, 30, 1, 95, 9, 0)]
    docs.append(Doc(vocab, words=["a", "\n", "x1" * 80, "b"], spaces=[True, False, True, False]))
    for i, doc in enumerate(docs):
        ents = [Span(doc, s, e, label=label) for d, s, e, label in ENTITIES if d == i]
        doc.set_ents(ents, default="outside")
    return docs


@pytest.fixture(scope="module")
def holder():
    return {}


@pytest.fixture
def nlp(holder, make_nlp):
    if not holder:
        holder["nlp"] = make_nlp()
    return holder["nlp"]


@pytest.fixture
def make(nlp):
    """Encode documents by the pipeline's tokenizer and windows."""
    _, tokenizer, get_spans = get_encoder(nlp)

    def build(docs, *, labelled=True, labels=LABELS) -> Corpus:
        return encode(docs, tokenizer, get_spans, labels, 4, labelled=labelled, name="source")

    return build


# against the transformer component


@pytest.mark.parametrize("chunk", [256, 2])
def test_rows_and_alignment_are_those_of_the_transformer(nlp, make, monkeypatch, chunk):
    monkeypatch.setattr(module, "ENCODE_DOCS", chunk)
    docs = make_docs(nlp.vocab)
    corpus = make(docs)
    assert (np.diff(corpus.doc_rows) > 1).sum() >= 3
    for i, doc in enumerate(docs):
        rows = range(corpus.doc_rows[i], corpus.doc_rows[i + 1])
        words = slice(corpus.doc_words[i], corpus.doc_words[i + 1])
        if not len(doc):
            assert not len(rows)
            continue
        data = nlp.get_pipe("transformer").predict([doc]).doc_data[0]
        pieces = data.wordpieces
        assert len(rows) == len(pieces.input_ids)
        for row, ids, mask in zip(rows, pieces.input_ids, pieces.attention_mask, strict=True):
            own = corpus.pieces[corpus.row_offsets[row] : corpus.row_offsets[row + 1]]
            assert own.tolist() == ids[mask.astype(bool)].tolist()
        width = pieces.input_ids.shape[1]
        seen = [token.i for token in doc if not token.is_space]
        for j, place in enumerate(seen):
            aligned = data.align[place].data.ravel()
            row = corpus.word_row[words][j] - rows.start
            first, last = corpus.word_first[words][j], corpus.word_last[words][j]
            if not len(aligned):
                assert corpus.word_row[words][j] == -1
                continue
            same_row = [piece % width for piece in aligned if piece // width == row]
            assert first == min(same_row)
            assert last in sorted(same_row)[-2:]  # the last may be the next word's first


def test_the_pieces_of_a_word_spell_it(nlp, make):
    corpus = make([Doc(nlp.vocab, words=WORDS)])
    tokenizer = get_encoder(nlp)[1]
    for j, word in enumerate(WORDS):
        row = corpus.pieces[corpus.row_offsets[corpus.word_row[j]] :]
        ids = row[corpus.word_first[j] : corpus.word_last[j] + 1]
        assert tokenizer.decode(ids.tolist()).replace("▁", "").replace(" ", "") == word


def test_arrays_of_words_and_spans(nlp, make):
    docs = make_docs(nlp.vocab)
    corpus = make(docs)
    assert len(corpus) == len(docs)
    docs = [[token.text for token in doc if not token.is_space] for doc in docs]
    assert np.diff(corpus.doc_words).tolist() == [len(doc) for doc in docs]
    assert corpus.n_words == sum(map(len, docs))
    starts, ends = corpus.span_words()
    assert len(starts) == len(ends) == corpus.n_spans == len(corpus.classes)
    words = [(i, j) for i, doc in enumerate(docs) for j in range(len(doc))]
    expected = [
        (words.index((i, j)), words.index((i, k)))
        for i, doc in enumerate(docs)
        for j in range(len(doc))
        for k in range(j, min(j + 4, len(doc)))
    ]
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == expected
    shapes = word_shapes([word for doc in docs for word in doc])
    assert (corpus.word_shapes == shapes).all()
    longest = [
        max(np.diff(corpus.row_offsets)[corpus.doc_rows[i] : corpus.doc_rows[i + 1]], default=0)
        for i in range(len(docs))
    ]
    assert corpus.doc_lengths().tolist() == longest


# labels


def test_gold_classes_stand_at_their_spans(nlp, make):
    docs = make_docs(nlp.vocab)
    corpus = make(docs)
    starts, ends = corpus.span_words()
    found = {
        (starts[i] - corpus.doc_words[doc], ends[i] + 1 - corpus.doc_words[doc], doc): c
        for doc in range(len(docs))
        for i in range(corpus.doc_spans[doc], corpus.doc_spans[doc + 1])
        if (c := int(corpus.classes[i]))
    }
    assert found == {(s, e, d): LABELS.index(x) + 1 for d, s, e, x in ENTITIES if e - s <= 4}
    assert corpus.n_too_wide == 1
    table = list(zip(*(column.tolist() for column in corpus.entities), strict=True))
    assert table == [(d, s, e - 1, LABELS.index(x) + 1) for d, s, e, x in ENTITIES]


def test_gold_does_not_leave_unlabelled_documents(nlp, make):
    corpus = make(make_docs(nlp.vocab), labelled=False)
    assert corpus.classes is None
    assert corpus.n_too_wide == 0
    assert all(len(column) == 0 for column in corpus.entities)
    unknown = make(make_docs(nlp.vocab), labelled=False, labels=["OTHER"])
    assert unknown.digest == corpus.digest


def test_an_unknown_label_is_named(nlp, make):
    with pytest.raises(MaralError) as error:
        make(make_docs(nlp.vocab), labels=["LOC", "PER"])
    docs = make_docs(nlp.vocab)
    for shown in ("[M304]", "document 1 of source", docs[1][5:6].text, "'ORG'", "LOC, PER"):
        assert shown in str(error.value)


@pytest.mark.parametrize("n_docs", [0, 2])
def test_documents_without_words(nlp, make, n_docs):
    with pytest.raises(MaralError, match=f"source documents hold no words \\({n_docs} documents"):
        make([Doc(nlp.vocab) for _ in range(n_docs)])


def test_the_fingerprint_is_of_words_spaces_and_used_entities(nlp):
    def digest(words=("a", "b"), spaces=(True, False), label="PER", labelled=True):
        doc = Doc(nlp.vocab, words=words, spaces=spaces)
        doc.set_ents([Span(doc, 0, 1, label=label)])
        return digest_docs([doc], labelled=labelled)

    assert digest() == digest()
    assert len(digest()) == 64
    changed = [
        digest(words=("a", "c")), digest(words=("a b", "c")), digest(spaces=(False, False)),
        digest(label="LOC"), digest(labelled=False),
    ]  # fmt: skip
    assert len({digest(), *changed}) == 6
    assert digest(label="LOC", labelled=False) == digest(labelled=False)
    two = [Doc(nlp.vocab, words=["a"]), Doc(nlp.vocab, words=["b"])]
    assert digest_docs(two) != digest_docs([Doc(nlp.vocab, words=["a", "b"])])


# batches


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.data())
def test_members_of_items(sizes, data):
    items = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=20))
    bounds = np.cumsum([0, *sizes])
    expected = [i for item in items for i in range(bounds[item], bounds[item + 1])]
    assert members(bounds, np.array(items, dtype=np.int64)).tolist() == expected


def rows_only(rows_of_docs: list[list[int]]) -> Corpus:
    """A corpus of which only the rows matter; each number is the length of a row."""
    corpus = toy_corpus(1)
    corpus.row_offsets = np.cumsum([0, *[n for rows in rows_of_docs for n in rows]])
    corpus.doc_rows = np.cumsum([0, *map(len, rows_of_docs)])
    return corpus


@settings(max_examples=80)
@given(
    st.lists(st.lists(st.integers(2, 40), max_size=3), max_size=30),
    st.integers(1, 200), st.integers(0, 4), st.one_of(st.none(), st.integers(0, 99)),
)  # fmt: skip
def test_a_plan_has_every_document_once_within_its_budget(docs, max_tokens, max_docs, seed):
    corpus = rows_only(docs)

    def plan():
        rng = None if seed is None else np.random.default_rng(seed)
        lengths, rows = corpus.doc_lengths(), np.diff(corpus.doc_rows)
        return plan_batches(lengths, rows, max_tokens=max_tokens, max_docs=max_docs, rng=rng)

    batches = plan()
    planned = [doc for batch in batches for doc in batch.tolist()]
    assert sorted(planned) == [i for i, rows in enumerate(docs) if rows]
    for batch in batches:
        rows = [n for doc in batch for n in docs[doc]]
        assert len(batch) == 1 or max(rows) * len(rows) <= max_tokens
        assert not max_docs or len(batch) <= max_docs
    assert [b.tolist() for b in batches] == [b.tolist() for b in plan()]
    if seed is None:
        longest = [max(docs[doc]) for doc in planned]
        assert longest == sorted(longest)


def test_a_plan_puts_documents_of_similar_length_together_in_a_random_order():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 120, 600)
    corpus = rows_only([[int(n)] for n in lengths])
    sizes = corpus.doc_lengths(), np.diff(corpus.doc_rows)
    plans = [plan_batches(*sizes, max_tokens=1024, rng=np.random.default_rng(s)) for s in (0, 1)]
    for plan in plans:
        padded = sum(lengths[batch].max() * len(batch) for batch in plan)
        assert padded < 1.3 * lengths.sum()
        longest = [lengths[batch].max() for batch in plan]
        assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.35
    assert {tuple(sorted(b)) for b in plans[0]} != {tuple(sorted(b)) for b in plans[1]}


@pytest.mark.parametrize("docs", [[0], [5, 0], [8, 1, 4, 3], [1, 3, 5], [6, 8, 0, 1, 3, 4, 5]])
def test_a_batch_is_what_slow_loops_cut_out(nlp, make, docs):
    corpus = make(make_docs(nlp.vocab))
    batch = make_batch(corpus, np.array(docs), pad_id=1)
    rows = [row for doc in docs for row in range(corpus.doc_rows[doc], corpus.doc_rows[doc + 1])]
    pieces = [
        corpus.pieces[corpus.row_offsets[r] : corpus.row_offsets[r + 1]].tolist() for r in rows
    ]
    length = max(map(len, pieces))
    assert batch.input_ids.tolist() == [row + [1] * (length - len(row)) for row in pieces]
    assert batch.attention_mask.tolist() == [
        [1] * len(row) + [0] * (length - len(row)) for row in pieces
    ]
    ranges = zip(*corpus.piece_ranges(np.array(docs)), strict=True)
    found = [piece for start, stop in ranges for piece in corpus.pieces[start:stop].tolist()]
    assert found == [piece for row in pieces for piece in row]
    first, last, shapes, spans, span_ids = [], [], [], [], []
    for doc in docs:
        base, n_words = len(first), int(corpus.doc_words[doc + 1] - corpus.doc_words[doc])
        for word in range(corpus.doc_words[doc], corpus.doc_words[doc + 1]):
            has_piece = corpus.word_row[word] >= 0
            place = rows.index(corpus.word_row[word]) * length if has_piece else 0
            first.append(place + corpus.word_first[word] if has_piece else -1)
            last.append(place + corpus.word_last[word] if has_piece else -1)
            shapes.append(corpus.word_shapes[word])
        starts, ends, _ = enumerate_spans([n_words], 4)
        spans += [(s + base, e + base) for s, e in zip(starts, ends, strict=True)]
        span_ids += range(corpus.doc_spans[doc], corpus.doc_spans[doc + 1])
    assert batch.first.tolist() == first
    assert batch.last.tolist() == last
    assert batch.shapes.tolist() == shapes
    assert list(zip(batch.starts, batch.ends, strict=True)) == spans
    assert batch.span_ids.tolist() == span_ids
    assert batch.docs.tolist() == docs and batch.corpus is corpus


def test_a_space_before_a_sign_does_not_change_the_pieces_of_names(nlp, make):
    _, tokenizer, _ = get_encoder(nlp)
    words = ["Angela", "visited", "Paris", ";", "York", "!"]
    ends = []
    for spaces in ([True] * 6, [True, True, False, True, False, False]):
        corpus = make([Doc(nlp.vocab, words=words, spaces=spaces)], labelled=False)
        places = np.stack([corpus.word_first, corpus.word_last])
        ends.append(
            [tokenizer.convert_ids_to_tokens(row) for row in corpus.pieces[places].tolist()]
        )
    # with its own space, which this tokenizer makes a piece
    assert "▁" in tokenizer.tokenize("Paris ;") and "▁" not in tokenizer.tokenize("Paris;")
    assert ends[0][1] == ends[1][1] and "▁" not in ends[0][1]
