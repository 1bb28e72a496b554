from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import toy_corpus
from worlds import adapt_in, make_docs, rows_of, tensors_of, write

from spacy_maral.training.processes import ALONE, Ranks
from spacy_maral.training.shares import Share

DRIVER = Path(__file__).with_name("ranks_driver.py")
# with dropout each process draws for its own documents
SAME = {
    "student.epochs": 3,
    "student.select": "source_dev",
    "components.maral_ner.model.dropout": 0.0,
}
VARIANTS = {
    "plain": {"adaptation.diagnose_with_gold": True},
    # a process without a document of the batch takes part all the same
    "single": {"student.batch_docs": 1, "student.epochs": 2, "student.accumulate": 8,
               "student.select": "target_information"},
    "supcon": {"student.loss": "supcon", "student.accumulate": 2, "student.epochs": 2},
    "linear": {
        "student.loss": "cross_entropy", "student.decision": "linear", "student.freeze_layers": 1,
        "adaptation.features": "clean", "adaptation.target_labels": "hard", "student.epochs": 2,
        "adaptation.filter_limit": "doubt",
    },
}  # fmt: skip
GEOMETRY = {"kappa", "centroid_cosine", "target_information"}


def drive(jobs: list[dict]) -> list[dict]:
    alone = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment = {**os.environ, **alone, "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, str(DRIVER), json.dumps(jobs, default=str)],
        capture_output=True, text=True, env=environment, timeout=280, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    return json.loads(done.stdout[done.stdout.index("[{") :])


@pytest.fixture(scope="module")
def done(world, tmp_path_factory):
    """Adaptations by one process and by two, and one whose second process dies."""
    folder = tmp_path_factory.mktemp("ranks")
    config = world["config"].read_text(encoding="utf8").replace("dim = 8", "dim = 8\ndropout = 0.1")
    (folder / "toy.cfg").write_text(config, encoding="utf8")
    half = [write(folder / f"{n}.spacy", make_docs("target", 30, n)) for n in (5, 6)]
    few = write(folder / "few.spacy", make_docs("target", 1, 1))
    given = {name: world[name] for name in ("source", "target", "dev", "teacher")}

    def job(name: str, size: int, overrides: dict, **more) -> dict:
        arguments = {
            "config_path": folder / "toy.cfg", **given, "output": folder / f"{name}-{size}",
            "overrides": {**SAME, **overrides}, **more.pop("arguments", {}),
        }  # fmt: skip
        said = folder / f"{name}-{size}.txt"
        return {"step": "adapt", "size": size, "arguments": arguments, "said": said, **more}

    # one of them with a target of two files
    files = {"linear": {"target": half}}
    jobs = [
        job(name, n, changed, arguments=files.get(name, {}))
        for name, changed in VARIANTS.items() for n in (1, 2)
    ]  # fmt: skip
    jobs.append(job("few", 2, {}, arguments={"target": few}))
    jobs.append(job("killed", 2, {}, dies=1, epoch=2))
    (folder / "damaged-2/training/epoch-0001").mkdir(parents=True)
    jobs.append(job("damaged", 2, {}, arguments={"resume": True}))
    return folder, dict(zip([Path(j["said"]).stem for j in jobs], drive(jobs), strict=True))


@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_do_what_one_does(done, name):
    folder, found = done
    for size in (1, 2):
        assert found[f"{name}-{size}"]["codes"] == [0] * size, found[f"{name}-{size}"]["said"]
    one, two = (folder / f"{name}-{size}" for size in (1, 2))
    before, after = tensors_of(one), tensors_of(two)
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        torch.testing.assert_close(after[key], tensor, rtol=0, atol=1e-5, msg=key)
    assert len(rows_of(one)) == len(rows_of(two))
    for single, pair in zip(rows_of(one), rows_of(two), strict=True):
        assert single.keys() == pair.keys()
        for key in ("steps", "pseudo_labels", "reliable", "changed", "noise_ratio", "dev_f1"):
            assert single.get(key) == pair.get(key), key
        assert ("target_information" in single) == (name == "single")
        for key in ("losses", *(GEOMETRY & single.keys())):
            assert pair[key] == pytest.approx(single[key], rel=1e-4), key
    labels = [np.load(f"{side}.labels.npz") for side in (one, two)]
    assert (labels[0]["reliable"] == labels[1]["reliable"]).all()
    np.testing.assert_allclose(
        labels[0]["probabilities"], labels[1]["probabilities"], rtol=0, atol=1e-5
    )
    kept = [json.loads((side / "training/summary.json").read_text()) for side in (one, two)]
    assert kept[0]["data"] == kept[1]["data"]
    assert [summary["processes"] for summary in kept] == [1, 2]


def test_diagnostics_are_of_all_processes(done):
    folder, _ = done
    one, two = (
        json.loads((folder / f"plain-{n}/training/diagnostics/.epoch-0002.json").read_text())
        for n in (1, 2)
    )
    for key in ("pseudo_labels", "reliable", "changes"):
        assert one[key] == two[key]
    assert [x["words"] for x in one["doubtful"]] == [x["words"] for x in two["doubtful"]]
    samples = [np.load(folder / f"plain-{n}/training/diagnostics/.epoch-0002.npz") for n in (1, 2)]
    for name in ("side", "classes", "reliable", "doc", "start", "end", "text"):
        assert (samples[0][name] == samples[1][name]).all(), name


def test_a_run_that_lost_a_process_goes_on_with_one(done, world):
    folder, found = done
    assert found["killed-2"]["codes"] == [1, -9]
    assert "[M326] Process 0 of this run lost contact with another one" in found["killed-2"]["said"]
    output = folder / "killed-2"
    assert not (output / "meta.json").exists()
    adapt_in({**world, "config": folder / "toy.cfg"}, output, overrides=SAME, resume=True)
    whole = tensors_of(folder / "plain-1")
    for key, tensor in tensors_of(output).items():
        torch.testing.assert_close(tensor, whole[key], rtol=0, atol=1e-5, msg=key)


def test_a_run_that_cannot_be_resumed_ends(done):
    _, found = done
    assert found["damaged-2"]["codes"] == [1, 1]
    assert found["damaged-2"]["said"].count("[M307]") == 2


def test_too_few_documents_are_refused(done):
    _, found = done
    assert found["few-2"]["codes"] == [1, 1]
    assert found["few-2"]["said"].count("[M327] There are too few documents with words for 2") == 2


@pytest.mark.slow
def test_torchrun_starts_the_commands(world, tmp_path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "spacy_maral", "train-teacher", world["config"], "--source", world["source"],
        "--dev", world["dev"], "--output", tmp_path / "teacher", "--teacher.epochs", "2",
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert not done.returncode, done.stderr
    assert len(rows_of(tmp_path / "teacher")) == 2
    summary = json.loads((tmp_path / "teacher/training/summary.json").read_text())
    assert summary["processes"] == 2


# dealing out


class Told(Ranks):
    """Ranks whose gathering was worked out before."""

    parts: list

    def gather(self, array):
        return self.parts

    def largest(self, number):
        return number


@pytest.mark.parametrize("size", [2, 3])
def test_shards_are_the_whole(size):
    whole = Share.of(toy_corpus(11, seed=4))
    rng = np.random.default_rng(0)
    values = rng.random((whole.n_spans, 2))
    shares = []
    for rank in range(size):
        docs = np.arange(rank, 11, size)
        spans = [np.arange(whole.doc_spans[d], whole.doc_spans[d + 1]) for d in docs]
        ranks = Told(rank, size)
        share = whole._replace(ranks=ranks, spans=np.concatenate(spans))
        batch = rng.permutation(11)[:6]
        assert (share.docs(batch) * size + rank).tolist() == [d for d in batch if d in docs]
        shares.append(share)
    parts = [share.own(values) for share in shares]
    for rank, share in enumerate(shares):
        share.ranks.parts = parts
        assert (share.all(parts[rank]) == values).all()
        draws = share.draw(np.random.default_rng(7))
        assert (draws == np.random.default_rng(7).random(whole.n_spans)[share.spans]).all()


def test_one_process_is_the_plain_case():
    assert ALONE.say({"a": 1}) == {"a": 1} and ALONE.largest(3) == 3
    z = torch.randn(3, 2, requires_grad=True)
    assert ALONE.gather_rows(z) is z
    assert ALONE.deal([1, 2, 3]) == [1, 2, 3]
