"""Nothing that we write or read runs code, leaves its folder, or needs a network."""

from __future__ import annotations

import ast
import io
import json
import os
import pickletools
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import evaluate_targets
import numpy as np
import prepare_corpus
import pytest
import spacy
import srsly
import torch
from installed import IS_INSTALLED, needs_spacy_transformers
from packaging.requirements import Requirement
from spacy.cli.package import get_meta

from spacy_maral.data.datasets import DATASETS, list_parts
from spacy_maral.errors import MaralError
from spacy_maral.experiments.matrix import read_matrix

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden" / "0.1" / "model"
SOURCES = sorted(path for name in ("spacy_maral", "tools") for path in (ROOT / name).rglob("*.py"))
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal",
                  "shelve"}  # fmt: skip
# what has to be said with a call: {the call's last two names: (keyword, its only safe value)}
GUARDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
TEXT = {".conll", ".json", ".jsonl", ".cfg", ".html", ".txt", ".md", ".yml"}


def dotted(node: ast.expr) -> str:
    """A name such as "torch.load"; "" for other expressions."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def unsafe_lines(source: str) -> list[str]:
    """What in a source file could run code out of data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            bad = {name.split(".")[0] for name in names} & UNSAFE_MODULES
            found += [f"{node.lineno}: import of {name}" for name in bad]
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            keywords = {k.arg: getattr(k.value, "value", "?") for k in node.keywords}
            keyword, safe = GUARDED.get(name, (None, None))
            if keyword and keywords.get(keyword) is not safe:
                found.append(f"{node.lineno}: {name} without {keyword}={safe}")
            if name.endswith(".from_pretrained") and not {"trust_remote_code", None} & {*keywords}:
                found.append(f"{node.lineno}: {name} without trust_remote_code=False")
            if name in ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"):
                found.append(f"{node.lineno}: {name}")
            if keywords.get("shell", False) is not False:
                found.append(f"{node.lineno}: {name} with shell")
            if keywords.get("allow_pickle", False) is not False:
                found.append(f"{node.lineno}: {name} with allow_pickle")
            if keywords.get("trust_remote_code", False) is not False:
                found.append(f"{node.lineno}: {name} with trust_remote_code")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_source_runs_no_code_out_of_data(path):
    assert unsafe_lines(path.read_text(encoding="utf8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from dill import loads", "import joblib.numpy_pickle", "import shelve",
        "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)",
        "np.load(path, allow_pickle=True)", "numpy.load(path, allow_pickle=flag)", "eval(text)",
        "exec(text)", "yaml.load(text)", "subprocess.run(text, shell=True)", "os.system(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoConfig.from_pretrained(name)",
    ],
)  # fmt: skip
def test_scan_finds(line):
    assert len(unsafe_lines(line)) >= 1


def test_scan_passes_over_safe_calls():
    lines = [
        "Model(1).eval()", "torch.load(path, weights_only=True)", "subprocess.run(['a', 'b'])",
        "np.load(path, allow_pickle=False)", "json.load(file)", "read_yaml(path)",
    ]  # fmt: skip
    assert unsafe_lines("\n".join(lines)) == []


def is_pickle(data: bytes) -> bool:
    """Whether bytes are a pickle of protocol 2 or later, from their first to their last."""
    if len(data) < 3 or data[0] != 0x80 or not 2 <= data[1] <= 5 or data[-1:] != b".":
        return False
    try:
        for _ in pickletools.genops(data):
            pass
    except Exception:
        return False
    return True


def pickles(data: Any, place: str) -> Iterator[str]:
    """Places in the contents of a file that hold a pickle, or an array of objects."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from pickles(key, f"{place} > key")
            yield from pickles(value, f"{place} > {key}")
    elif isinstance(data, list | tuple):
        for i, value in enumerate(data):
            yield from pickles(value, f"{place} > {i}")
    elif isinstance(data, bytes):
        if is_pickle(data):
            yield place
        elif data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for name in archive.namelist():
                    yield from pickles(archive.read(name), f"{place} > {name}")
        elif data[:6] == b"\x93NUMPY":
            if read_dtype(data).hasobject:
                yield place
        elif is_safetensors(data):
            return
        else:
            inner = unpacked(data)
            if isinstance(inner, dict | list | bytes):
                yield from pickles(inner, place)


def read_dtype(data: bytes) -> np.dtype:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    return (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)[2]


def is_safetensors(data: bytes) -> bool:
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= len(data) - 8 or data[8:9] != b"{":
        return False
    header = json.loads(data[8 : 8 + size])
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return max(ends, default=0) == len(data) - 8 - size


def unpacked(data: bytes) -> Any:
    """What zlib or msgpack packed; None for anything else."""
    if data[:1] == b"\x78":
        try:
            return zlib.decompress(data)
        except zlib.error:
            return None
    try:
        return srsly.msgpack_loads(data)
    except Exception:
        return None


def kind_of(path: Path) -> str:
    """What a file is by its contents; "unknown" for what must not be there."""
    data = path.read_bytes()
    if path.suffix in TEXT:
        data.decode("utf8")
        return "text"
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            arrays = all(name.endswith(".npy") for name in archive.namelist())
        return "npz" if arrays else "unknown"
    if data[:6] == b"\x93NUMPY":
        return "npy"
    if is_safetensors(data):
        return "safetensors"
    if data[:1] == b"\x78" and isinstance(unpacked(zlib.decompress(data)), dict):
        return "spacy"
    if isinstance(unpacked(data), dict | list):
        return "msgpack"
    try:
        json.loads(data)
    except ValueError:
        return "unknown" if data else "empty"
    return "text"


@pytest.fixture(scope="module")
def offline(tmp_path_factory, encoder_dir) -> tuple[Path, subprocess.CompletedProcess]:
    """What a run of all steps wrote, in a process without a network (see `offline_run.py`)."""
    outer = tmp_path_factory.mktemp("outer")
    folder = outer / "a" / "b" / "run"
    folder.mkdir(parents=True)
    unset = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "SPACY_CONFIG_OVERRIDES")
    env = {k: v for k, v in os.environ.items() if k not in unset}
    # no cache of a hub that could stand in for the network
    env |= {"HF_HOME": str(outer / "hub"), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name("offline_run.py"), encoder_dir, folder],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return folder, result


def test_all_steps_run_without_a_network(offline):
    folder, result = offline
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    tries = folder / "network.txt"
    assert not tries.exists(), tries.read_text(encoding="utf8")[:3000]
    for name in ("teacher/meta.json", "student/meta.json", "labels.npz", "metrics.json"):
        assert (folder / name).is_file(), name


def test_refusal_of_the_network_is_seen(tmp_path):
    """The block that the test above counts on: an attempt fails, and is written down."""
    driver = Path(__file__).with_name("offline_run.py").read_text(encoding="utf8")
    head = driver.split("import spacy")[0]
    code = head + "\ntry:\n    socket.create_connection(('192.0.2.1', 80))\nexcept OSError: pass\n"
    code += "socket.socket().connect(('192.0.2.1', 80))\n"
    done = subprocess.run(
        [sys.executable, "-c", code, "none", tmp_path], capture_output=True, text=True, check=False
    )
    assert "the network is not to be used" in done.stderr
    assert (tmp_path / "network.txt").read_text(encoding="utf8").count("192.0.2.1") == 2


def test_labels_that_look_like_paths_stay_inside(offline):
    folder, _ = offline
    outer = folder.parents[2]
    # older releases of transformers note the version of their cache
    known = (outer / "hub" / "hub" / "version.txt",)
    files = [p for p in outer.rglob("*") if p.is_file() and p not in known]
    others = [p for p in files if not p.is_relative_to(folder)]
    assert not others
    assert not list(outer.parent.glob("escaped*"))
    meta = json.loads((folder / "student" / "meta.json").read_text(encoding="utf8"))
    assert "../../../escaped" in meta["labels"]["maral_ner"]


def test_files_that_are_written(offline):
    """Each file is of a known kind, and none holds a pickle."""
    folder, _ = offline
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    kinds = {p.relative_to(folder).as_posix(): kind_of(p) for p in files}
    assert not {name for name, kind in kinds.items() if kind == "unknown"}
    assert {"text", "npz", "safetensors", "spacy", "msgpack"} <= set(kinds.values())
    assert any("epoch-0002" in name for name in kinds)
    for path in files:
        if kind_of(path) != "text":
            assert not list(pickles(path.read_bytes(), path.relative_to(folder).as_posix()))


def test_scan_finds_pickles():
    class Anything:
        pass

    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], dtype=object))
    assert list(pickles(buffer.getvalue(), "file"))
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, buffer)
    packed = srsly.msgpack_dumps({"shims": [srsly.msgpack_dumps({"state": buffer.getvalue()})]})
    assert list(pickles(packed, "file")) == ["file > shims > 0 > state > archive/data.pkl"]
    assert list(pickles(zlib.compress(packed), "file"))
    safe = io.BytesIO()
    np.savez(safe, a=np.array(["x"]))
    assert not list(pickles(safe.getvalue(), "file"))


def transformer_state(data: bytes) -> tuple[dict, list, int, dict]:
    """A transformer component's file: its parts, where in them the weights are, and what is there."""
    outer = srsly.msgpack_loads(data)
    for shims in outer["shims"]:
        for i, shim in enumerate(shims):
            inner = srsly.msgpack_loads(shim)
            if inner.get("state"):
                return outer, shims, i, inner
    raise AssertionError("no weights")


@pytest.fixture
def theirs(make_nlp, tmp_path) -> Path:
    """A pipeline whose encoder is saved by spacy-transformers, not by this package."""
    path = tmp_path / "theirs"
    nlp = make_nlp()
    assert type(nlp.get_pipe("transformer").model).__module__.startswith("spacy_transformers")
    nlp.to_disk(path)
    return path


@needs_spacy_transformers
def test_pickle_of_spacy_transformers_holds_tensors_only(theirs):
    data = (theirs / "transformer" / "model").read_bytes()
    assert [place.split("/")[-1] for place in pickles(data, "model")] == ["data.pkl"]
    *_, inner = transformer_state(data)
    state = torch.load(io.BytesIO(inner["state"]), weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


class Malicious:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def code_for(trap: Path) -> bytes:
    """What torch.save writes of an object that runs code when it is read."""
    buffer = io.BytesIO()
    torch.save({"weight": Malicious(trap)}, buffer)
    return buffer.getvalue()


@needs_spacy_transformers
def test_code_in_an_encoder_is_not_run(tmp_path, theirs):
    """spacy-transformers calls torch.load as it is, which since torch 2.6 takes only weights."""
    trap = tmp_path / "trap"
    file = theirs / "transformer" / "model"
    outer, shims, i, inner = transformer_state(file.read_bytes())
    shims[i] = srsly.msgpack_dumps({**inner, "state": code_for(trap)})
    file.write_bytes(srsly.msgpack_dumps(outer))
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        spacy.load(theirs)
    assert not trap.exists()
    torch.load(io.BytesIO(code_for(trap)), weights_only=False)
    assert trap.exists()


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "..\\escaped"])
def test_our_encoder_takes_neither_code_nor_paths(tmp_path, name):
    model, trap = tmp_path / "model", tmp_path / "trap"
    shutil.copytree(GOLDEN, model)
    file = model / "transformer" / "model"
    outer, shims, i, inner = transformer_state(file.read_bytes())
    assert not list(pickles(file.read_bytes(), "model"))
    bad_name = {**inner, "tokenizer": {**inner["tokenizer"], name: b"x"}}
    for bad in ({**inner, "state": code_for(trap)}, bad_name):
        shims[i] = srsly.msgpack_dumps(bad)
        file.write_bytes(srsly.msgpack_dumps(outer))
        with pytest.raises(MaralError, match=r"^\[M224\]"):
            spacy.load(model)
    assert not trap.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_torch_is_one_that_loads_only_weights():
    (found,) = [r for r in map(Requirement, dependencies()) if r.name == "torch"]
    assert not found.specifier.contains("2.5.1")
    assert found.specifier.contains("2.6.0")


def dependencies() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    block = text.split("\ndependencies = [")[1].split("\n]")[0]
    return [line.strip().strip('",') for line in block.splitlines() if line.strip()[:1] == '"']


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "", ".", "..", "a\\..\\x", "de\n"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_languages_are_no_paths(tmp_path, name, side):
    out = tmp_path / "in" / "out"
    langs = {"source": "en", "target": "de"} | {side: name}
    with pytest.raises(MaralError, match=r"^\[M216\]"):
        list_parts(DATASETS["wikiann"], tmp_path, langs["source"], [langs["target"]])
    with pytest.raises(MaralError, match=r"^\[M216\]"):
        evaluate_targets.evaluate_all(
            tmp_path, tmp_path, out, source=langs["source"], targets=[langs["target"]], gpu_id=-1
        )
    assert not list(tmp_path.iterdir())


def test_scripts_say_why(tmp_path, capsys):
    status = prepare_corpus.main(
        ["convert", "--dataset", "demo", "--data-dir", str(tmp_path), "--source", "en",
         "--target", "de+../x", "--out", str(tmp_path / "out")]
    )  # fmt: skip
    assert status == 1
    assert "[M216]" in capsys.readouterr().out
    status = evaluate_targets.main(
        ["--models", "m", "--corpus", "c", "--out", str(tmp_path / "out"), "--source", "en",
         "--target", "de+../x"]
    )  # fmt: skip
    assert status == 1
    assert "[M216]" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


PAIR = {"dataset": "wikiann", "source": "en", "target": "de"}


@pytest.mark.parametrize("name", ["../x", "/x", "..", "a/b", "a\n"])
@pytest.mark.parametrize("where", ["dataset", "source", "target", "variant"])
def test_names_of_a_benchmark_are_no_paths(tmp_path, name, where):
    pair = PAIR if where == "variant" else {**PAIR, where: name}
    variants: dict[str, dict] = {name if where == "variant" else "full": {}}
    config = ROOT / "configs" / "maral_small.cfg"
    path = tmp_path / "matrix.yml"
    srsly.write_yaml(path, {"config": str(config), "pairs": [pair], "variants": variants})
    with pytest.raises(MaralError, match=r"^\[M421\]"):
        read_matrix(path)
    variants = {"full": {}}
    srsly.write_yaml(path, {"config": str(config), "pairs": [PAIR], "variants": variants})
    assert read_matrix(path).pairs[0].name == "wikiann-en-de"


def test_yaml_makes_no_objects(tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "matrix.yml"
    path.write_text(f"config: !!python/object/apply:os.mkdir ['{trap}']\n", encoding="utf8")
    with pytest.raises(MaralError):
        read_matrix(path)
    assert not trap.exists()


def test_package_of_a_model_pins_what_it_needs():
    """What `spacy package` writes as requirements of a wheel, and what they bring along."""
    meta = get_meta(GOLDEN, srsly.read_json(GOLDEN / "meta.json"))
    found = {r.name: r.specifier for r in map(Requirement, meta["requirements"])}
    needed = {"spacy-maral", *(["spacy-transformers"] if IS_INSTALLED else [])}
    assert needed <= set(found)
    for name in needed:
        assert {s.operator for s in found[name]} == {">=", "<"}, meta["requirements"]
    assert found["spacy-maral"].contains("0.1.0")
    assert not found["spacy-maral"].contains("0.2.0")
    # spaCy itself comes with the package
    own = {r.name: r.specifier for r in map(Requirement, dependencies())}
    for name in ("spacy", "spacy-transformers", "thinc", "torch", "transformers"):
        assert {">=", "<"} <= {s.operator for s in own[name]}, name
    assert requires("spacy-maral")
