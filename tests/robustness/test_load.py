"""Many texts leave memory as it is, and threads do not disturb each other."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
import spacy
from load import MODEL, chunks, generate, main, run_load, summarise
from make_golden import found_in


@pytest.fixture(scope="module")
def nlp():
    return spacy.load(MODEL)


def test_texts():
    texts = list(generate(500, "bounded"))
    assert texts == list(generate(500, "bounded"))
    assert texts != list(generate(500, "bounded", seed=1))
    assert all(1 <= len(text.split()) <= 6 for text in texts)
    last = [text.split()[-1] for text in generate(500, "unbounded")]
    assert len(set(last)) == 500
    assert [len(chunk) for chunk in chunks(iter(texts), 200)] == [200, 200, 100]


def test_growth_is_what_came_after_the_first_tenth():
    samples = [[i * 1000, 100.0 + (50 if i == 1 else 0) + i, float(i)] for i in range(1, 21)]
    found = summarise(samples)
    assert found["warm_mib"] == 103.0
    assert found["grown_mib"] == 17.0
    assert found["highest_mib"] == 151.0
    assert found["grown_mib_per_100k_texts"] == 100.0


@pytest.mark.skipif(sys.platform != "linux", reason="the resident size is read as on Linux")
def test_memory_is_flat(nlp):
    # oneDNN keeps what it has prepared for up to 1,024 shapes of batches
    run_load(nlp, 4000, every=400)
    found = run_load(nlp, 4000, every=400)
    assert found["texts"] == 4000
    assert found["entities"] > 0
    assert len(found["samples"]) == 10
    # four thousand texts held in memory would take some 30 MiB: their vectors, features and docs
    assert found["grown_mib"] < 12


@pytest.mark.skipif(sys.platform != "linux", reason="the resident size is read as on Linux")
def test_memory_zone_lets_go_of_strings(nlp):
    run_load(nlp, 100, words="unbounded", every=100)
    before = len(nlp.vocab.strings)
    zone = run_load(nlp, 1000, words="unbounded", memory_zone=True, every=500)
    kept = zone["strings"] - before
    without = run_load(nlp, 1000, words="unbounded", every=500)["strings"] - zone["strings"]
    # some words of the first run are the second's too, as it begins with the same ones
    assert without > 500
    assert kept < without / 5


@pytest.mark.skipif(sys.platform != "linux", reason="the resident size is read as on Linux")
def test_command(tmp_path, capsys):
    out = tmp_path / "load.json"
    assert main(["--texts", "60", "--every", "20", "--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf8"))
    assert [row[0] for row in found["samples"]] == [20, 40, 60]
    assert json.loads(capsys.readouterr().out)["texts"] == 60


def test_two_threads_say_what_one_says(nlp):
    """Each thread with texts of other lengths, so that one's arrays would not fit the other's."""
    known = [row["text"] for row in json.loads(predictions())]
    texts = [*known, *(" ".join(known[: i % 5 + 1]) for i in range(20))]
    texts += list(islice(generate(60, "bounded", seed=5), 60))
    alone = [found_in(nlp, text) for text in texts]
    assert sum(len(row["ents"]) for row in alone) > 20
    start = threading.Barrier(2)

    def work(order: list[int]) -> dict[int, dict]:
        start.wait()
        found = {}
        for _ in range(3):
            for i in order:
                found[i] = found_in(nlp, texts[i])
                assert same(found[i], alone[i]), texts[i]
        return found

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(2) as pool:
            n = len(texts)
            jobs = [pool.submit(work, order) for order in (list(range(n)), list(range(n))[::-1])]
            results = [job.result() for job in jobs]
    finally:
        sys.setswitchinterval(before)
    for result in results:
        assert all(same(result[i], alone[i]) for i in range(n))


def predictions() -> str:
    return (MODEL.parent / "predictions.json").read_text(encoding="utf8")


def same(one: dict, other: dict) -> bool:
    """Whether entities are the same, and their confidences to 1e-5."""
    ends = [[e[:3] for e in row["ents"]] for row in (one, other)]
    scores = zip(one["ents"], other["ents"], strict=False)
    return ends[0] == ends[1] and all(abs(a[3] - b[3]) < 1e-5 for a, b in scores)


def test_threads_with_pipe(nlp):
    """`nlp.pipe` in two threads at once, on batches of their own."""
    texts = list(generate(200, "bounded", seed=9))
    alone = [[(e.start, e.end, e.label_) for e in doc.ents] for doc in nlp.pipe(texts)]

    def work(size: int) -> list:
        docs = nlp.pipe(texts, batch_size=size)
        return [[(e.start, e.end, e.label_) for e in doc.ents] for doc in docs]

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(work, [7, 32]):
            assert found == alone
