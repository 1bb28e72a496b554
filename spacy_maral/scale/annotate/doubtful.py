"""Words of which a model is in doubt whether, or of which class, they are entities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ...training.pipelines import require_component
from ..names import component

KEY = "maral_doubt"


@contextmanager
def doubtful_spans(nlp: Language, doubt: float | None) -> Iterator[None]:
    """Let a pipeline write in the block what `doubtful_words` reads.

    nlp (Language): The pipeline.
    doubt (float | None): See `doubtful_words`; None to change nothing.
    RAISES (MaralError): If the pipeline has no maral_ner.
    """
    if doubt is None:
        yield
        return
    require_component(nlp, f"the pipeline {nlp.meta['name']}")
    settings = component(nlp).cfg
    before = {name: settings[name] for name in ("spans_key", "spans_threshold")}
    settings |= {"spans_key": KEY, "spans_threshold": doubt}
    try:
        yield
    finally:
        settings |= before


def doubtful_words(doc: Doc, doubt: float) -> list[tuple[int, int]]:
    """Find the words whose annotation is in doubt.

    These are all words of an entity of which the model says with this probability that it is none, or
    of another class, and all words of a span that is not written although it is an entity with this
    probability; but not the words of an entity that is beyond doubt.

    doc (Doc): A document that a pipeline has annotated within `doubtful_spans`.
    doubt (float): The probability.
    RETURNS (list[tuple[int, int]]): First characters and ends (exclusive) of runs of such words.
    """
    group = doc.spans.get(KEY, ())
    scores = group.attrs["scores"] if group else ()
    written = {(ent.start, ent.end, ent.label) for ent in doc.ents}
    uncertain, certain = np.zeros((2, len(doc)), dtype=bool)
    for span, score in zip(group, scores, strict=True):
        if (span.start, span.end, span.label) in written and score > 1 - doubt:
            certain[span.start : span.end] = True
        else:
            uncertain[span.start : span.end] = True
    numbers = np.flatnonzero(uncertain & ~certain).tolist()
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    places = [[number for _, number in run] for _, run in runs]
    return [(doc[run[0]].idx, doc[run[-1]].idx + len(doc[run[-1]])) for run in places]
