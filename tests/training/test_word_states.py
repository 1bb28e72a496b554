"""Vectors of words are the states of the encoder's layer."""

from __future__ import annotations

import numpy as np
from spacy.tokens import Doc

from spacy_maral.evaluation.evaluate import load_pipeline
from spacy_maral.training.word_states import make_states

SENTENCES = ["Anna Berg met Peter in Bonn .", "it rains in Ulm", "nobody knows"]


def test_states_are_those_of_the_encoder(world):
    nlp = load_pipeline(world["teacher"])
    docs = [Doc(nlp.vocab, words=text.split(" ")) for text in SENTENCES]
    whole = make_states(nlp, 2, "m")(docs)
    assert [part.shape[0] for part in whole] == [len(doc) for doc in docs]
    for doc, vectors in zip(docs, whole, strict=True):
        read = nlp.get_pipe("transformer").model.predict([doc]).doc_data[0]
        [states], [pieces] = read.model_output.last_hidden_state, read.wordpieces.strings
        first = [i for i, piece in enumerate(pieces) if piece.startswith("▁")]
        last = [*(i - 1 for i in first[1:]), len(pieces) - 2]
        expected = (states[first] + states[last]) / 2
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    middle = make_states(nlp, None, "m")(docs)
    np.testing.assert_array_equal(middle[0], make_states(nlp, 1, "m")(docs)[0])
