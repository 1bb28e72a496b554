"""Time, memory and money for a corpus of any size, from what smaller ones took.

    python tools/scale_costs.py --documents 1e6 1e8 1e9 --cores 32 --price 0.05

Reads docs/scale.json, which measure_scale.py writes; measure your own machine for your own figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs_text import table

MEASURED = Path(__file__).resolve().parent.parent / "docs" / "scale.json"
GIB = 2**30
SIZES = (1e6, 1e8, 1e9)
CORES, PRICE, EPOCHS = 32, 0.05, 4
# a part that is measured for how things grow, and that nobody would run
CHECK_ONLY = "adapt, encoder frozen"
# what keeps nothing of a document that is done
STREAMED = "annotate"


@dataclass
class Line:
    """What a start costs, and each document."""

    start: float
    each: float

    @classmethod
    def through(cls, rows: Sequence[dict[str, Any]], values: Sequence[float]) -> Line:
        """The line through the first two of some runs."""
        sizes = [row["documents"] for row in rows]
        each = (values[1] - values[0]) / (sizes[1] - sizes[0])
        return cls(values[0] - each * sizes[0], each)

    def at(self, documents: float) -> float:
        return self.start + self.each * documents


@dataclass
class Part:
    """A command: its runs, the smallest first, and lines through them.

    seconds: Of the whole command, one thread, by the two smallest runs. epoch: Seconds of one epoch of
    training, where there are epochs. memory: Peak in bytes, by the two largest: in small runs it is
    that of loading the encoder.
    """

    rows: list[dict[str, Any]]
    seconds: Line
    epoch: Line
    memory: Line

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]]) -> Part:
        """The part that some runs, of three sizes or more, are of."""
        rows = sorted(rows, key=lambda row: row["documents"])
        epochs = [row.get("epoch_seconds", [0.0]) for row in rows]
        return cls(
            rows,
            Line.through(rows, [row["seconds"] for row in rows]),
            Line.through(rows, [sum(seconds) / len(seconds) for seconds in epochs]),
            Line.through(rows[-2:], [row["peak_memory_bytes"] for row in rows[-2:]]),
        )

    def time(self, documents: float, epochs: int) -> float:
        """Seconds of one thread, with so many epochs where there are any."""
        measured = len(self.rows[0].get("epoch_seconds", []))
        more = epochs - measured if measured else 0
        return self.seconds.at(documents) + more * self.epoch.at(documents)

    @property
    def words_per_second(self) -> float:
        """Words that one thread reads in a second, without the start."""
        return self.rows[-1]["words"] / (self.seconds.each * self.rows[-1]["documents"])

    @property
    def bytes_per_span(self) -> float:
        """Memory that a candidate span takes, all included that grows with the corpus."""
        return self.memory.each * self.rows[-1]["documents"] / self.rows[-1]["spans"]

    def peak(self, documents: float) -> float:
        """Bytes of memory for a corpus, beyond the largest that was measured."""
        last = self.rows[-1]
        return last["peak_memory_bytes"] + self.memory.each * (documents - last["documents"])


def read_parts(measured: dict[str, Any]) -> dict[str, Part]:
    """RETURNS (dict): The parts that were measured, by name."""
    names = dict.fromkeys(row["part"] for row in measured["runs"])
    runs = measured["runs"]
    parts = {name: Part.of([row for row in runs if row["part"] == name]) for name in names}
    if CHECK_ONLY in parts:
        # it went on to a corpus in which documents outweigh what a start takes
        parts["adapt"].memory = parts[CHECK_ONLY].memory
    return parts


def check_table(parts: dict[str, Part]) -> str:
    """The largest corpora that were measured, and what the smaller ones said of them."""
    rows = []
    for name, part in parts.items():
        last = part.rows[-1]
        size = last["documents"]
        rows.append([
            f"`{name}`" if name != CHECK_ONLY else "`adapt`, 11 of 12 layers frozen",
            " and ".join(f"{row['documents']:,}" for row in part.rows[:2]), f"{size:,}",
            f"{part.seconds.at(size):,.0f} s", f"{last['seconds']:,.0f} s",
            gib(last["peak_memory_bytes"]),
        ])  # fmt: skip
    header = [
        "Command", "Told from", "Documents", "Time told", "Time measured", "Memory measured",
    ]  # fmt: skip
    return table(header, rows)


def constants_table(parts: dict[str, Part]) -> str:
    """What the lines say of a word and of a span."""
    rows = []
    for name, part in parts.items():
        if name == CHECK_ONLY:
            continue
        rows.append([
            f"`{name}`", f"{part.seconds.start:,.0f} s", f"{part.words_per_second:,.0f}",
            "-" if name == STREAMED else f"{part.bytes_per_span:,.0f}",
        ])  # fmt: skip
    header = [
        "Command", "Start", "Words/s of a thread", "Bytes of memory a candidate span",
    ]  # fmt: skip
    return table(header, rows)


def cost_table(
    parts: dict[str, Part], sizes: Sequence[float] = SIZES, *, cores: int = CORES,
    price: float = PRICE, epochs: int = EPOCHS,
) -> str:  # fmt: skip
    """What the commands take for corpora of some sizes.

    parts (dict): What was measured.
    sizes (Sequence[float]): Documents.
    cores (int): Cores that work at a time, each as fast as the thread that was measured.
    price (float): Of a core for an hour.
    epochs (int): Epochs of an adaptation.
    RETURNS (str): A table in Markdown.
    """
    rows = []
    for size in sizes:
        for name, part in parts.items():
            if name == CHECK_ONLY:
                continue
            hours = part.time(size, epochs) / 3600
            rows.append([
                f"{size:,.0f}", f"`{name}`", f"{hours:,.0f}", duration(hours / cores),
                f"{hours * price:,.0f}",
                f"{gib(part.rows[-1]['peak_memory_bytes'])} a worker" if name == STREAMED else gib(part.peak(size)),
            ])  # fmt: skip
    header = [
        "Documents",
        "Command",
        "Core-hours",
        f"On {cores} cores",
        f"At {price:g} a core-hour",
    ]
    return table([*header, "Memory in all"], rows)


def duration(hours: float) -> str:
    """Minutes, hours or days."""
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:,.0f} days"


def gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size < 100 * GIB else f"{size / GIB:,.0f} GiB"


def between_epochs(performance: dict[str, Any]) -> str:
    """Filter, refinery and bookkeeping on simulated features, for numbers of candidate spans."""
    rows = []
    for name in ("pcla_1e5", "pcla_1e6", "pcla_1e7"):
        row = performance[name]
        search = 1e6 * row["ours"] / row["queries"]
        rows.append([
            f"{row['spans']:,}", f"{row['ours']:,.1f} s", f"{row['peak_gib']:.1f} GiB",
            f"{row['bank']:,}", f"{row['queries']:,}", f"{search:,.0f} µs", row["search"],
            f"{row['recall_at_200']:.3f}",
        ])  # fmt: skip
    header = [
        "Candidate spans", "Time", "Memory", "Rows of the bank", "Queries", "Time a query, all counted",
        "Search", "Recall@200",
    ]  # fmt: skip
    return table(header, rows)


def tables(measured: dict[str, Any], performance: dict[str, Any]) -> dict[str, str]:
    """The tables of docs/scale.md by name, as they follow from what was measured."""
    parts = read_parts(measured)
    machine = measured["machine"]
    where = (
        f"Measured on {measured['date']} with {measured['threads']} thread on a machine with "
        f"{machine['processors']} cores ({machine['processor']}), without a GPU."
    )
    return {
        "check": f"{where}\n\n{check_table(parts)}", "constants": constants_table(parts),
        "between": between_epochs(performance), "costs": cost_table(parts),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--measured", type=Path, default=MEASURED)
    parser.add_argument("--documents", type=float, nargs="+", default=SIZES)
    parser.add_argument("--cores", type=int, default=CORES)
    parser.add_argument("--price", type=float, default=PRICE)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    found = parser.parse_args(arguments)
    parts = read_parts(json.loads(found.measured.read_text(encoding="utf8")))
    wanted = {"cores": found.cores, "price": found.price, "epochs": found.epochs}
    print(cost_table(parts, found.documents, **wanted))  # noqa: T201


if __name__ == "__main__":
    main()
