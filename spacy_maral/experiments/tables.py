"""The results of a benchmark as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from ..data.files import write_file
from ..evaluation.raw_target import departures
from ..evaluation.tables import MISSING, markdown_table
from .results import (
    Gap,
    Mean,
    Result,
    against_plain,
    delta,
    gaps,
    grouped,
    is_ceiling,
    is_changed,
    is_plain,
    is_teacher,
    pair_of,
    variant_of,
)
from .study import settings_table, study_table

GAP_INTRODUCTION = (
    "Gap closed in percent: (F1 - F1 of the teacher) / (F1 of the ceiling - F1 of the teacher), where "
    "the ceiling is trained on the target's gold labels, with as many sentences and steps as the "
    "teacher.\n"
)
WARNING_INTRODUCTION = (
    "Students by their F1 minus that of their teacher, and how many of them departed so far from their "
    "pseudo-labels in the raw target text that `adapt` warned.\n"
)
CLEAR = 0.01
"""A smaller difference in F1 counts as none."""
CSV_SCORES = (
    "f1", "delta", "precision", "recall", "paper_f1", "dev_f1", "noise_start", "noise_end",
)  # fmt: skip


def write_tables(output: Path, results: Sequence[Result]) -> None:
    """Write table.md, table.csv and results.json.

    output (Path): The benchmark's folder.
    results (Sequence[Result]): The finished runs, in the order of rows and columns.
    RAISES (MaralError): If a file cannot be written.
    """
    write_file(output / "table.md", markdown(results))
    write_file(output / "table.csv", csv_table(results))
    gap = gaps(results)
    rows = [{**result, "gap_closed": gap([result]).closed} for result in results]
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    write_file(output / "results.json", text + "\n")


def markdown(results: Sequence[Result]) -> str:
    """All tables in Markdown.

    results (Sequence[Result]): The results.
    RETURNS (str): F1 by variant and pair; differences to the unchanged configuration; the other
        scores and costs; and how well criteria rank epochs and settings. Tables without content are
        left out.
    """
    if not results:
        return "No run is finished.\n"
    parts = [
        "Entity-level F1 on the target's test set in percent, mean ± standard deviation over seeds, "
        "and in brackets the mean difference to the teacher of the same seed and settings.\n",
        f1_table(results),
        *missing_labels(results),
    ]
    if closed := gap_table(results):
        parts += [GAP_INTRODUCTION, closed]
    if warnings := warning_table(results):
        parts += [WARNING_INTRODUCTION, warnings]
    if differences := difference_table(results):
        reference = variant_of(next(filter(is_plain, results)))
        parts += [
            f"Differences to {reference} in points, mean over the pairs and seeds that both variants "
            "have.\n",
            differences,
        ]
    parts += [
        "Means over all runs of a variant, in percent (time and memory are those of its training).\n",
        detail_table(results),
    ]
    studies = (study_table(results), settings_table(against_plain(results)))
    return "\n".join([*parts, *filter(None, studies)])


def missing_labels(results: Sequence[Result]) -> list[str]:
    """A sentence for each student whose target had no pseudo-label of some class."""
    return [
        f"{variant_of(r)}, {pair_of(r)}, seed {r['seed']}: no target span had a pseudo-label of "
        f"{', '.join(r['without_labels'])}.\n"
        for r in results
        if r.get("without_labels")
    ]


def f1_table(results: Sequence[Result]) -> str:
    """F1 by variant (rows) and pair (columns), and the means over pairs."""
    pairs, rows = list(grouped(results, pair_of)), []
    for variant, own in grouped(results, variant_of).items():
        own_pairs = grouped(own, pair_of)
        by_pair = [own_pairs.get(pair, []) for pair in pairs]
        f1 = [Mean.of(r["f1"] for r in runs) for runs in by_pair]
        change = [Mean.of(map(delta, runs)) for runs in by_pair]
        cells = [mean.show(sd=True) for mean in f1]
        if not is_teacher(own[0]):
            for i, mean in enumerate(change):
                cells[i] += f" ({mean.show('+.2f')})" if mean.n else ""
        for means, form in ((f1, ".2f"), (change, "+.2f")):
            # a mean over some of the pairs cannot be compared with one over all
            cells.append(Mean.of(m.mean for m in means).show(form) if all(by_pair) else MISSING)
        low, high = min(m.n for m in f1), max(m.n for m in f1)
        rows.append([variant, *cells, str(high) if low == high else f"{low}-{high}"])
    return markdown_table(["variant", *pairs, "mean", "to teacher", "seeds"], rows)


def gap_table(results: Sequence[Result]) -> str:
    """The share of the gap between teacher and ceiling that each other variant closes, by pair.

    results (Sequence[Result]): The results.
    RETURNS (str): A Markdown table, empty without a ceiling. A share is that of the summed differences
        over the seeds of a pair, and in the last column over all pairs with a gap, each of which counts
        by its size. A pair has no gap if its ceiling is not above the teacher.
    """
    if not any(map(is_ceiling, results)):
        return ""
    gap, pairs, rows = gaps(results), list(grouped(results, pair_of)), []
    for variant, own in grouped(results, variant_of).items():
        if is_ceiling(own[0]) or (is_teacher(own[0]) and not is_changed(own[0])):
            continue
        own_pairs = grouped(own, pair_of)
        by_pair = [gap(own_pairs.get(pair, [])) for pair in pairs]
        shares = [found.closed for found in by_pair]
        whole = [found for found in by_pair if found.whole > 0]
        # a share of some of the pairs cannot be compared with that of all
        every = Gap(sum(g.gained for g in whole), sum(g.whole for g in whole)).closed
        shares.append(every if len(own_pairs) == len(pairs) else None)
        rows.append([variant, *(Mean.of([share]).show(".0f") for share in shares)])
    return markdown_table(["variant", *pairs, "all"], rows)


def warning_table(results: Sequence[Result]) -> str:
    """How many students lose or gain on their teacher, and how many of them `adapt` warned of.

    results (Sequence[Result]): The results.
    RETURNS (str): A Markdown table, empty without students whose results have "raw_target".
    """
    known = [(delta(r), bool(departures(r["raw_target"]))) for r in results if r.get("raw_target")]
    groups = {
        "loses more than 1 point": [warned for change, warned in known if change < -CLEAR],
        "within 1 point": [warned for change, warned in known if abs(change) <= CLEAR],
        "gains more than 1 point": [warned for change, warned in known if change > CLEAR],
    }
    rows = [[name, str(len(own)), str(sum(own))] for name, own in groups.items()]
    return markdown_table(["F1 against the teacher", "students", "warned"], rows) if known else ""


def difference_table(results: Sequence[Result]) -> str:
    """Differences between each changed student and the unchanged one, by pair and over all pairs.

    Each row compares two variants on the pairs and seeds that both have: means over different pairs
    cannot be compared.

    results (Sequence[Result]): The results.
    RETURNS (str): A Markdown table, empty if there is nothing to compare.
    """

    def difference(both: Sequence[tuple[Result, Result]], name: str) -> str:
        return Mean.of(
            None if own.get(name) is None or base.get(name) is None else own[name] - base[name]
            for own, base in both
        ).show("+.2f", sd=True)

    compared, pairs, rows = against_plain(results), list(grouped(results, pair_of)), []
    for variant, everywhere in grouped(compared, lambda both: variant_of(both[0])).items():
        by_pair = grouped(everywhere, lambda both: pair_of(both[0]))
        cells = [difference(by_pair.get(pair, []), "f1") for pair in pairs]
        scores = ("f1", "precision", "recall", "dev_f1", "noise_end")
        cells += [difference(everywhere, name) for name in scores]
        rows.append([variant, *cells, str(len(everywhere))])
    header = ["variant", *pairs, "F1", "P", "R", "F1, source dev", "noise at end", "runs"]
    return markdown_table(header, rows) if rows else ""


def detail_table(results: Sequence[Result]) -> str:
    """The other scores and the costs of each variant, as means over all of its runs."""
    columns = {
        "P": ("precision", ".2f", 100), "R": ("recall", ".2f", 100),
        "F1, paper protocol": ("paper_f1", ".2f", 100), "F1, source dev": ("dev_f1", ".2f", 100),
        "noise at start": ("noise_start", ".3f", 1), "noise at end": ("noise_end", ".3f", 1),
        "seconds": ("seconds", ",.0f", 1), "GiB": ("peak_memory_bytes", ".1f", 2**-30),
    }  # fmt: skip
    rows = []
    for variant, own in grouped(results, variant_of).items():
        means = (
            Mean.of(r.get(key) for r in own).show(form, scale=scale)
            for key, form, scale in columns.values()
        )
        rows.append([variant, *means])
    return markdown_table(["variant", *columns], rows)


def csv_table(results: Sequence[Result]) -> str:
    """One line for each pair and variant; scores are fractions."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    scores = [f"{name}_{part}" for name in CSV_SCORES for part in ("mean", "sd")]
    names = ("dataset", "source", "target")
    gap = gaps(results)
    table.writerow([*names, "variant", "seeds", *scores, "seconds_mean", "gap_closed"])
    for of_pair in grouped(results, pair_of).values():
        for variant, own in grouped(of_pair, variant_of).items():
            line: list[object] = [own[0][key] for key in names]
            line += [variant, len(own)]
            for name in CSV_SCORES:
                found = Mean.of(delta(r) if name == "delta" else r.get(name) for r in own)
                line += ["" if x is None else f"{x:.6f}" for x in (found.mean, found.sd)]
            line.append(Mean.of(r["seconds"] for r in own).show(".1f", scale=1))
            closed = gap(own).closed
            table.writerow([*line, "" if closed is None else f"{closed:.6f}"])
    return file.getvalue()
