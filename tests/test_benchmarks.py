import importlib
import json
import math

import numpy as np
import pytest
import torch
from docs_measured import where

from benchmarks import literal
from benchmarks.__main__ import main
from benchmarks.cases import CASES, Unavailable, choose, run_case, runtimes, spanmarker
from benchmarks.cases import packed as packed_case
from benchmarks.literal_step import clean_overlaps
from benchmarks.results import add_result, read_results
from benchmarks.setting import ROOT, SMOKE, Setting
from benchmarks.timing import Trials, alternate, compare
from benchmarks.versions import Version
from spacy_maral.errors import MaralError
from spacy_maral.model import vmf
from spacy_maral.model.spans import decode
from spacy_maral.training.network import resolve_precision

ROW = {"ratio": 2.0, "ours": 1.0, "other": 2.0, "unit": "s"}


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_compare_takes_medians_of_the_rounds():
    trials = Trials(
        work={"ours": [10.0, 10.0, 10.0], "other": [5.0, 5.0, 5.0]},
        seconds={"ours": [1.0, 2.0, 5.0], "other": [1.0, 4.0, 1.0]},
        cpu_seconds={"ours": [1.0] * 3, "other": [1.0] * 3},
    )
    row = compare(trials, unit="words/s")
    # rates of 10, 5, 2 against 5, 1.25, 5
    assert (row["ratio"], row["ours"], row["other"], row["cpu_ratio"]) == (2.0, 5.0, 5.0, 2.0)
    seconds = compare(trials, unit="s", rate=False)
    assert (seconds["ratio"], seconds["ours"], seconds["other"]) == (2.0, 0.2, 0.2)


def test_sides_take_turns():
    order = []
    sides = {name: lambda name=name: order.append(name) or 1.0 for name in ("a", "b")}
    trials = alternate(sides, 3, warm=1)
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert {len(values) for values in trials.seconds.values()} == {3}


def test_results_are_added_to_the_file(tmp_path):
    path = tmp_path / "found.json"
    add_result(path, "b", ROW)
    add_result(path, "a", ROW | {"ratio": 3.0})
    assert list(read_results(path)) == ["a", "b"]
    assert read_results(path)["a"]["ratio"] == 3.0
    assert read_results(tmp_path / "none.json") == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {"ratio": 1}}', '{"a": 1}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(MaralError, match="does not hold results"):
        read_results(path)


def test_cases_are_chosen_by_pattern():
    assert choose(["*"]) == list(CASES)
    assert choose(["same_*", "data"]) == ["same_work_w4", "same_work_w12", "data"]
    with pytest.raises(MaralError, match="No case matches 'nothing'"):
        choose(["nothing"])


def test_every_case_has_its_module():
    for module in set(CASES.values()):
        assert callable(importlib.import_module(f"benchmarks.cases.{module}").run)


@pytest.mark.parametrize(
    "case, name, package",
    [(spanmarker, "infer_vs_spanmarker", "SpanMarker"), (runtimes, "infer_vs_onnx", "ONNX")],
)
def test_without_the_package_of_a_case(monkeypatch, case, name, package):
    monkeypatch.setattr(case, "import_module", lambda name: importlib.import_module("no_such"))
    with pytest.raises(Unavailable, match=f"{package} cannot be imported"):
        case.run(name, None)


def test_literal_scores_are_ours():
    generator = torch.Generator().manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(50, 64, generator=generator), dim=1)
    mu = torch.nn.functional.normalize(torch.randn(4, 64, generator=generator), dim=1)
    kappa = torch.tensor([5.0, 20.0, 60.0, 90.0])
    wanted = vmf.score(z, mu, kappa, literal.TEMPERATURE)
    torch.testing.assert_close(literal.scores(z, mu, kappa.double()), wanted, atol=1e-3, rtol=1e-3)


def test_literal_gradients():
    x = torch.tensor([3.0, 20.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: literal.LogBessel.apply(x, 31), x)


def test_literal_leaves_no_overlaps():
    rng = np.random.default_rng(0)
    spans = literal.spans_of(6, 4)
    table = torch.from_numpy(rng.dirichlet([0.3] * 3, len(spans)).astype(np.float32))
    cleaned = clean_overlaps(table.clone(), spans)
    chosen = np.flatnonzero(cleaned.argmax(1).numpy())
    starts, ends = np.array(spans).T
    with np.errstate(divide="ignore"):
        kept, _, _ = decode(cleaned[chosen].log().numpy(), starts[chosen], ends[chosen])
    assert len(chosen) > 1
    assert len(kept) == len(chosen)


@pytest.fixture
def inputs_once(monkeypatch, smoke_inputs):
    monkeypatch.setattr("benchmarks.smoke.make_inputs", lambda folder: smoke_inputs)


def run(path, *cases):
    return main(["--smoke", "--threads", "1", "--repeats", "1", "-o", str(path), "--cases", *cases])


def test_a_run_goes_on_where_it_stopped(tmp_path, threads, inputs_once, capsys):
    path = tmp_path / "found.json"
    assert run(path, "vmf_vs_miller") == 0
    first = json.loads(path.read_text())
    assert first["vmf_vs_miller"]["ratio"] > 0
    assert first["vmf_vs_miller"]["smoke"]
    assert run(path, "vmf_vs_miller", "step_w4") == 0
    second = json.loads(path.read_text())
    assert second["vmf_vs_miller"] == first["vmf_vs_miller"]
    assert second["step_w4"]["ratio"] > 0
    # the format of a training is that of the trained network; the formulas have several
    trained = resolve_precision("auto", torch.device("cpu"))
    assert second["step_w4"]["precision"] == trained and "precision" not in first["vmf_vs_miller"]
    shown = capsys.readouterr().out
    assert shown.count("Case vmf_vs_miller") == 1
    assert "sentences/s" in shown


def test_the_number_format_is_that_of_what_is_measured(tmp_path, threads, inputs_once, monkeypatch):
    """Whatever a training on this machine would take."""
    monkeypatch.setattr("spacy_maral.training.network.resolve_precision", lambda *_: "bfloat16")
    row = {**ROW, "precision": "float32"}
    monkeypatch.setattr("benchmarks.cases.run_case", lambda name, setting: row)
    assert run(tmp_path / "found.json", "latency_short") == 0
    assert (
        json.loads((tmp_path / "found.json").read_text())["latency_short"]["precision"] == "float32"
    )


def test_where_results_were_measured_names_their_number_formats():
    shared = {
        "machine": {"processor": "P"},
        "threads": 2,
        "encoder": "e",
        "versions": {"torch": "2"},
    }
    rows = [{"precision": "float32"}, {"precision": "bfloat16"}, {}]
    results = {str(i): {**shared, "date": "d", **row} for i, row in enumerate(rows)}
    results["other"] = {**shared, "threads": 1, "date": "d"}
    assert (
        where(results)
        == "- P, 1 thread, e, PyTorch 2, d\n- P, 2 threads, e, bfloat16, float32, PyTorch 2, d"
    )


def test_the_parts_of_a_prediction_make_up_the_whole(tmp_path, threads, inputs_once):
    path = tmp_path / "found.json"
    assert run(path, "infer_vs_layers") == 0
    tables = json.loads(path.read_text())["infer_vs_layers"]["tables"]
    _, *rows = tables["where the time goes"]
    shares = dict(rows)
    assert sum(shares.values()) == pytest.approx(1)
    # of a tiny encoder
    assert all(0 <= share < 0.95 for share in shares.values())
    _, (_, achieved), (_, possible), (_, share) = tables["billions of operations a second"]
    assert achieved > 0 and share == pytest.approx(achieved / possible)


def test_operations_are_those_of_the_products():
    layer = {"x": torch.ones(5, 3), "matrix": (torch.ones(4, 3), torch.ones(4))}
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(packed_case.packed, "_linear", lambda x, matrix: x @ matrix[0].T)
        with packed_case.counted() as operations:
            packed_case.packed._linear(layer["x"], layer["matrix"])
    # 5 rows, 3 columns, 4 results, and a product and a sum for each
    assert operations == [5 * 3 * 4 * 2]


def test_other_runtimes_give_the_same_states(tmp_path, threads, inputs_once):
    for package in runtimes.PACKAGES:
        pytest.importorskip(package)
    path = tmp_path / "found.json"
    assert run(path, "infer_vs_onnx") == 0
    row = json.loads(path.read_text())["infer_vs_onnx"]
    assert set(row["largest_difference_of_states"]) >= {"ours", "ONNX Runtime", "OpenVINO"}
    assert all(ratio > 0 for table in row["tables"].values() for *_, ratio in table[1:])


def test_a_run_without_text_is_refused(capsys):
    assert main(["--cases", "data"]) == 1
    assert "need an encoder and text" in capsys.readouterr().out


@pytest.mark.slow
def test_every_case_runs(tmp_path, threads):
    path = tmp_path / "found.json"
    assert run(path, "*") == 0
    found = json.loads(path.read_text())
    missing = set(CASES) - set(found)
    assert missing <= {"infer_vs_spanmarker", "infer_vs_onnx"}
    for name, row in found.items():
        assert math.isfinite(row["ours"]), name
        assert name.startswith("pcla_1e") or math.isfinite(row["ratio"]), name
        without = name in ("data", "vmf_vs_miller") or name.startswith("pcla_1e")
        assert ("precision" in row) != without, name


def test_versions_take_turns_in_processes_of_their_own(tmp_path, threads, inputs_once):
    path = tmp_path / "found.json"
    assert run(path, "step_vs_before") == 0
    row = json.loads(path.read_text())["step_vs_before"]
    assert row["ratio"] > 0 and row["cpu_ratio"] > 0
    assert "in a process of its own" in row["other_is"]


def test_a_version_that_fails_says_why(tmp_path, smoke_inputs):
    encoder, data = smoke_inputs
    setting = Setting(encoder, data, tmp_path, threads=1, smoke=True, sizes=SMOKE)
    with pytest.raises(
        MaralError, match=r"(?s)A version of the package failed.*KeyError: 'nothing'"
    ):
        Version(ROOT, "nothing", "float32", setting)


def test_cases_without_an_older_version_are_left_out(tmp_path):
    setting = Setting(tmp_path, tmp_path, tmp_path)
    with pytest.raises(Unavailable, match="--before"):
        run_case("step_vs_before", setting)
