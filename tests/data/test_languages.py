"""Languages: codes of any age, tokenizers with and without packages, one vocabulary everywhere."""

from __future__ import annotations

import shutil
import sys
import types
import warnings

import pytest
import spacy
from sentences import TEXTS
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Adam
from tiny_tokenizer import build_tokenizer
from transformers import AutoModel
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.cli._options import Segmenter
from spacy_maral.data.convert import convert
from spacy_maral.data.docs import read_docs
from spacy_maral.data.languages import (
    SEGMENTERS,
    blank_pipeline,
    language_code,
    language_vocab,
    tokenizer_language,
)
from spacy_maral.data.raw import prepare_text, read_raw
from spacy_maral.errors import MaralError

ZH = "王明住在北京。"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("dan", "da"), ("deu", "de"), ("ger", "de"), ("iw", "he"), ("heb", "he"), ("in", "id"),
        ("vie", "vi"), ("swa", "sw"), ("sw", "sw"), ("lus", "lus"), ("quz", "quz"), ("xx", "xx"),
        ("DE", "de"), ("pt_BR", "pt-br"), ("zho-Hant", "zh-hant"), ("zh-min-nan", "zh-min-nan"),
        ("khm", "km"), ("simple", "simple"), ("nor", "no"), ("mul", "xx"),
    ],
)  # fmt: skip
def test_codes(given, code):
    assert language_code(given) == code
    assert language_code(code) == code


@pytest.mark.parametrize("given", ["", "german", "d", "de.spacy", "1a", "../de"])
def test_what_is_no_code(given):
    with pytest.raises(MaralError, match="M124"):
        language_code(given)
    with pytest.raises(MaralError, match="M124"):
        blank_pipeline(given)


@pytest.mark.parametrize(
    ("lang", "tokenizer"),
    [
        ("deu", "de"), ("pt-BR", "pt"), ("sw", "xx"), ("km", "xx"), ("no", "nb"), ("zh-Hans", "zh"),
        ("zh-min-nan", "xx"), ("simple", "en"), ("yue", "zh"), ("xx", "xx"), ("ja", "ja"),
    ],
)  # fmt: skip
def test_tokenizers(lang, tokenizer):
    assert tokenizer_language(lang) == tokenizer
    if tokenizer != "ja":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert blank_pipeline(lang).lang == tokenizer


def test_a_language_without_a_tokenizer_is_said_and_tokenised(tmp_path):
    path = tmp_path / "sw.txt"
    path.write_text("Asha anaishi Dodoma, Tanzania.\n", encoding="utf8")
    with pytest.warns(UserWarning, match=r"W103.*'sw'"):
        (doc,) = read_raw(path, "sw")
    assert [t.text for t in doc] == ["Asha", "anaishi", "Dodoma", ",", "Tanzania", "."]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(read_raw(path, "xx"))
        list(read_raw(path, "deu"))


def test_segmenters_are_those_of_spacy():
    from spacy.lang.zh import Segmenter as OfSpacy

    assert list(SEGMENTERS) == OfSpacy.values() == [one.value for one in Segmenter]


def fake_jieba(monkeypatch) -> None:
    """A segmenter that knows two names."""

    def cut(text, cut_all=False):
        for name in ("王明", "北京"):
            text = text.replace(name, f" {name} ")
        return [w for part in text.split() for w in ([part] if part in ("王明", "北京") else part)]

    module = types.ModuleType("jieba")
    module.lcut = module.cut = cut
    monkeypatch.setitem(sys.modules, "jieba", module)


def test_chinese_words(monkeypatch, tmp_path):
    fake_jieba(monkeypatch)
    path = tmp_path / "zh.txt"
    path.write_text(ZH + "\n", encoding="utf8")

    def words(**settings) -> list[str]:
        prepare_text(path, tmp_path / "zh.spacy", lang="zh", **settings)
        return [token.text for token in read_docs(tmp_path / "zh.spacy")[0]]

    assert words() == words(segmenter="char") == list(ZH)
    assert words(segmenter="jieba") == ["王明", "住", "在", "北京", "。"]
    arguments = [
        "prepare-text",
        path,
        tmp_path / "cli.spacy",
        "--lang",
        "zh",
        "--segmenter",
        "jieba",
    ]
    assert CliRunner().invoke(app, list(map(str, arguments))).exit_code == 0
    assert [t.text for t in read_docs(tmp_path / "cli.spacy")[0]][:2] == ["王明", "住"]
    rows = tmp_path / "zh.jsonl"
    rows.write_text(f'{{"text": "{ZH}", "entities": [[4, 6, "LOC"]]}}\n', encoding="utf8")
    convert(rows, tmp_path / "gold.spacy", lang="zh", segmenter="jieba")
    (ent,) = read_docs(tmp_path / "gold.spacy")[0].ents
    assert (ent.text, len(ent)) == ("北京", 1)


def test_pkuseg_is_initialised_with_a_model(monkeypatch):
    loaded = []

    class Pkuseg:
        def __init__(self, model_name, user_dict):
            loaded.append(model_name)

        def cut(self, text):
            return ["王明", *text[2:]]

    module = types.ModuleType("spacy_pkuseg")
    module.pkuseg = Pkuseg
    monkeypatch.setitem(sys.modules, "spacy_pkuseg", module)
    nlp = blank_pipeline("zh", "pkuseg")
    assert [t.text for t in nlp(ZH)][:2] == ["王明", "住"] and loaded == ["mixed"]


@pytest.mark.parametrize(("lang", "segmenter"), [("de", "char"), ("zh", "words"), ("xx", "jieba")])
def test_segmenters_of_other_languages(lang, segmenter):
    with pytest.raises(MaralError, match="M127"):
        blank_pipeline(lang, segmenter)


def test_a_tokenizer_whose_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(MaralError, match=r"M149.*jieba"):
        blank_pipeline("zh", "jieba")


# the vocabulary


@pytest.mark.parametrize("lang", ["xx", "de", "zh", "ja", "sw"])
def test_words_have_their_attributes(lang):
    doc = Doc(language_vocab(lang), words=["Hallo", ",", "\n", "12"])
    assert [t.is_punct for t in doc] == [False, True, False, False]
    assert [t.is_space for t in doc] == [False, False, True, False]
    assert doc[3].like_num and doc[0].lower_ == "hallo"


def test_documents_of_a_bare_vocabulary_are_split_like_text(tmp_path):
    text = "Er ging heim. Sie blieb noch da! Und dann kamen alle wieder."
    (tmp_path / "a.txt").write_text(text, encoding="utf8")
    words = [(t.text, bool(t.whitespace_)) for t in spacy.blank("de")(text)]
    bare = Doc(Vocab(), *map(list, zip(*words, strict=True)))
    DocBin(docs=[bare]).to_disk(tmp_path / "a.spacy")
    wanted = [doc.text for doc in read_raw(tmp_path / "a.txt", "de")]
    assert wanted == text.replace("! ", "!|").replace(". ", ".|").split("|")
    assert [doc.text for doc in read_raw(tmp_path / "a.spacy", "de")] == wanted
    assert [t.is_punct for t in read_docs(tmp_path / "a.spacy")[0]][3:5] == [True, False]


# from raw text to entities, in languages whose words a space does not divide

RAW = {
    "zh": ("char", "王明住在北京。", [("王明", "PER"), ("北京", "LOC")], None),
    "ja": (None, "田中さんは東京に住んでいます。", [("田中", "PER"), ("東京", "LOC")], "sudachipy"),
    "th": (None, "สมชายอยู่ที่กรุงเทพ", [("สมชาย", "PER"), ("กรุงเทพ", "LOC")], "pythainlp"),
    "vi": (None, "Nguyễn Phú sống ở Hà Nội.", [("Nguyễn Phú", "PER"), ("Hà Nội", "LOC")], "pyvi"),
    "ko": (None, "철수는 서울에 산다.", [("철수", "PER"), ("서울", "LOC")], "natto"),
    # spaCy has no tokenizer: the words have to be divided in the text
    "km": (None, "សុខា រស់នៅ ភ្នំពេញ ។", [("សុខា", "PER"), ("ភ្នំពេញ", "LOC")], None),
}


@pytest.fixture
def encoder(encoder_dir, tmp_path):
    """The tiny encoder, with the characters of these languages in its vocabulary."""
    folder = shutil.copytree(encoder_dir, tmp_path / "encoder")
    tokenizer = build_tokenizer("".join(text for _, text, _, _ in RAW.values()))
    tokenizer.save(str(folder / "tokenizer.json"))
    model = AutoModel.from_pretrained(folder)
    model.resize_token_embeddings(tokenizer.get_vocab_size())
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("lang", RAW)
def test_from_raw_text_to_entities(lang, encoder, tmp_path):
    segmenter, text, entities, package = RAW[lang]
    if package is not None:
        pytest.importorskip(package, reason=f"spaCy's tokenizer for {lang} needs {package}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nlp = blank_pipeline(lang, segmenter)
    except MaralError as error:
        pytest.skip(str(error))
    spacy.util.fix_random_seed(0)
    model = {
        "@architectures": "spacy-maral.TransformerModel.v1", "name": str(encoder),
        "get_spans": {"@span_getters": "spacy-maral.bounded_windows.v1"},
    }  # fmt: skip
    nlp.add_pipe("transformer", config={"model": model})
    nlp.add_pipe("maral_ner", config={"model": {"hidden_width": 32, "dim": 16, "dropout": 0.0}})
    doc = nlp.make_doc(text)
    spans = [doc.char_span(text.find(e), text.find(e) + len(e), label=x) for e, x in entities]
    assert None not in spans, [token.text for token in doc]
    doc.set_ents(spans, default="outside")
    others = [nlp.make_doc(other) for other, _ in TEXTS[:3]]
    for other in others:
        other.set_ents([], default="outside")
    examples = [Example(nlp.make_doc(d.text), d) for d in (doc, *others)]
    nlp.initialize(lambda: examples)
    sgd = Adam(learn_rate=5e-3)
    for _ in range(60):
        nlp.update(examples, sgd=sgd)
    nlp.to_disk(tmp_path / "nlp")
    again = spacy.load(tmp_path / "nlp")
    assert [(e.text, e.label_) for e in again(text).ents] == entities
