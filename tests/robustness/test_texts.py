"""Odd text: as many words out as in, entities that can be read, memory with a bound, any thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import spacy
from sentences import LABELS, TEXTS
from spacy.tokens import Doc
from thinc.api import Adam

from spacy_maral.model.architectures import get_encoder, get_span_module

ARCHITECTURE = "spacy-maral.TransformerModel.v1"
LONG = 100_000

# texts and lists of words
ODD = {
    "empty": "",
    "white space": " \t\n \u00a0\u2003\u3000 \r\n",
    "words of white space": ["\n", " ", "\u2028", "\t\t"],
    "control characters": "Angela\x00 Mer\x07kel\x1b[31m vis\x7fited \x85 Paris\x1c\x1d",
    "right to left": "\u202eالسلام عليكم\u202c שלום עולם \u200fParis\u200e",
    "joiners": "\u200d \u200c ن\u200cم\u200cی Par\u200dis \u200b\u2060\ufeff",
    "emoji": "👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 Paris 🇫🇷 👍🏿 ❤\ufe0f",
    "combining": "A" + "\u0301" * 300 + "ngela Z" + "\u0489" * 40,
    "no pieces": ["\u200b", "\u00ad", "\u2060", "\u0001", "\u0300"],
    "no pieces among words": ["Angela", "\u200b", "Merkel", "\u00ad\u00ad", "Paris", "\ufeff"],
    "not in the vocabulary": "ᚠᚢᚦ 𒀀𒁀 \U000e0041\U000e0042 \ue000 \U0010ffff \ufffd",
    "specials of the tokenizer": "<s> Angela </s> <pad> <mask> <unk> Paris",
    "compatibility": "ﷺ ㌀ ﬃ Ⅻ ½ ㍿ ﷽",
    "punctuation": "... --- ??? !!! ###  ''' \"\" \\\\ {} %s ${x}",
    "one long word": ["x" * LONG],
    "a long word among others": ["in", "Paris", "9" * LONG, "Angela", "Merkel"],
    "many long words": ["y" * 700] * 40,
}


def make_pipeline(encoder: Path, train_examples, **cfg) -> spacy.language.Language:
    """A small trained pipeline with dropout, which prediction must not use."""
    nlp = spacy.blank("xx")
    spacy.util.fix_random_seed(0)
    model = {
        "@architectures": ARCHITECTURE, "name": str(encoder),
        "get_spans": {"@span_getters": "spacy-maral.bounded_windows.v1", "max_words": 24,
                      "stride": 16, "max_chars": 60},
        "transformer_config": {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3},
    }  # fmt: skip
    nlp.add_pipe("transformer", config={"model": model})
    span_model = {"hidden_width": 32, "dim": 16, "max_width": 4, "dropout": 0.3}
    nlp.add_pipe("maral_ner", config={"model": span_model, **cfg})
    nlp.config["initialize"]["components"] = {"maral_ner": {"labels": LABELS}}
    nlp.initialize(lambda: train_examples(nlp))
    examples, sgd = train_examples(nlp), Adam(learn_rate=3e-3)
    for _ in range(15):
        nlp.update(examples, sgd=sgd)
    return nlp


@pytest.fixture(scope="module")
def nlp(encoder_dir):
    from spacy.training import Example

    def train_examples(nlp):
        examples = []
        for text, entities in TEXTS:
            reference = nlp.make_doc(text)
            reference.set_ents([reference.char_span(*e) for e in entities], default="outside")
            examples.append(Example(nlp.make_doc(text), reference))
        return examples

    return make_pipeline(encoder_dir, train_examples, spans_key="all", spans_threshold=0.01)


def as_doc(nlp, given: str | list[str]) -> Doc:
    return nlp.make_doc(given) if isinstance(given, str) else Doc(nlp.vocab, words=given)


def check(doc: Doc, words: list[str]) -> None:
    """What must hold of every document that went through the component."""
    assert [token.text for token in doc] == words
    assert all(token.ent_iob_ in ("B", "I", "O") for token in doc)
    end = 0
    for ent in doc.ents:
        assert end <= ent.start < ent.end <= len(doc)
        assert ent.end - ent.start <= 4 and ent.label_ in LABELS
        assert 0 <= ent._.maral_score <= 1
        end = ent.end
    scores = doc.spans["all"].attrs["scores"] if "all" in doc.spans else []
    assert np.isfinite(scores).all()
    again = Doc(doc.vocab).from_bytes(doc.to_bytes())
    assert list(map(span_of, again.ents)) == list(map(span_of, doc.ents))


@pytest.mark.parametrize("name", ODD)
def test_odd_text(nlp, name):
    doc = as_doc(nlp, ODD[name])
    words = [token.text for token in doc]
    check(nlp(doc), words)


def test_odd_texts_in_one_batch_are_as_each_alone(nlp):
    alone = [nlp(as_doc(nlp, given)) for given in ODD.values()]
    together = list(nlp.pipe([as_doc(nlp, given) for given in ODD.values()], batch_size=100))
    for one, other in zip(alone, together, strict=True):
        check(other, [token.text for token in one])
        found, wanted = ([(e.start, e.end, e.label_) for e in doc.ents] for doc in (other, one))
        assert found == wanted
        scores = [[e._.maral_score for e in doc.ents] for doc in (other, one)]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)


@pytest.mark.parametrize("word", ["\ud800", "a\udfff", "\udc00b"])
def test_unpaired_surrogates_are_refused_by_spacy_before_the_component(nlp, word):
    """They are no text: neither words nor texts with them become a document."""
    with pytest.raises(UnicodeEncodeError):
        Doc(nlp.vocab, words=["Angela", word])
    with pytest.raises(UnicodeEncodeError):
        nlp(f"Angela {word} Paris")
    with pytest.raises(UnicodeEncodeError):
        list(nlp.pipe(["Paris", f"Angela {word} Paris"]))
    check(nlp("Angela Merkel"), ["Angela", "Merkel"])


@pytest.mark.parametrize("n_words", [LONG // 5, pytest.param(LONG, marks=pytest.mark.slow)])
def test_document_of_many_words(nlp, n_words):
    """Encoder and span model read it in parts: at most 32,768 pieces, 32,768 spans at once."""
    encoder, _, _ = get_encoder(nlp)
    module = get_span_module(nlp.get_pipe("maral_ner").model)
    pieces, spans = [], []
    hooks = [
        encoder.register_forward_pre_hook(
            lambda _, args, kwargs: pieces.append(kwargs["input_ids"].numel()), with_kwargs=True
        ),
        module.register_forward_pre_hook(lambda _, args: spans.append(len(args[3]))),
    ]
    words = [word for text, _ in TEXTS for word in text.split()]
    doc = Doc(nlp.vocab, words=(words * (n_words // len(words) + 1))[:n_words])
    before = resident()
    check(nlp(doc), [token.text for token in doc])
    for hook in hooks:
        hook.remove()
    assert len(pieces) > 1 and max(pieces) <= 32768
    assert len(spans) > 1 and max(spans) <= 32768
    assert sum(spans) == 4 * n_words - 6
    assert resident() - before < 1 << 30


def resident() -> int:
    """Memory in use, bytes; 0 where that cannot be read."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return 0
    return int(status.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_two_threads_give_what_one_gives(nlp):
    """thinc puts a module back to training mode after each prediction; ours must stay as they are."""
    texts = [text for text, _ in TEXTS] * 12
    wanted = [[(*span_of(e), e._.maral_score) for e in doc.ents] for doc in nlp.pipe(texts)]
    assert sum(map(len, wanted)) > 20
    found: dict[int, list] = {}

    def work(number: int) -> None:
        docs = nlp.pipe(texts, batch_size=2 + number) if number % 2 else map(nlp, texts)
        found[number] = [[(*span_of(e), e._.maral_score) for e in doc.ents] for doc in docs]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3]
    for docs in found.values():
        for one, other in zip(docs, wanted, strict=True):
            assert [e[:3] for e in one] == [e[:3] for e in other]
            np.testing.assert_allclose([e[3] for e in one], [e[3] for e in other], atol=1e-4)


def span_of(entity) -> tuple[int, int, str]:
    return entity.start, entity.end, entity.label_


LONG_DOCUMENT = """
import json, resource, sys
import spacy, torch
from spacy.tokens import Doc
torch.set_num_threads(1)
encoder, architecture, n_words = sys.argv[1], sys.argv[2], int(sys.argv[3])
nlp = spacy.blank("xx")
nlp.add_pipe("transformer", config={"model": {"@architectures": architecture, "name": encoder,
    "get_spans": {"@span_getters": "spacy-maral.bounded_windows.v1"}}})
nlp.add_pipe("maral_ner")
nlp.config["initialize"]["components"] = {"maral_ner": {"labels": ["LOC", "PER"]}}
nlp.initialize()
words = "Angela Merkel visited the city of Paris in May and met many people .".split()
make = lambda n: Doc(nlp.vocab, words=(words * (n // len(words) + 1))[:n])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
nlp(make(500))
before = peak()
doc = nlp(make(n_words))
print(json.dumps({"words": len(doc), "before_mib": before, "peak_mib": peak()}))
"""


@pytest.mark.slow
def test_memory_of_a_long_document_with_a_real_encoder():
    encoder = os.environ.get("MARAL_ENCODER")
    if not encoder:
        pytest.skip("MARAL_ENCODER is not set")
    command = [sys.executable, "-c", LONG_DOCUMENT, encoder, ARCHITECTURE]
    done = [
        subprocess.run([*command, str(n)], capture_output=True, text=True, check=True).stdout
        for n in (10_000, 40_000)
    ]
    grown = [r["peak_mib"] - r["before_mib"] for r in map(json.loads, done)]
    # what is kept of each word: pieces, hidden states and candidate spans
    assert (grown[1] - grown[0]) / 30_000 < 0.02
