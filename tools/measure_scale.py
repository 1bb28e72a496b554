"""Measure what annotating, pseudo-labelling and adapting cost on corpora of several sizes.

    python tools/measure_scale.py --config maral.cfg --teacher teacher --source train.spacy --dev dev.spacy --target target.spacy --out docs/scale.json

Each command runs in a process of its own. What is in the output already is not measured again.
Documents of the target are repeated where there are fewer than a size asks for. Needs a POSIX system.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from spacy.tokens import Doc, DocBin
from wasabi import msg

from spacy_maral.data.docs import read_docs
from spacy_maral.data.files import write_json
from spacy_maral.model.machine import describe_machine
from spacy_maral.model.spans import span_counts

# two small sizes tell what a start and what a document costs, the largest checks the two
SIZES = {
    "annotate": (100, 10_000, 100_000),
    "pseudo-label": (100, 10_000, 100_000),
    "adapt": (100, 1_000, 10_000),
    # eleven of twelve layers frozen: almost all of the encoder reads each text once only
    "adapt, encoder frozen": (100, 10_000, 100_000),
}
FROZEN = {"adapt": "6", "adapt, encoder frozen": "11"}
OPTIONS = {
    "--student.epochs": "2", "--adaptation.warmup_epochs": "1", "--student.frozen_cache": "8",
    "--student.checkpoint_minutes": "0",
}  # fmt: skip


class Work:
    """Files of a measurement: the corpora of each size, and what the commands make of them.

    folder (Path): For these files.
    options (argparse.Namespace): Of the command line.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.docs = [doc for path in options.target for doc in read_docs(path)]
        self.source = read_docs(options.source)

    def corpus(self, docs: list[Doc], name: str, size: int) -> Path:
        """A .spacy file of so many documents."""
        path = self.folder / f"{name}-{size}.spacy"
        if not path.is_file():
            DocBin(docs=repeat(docs, size)).to_disk(path)
        return path

    def annotate(self, size: int) -> list[str]:
        shard = self.folder / f"text-{size}.jsonl"
        lines = (json.dumps({"text": doc.text}) + "\n" for doc in repeat(self.docs, size))
        shard.write_text("".join(lines), encoding="utf8")
        output = self.folder / f"annotated-{size}"
        return ["annotate", self.options.teacher, str(shard), "--output", str(output)]

    def label(self, size: int) -> list[str]:
        corpus = self.corpus(self.docs, "target", size)
        return ["pseudo-label", self.options.teacher, str(corpus), "--output", self.labels(size)]

    def labels(self, size: int) -> str:
        return str(self.folder / f"labels-{size}.npz")

    def adapt(self, size: int, frozen: str) -> list[str]:
        if not Path(self.labels(size)).is_file():
            run(self.label(size), self.folder)
        files = {
            "--teacher": self.options.teacher, "--dev": self.options.dev,
            "--source": self.corpus(self.source, "source", min(size, len(self.source))),
            "--target": self.corpus(self.docs, "target", size), "--labels": self.labels(size),
            "--output": self.student(size, frozen),
        }  # fmt: skip
        settings = OPTIONS | {"--student.freeze_layers": frozen}
        words = [str(word) for pair in (files | settings).items() for word in pair]
        return ["adapt", self.options.config, *words]

    def student(self, size: int, frozen: str) -> Path:
        return self.folder / f"student-{frozen}-{size}"

    def measure(self, part: str, size: int) -> dict[str, Any]:
        """Run the command of a part on a corpus of a size."""
        docs = repeat(self.docs, size)
        lengths = np.array([len(doc) for doc in docs])
        row: dict[str, Any] = {
            "part": part, "documents": size, "words": int(lengths.sum()),
            "spans": int(span_counts(lengths, self.options.max_width).sum()),
        }  # fmt: skip
        if part in FROZEN:
            command = self.adapt(size, FROZEN[part])
        else:
            command = self.annotate(size) if part == "annotate" else self.label(size)
        row |= run(command, self.folder)
        if part in FROZEN:
            folder = self.student(size, FROZEN[part]) / "training"
            rows = [json.loads(line) for line in (folder / "log.jsonl").open(encoding="utf8")]
            row["epoch_seconds"] = [epoch["seconds"] for epoch in rows]
            row["reliable"] = rows[0]["reliable"]
        return row


def repeat(docs: list[Doc], size: int) -> list[Doc]:
    """So many of the documents, from the start again after the last."""
    return [docs[i % len(docs)] for i in range(size)]


def run(words: list[str], folder: Path) -> dict[str, Any]:
    """Run a command; RETURNS (dict): Its seconds and peak memory.

    RAISES (SystemExit): If it failed, with the end of what it said.
    """
    log = folder / "log.txt"
    started = time.perf_counter()
    with log.open("w", encoding="utf8") as file:
        command = [sys.executable, "-m", "spacy", "maral", *words]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(words)}\n{log.read_text(encoding='utf8')[-3000:]}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "peak_memory_bytes": peak}


def main() -> None:
    """Parse the command line and measure what is not there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--dev", required=True)
    parser.add_argument("--target", required=True, nargs="+")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--max-width", type=int, default=8)
    parser.add_argument("--largest", type=int, default=100_000, help="largest size, in documents")
    options = parser.parse_args()
    found = {"machine": describe_machine(-1), "threads": torch.get_num_threads(), "runs": []}
    if options.out.is_file():
        found = json.loads(options.out.read_text(encoding="utf8"))
    done = {(row["part"], row["documents"]) for row in found["runs"]}
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder), options)
        for size in sorted({size for sizes in SIZES.values() for size in sizes}):
            for part in [part for part, sizes in SIZES.items() if size in sizes]:
                if (part, size) in done or size > options.largest:
                    continue
                msg.info(f"{part}: {size:,} documents")
                found["runs"].append(work.measure(part, size))
                found["date"] = datetime.now(timezone.utc).date().isoformat()
                write_json(options.out, found)
                msg.good(json.dumps(found["runs"][-1]))


if __name__ == "__main__":
    main()
