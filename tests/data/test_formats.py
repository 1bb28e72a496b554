"""Readers: what they accept, what they repair and count, what they refuse and how they say so."""

from __future__ import annotations

import gzip
import itertools
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_maral.data.formats.columns import TABLES
from spacy_maral.data.formats.detection import detect_columns
from spacy_maral.data.formats.registry import read_labelled
from spacy_maral.data.labels import load_label_map
from spacy_maral.data.sentences import (
    REPAIR_NFC,
    REPAIR_TEXT,
    ReadSettings,
    Sentence,
    find_words,
    spaces_between,
)  # fmt: skip
from spacy_maral.data.tags import REPAIR_BEGIN, REPAIR_END, REPAIR_IOB1
from spacy_maral.errors import MaralError

CONLL_2003 = """\
-DOCSTART- -X- -X- O

Mira NNP B-NP I-PER
Olm NNP I-NP I-PER
visits VBZ B-VP O
Tarn NNP B-NP I-LOC
Veld NNP B-NP B-LOC
. . O O

-DOCSTART- -X- -X- O

Rain NN B-NP O
"""
CONLL_2002 = """\
Mira B-PER
Olm I-PER
woont O
in O
Tarn B-LOC

Regen O
"""
WIKIANN = """\
de:Mira\tB-PER
de:Olm\tI-PER
de::\tO
de:um\tO
de:12:30\tO

de:Tarn\tB-LOC

"""
MULTICONER = """\

# id 00aa-1\tdomain=en
mira _ _ B-OtherPER
olm _ _ I-OtherPER
# _ _ O
tarn _ _ B-HumanSettlement


# id 00aa-2\tdomain=en
rain _ _ O

"""
UNER = """\
# newdoc id = d1
# sent_id = d1-1
# text = Mira's aunt (Olm) left Tarn.
1\tMira\tB-PER\t-\tann
2\t's\tO\t-\t-
3\taunt\tO\t-\t-
4\t(\tO\t-\t-
5\tOlm\tB-PER\t-\tann
6\t)\tO\t-\t-
7\tleft\tO\t-\t-
8\tTarn\tB-LOC\t-\tann
9\t.\tO\t-\t-

# sent_id = d1-2
# text = Rain
1\tRain\tO\t-\t-
"""
BIOES = """\
Mira\tx\tB-PER
van\tx\tI-PER
Olm\tx\tE-PER
in\tx\tO
Tarn\tx\tS-LOC
"""
CONLLU = """\
# newdoc id = a
# text = Mira wohnt im Tal.
1\tMira\tMira\tPROPN\t_\t_\t2\tnsubj\t_\tname=B-PER
2\twohnt\twohnen\tVERB\t_\t_\t0\troot\t_\tname=O
3-4\tim\t_\t_\t_\t_\t_\t_\t_\t_
3\tin\tin\tADP\t_\t_\t5\tcase\t_\tname=O
4\tdem\tder\tDET\t_\t_\t5\tdet\t_\tname=O
5\tTal\tTal\tNOUN\t_\t_\t2\tobl\t_\tSpaceAfter=No|name=B-LOC
6\t.\t.\tPUNCT\t_\t_\t2\tpunct\t_\tname=O
6.1\tx\t_\t_\t_\t_\t_\t_\t_\t_
"""
SAMPLES = {
    "conllu": CONLLU,
    "conll": CONLL_2003,
    "wikiann": WIKIANN,
    "multiconer": MULTICONER,
    "iob2": UNER,
    "bioes": BIOES,
}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_file(text: str | bytes, name: str = "data.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return path

    return write_file


def read_all(path: Path, format: str = "auto", **options: Any) -> tuple[list[Sentence], Any]:
    """The sentences of a file, and the report."""
    settings = ReadSettings(**options)
    return list(read_labelled(path, format, settings)), settings.report


def read_strictly(path: Path, format: str = "auto") -> list[Sentence]:
    return read_all(path, format, tags="strict")[0]


def read(path: Path, format: str = "auto", **options: Any) -> list[tuple[list[str], list[tuple]]]:
    return [(s.words, [tuple(e) for e in s.entities]) for s in read_all(path, format, **options)[0]]


# Formats


def test_conll_2003_is_iob1_and_counted(write: Any) -> None:
    sentences, report = read_all(write(CONLL_2003), "conll", tags="strict")
    assert [s.words for s in sentences] == [
        ["Mira", "Olm", "visits", "Tarn", "Veld", "."],
        ["Rain"],
    ]
    assert sentences[0].entities == [(0, 1, "PER"), (3, 3, "LOC"), (4, 4, "LOC")]
    assert report.repairs == {REPAIR_IOB1: 2}
    assert [x.rpartition("data.txt:")[2] for x in report.examples[REPAIR_IOB1]] == [
        "3: I-PER",
        "6: I-LOC",
    ]
    assert [s.line for s in sentences] == [3, 12]


def test_conll_2002_is_iob2_without_repairs(write: Any) -> None:
    sentences, report = read_all(write(CONLL_2002), "conll")
    assert sentences[0].entities == [(0, 1, "PER"), (4, 4, "LOC")]
    assert not report.repairs


def test_a_mixture_of_iob1_and_iob2_is_told(write: Any) -> None:
    path = write("a B-PER\nb O\nc I-LOC\nd I-PER\n")
    with pytest.warns(
        UserWarning, match=r"W101.*data\.txt.*2 entities begin with I-.*data.txt:3.* 1 with B-"
    ):
        sentences, _ = read_all(path, "conll")
    assert sentences[0].entities == [(0, 0, "PER"), (2, 2, "LOC"), (3, 3, "PER")]


@pytest.mark.parametrize("text", [CONLL_2003, CONLL_2002])
def test_one_convention_alone_does_not_warn(write: Any, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_all(write(text), "conll")


def test_wikiann_prefix_is_the_language_and_tokens_keep_their_colons(write: Any) -> None:
    sentences, _ = read_all(write(WIKIANN), "wikiann")
    assert [s.words for s in sentences] == [["Mira", "Olm", ":", "um", "12:30"], ["Tarn"]]
    assert sentences[0].entities == [(0, 1, "PER")]
    assert {s.lang for s in sentences} == {"de"}


def test_multiconer_header_and_token_that_is_a_hash(write: Any) -> None:
    coarse = load_label_map("coarse")
    sentences, _ = read_all(write(MULTICONER), "multiconer", label_map=coarse)
    assert [s.words for s in sentences] == [["mira", "olm", "#", "tarn"], ["rain"]]
    assert sentences[0].entities == [(0, 1, "PER"), (3, 3, "LOC")]
    assert [(s.sent_id, s.lang) for s in sentences] == [("00aa-1", "en"), ("00aa-2", "en")]


def test_multiconer_headers_alone_separate_sentences(write: Any) -> None:
    text = "# id 1 domain=bn\na _ _ B-PER\n# id 2 domain=bn\nb _ _ B-PER\n"
    assert read(write(text), "multiconer") == [
        (["a"], [(0, 0, "PER")]),
        (["b"], [(0, 0, "PER")]),
    ]


def test_uner_text_gives_the_true_spaces(write: Any) -> None:
    (first, second), _ = read_all(write(UNER), "iob2")
    text = "".join(
        word + " " * space for word, space in zip(first.words, first.spaces, strict=True)
    )
    assert text == "Mira's aunt (Olm) left Tarn."
    assert first.entities == [(0, 0, "PER"), (4, 4, "PER"), (7, 7, "LOC")]
    assert (first.sent_id, second.sent_id) == ("d1-1", "d1-2")
    assert second.spaces == [False]


def test_uner_text_that_does_not_fit_is_left_out_and_counted(write: Any) -> None:
    text = "# text = Rain and wind\n1\tRain\tO\n2\twind\tO\n"
    (sentence,), report = read_all(write(text), "iob2")
    assert sentence.spaces is None
    assert report.repairs == {REPAIR_TEXT: 1}


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["a", "b"], "ab", [False, False]),
        (["a", "b"], " a  b ", [True, True]),
        (["a", " ", "b"], "a  b", [True, False, False]),
        (["a", "\n\n", "b"], "a\n\nb", [False, False, False]),
        (["a", "b"], "ab c", None),
        (["a", "b"], "a", None),
        (["a", "b"], "b a", None),
        (["東", "京"], "東京", [False, False]),
    ],
)
def test_words_are_found_in_their_text(words: list[str], text: str, expected: Any) -> None:
    offsets = find_words(words, text)
    assert (offsets and spaces_between(offsets, text)) == expected


def test_bioes_and_bilou_are_the_same(write: Any) -> None:
    expected = [(["Mira", "van", "Olm", "in", "Tarn"], [(0, 2, "PER"), (4, 4, "LOC")])]
    assert read(write(BIOES), "bioes") == expected
    assert read(write(BIOES.replace("E-", "L-").replace("S-", "U-")), "bioes") == expected


def test_conllu_has_words_without_ranges_and_true_spaces(write: Any) -> None:
    (sentence,), report = read_all(write(CONLLU))
    assert sentence.words == ["Mira", "wohnt", "in", "dem", "Tal", "."]
    assert sentence.entities == [(0, 0, "PER"), (4, 4, "LOC")]
    assert sentence.spaces == [True, True, True, True, False, False]
    assert report.repairs == {REPAIR_TEXT: 1}
    with pytest.raises(MaralError, match=r"M169.*no word has NER="):
        read_all(write(CONLLU.replace("name=", "x=")))
    assert not read_all(write(CONLLU.replace("name=", "x=")), labelled=False)[0][0].labelled


def test_numbers_of_words_are_no_words(write: Any) -> None:
    text = "1\tAda\tPROPN\tB-PER\n2\tgeht\tVERB\tO\n\n1\tJa\tX\tO\n"
    expected = [(["Ada", "geht"], [(0, 0, "PER")]), (["Ja"], [])]
    assert read(write(text)) == expected
    assert read(write(text.replace("\t", "  "))) == expected
    # columns that only the user knows
    chunks = text.replace("PROPN", "B-NP").replace("VERB", "O").replace("\tX\t", "\tO\t")
    with pytest.raises(MaralError, match="M108"):
        read(write(chunks))
    assert read(write(chunks), columns={"word": 1, "tag": 3}) == expected
    bioes = chunks.replace("\tB-PER", "\tS-PER")
    assert read(write(bioes), columns={"word": 1, "tag": -1}) == expected
    with pytest.raises(MaralError, match=r"M109.*found 4.*'conll' needs 6"):
        read(write(chunks), columns={"word": 1, "tag": 5})


# Repairs: (format, tags, repairs, entities)
REPAIRED = [
    ("iob2", "O I-PER", {REPAIR_BEGIN: 1}, [(1, 1, "PER")]),
    ("iob2", "B-LOC I-PER I-PER", {REPAIR_BEGIN: 1}, [(0, 0, "LOC"), (1, 2, "PER")]),
    ("bioes", "O E-ORG", {REPAIR_BEGIN: 1}, [(1, 1, "ORG")]),
    ("bioes", "S-LOC I-LOC E-LOC", {REPAIR_BEGIN: 1}, [(0, 0, "LOC"), (1, 2, "LOC")]),
    ("bioes", "S-LOC E-LOC", {REPAIR_BEGIN: 1}, [(0, 0, "LOC"), (1, 1, "LOC")]),
    ("bioes", "B-PER O", {REPAIR_END: 1}, [(0, 0, "PER")]),
    ("bioes", "B-PER I-PER", {REPAIR_END: 1}, [(0, 1, "PER")]),
    ("bioes", "B-PER B-PER E-PER", {REPAIR_END: 1}, [(0, 0, "PER"), (1, 2, "PER")]),
    ("bioes", "B-PER E-LOC", {REPAIR_END: 1}, [(0, 0, "PER"), (1, 1, "LOC")]),
    ("bioes", "U-PER L-PER", {REPAIR_BEGIN: 1}, [(0, 0, "PER"), (1, 1, "PER")]),
]


@pytest.mark.parametrize(("format", "tags", "repairs", "entities"), REPAIRED)
def test_tags_are_repaired_by_one_rule_and_counted(
    write: Any, format: str, tags: str, repairs: dict, entities: list
) -> None:
    rows = enumerate(tags.split(), start=1)
    text = "".join(f"{n}\tw\t{tag}\n" if format == "iob2" else f"w {tag}\n" for n, tag in rows)
    (sentence,), report = read_all(write(text), format)
    assert sentence.entities == entities
    assert report.repairs == repairs
    with pytest.raises(MaralError, match=r"M113|M114"):
        read_strictly(write(text), format)


def test_unlabelled_reading_never_looks_at_tags(write: Any) -> None:
    text = "1\ta\tI-PER\n2\tb\tnonsense\n3\tc\tB-O\n"
    (sentence,), report = read_all(write(text), "iob2", labelled=False, tags="strict")
    assert sentence.words == ["a", "b", "c"]
    assert not (sentence.labelled or sentence.entities or report.repairs or report.n_problems)
    assert read(write("a\nb\n\nc\n"), columns={"word": 0}, labelled=False) == [
        (["a", "b"], []),
        (["c"], []),
    ]


def test_all_problems_of_a_file_are_listed_at_once(write: Any) -> None:
    text = "1\ta\tI-PER\n2\tb\n\n3\tc\tO\n\n1\td\tX-PER\n"
    with pytest.raises(MaralError, match="has 4 problems") as error:
        read_strictly(write(text), "iob2")
    places = [
        line.partition("data.txt:")[2].partition(":")[0] for line in str(error.value).splitlines()
    ]
    assert sorted(places[1:]) == ["1", "2", "4", "6"]
    many = "".join(f"w{n} x\n" for n in range(50))
    with pytest.raises(MaralError, match=r"(?s)50 problems.*and 30 more") as error:
        read_strictly(write(many), "conll")
    assert len(str(error.value).splitlines()) == 22


# Text


def test_byte_order_mark_crlf_and_gzip_change_nothing(write: Any) -> None:
    plain = read(write(WIKIANN), "wikiann")
    data = b"\xef\xbb\xbf" + WIKIANN.replace("\n", "\r\n").encode("utf-8")
    assert read(write(data), "wikiann") == plain
    assert read(write(gzip.compress(data), "data.gz"), "auto") == plain


def test_cr_alone_ends_a_line_and_cr_cr_lf_is_one_end(write: Any) -> None:
    plain = read(write(CONLL_2002), "conll")
    for end in ("\r", "\r\r\n", "\r\n"):
        assert read(write(CONLL_2002.replace("\n", end)), "conll") == plain


def test_byte_order_marks_of_concatenated_files_are_in_no_word(write: Any) -> None:
    text = "\ufeffa O\n\n\ufeffb B-PER\n"
    assert read(write(text)) == [(["a"], []), (["b"], [(0, 0, "PER")])]


def test_words_are_brought_to_nfc_and_stay_as_many(write: Any) -> None:
    composed = "Zoë"
    decomposed = unicodedata.normalize("NFD", composed)
    (sentence,), report = read_all(write(f"{decomposed} B-PER\nOlm I-PER\n"), "conll")
    assert sentence.words == [composed, "Olm"]
    assert report.repairs == {REPAIR_NFC: 1}


def test_blanks_other_than_space_and_tab_belong_to_words(write: Any) -> None:
    text = "a\u2028b O\n\u3000 O\nc\x85 B-PER\n"
    assert read(write(text), "conll") == [(["a\u2028b", "\u3000", "c\x85"], [(2, 2, "PER")])]


def test_reading_is_lazy(write: Any) -> None:
    sentences = read_labelled(write("a O\n\nb\n"), "conll")
    assert next(sentences).words == ["a"]
    with pytest.raises(MaralError, match=r"data\.txt:3"):
        next(sentences)


# Detection


@pytest.mark.parametrize("format", TABLES)
def test_detection(write: Any, format: str) -> None:
    path = write(SAMPLES[format])
    assert detect_columns(path) == (format, None)
    assert read(path, "auto") == read(path, format)


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (CONLL_2002, "conll"),
        ("a O\nb O\n", "conll"),
        ("en:a\tO\nplain\tO\n", "conll"),
        ("1\ta\tO\n2\tb\tB-PER\n", "iob2"),
        ("1 O\n2 B-PER\n", "conll"),
        ("0\ta\tO\n1\tb\tB-PER\n\n0\tc\tO\n", "iob2"),
        ("0\ta\tO\t\t\n1\tb\tB-PER\tbn:1\tQ1\thttp://x\tx\n", "iob2"),
        ("# any comment\n1\ta\tO\t-\n", "iob2"),
        ("a O\n" * 600 + "b S-PER\n", "bioes"),
        ("a B-PER\nb M-PER\nc E-PER\n", "bioes"),
        ("a B-PER\nb E-PER\n", "bioes"),
        ("zh-min-nan:a\tO\n", "wikiann"),
        ("# _ _ O\n", "multiconer"),
    ],
)
def test_detection_of_close_cases(write: Any, text: str, format: str) -> None:
    assert detect_columns(write(text)) == (format, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just a text\n", r"M106.*data\.txt:1.*'just a text'.*multiconer.*--format"),
        ("a O\nb PER\n", r"M107.*data\.txt:2.*like conll.*'b PER'.*--format"),
        ("1\ta\tB-NP\tB-PER\n2\tb\tI-NP\tI-PER\n", r"data\.txt.*iob2 or conll.*--columns"),
        ("1\ta\tO\n5\tb\tB-PER\n", r"data\.txt.*words that are numbers.*--columns"),
        ("17 a x O\n18 b x B-PER\n", r"data\.txt.*words that are numbers.*--columns"),
        ("\n\n", r"data\.txt holds no sentence"),
        ("", r"data\.txt holds no sentence"),
    ],
)
def test_detection_refuses(write: Any, text: str, message: str) -> None:
    with pytest.raises(MaralError, match=message):
        detect_columns(write(text))


# Bad input: (format, text, line, code of the message, what it must hold)
BAD = [
    ("conll", "a O\nb\n", 2, "M109", "too few columns: found 1 in 'b'"),
    ("conll", "a X O\nb O\n", 2, "M109", "too few columns: found 2.*3, as in the lines before"),
    (
        "conll",
        "a X O\nb c X O\n",
        2,
        "M110",
        "too many columns: found 4.*3, as in the lines before",
    ),
    ("conll", "a 1 2 3 4 O\n", 1, "M110", "too many columns: found 6.*2 to 5"),
    ("conll", "a O\nb PER\n", 2, "M112", "'PER' is not a tag.*B-PER"),
    ("conll", "a O\nb B-\n", 2, "M112", "'B-' is not a tag"),
    ("conll", "a O\nb S-PER\n", 2, "M112", "'S-PER' is not a tag"),
    ("conll", " O\n", 1, "M111", "token is empty"),
    ("conll", "a O\nb B-O\n", 2, "M116", "label 'O'"),
    ("conllu", "1\ta\t_\t_\t_\t_\t_\t_\tNER=O\n", 1, "M109", "too few columns: found 9"),
    ("conllu", "2\ta\t_\t_\t_\t_\t_\t_\t_\tNER=O\n", 1, "M120", "should be the word number 1"),
    ("conllu", "1\ta\t_\t_\t_\t_\t_\t_\t_\tNER=PER\n", 1, "M112", "'PER' is not a tag"),
    ("wikiann", "de:a\tO\nde:b\n", 2, "M109", "too few columns"),
    ("wikiann", "de:a\tO\nde:b\tc\tO\n", 2, "M110", "too many columns: found 3"),
    ("wikiann", "de:a\tO\nb\tO\n", 2, "M121", "'b' has no language prefix"),
    ("wikiann", "de:a\tO\nde:\tO\n", 2, "M111", "token is empty"),
    ("wikiann", "de:a\tO\nde:b\tI-PER\n", 2, "M113", "'I-PER' continues an entity.*B-"),
    ("wikiann", "de:a\tB-LOC\nde:b\tI-PER\n", 2, "M113", "'I-PER' continues an entity"),
    ("wikiann", "de:a\tO\n\nde:b\tLOC\n", 3, "M112", "'LOC' is not a tag"),
    ("multiconer", "a _ _ O\nb _ O\n", 2, "M109", "too few columns: found 3.*needs 4"),
    ("multiconer", "a _ _ O\nb c _ _ O\n", 2, "M110", "too many columns: found 5"),
    ("multiconer", "a _ _ O\n _ _ O\n", 2, "M111", "token is empty"),
    ("multiconer", "a _ X O\n", 1, "M126", "should be _"),
    ("multiconer", "a _ _ I-PER\n", 1, "M113", "'I-PER' continues an entity"),
    (
        "multiconer",
        "# id 1\n\n# id 2\na _ _ O\n",
        1,
        "M122",
        "no words follow the sentence header '1'",
    ),
    (
        "multiconer",
        "# id 1\na _ _ O\n\n# id 2\n",
        4,
        "M122",
        "no words follow the sentence header '2'",
    ),
    ("iob2", "1\ta\tO\n2\tb\n", 2, "M109", "too few columns"),
    ("iob2", "1\ta\tO\n3\tb\tO\n", 2, "M120", "should be the word number 2, found '3'"),
    ("iob2", "1\ta\tO\n1\tb\tO\n", 2, "M120", "should be the word number 2, found '1'"),
    ("iob2", "1-2\ta\tO\n", 1, "M120", "should be the word number 1, found '1-2'"),
    ("iob2", "1\t\tO\n", 1, "M111", "token is empty"),
    ("iob2", "1\ta\tO\n2\tb\tI-PER\n", 2, "M113", "'I-PER' continues an entity"),
    ("bioes", "a I-PER\n", 1, "M114", "'I-PER' cannot follow 'the start of a sentence'"),
    ("bioes", "a O\nb E-PER\n", 2, "M114", "'E-PER' cannot follow 'O'"),
    ("bioes", "a B-PER\nb E-LOC\n", 2, "M114", "'E-LOC' cannot follow 'B-PER'"),
    ("bioes", "a B-PER\nb S-PER\n", 2, "M114", "'S-PER' cannot follow 'B-PER'"),
    ("bioes", "a B-PER\nb O\n", 2, "M114", "'O' cannot follow 'B-PER'"),
    (
        "bioes",
        "a O\nb B-PER\n\nc O\n",
        2,
        "M114",
        "'the end of the sentence' cannot follow 'B-PER'",
    ),
    ("bioes", "a X-PER\n", 1, "M112", "'X-PER' is not a tag"),
]


@pytest.mark.parametrize(("format", "text", "line", "code", "message"), BAD)
def test_bad_input_names_file_line_and_finding(
    write: Any, format: str, text: str, line: int, code: str, message: str
) -> None:
    with pytest.raises(MaralError, match=rf"{code}.*data\.txt:{line}: .*{message}"):
        read_strictly(write(text), format)


@pytest.mark.parametrize("format", [*TABLES, "auto"])
@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"])
def test_no_sentences(write: Any, format: str, text: str) -> None:
    with pytest.raises(MaralError, match=r"M104.*data\.txt holds no sentence"):
        read_strictly(write(text), format)


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"a O\nZo\xeb O\n", 2, "byte 0xeb at position 3"),
        ("a O\n".encode("utf-16"), 1, "byte 0xff at position 1"),
        ("a O\n".encode("utf-16-le"), 1, "a NUL character at position 2"),
    ],
)
def test_undecodable_bytes(write: Any, data: bytes, line: int, message: str) -> None:
    with pytest.raises(MaralError, match=rf"data\.txt:{line}: .*UTF-8, found {message}"):
        read_strictly(write(data), "conll")


def test_broken_gzip(write: Any) -> None:
    whole = gzip.compress(b"a O\n" * 1000)
    for data in (b"a O\n", whole[: len(whole) // 2]):
        with pytest.raises(MaralError, match=r"data\.gz.* cannot be read"):
            read_strictly(write(data, "data.gz"), "conll")


def test_missing_file_folder_and_format(tmp_path: Path, write: Any) -> None:
    with pytest.raises(MaralError, match="nowhere does not exist"):
        read_labelled(tmp_path / "nowhere")
    with pytest.raises(MaralError, match=r"M102.*is a folder"):
        read_labelled(tmp_path)
    with pytest.raises(MaralError, match=r"M105.*'conll2003'.*auto.*bioes"):
        read_labelled(write(CONLL_2002), "conll2003")


# Round trip

LABELS = ("PER", "LOC", "Medication/Vaccine", "X-Y")
CHARS = st.characters(
    codec="utf-8", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters="\ufeff"
)
WORDS = (
    st.text(CHARS, min_size=1, max_size=6)
    .map(lambda text: unicodedata.normalize("NFC", text))
    .filter(lambda word: word != "-DOCSTART-")
)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[str], list[tuple[int, int, str]]]:
    words = draw(st.lists(WORDS, min_size=1, max_size=12))
    entities, start = [], 0
    while start < len(words):
        width = draw(st.integers(1, 5))
        label = draw(st.sampled_from((None, *LABELS)))
        end = min(start + width, len(words)) - 1
        if label is not None:
            entities.append((start, end, label))
        start = end + 1
    return words, entities


def to_tags(n_words: int, entities: list[tuple[int, int, str]], scheme: str) -> list[str]:
    tags = ["O"] * n_words
    before: tuple[int, str] | None = None
    for start, end, label in entities:
        if scheme == "iob1":
            first = "B" if before == (start - 1, label) else "I"
        else:
            first = "S" if scheme == "bioes" and start == end else "B"
        tags[start : end + 1] = [f"I-{label}"] * (end + 1 - start)
        if scheme == "bioes":
            tags[end] = f"E-{label}"
        tags[start] = f"{first}-{label}"
        before = (end, label)
    return tags


def to_text(sentences: list[tuple[list[str], list]], format: str, scheme: str) -> str:
    blocks = []
    for number, (words, entities) in enumerate(sentences):
        tags = to_tags(len(words), entities, scheme)
        rows = list(zip(itertools.count(1), words, tags))
        if format == "wikiann":
            lines = [f"fa:{word}\t{tag}" for _, word, tag in rows]
        elif format == "multiconer":
            header = f"# id {number}\tdomain=fa"
            lines = [header, *(f"{word} _ _ {tag}" for _, word, tag in rows)]
        elif format == "iob2":
            header = f"# text = {' '.join(words)}"
            lines = [header, *(f"{i}\t{word}\t{tag}\t-\t-" for i, word, tag in rows)]
        else:
            lines = [f"{word} x {tag}" for _, word, tag in rows]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


@pytest.mark.parametrize(
    ("format", "scheme"),
    [
        ("conll", "iob1"),
        ("conll", "iob2"),
        ("wikiann", "iob2"),
        ("multiconer", "iob2"),
        ("iob2", "iob2"),
        ("bioes", "bioes"),
    ],
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sentences=st.lists(labelled(), min_size=1, max_size=4))
def test_round_trip(
    tmp_path: Path, format: str, scheme: str, sentences: list[tuple[list[str], list]]
) -> None:
    path = tmp_path / "round_trip.txt"
    path.write_bytes(to_text(sentences, format, scheme).encode("utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path, format) == sentences
