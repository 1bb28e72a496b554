from __future__ import annotations

import unicodedata

import pytest
from make_demo_corpus import (
    ASSETS,
    HELD_OUT_TEMPLATES,
    IMBALANCE,
    RARE,
    SIZES,
    SLOT,
    SOURCE,
    TARGETS,
    Grammar,
    count_entities,
    load_language,
    main,
    make_corpus,
    make_part,
    without,
)

from spacy_maral.errors import MaralError

LANGUAGES = (SOURCE, *TARGETS)
TYPES = {"PER", "LOC", "ORG", "PROD", "EVENT"}


@pytest.fixture(scope="module")
def corpus():
    return make_corpus(sizes=SIZES["default"], seed=0)


def entity_texts(sentences):
    texts = set()
    for sentence in sentences:
        words: list[str] = []
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            if words and not tag.startswith("I-"):
                texts.add(" ".join(words))
                words = []
            if tag != "O":
                words.append(word)
        if words:
            texts.add(" ".join(words))
    return texts


def names_and_templates(lang):
    data = load_language(lang)
    names = {name.casefold() for values in data["names"].values() for name in values}
    templates = {text.casefold() for values in data["templates"].values() for text in values}
    return names, templates


def test_same_seed_same_corpus_other_seed_another(corpus):
    assert make_corpus(sizes=SIZES["default"], seed=0) == corpus
    assert make_corpus(sizes=SIZES["default"], seed=1) != corpus


def test_leaving_out_a_target_changes_no_other():
    few = make_corpus(sizes=SIZES["small"], seed=3, targets=["es"])
    every = make_corpus(sizes=SIZES["small"], seed=3)
    assert few["es", "train"] == every["es", "train"]
    assert few["en", "dev"] == every["en", "dev"]


def test_sizes(corpus):
    sizes = SIZES["default"]
    assert len(corpus["en", "train"]) == sizes["source_train"]
    assert len(corpus["en", "dev"]) == sizes["source_dev"]
    for lang in TARGETS:
        assert len(corpus[lang, "train"]) == sizes["target_train"]
        assert len(corpus[lang, "test"]) == sizes["target_test"]


@pytest.mark.parametrize("target", TARGETS)
def test_source_and_target_share_no_template_and_no_name(target, corpus):
    source_names, source_templates = names_and_templates(SOURCE)
    target_names, target_templates = names_and_templates(target)
    assert not source_names & target_names
    assert not source_templates & target_templates
    assert not entity_texts(corpus[SOURCE, "train"]) & entity_texts(corpus[target, "test"])


@pytest.mark.parametrize("lang", LANGUAGES)
def test_rarest_type_is_one_in_a_hundred(lang, corpus):
    counts = count_entities(corpus[lang, "train"])
    assert set(counts) == TYPES
    (_, most), *_, (rarest, least) = counts.most_common()
    assert rarest == RARE
    assert most / least == pytest.approx(IMBALANCE, rel=0.1)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_entities_have_one_to_five_words_and_sound_tags(lang, corpus):
    sentences = [s for (code, _), part in corpus.items() if code == lang for s in part]
    lengths = {len(text.split()) for text in entity_texts(sentences)}
    assert lengths >= {1, 2, 3, 4}
    for sentence in sentences:
        assert len(sentence.words) == len(sentence.tags)
        for before, tag in zip(("O", *sentence.tags), sentence.tags, strict=False):
            if tag.startswith("I-"):
                assert before[2:] == tag[2:]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_sentence_of_train_comes_again(lang, corpus):
    held = "dev" if lang == SOURCE else "test"
    train = {sentence.words for sentence in corpus[lang, "train"]}
    assert not any(sentence.words in train for sentence in corpus[lang, held])


def test_names_can_be_of_several_types(corpus):
    """Towns are also clubs and surnames, so that a list of names does not do."""
    for lang in LANGUAGES:
        types: dict[str, set[str]] = {}
        for sentence in corpus[lang, "train"]:
            for word, tag in zip(sentence.words, sentence.tags, strict=True):
                if tag.startswith("B-"):
                    types.setdefault(word, set()).add(tag[2:])
        assert sum(len(kinds) > 1 for kinds in types.values()) >= 10, lang


@pytest.mark.parametrize("lang", LANGUAGES)
def test_assets_are_sound(lang):
    data = load_language(lang)
    assert set(data) == {"language", "names", "words", "entities", "templates"}
    lists = {**data["names"], **data["words"]}
    for values in [*lists.values(), *data["templates"].values()]:
        assert len(values) == len(set(values)) > 1
    patterns = [p for kinds in data["entities"].values() for ps in kinds.values() for p in ps]
    templates = [text for texts in data["templates"].values() for text in texts]
    for text in [*patterns, *templates]:
        assert unicodedata.normalize("NFC", text) == text
        assert not SLOT.sub("", text).count("{")
        for first, second in SLOT.findall(text):
            assert second in data["entities"][first] if second else first in lists
    for kind, texts in data["templates"].items():
        rare = kind in ("PROD", "EVENT")
        assert all((f"{{{kind}." in text) == rare for text in texts)
    assert {path.stem for path in ASSETS.glob("*.json")} == set(LANGUAGES)


def test_train_leaves_held_out_templates_alone():
    data = load_language("de")
    seen = set(without(data["templates"]["common"], HELD_OUT_TEMPLATES))
    assert len(seen) < len(data["templates"]["common"])
    sentences = make_part("de", 300, seed=0, part="train")
    assert any("Leipzig" in s.words for s in make_part("de", 300, seed=0, part="test"))
    held = without(data["names"]["city"], 4)
    gone = {c for c in data["names"]["city"] if c not in held} - set(data["names"]["surname"])
    assert gone
    assert not any(set(sentence.words) & gone for sentence in sentences)


def test_grammar_fills_every_slot():
    import random

    grammar = Grammar(load_language("hi"), everything=True, rng=random.Random(0))
    for kind in ("common", "PROD", "EVENT", "none"):
        for _ in range(50):
            assert not any("{" in word for word in grammar.sentence(kind).words)


def test_unknown_language_is_named():
    with pytest.raises(MaralError, match="'xy'"):
        make_part("xy", 5, seed=0, part="test")


def test_command_writes_wikiann_files(tmp_path):
    assert main(["--out", str(tmp_path), "--size", "small", "--target", "es", "--seed", "2"]) == 0
    text = (tmp_path / "es" / "test").read_text(encoding="utf8")
    sentences = make_corpus(sizes=SIZES["small"], seed=2, targets=["es"])["es", "test"]
    blocks = text.rstrip("\n").split("\n\n")
    assert len(blocks) == len(sentences)
    lines = [line.split("\t") for line in blocks[0].split("\n")]
    assert tuple(token for token, _ in lines) == tuple(f"es:{w}" for w in sentences[0].words)
    assert tuple(tag for _, tag in lines) == sentences[0].tags
    assert not (tmp_path / "de").exists()
    assert main(["--out", str(tmp_path), "--target", "xy"]) == 1
