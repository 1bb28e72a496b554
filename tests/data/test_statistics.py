"""Span statistics: against a double loop, and against the published counts of the real data."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.data.convert import convert
from spacy_maral.data.sentences import Entity, Sentence
from spacy_maral.data.statistics import span_statistics, stats
from spacy_maral.errors import MaralError

WIKIANN = "ORG PER LOC"
COARSE = "PER LOC GRP CW PROD MED"
# file, label map, sentences, tokens, outside, labels, entities by label, longer than 4 words
PUBLISHED = [
    ("wikiann/en/train", None, 20000, 160394, 493646, WIKIANN, (9422, 9164, 9345), 4289),
    ("wikiann/en/dev", None, 10000, 80536, 247998, WIKIANN, (4677, 4635, 4834), 2133),
    ("wikiann/en/test", None, 10000, 80326, 247346, WIKIANN, (4745, 4556, 4657), 2098),
    ("wikiann/de/train", None, 20000, 195387, 633914, WIKIANN, (8575, 9290, 9778), 1507),
    (
        "multiconer2/en/en-train.conll",
        "coarse",
        16778,
        253011,
        885927,
        COARSE,
        (9294, 4353, 4224, 4084, 1935, 1559),
        1119,
    ),
    (
        "multiconer2/en/en-dev.conll",
        "coarse",
        871,
        13323,
        46770,
        COARSE,
        (481, 197, 218, 215, 109, 76),
        52,
    ),
]


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    length = draw(st.integers(1, 12))
    cuts = draw(st.lists(st.integers(0, length), max_size=6, unique=True).map(sorted))
    pairs = itertools.pairwise(cuts)
    label = st.sampled_from(["PER", "LOC", None])
    spans = [(start, end - 1, draw(label)) for start, end in pairs]
    entities = [Entity(start, end, name) for start, end, name in spans if name is not None]
    return Sentence(["w"] * length, entities)


@given(data=st.lists(sentences(), max_size=5), max_width=st.integers(1, 14))
def test_counts_equal_a_double_loop(data: list[Sentence], max_width: int) -> None:
    found = span_statistics(data, max_width).to_dict()
    outside = longer = 0
    labels: dict[str, int] = {}
    lengths: list[int] = []
    for sentence in data:
        n = len(sentence.words)
        for start in range(n):
            for end in range(start, n):
                outside += end - start + 1 <= max_width
        for start, end, label in sentence.entities:
            outside -= 1
            longer += end - start + 1 > max_width
            lengths.append(end - start + 1)
            labels[label] = labels.get(label, 0) + 1
    assert found["spans"] == {"O": outside, **labels}
    assert found["longer_than_max_width"] == longer == sum(found["longer_by_label"].values())
    assert found["entity_lengths"] == {str(n): lengths.count(n) for n in sorted(set(lengths))}
    for share in (0.5, 0.95, 1.0):
        held = [w for w in range(1, 13) if sum(n <= w for n in lengths) >= share * len(lengths)]
        assert span_statistics(data, max_width).width_of(share) == (held[0] if lengths else None)
    assert found["tokens"] == sum(len(sentence.words) for sentence in data)
    assert found["sentences"] == len(data)


def test_unlabelled_sentences_have_no_outside_spans() -> None:
    data = [Sentence(["a", "b"]), Sentence(["a", "b", "c"], labelled=False)]
    found = span_statistics(data, 4)
    assert (found.outside, found.candidates, found.unlabelled) == (3, 3, 1)
    assert (found.sentences, found.tokens) == (2, 5)


def test_spans_of_words_without_annotation_are_not_counted(tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    doc = Doc(nlp.vocab, words=["Ada", "met", "\n", "Bob", "and", "Carl", "in", "Rome"])
    doc.set_ents(
        [Span(doc, 0, 1, label="PER"), Span(doc, 7, 8, label="LOC")],
        missing=[doc[3:6]], default="outside",
    )  # fmt: skip
    whole = Doc(nlp.vocab, words=["Ada", "slept"])
    whole.set_ents([], default="outside")
    none = Doc(nlp.vocab, words=["Bob", "slept"])
    DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=[doc, whole, none]).to_disk(tmp_path / "a.spacy")
    found = stats(tmp_path / "a.spacy", max_width=4)
    # Ada, met, Ada met; in, Rome, in Rome; Ada, slept, Ada slept
    assert (found.candidates, found.outside) == (9, 7)
    assert (found.partial, found.unlabelled, found.sentences) == (1, 1, 3)
    assert found.to_dict()["partly_annotated_sentences"] == 1
    shown = CliRunner().invoke(app, ["stats", str(tmp_path / "a.spacy")])
    assert "1 sentences are partly annotated" in shown.output


def test_bad_width() -> None:
    with pytest.raises(MaralError, match="max_width=0"):
        span_statistics([], 0)


def test_a_file_and_its_conversion_count_the_same(tmp_path: Path) -> None:
    path, output = tmp_path / "data.txt", tmp_path / "data.spacy"
    path.write_text("a B-PER\nb I-PER\nc O\n\nd B-LOC\ne B-PER\n", encoding="utf-8")
    convert(path, output)
    found = stats(path, max_width=1).to_dict()
    packed = tmp_path / "data.spacy.gz"
    packed.write_bytes(gzip.compress(output.read_bytes()))
    assert all(stats(one, max_width=1).to_dict() == found for one in (output, packed))
    assert found["spans"] == {"O": 2, "LOC": 1, "PER": 2}
    assert json.loads(json.dumps(found)) == found
    names = {"PER": "HUMAN", "LOC": None}
    mapped = [stats(one, label_map=names).to_dict() for one in (path, output)]
    assert mapped[0] == mapped[1] and mapped[0]["dropped"] == {"LOC": 1}
    convert(path, output, unlabelled=True)
    blind = stats(output).to_dict()
    assert (blind["spans"], blind["unlabelled_sentences"]) == ({"O": 0}, 2)


@pytest.fixture
def data_folder() -> Path:
    folder = os.environ.get("MARAL_DATA")
    if not folder:
        pytest.skip("MARAL_DATA names no folder with the public data sets")
    return Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "label_map", "n_sentences", "n_tokens", "outside", "labels", "counts", "longer"),
    PUBLISHED,
    ids=[row[0] for row in PUBLISHED],
)
def test_published_counts(
    data_folder: Path,
    tmp_path: Path,
    name: str,
    label_map: str | None,
    n_sentences: int,
    n_tokens: int,
    outside: int,
    labels: str,
    counts: tuple[int, ...],
    longer: int,
) -> None:
    found = stats(data_folder / name, max_width=4, label_map=label_map)
    entities = dict(zip(labels.split(), counts, strict=True))
    assert found.to_dict()["spans"] == {"O": outside, **entities}
    assert (found.sentences, found.tokens) == (n_sentences, n_tokens)
    assert found.to_dict()["longer_than_max_width"] == longer
    convert(data_folder / name, tmp_path / "data.spacy", label_map=label_map)
    assert stats(tmp_path / "data.spacy", max_width=4).to_dict() == found.to_dict()
