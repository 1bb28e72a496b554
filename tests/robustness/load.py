"""Send many short texts through a pipeline and watch its memory.

    python tests/robustness/load.py --texts 1000000 --out load.json
    python tests/robustness/load.py --texts 100000 --words unbounded --memory-zone --out zone.json

The texts are generated: of a bounded vocabulary of 4,000 words, or with words that never come again,
which spaCy's string store keeps unless `nlp.memory_zone()` lets go of them. The output is JSON: the
resident size in MiB after every so many texts, and how much it grew after the warm-up, which is the
first tenth. It is written anew with every sample, so that a stopped run keeps what it found.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import spacy
from spacy.language import Language

MODEL = Path(__file__).parents[1] / "data" / "golden" / "0.1" / "model"
VOCABULARY, MOST_WORDS, BATCH, ZONE = 4000, 6, 256, 5000
WORDS = ("bounded", "unbounded")


def word_of(number: int) -> str:
    """A pronounceable word for every number."""
    syllables = []
    while True:
        number, rest = divmod(number, 100)
        syllables.append("bdfgklmnprstvwzhjcqx"[rest // 5] + "aeiou"[rest % 5])
        if not number:
            return "".join(syllables)


def generate(n_texts: int, words: str, seed: int = 0) -> Iterator[str]:
    """Short texts of one to six words.

    n_texts (int): How many.
    words (str): "bounded", or "unbounded" for texts with a word each that never comes again.
    seed (int): Draws the others.
    YIELDS (str): The texts.
    """
    rng = np.random.default_rng(seed)
    names = [word_of(i).capitalize() if i % 3 else word_of(i) for i in range(VOCABULARY)]
    for i in range(n_texts):
        chosen = [names[j] for j in rng.integers(0, VOCABULARY, rng.integers(1, MOST_WORDS))]
        if words == "unbounded":
            chosen.append(word_of(10**8 + i))
        yield " ".join(chosen)


def resident_mib() -> float:
    """Memory of this process that is in use now, in MiB (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="utf8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("no VmRSS in /proc/self/status")


def chunks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    """Lists of up to `size` texts."""
    while chunk := [text for _, text in zip(range(size), texts, strict=False)]:
        yield chunk


def run_load(
    nlp: Language,
    n_texts: int,
    *,
    words: str = "bounded",
    memory_zone: bool = False,
    every: int = 10000,
    out: Path | None = None,
) -> dict[str, Any]:
    """Send texts through `nlp.pipe`, and sample memory.

    nlp (Language): The pipeline.
    n_texts (int): How many texts.
    words (str): What `generate` takes.
    memory_zone (bool): Whether each few thousand texts are in a memory zone of their own.
    every (int): Texts between two samples.
    out (Path): File for the result, written with every sample.
    RETURNS (dict): Settings, samples as [texts, MiB, seconds], and the growth after the warm-up.
    """
    started, done, n_ents, due = time.perf_counter(), 0, 0, every
    result: dict[str, Any] = {
        "texts": 0, "wanted": n_texts, "words": words, "memory_zone": memory_zone,
        "entities": 0, "strings": len(nlp.vocab.strings), "start_mib": resident_mib(),
        "samples": [],
    }  # fmt: skip
    for chunk in chunks(generate(n_texts, words), min(ZONE, every)):
        with nlp.memory_zone() if memory_zone else contextlib.nullcontext():
            for doc in nlp.pipe(chunk, batch_size=BATCH):
                n_ents += len(doc.ents)
                done += 1
            del doc
        if done >= due or done == n_texts:
            due += every
            gc.collect()
            seconds = time.perf_counter() - started
            result["samples"].append([done, round(resident_mib(), 1), round(seconds, 1)])
            result |= {"texts": done, "entities": n_ents, "strings": len(nlp.vocab.strings)}
            result |= summarise(result["samples"])
            if out is not None:
                out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf8")
    return result


def summarise(samples: list[list[float]]) -> dict[str, float]:
    """Growth of the memory after the first tenth of the samples, in all and for 100,000 texts."""
    first, last = samples[len(samples) // 10], samples[-1]
    grown = last[1] - first[1]
    per_100k = 1e5 * grown / (last[0] - first[0]) if last[0] > first[0] else 0.0
    return {
        "warm_mib": first[1], "end_mib": last[1], "grown_mib": round(grown, 1),
        "grown_mib_per_100k_texts": round(per_100k, 2),
        "highest_mib": max(mib for _, mib, _ in samples),
        "texts_per_second": round(last[0] / last[2], 1) if last[2] else 0.0,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run.

    arguments (list[str]): Arguments; None for those of the process.
    RETURNS (int): Exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of a pipeline")
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--words", choices=WORDS, default="bounded")
    parser.add_argument("--memory-zone", action="store_true")
    parser.add_argument("--every", type=int, default=10000, help="texts between two samples")
    parser.add_argument("--out", type=Path, required=True, help="file for the samples")
    args = parser.parse_args(arguments)
    result = run_load(
        spacy.load(args.model), args.texts, words=args.words, memory_zone=args.memory_zone,
        every=args.every, out=args.out,
    )  # fmt: skip
    sys.stdout.write(json.dumps({k: v for k, v in result.items() if k != "samples"}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
