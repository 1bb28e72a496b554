"""What a list of documents keeps in memory, and what long runs give back."""

from __future__ import annotations

import copy
import pickle

import pytest
import spacy
from make_golden import GOLDEN
from spacy.tokens import Doc, DocBin

from spacy_maral.errors import MaralError
from spacy_maral.model import maral_ner
from spacy_maral.model.encoder.dropped import DROPPED

MODEL = GOLDEN / "0.1" / "model"
TEXTS = ["Angela Merkel met Pedro in Paris and York ."] * 6


@pytest.fixture(scope="module")
def nlp():
    return spacy.load(MODEL)


def ents(docs) -> list:
    return [[(e.text, e.label_) for e in doc.ents] for doc in docs]


def test_documents_do_not_keep_the_encoders_output(nlp):
    docs = list(nlp.pipe(TEXTS))
    assert all(doc._.trf_data is DROPPED for doc in docs) and ents(docs)[0]
    nlp.get_pipe("maral_ner").cfg["keep_trf_data"] = True
    try:
        kept = list(nlp.pipe(TEXTS))
    finally:
        nlp.get_pipe("maral_ner").cfg["keep_trf_data"] = False
    assert ents(kept) == ents(docs) and kept[0]._.trf_data.tensors[0].shape[-1] > 8
    # the same document can be read again
    assert ents([nlp(docs[0])]) == ents(docs[:1])


def test_the_setting_can_be_given_when_loading():
    kept = spacy.load(MODEL, config={"components.maral_ner.keep_trf_data": True})
    assert kept(TEXTS[0])._.trf_data.tensors


def test_who_needs_it_is_told(nlp):
    doc = nlp(TEXTS[0])
    for use in (
        lambda: doc._.trf_data.tensors,
        lambda: doc._.trf_data.model_output,
        lambda: doc._.trf_data.align,
        lambda: nlp.get_pipe("maral_ner")(doc),
    ):
        with pytest.raises(MaralError, match=r"^\[M534\].*keep_trf_data = true"):
            use()


def test_what_is_dropped_can_be_saved_and_copied(nlp):
    doc = nlp(TEXTS[0])
    again = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    (binned,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    for other in (again, binned, doc.copy()):
        assert ents([other]) == ents([doc])
    assert copy.deepcopy(DROPPED) == DROPPED == pickle.loads(pickle.dumps(DROPPED))
    assert repr(DROPPED) == "DroppedData()"
    assert ents(nlp.pipe(TEXTS, n_process=2, batch_size=2)) == ents(nlp.pipe(TEXTS))


def test_memory_is_given_back_from_time_to_time(nlp, monkeypatch):
    calls = []
    monkeypatch.setattr(maral_ner, "give_back_memory", lambda: calls.append(1))
    monkeypatch.setattr(maral_ner, "WORDS_TO_TRIM", 30)
    # batches of 18 words
    list(nlp.pipe(TEXTS * 2, batch_size=2))
    assert len(calls) == 3
