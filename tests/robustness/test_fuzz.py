"""Damaged input to everything that reads: a little of what fuzz.py does, and what it found."""

from __future__ import annotations

import json
import random
import zlib

import pytest
import srsly
import torch
from fuzz import TARGETS, Hang, Result, fuzz, try_input
from fuzz_models import SPAN_MODEL, check_component, component, component_bytes
from fuzz_targets import DOCBINS, READERS, Target, check_columns, check_raw
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutations import damaged, damaged_value

from spacy_maral.data.config import read_config
from spacy_maral.data.docs import read_docs
from spacy_maral.data.formats.columns import TABLES
from spacy_maral.data.formats.registry import read_labelled
from spacy_maral.errors import MaralError
from spacy_maral.model.architectures import deserialize
from spacy_maral.training.settings import TrainingSettings, read_section

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
SLOW_ONES = ("component",)


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_a_few_damaged_inputs(target, tmp_path):
    n = 8 if target.name in SLOW_ONES else 60
    result = fuzz([target], n, 1, tmp_path)[target.name]
    assert result.faults == {}
    assert result.inputs == n == result.valid + result.codes.total()


def test_a_lost_line_and_a_hang_are_faults(tmp_path):
    """The fuzzer sees what it is there for."""

    def lose(given, folder):
        raise AssertionError("lost: 'x'")

    def wait(given, folder):
        raise Hang("no result")

    def code(given, folder):
        raise MaralError("no code")

    for check in (lose, wait, code):
        result = Result()
        try_input(Target("x", 1, random.Random, check), b"", tmp_path, result)
        assert len(result.faults) == 1 and not result.valid


def accept(check, *arguments):
    """Run a check; an error with a code is a result as well."""
    try:
        check(*arguments)
    except MaralError as error:
        assert str(error).startswith("[M")


WORD = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), max_size=6)
TAG = st.sampled_from(["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-", "O-X", ""])
LINES = st.lists(
    st.tuples(WORD, TAG, st.sampled_from([" ", "\t", " _ _ ", " \t "])).map(lambda x: x[0] + x[2] + x[1])
    | st.sampled_from(["", "# id a", "# text = a b", "-DOCSTART- O", "\ufeff", "\r"]),
    max_size=8,
)  # fmt: skip


@pytest.mark.parametrize("format", sorted(TABLES))
@QUICK
@given(lines=LINES)
@example(lines=["a\x85b O", "# id a", "-DOCSTART- B-PER"])
def test_columns_of_any_text(format, lines, tmp_path):
    accept(check_columns, "\n".join(lines).encode("utf8"), tmp_path, format)


@QUICK
@given(data=st.binary(max_size=80))
def test_any_bytes(data, tmp_path):
    for format in sorted(TABLES):
        accept(check_columns, data, tmp_path, format)
    accept(check_raw, data, tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@QUICK
@given(section=st.dictionaries(st.sampled_from(sorted(TrainingSettings.model_fields)), JSON) | JSON)
def test_any_section(section):
    accept(lambda: read_section({"teacher": section}, "teacher"))


def test_the_same_seed_gives_the_same_inputs():
    for target in READERS:
        first, second = (target.make(random.Random(3)) for _ in range(2))
        assert first == second
    draw = random.Random(0)
    data = b"Angela B-PER\n" * 5
    assert len({damaged(draw, data, data) for _ in range(50)}) > 30
    assert damaged_value(random.Random(1), {"a": 1}) != {"a": 1}


def test_text_between_tokens_is_not_lost(tmp_path):
    path = tmp_path / "x.jsonl"
    tokens = [{"text": "a", "start": 0, "end": 1}, {"text": "c", "start": 4, "end": 5}]
    for text in ("a b c", "a   c d"):
        path.write_text(json.dumps({"text": text, "tokens": tokens, "spans": []}))
        with pytest.raises(MaralError, match=r"M146.*none of them"):
            list(read_labelled(path))


def test_a_key_that_stands_there_twice(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "text": "b", "label": []}\n')
    with pytest.raises(MaralError, match=r"M140.*twice"):
        list(read_labelled(path))


def test_bytes_of_something_else():
    for data in (b"", b"\x80", b"\xc0", b"\x05", SPAN_MODEL, component_bytes()[:-7]):
        with pytest.raises(MaralError, match="M2"):
            component().from_bytes(data)


@pytest.mark.parametrize("name", ["max_width", "hidden_width", "dim", "n_classes", "input_width"])
def test_settings_that_ask_for_more_than_there_is(name):
    """Refused by the tensors' sizes, before memory is taken."""
    size = int.from_bytes(SPAN_MODEL[:8], "little")
    header = json.loads(SPAN_MODEL[8 : 8 + size])
    inner = json.loads(header["__metadata__"]["spacy_maral"])
    inner["settings"][name] = 10**12
    header["__metadata__"]["spacy_maral"] = json.dumps(inner)
    packed = json.dumps(header).encode()
    data = len(packed).to_bytes(8, "little") + packed + SPAN_MODEL[8 + size :]
    with pytest.raises(MaralError, match=r"M204.*the settings say"):
        deserialize(torch.nn.Module(), data, torch.device("cpu"))


def test_a_component_whose_labels_do_not_fit_its_classes(tmp_path):
    whole = component()
    whole.cfg["labels"] = ["LOC"]
    with pytest.raises(MaralError, match=r"M218.*3 classes for 1 labels"):
        component().from_bytes(whole.to_bytes())
    whole.to_disk(tmp_path / "x")
    with pytest.raises(MaralError, match=r"M218.*3 classes for 1 labels"):
        component().from_disk(tmp_path / "x")
    check_component(component_bytes(), tmp_path)


def test_configs_that_cannot_be_read(tmp_path):
    path = tmp_path / "x.cfg"
    with pytest.raises(MaralError, match="M217"):
        read_config(path)
    for text in (b"a = 1", b"[a]\nb = ${c.d}\n", b"\xff", b"[a]\n[a]\n"):
        path.write_bytes(text)
        with pytest.raises(MaralError, match="M217"):
            read_config(path)
    path.write_text("[a]\nb = null\n\n[a.b]\nc = 1\n", encoding="utf8")
    with pytest.raises(MaralError, match=r"M217.*a -> b.*delete the line"):
        read_config(path)


def test_documents_whose_words_are_left_over(tmp_path):
    message = srsly.msgpack_loads(zlib.decompress(DOCBINS[1]))
    message["lengths"] = message["lengths"][:-4]
    path = tmp_path / "x.spacy"
    path.write_bytes(zlib.compress(srsly.msgpack_dumps(message)))
    with pytest.raises(MaralError, match=r"M119.*8 words, its documents have 6"):
        read_docs(path)
