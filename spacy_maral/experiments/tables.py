"""The results of a benchmark as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from ..data.files import write_file
from ..evaluation.tables import MISSING, markdown_table
from .study import Result, pair_of, settings_table, study_table

CSV_FIGURES = (
    "f1", "delta", "precision", "recall", "paper_f1", "dev_f1", "noise_start", "noise_end",
)  # fmt: skip


class Figure(NamedTuple):
    """Mean and sample standard deviation of some values; None where there are too few."""

    mean: float | None
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Figure:
        known = [value for value in values if value is not None]
        return cls(
            mean(known) if known else None, stdev(known) if len(known) > 1 else None, len(known)
        )

    def percent(self, *, signed: bool = False) -> str:
        """In percent, as in "61.20 ± 0.41"."""
        if self.mean is None:
            return MISSING
        text = f"{100 * self.mean:+.2f}" if signed else f"{100 * self.mean:.2f}"
        return text if self.sd is None else f"{text} ± {100 * self.sd:.2f}"


def write_tables(output: Path, results: Sequence[Result]) -> None:
    """Write table.md, table.csv and results.json.

    output (Path): The benchmark's folder.
    results (Sequence[Result]): The finished runs, in the order in which rows and columns shall be.
    RAISES (MaralError): If a file cannot be written.
    """
    write_file(output / "table.md", markdown(results))
    write_file(output / "table.csv", csv_table(results))
    text = json.dumps(list(results), indent=1, ensure_ascii=False)
    write_file(output / "results.json", text + "\n")


def markdown(results: Sequence[Result]) -> str:
    """The tables of all results in Markdown.

    results (Sequence[Result]): The runs.
    RETURNS (str): A table of F1 by variant and pair, one of differences to the configuration as it
        is, if that was run, one of what else was measured, where the test set was looked at after
        each epoch one of how criteria rank the epochs, and one of how they rank the settings, if
        there are enough.
    """
    if not results:
        return "No run is finished.\n"
    parts = [
        "Entity-level F1 on the target's test set in percent, mean ± standard deviation over seeds, "
        "and in brackets the mean difference to the teacher of the same seed and settings.\n",
        f1_table(results),
    ]
    differences = difference_table(results)
    if differences:
        reference = variant_of(next(filter(is_plain, results)))
        parts += [
            f"Differences to {reference} in points, mean over the pairs and seeds that both were run "
            "on.\n",
            differences,
        ]
    parts += [
        "Means over all runs of a variant, in percent (time and memory are those of its training).\n",
        detail_table(results),
    ]
    studies = (study_table(results), settings_table(against_plain(results)))
    parts += [table for table in studies if table]
    return "\n".join(parts)


def f1_table(results: Sequence[Result]) -> str:
    """F1 by variant (rows) and pair (columns), and the means over pairs."""
    pairs, variants = _names(results, pair_of), _names(results, variant_of)
    rows = []
    for variant in variants:
        cells, deltas, seeds = [], [], []
        for pair in pairs:
            own = select(results, variant, pair)
            f1, change = Figure.of(r["f1"] for r in own), Figure.of(map(delta, own))
            shown = (
                f" ({100 * change.mean:+.2f})"
                if change.mean is not None and own[0]["adapted"]
                else ""
            )
            cells.append(f1.percent() + shown)
            deltas.append((f1.mean, change.mean))
            seeds.append(f1.n)
        whole = [(f, d) for f, d in deltas if f is not None and d is not None]
        average = [Figure.of(column).mean for column in zip(*whole, strict=True)]
        complete = len(whole) == len(pairs)
        over_pairs = [
            Figure(average[0], None, 1).percent() if complete else MISSING,
            Figure(average[1], None, 1).percent(signed=True) if complete else MISSING,
        ]
        low, high = min(seeds), max(seeds)
        rows.append([variant, *cells, *over_pairs, str(high) if low == high else f"{low}-{high}"])
    return markdown_table(["variant", *pairs, "mean", "to teacher", "seeds"], rows)


def difference_table(results: Sequence[Result]) -> str:
    """What each setting of the student changes, pair by pair and in all.

    A variant is compared with the configuration as it is on the same pairs and seeds, and on no
    others: the mean F1 of variants that were run on different pairs says nothing about them.

    results (Sequence[Result]): The runs.
    RETURNS (str): A Markdown table, empty if there is nothing to compare.
    """
    compared = against_plain(results)
    pairs = _names(results, pair_of)
    rows = []
    for variant in _names([own for own, _ in compared], variant_of):
        everywhere = [both for both in compared if variant_of(both[0]) == variant]
        whole = ("f1", "precision", "recall", "dev_f1", "noise_end")
        cells = [
            _difference([both for both in everywhere if pair_of(both[0]) == pair], "f1")
            for pair in pairs
        ]
        cells += [_difference(everywhere, name) for name in whole]
        rows.append([variant, *cells, str(len(everywhere))])
    if not rows:
        return ""
    header = ["variant", *pairs, "F1", "P", "R", "F1, source dev", "noise at end", "runs"]
    return markdown_table(header, rows)


def detail_table(results: Sequence[Result]) -> str:
    """Further figures of each variant, over all of its runs."""
    rows = []
    for variant in _names(results, variant_of):
        own = [r for r in results if r["variant"] == variant]
        memory = Figure.of(r["peak_memory_bytes"] for r in own).mean
        rows.append(
            [
                variant,
                *(
                    Figure.of(r.get(key) for r in own)._replace(sd=None).percent()
                    for key in ("precision", "recall", "paper_f1", "dev_f1")
                ),
                *(
                    MISSING if value is None else f"{value:.3f}"
                    for value in (
                        Figure.of(r.get(key) for r in own).mean
                        for key in ("noise_start", "noise_end")
                    )
                ),
                f"{mean(r['seconds'] for r in own):,.0f}",
                MISSING if memory is None else f"{memory / 2**30:.1f}",
            ]
        )
    header = [
        "variant", "P", "R", "F1, paper protocol", "F1, source dev", "noise at start",
        "noise at end", "seconds", "GiB",
    ]  # fmt: skip
    return markdown_table(header, rows)


def csv_table(results: Sequence[Result]) -> str:
    """One line for each pair and variant; scores are fractions."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    figures = [f"{name}_{part}" for name in CSV_FIGURES for part in ("mean", "sd")]
    table.writerow(["dataset", "source", "target", "variant", "seeds", *figures, "seconds_mean"])
    for pair in _names(results, pair_of):
        for variant in _names(results, variant_of):
            own = select(results, variant, pair)
            if not own:
                continue
            line: list[object] = [own[0][key] for key in ("dataset", "source", "target")]
            line += [variant, len(own)]
            for name in CSV_FIGURES:
                values = map(delta, own) if name == "delta" else (r.get(name) for r in own)
                figure = Figure.of(values)
                line += [_number(figure.mean), _number(figure.sd)]
            table.writerow([*line, f"{mean(r['seconds'] for r in own):.1f}"])
    return file.getvalue()


def against_plain(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Each student of another setting with that of the configuration as it is, where both are run.

    results (Sequence[Result]): The runs.
    RETURNS (list[tuple]): The run of the other setting, and that of the same pair and seed.
    """
    known = {(pair_of(r), r["seed"]): r for r in results if is_plain(r)}
    return [
        (r, known[pair_of(r), r["seed"]])
        for r in results
        if r["adapted"] and not is_plain(r) and (pair_of(r), r["seed"]) in known
    ]


def delta(result: Result) -> float:
    """F1 above that of the run's own teacher."""
    return float(result["f1"] - result["teacher_f1"])


def is_plain(result: Result) -> bool:
    """Whether a student is that of the configuration as it is."""
    changes = ("overrides", "teacher_overrides", "target_sentences")
    return result["adapted"] and not any(result.get(name) for name in changes)


def variant_of(result: Result) -> str:
    return str(result["variant"])


def select(results: Sequence[Result], variant: str, pair: str) -> list[Result]:
    """The runs of a variant on a pair, one a seed."""
    return [r for r in results if r["variant"] == variant and pair_of(r) == pair]


def _difference(both: Sequence[tuple[Result, Result]], name: str) -> str:
    """Mean difference of a figure in points, over the pairs of runs that have it."""
    return Figure.of(
        None if own.get(name) is None or other.get(name) is None else own[name] - other[name]
        for own, other in both
    ).percent(signed=True)


def _names(results: Sequence[Result], of: Callable[[Result], str]) -> list[str]:
    return list(dict.fromkeys(map(of, results)))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
