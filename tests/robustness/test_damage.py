"""A saved pipeline that is damaged says so; what is saved twice has the same bytes."""

from __future__ import annotations

import random
import shutil
import warnings
from pathlib import Path

import pytest
import spacy
import srsly
from make_golden import GOLDEN

from spacy_maral.data.files import sha256
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.evaluate import load_pipeline
from spacy_maral.scale import trim_vocab

OLD = GOLDEN / "0.1" / "model"
TEXTS = ["Angela Merkel met Pedro in Paris and York .", "a b c 12 X-y", "Merkel visited Madrid"]
OURS = ("maral_ner", "transformer")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The golden model, saved by this version, and as transformers writes what it has loaded."""
    path = tmp_path_factory.mktemp("saved") / "model"
    for source in (OLD, path):
        spacy.load(source).to_disk(path)
    return path


def said(nlp) -> list:
    return [
        [(e.start, e.end, e.label_, e._.maral_score) for e in doc.ents] for doc in nlp.pipe(TEXTS)
    ]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes with one bit changed, a byte replaced, the end cut off, or 16 bytes set to 0."""
    place, kind, new = rng.randrange(len(data)), rng.randrange(4), bytearray(data)
    if kind == 0:
        new[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        new[place] = rng.randrange(256)
    elif kind == 2:
        del new[place:]
    else:
        new[place : place + 16] = bytes(len(new[place : place + 16]))
    return bytes(new)


def outcomes(model: Path, folder: Path, n: int, parts: tuple[str, ...]) -> dict[str, list[Path]]:
    """What loading says of `n` damaged copies: "same", "refused", or a list of what must not be."""
    wanted, rng = said(load_pipeline(model)), random.Random(n)
    files = sorted(p.relative_to(model) for p in model.rglob("*") if p.is_file())
    files = [file for file in files if file.parts[0].startswith(parts)]
    found: dict[str, list[Path]] = {"same": [], "refused": [], "other": []}
    for number in range(n):
        file, copy = files[number % len(files)], folder / "copy"
        shutil.copytree(model, copy)
        (copy / file).write_bytes(damaged((model / file).read_bytes(), rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found["same" if said(load_pipeline(copy)) == wanted else "other"].append(file)
        except MaralError:
            found["refused"].append(file)
        shutil.rmtree(copy)
    return found


def test_damage_to_our_data_is_refused(model, tmp_path):
    found = outcomes(model, tmp_path, 60, OURS)
    assert not found["other"] and len(found["refused"]) > 40


@pytest.mark.slow
def test_damage_to_any_file_is_refused_or_harmless(model, tmp_path):
    """A changed configuration gives a warning; meta.json, which tools edit, has no checksum."""
    found = outcomes(model, tmp_path, 666, ("",))
    assert {file.name for file in found["other"]} <= {"config.cfg", "meta.json"}


def test_damage_to_the_files_of_spacy_is_refused_or_harmless(model, tmp_path):
    found = outcomes(model, tmp_path, 40, ("tokenizer",))
    assert not found["other"] and len(found["refused"]) > 30
    assert not outcomes(model, tmp_path, 40, ("vocab",))["other"]


def test_what_spacy_does_not_notice_is_refused_by_the_component(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "changed")
    path = copy / "tokenizer"
    rules = srsly.msgpack_loads(path.read_bytes())
    path.write_bytes(srsly.msgpack_dumps({**rules, "url_match": None}))
    with pytest.raises(MaralError, match=r"^\[M218\].*tokenizer has changed"):
        spacy.load(copy)


def test_another_vocabulary_gives_a_warning(model, tmp_path, caplog):
    lost = shutil.copytree(model, tmp_path / "lost")
    (lost / "vocab" / "lookups.bin").unlink()
    spacy.load(lost)
    assert caplog.text.count("[W535]") == 1 and "(lookups.bin)" in caplog.text
    copy = shutil.copytree(model, tmp_path / "changed")
    path = copy / "vocab" / "strings.json"
    path.write_text(path.read_text(encoding="utf8").replace('"', '"x', 1), encoding="utf8")
    caplog.clear()
    spacy.load(copy)
    assert caplog.text.count("[W535]") == 1 and "(strings.json)" in caplog.text


@pytest.mark.parametrize("lang", ["xx", "de"])
def test_taken_over_saved_and_loaded(model, tmp_path, caplog, lang):
    source = spacy.load(model)
    nlp = spacy.blank(lang)
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("transformer", source=source)
    nlp.add_pipe("maral_ner", name="names", source=source)
    wanted = said(nlp)
    nlp.to_disk(tmp_path / "own")
    again = spacy.load(tmp_path / "own")
    assert said(again) == wanted and caplog.text.count("[W535]") == 1
    caplog.clear()
    again.to_disk(tmp_path / "own")
    assert said(spacy.load(tmp_path / "own")) == wanted and "[W535]" not in caplog.text


def test_saved_without_its_vocabulary(model, tmp_path, caplog):
    nlp = spacy.load(model)
    nlp.to_disk(tmp_path / "bare", exclude=["vocab"])
    again = spacy.load(tmp_path / "bare", vocab=nlp.vocab, exclude=["vocab"])
    assert said(again) == said(nlp) and "[W535]" not in caplog.text


def test_a_changed_configuration_gives_a_warning(model, tmp_path, caplog):
    copy = shutil.copytree(model, tmp_path / "copy")
    spacy.load(copy)
    assert "[W532]" not in caplog.text
    path = copy / "config.cfg"
    path.write_text(path.read_text(encoding="utf8") + "\n", encoding="utf8")
    nlp = spacy.load(copy)
    assert caplog.text.count("[W532]") == 1
    caplog.clear()
    nlp.to_disk(copy)
    spacy.load(copy)
    assert "[W532]" not in caplog.text


def test_a_component_alone_and_old_ones_need_no_checksums(model, tmp_path):
    nlp = spacy.load(model)
    nlp.get_pipe("maral_ner").to_disk(tmp_path / "alone")
    nlp.get_pipe("maral_ner").from_disk(tmp_path / "alone")
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "maral_ner" / "sha256.json").unlink()
    (copy / "vocab" / "lookups.bin").unlink()
    spacy.load(copy)


def test_each_part_has_a_checksum(model, tmp_path):
    """A change that fits the format: another number, another label."""
    for name in OURS:
        shutil.copytree(model, tmp_path / name)
    cfg = tmp_path / "maral_ner" / "maral_ner" / "cfg"
    cfg.write_text(cfg.read_text(encoding="utf8").replace("LOC", "LOK"), encoding="utf8")
    file = tmp_path / "transformer" / "transformer" / "model"
    outer = srsly.msgpack_loads(file.read_bytes())
    (shims,) = [shims for shims in outer["shims"] if shims]
    inner = srsly.msgpack_loads(shims[0])
    inner["config"]["layer_norm_eps"] *= 2
    shims[0] = srsly.msgpack_dumps(inner)
    file.write_bytes(srsly.msgpack_dumps(outer))
    for name, code in (("maral_ner", "M218"), ("transformer", "M224")):
        with pytest.raises(MaralError, match=rf"^\[{code}\].*checksum"):
            spacy.load(tmp_path / name)


def digests(folder: Path, *without: str) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in without]
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def test_loaded_and_saved_again_is_the_same(model, tmp_path):
    nlp = spacy.load(model)
    nlp.to_disk(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(model)
    said(nlp)
    nlp.to_disk(tmp_path / "used")
    # spaCy keeps the words that it has seen
    changing = ("strings.json", "sha256.json")
    assert digests(tmp_path / "used", *changing) == digests(model, *changing)
    assert str(model).encode() not in (tmp_path / "again" / "transformer" / "model").read_bytes()


def test_trimmed_twice_is_the_same(model, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(TEXTS * 3), encoding="utf8")
    for name in ("one", "two"):
        trim_vocab(model, [tmp_path / "text.txt"], tmp_path / name, lang="xx")
    # measured times are in the report, and in the card in meta.json
    one, two = (digests(tmp_path / n, "trim-vocab.json", "meta.json") for n in ("one", "two"))
    assert one == two and len(one) > 8
