"""Languages: their codes, and spaCy's tokenizers and vocabularies for them."""

from __future__ import annotations

import re
import warnings
from typing import Any

import spacy
from spacy.language import Language
from spacy.util import find_matching_language, get_lang_class
from spacy.vocab import Vocab, create_vocab

from ..errors import Errors, MaralError, Warnings

MULTIPLE_LANGUAGES = "xx"
CHINESE = "zh"
SEGMENTERS = ("char", "jieba", "pkuseg")
"""spaCy's ways to find words in Chinese: single characters, or by a package."""

TOKENIZER, SPACY_TOKENIZER = "spacy-maral.Tokenizer.v1", "spacy.Tokenizer.v1"

# the model that pkuseg has for text of several kinds
PKUSEG_MODEL = "mixed"
_CODE = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]+)*|simple", re.IGNORECASE)
# codes without a tokenizer of their own, and another language whose tokenizer fits
_TOKENIZERS = {"no": "nb", "simple": "en", "yue": "zh", "wuu": "zh", "lzh": "zh"}
# old codes and those of ISO 639-2 and 639-3 that spaCy does not map
_CODES = dict(re.findall(r"(\w+) (\w+)", """
    iw he, in id, ji yi, jw jv, mo ro, arm hy, cmn zh, arb ar, pes fa, zsm ms, lvs lv, ekk et,
    npi ne, ory or, khk mn, azj az, uzn uz, plt mg, ydd yi, swh sw, als sq, gug gn, aar aa,
    abk ab, aka ak, arg an, asm as, ava av, aym ay, bak ba, bam bm, bel be, bis bi, bos bs,
    bre br, bur my, che ce, chv cv, cor kw, cos co, cre cr, cym cy, wel cy, div dv, dzo dz,
    epo eo, ewe ee, fij fj, fry fy, ful ff, geo ka, kat ka, glg gl, glv gv, grn gn, hat ht,
    hau ha, her hz, ibo ig, ido io, iku iu, ina ia, jav jv, kal kl, kas ks, kau kr, kaz kk,
    khm km, kik ki, kin rw, kom kv, kon kg, kua kj, kur ku, lao lo, lim li, lin ln, lub lu,
    mah mh, mao mi, mri mi, mlg mg, mlt mt, mon mn, mya my, nau na, nav nv, nde nd, ndo ng,
    nor no, nya ny, oci oc, oji oj, ori or, orm om, oss os, pan pa, pli pi, pus ps, que qu,
    roh rm, run rn, sag sg, sme se, smo sm, sna sn, snd sd, som so, sot st, srd sc, ssw ss,
    sun su, swa sw, tah ty, tgk tg, ton to, tso ts, tuk tk, twi tw, uig ug, uzb uz, ven ve,
    vie vi, vol vo, wln wa, wol wo, xho xh, yid yi, zha za, zul zu
"""))  # fmt: skip


def language_code(lang: str) -> str:
    """Normalise a language code.

    lang (str): Code of ISO 639-1, 639-2 or 639-3, with further parts or not, or "xx".
    RETURNS (str): The code in lower case, with hyphens; of two letters where there is such a code.
    RAISES (MaralError): If it cannot be a language code.
    """
    if not _CODE.fullmatch(lang):
        raise MaralError(Errors.M124.format(found=lang))
    first, *rest = lang.lower().replace("_", "-").split("-")
    first = find_matching_language(first) or _CODES.get(first, first)
    return "-".join([first, *rest])


def tokenizer_language(lang: str) -> str:
    """Choose the language whose tokenizer spaCy has for a language.

    lang (str): Language code.
    RETURNS (str): The code itself or its first part, or "xx" for a language that spaCy lacks.
    RAISES (MaralError): If it cannot be a language code.
    """
    code = language_code(lang)
    first = code if code == "zh-min-nan" else code.partition("-")[0]
    known = _TOKENIZERS.get(first, first)
    try:
        get_lang_class(known)
    except ImportError:
        return MULTIPLE_LANGUAGES
    return known


def blank_pipeline(lang: str, segmenter: str | None = None) -> Language:
    """Make a pipeline with nothing but a tokenizer.

    lang (str): Language code. If spaCy lacks the language, the tokenizer for several languages
        splits its text at white space and punctuation, with a warning.
    segmenter (str | None): How Chinese words are found, one of SEGMENTERS; None for "char".
    RETURNS (Language): The pipeline.
    RAISES (MaralError): If the language's tokenizer needs another package, or it is not Chinese and
        has a segmenter.
    """
    code = tokenizer_language(lang)
    if code == MULTIPLE_LANGUAGES != language_code(lang):
        warnings.warn(Warnings.W103.format(lang=lang), stacklevel=2)
    try:
        nlp = spacy.blank(code, config=tokenizer_config(code, segmenter))
        start_tokenizer(nlp)
    except ImportError as error:
        problem = " ".join(str(error).split()).rstrip(".")
        raise MaralError(Errors.M149.format(lang=lang, problem=problem)) from error
    return nlp


def tokenizer_config(lang: str, segmenter: str | None) -> dict:
    """Make the settings of a tokenizer.

    lang (str): Language of the tokenizer. If spaCy splits its text by rules, zero-width spaces and
        U+FFFD divide words too.
    segmenter (str | None): How Chinese words are found, one of SEGMENTERS; None for spaCy's defaults.
    RETURNS (dict): The sections nlp.tokenizer and, if needed, initialize.tokenizer.
    RAISES (MaralError): If there is a segmenter and the language is not Chinese, or there is no such
        segmenter.
    """
    if segmenter is None:
        return {} if own_tokenizer(lang) else {"nlp": {"tokenizer": {"@tokenizers": TOKENIZER}}}
    if lang != CHINESE or segmenter not in SEGMENTERS:
        found = {"segmenter": segmenter, "lang": lang, "known": ", ".join(SEGMENTERS)}
        raise MaralError(Errors.M127.format(**found))
    tokenizer = {"@tokenizers": "spacy.zh.ChineseTokenizer", "segmenter": segmenter}
    config: dict = {"nlp": {"tokenizer": tokenizer}}
    if segmenter == "pkuseg":
        config["initialize"] = {"tokenizer": {"pkuseg_model": PKUSEG_MODEL}}
    return config


def own_tokenizer(lang: str) -> dict[str, Any] | None:
    """The settings of the tokenizer of a language that does not divide words by spaces and rules.

    lang (str): Language code.
    RETURNS (dict | None): The section nlp.tokenizer, such as Chinese has; None for other languages.
    """
    block = get_lang_class(tokenizer_language(lang)).default_config["nlp"]["tokenizer"]
    return None if block["@tokenizers"] == SPACY_TOKENIZER else dict(block)


def start_tokenizer(nlp: Language) -> None:
    """Initialise a tokenizer that needs it, by the settings of the pipeline."""
    if hasattr(nlp.tokenizer, "initialize"):
        nlp.tokenizer.initialize(nlp=nlp, **nlp.config["initialize"]["tokenizer"])


def language_vocab(lang: str = MULTIPLE_LANGUAGES) -> Vocab:
    """Make a vocabulary that knows white space, punctuation and the other attributes of words.

    lang (str): Language code.
    RETURNS (Vocab): The vocabulary.
    RAISES (MaralError): If it cannot be a language code.
    """
    code = tokenizer_language(lang)
    return create_vocab(code, get_lang_class(code).Defaults)
