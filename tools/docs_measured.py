"""Tables of measurements within pages that are written by hand: see build_docs.py.

A page says where with <!-- measured: NAME --> and <!-- end -->; what is between is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import scale_costs
from docs_text import table

from spacy_maral.evaluation.tables import markdown_table
from spacy_maral.experiments.results import (
    Mean,
    against_plain,
    grouped,
    is_ceiling,
    is_changed,
    pair_of,
    variant_of,
)
from spacy_maral.experiments.study import settings_table, study_table
from spacy_maral.experiments.tables import (
    detail_table,
    difference_table,
    f1_table,
    gap_table,
    warning_table,
)

DOCS = Path(__file__).resolve().parent.parent / "docs"
END = "<!-- end -->"
PARTS = (
    "maral", "self_training", "no_mmc", "no_filter", "no_refinery", "hard_labels", "no_outside",
    "prior_1", "all_layers",
)  # fmt: skip
"""Variants of the table "What each part brings"; the appendix has all."""
CHOICES = {
    ("none", "sentences"): "none",
    ("random", "sentences"): "random",
    ("suggested", "sentences"): "suggest --number",
    ("suggested", "words"): "suggest --words",
    ("alone", "sentences"): "suggest --number, alone",
    ("alone", "words"): "suggest --words, alone",
}
"""What the choices and limits of tools/study_suggest.py are called."""


def measured_pages() -> dict[str, str]:
    """RETURNS (dict): The pages with their tables, by file name."""
    names = (
        "performance", "results", "results-page", "results-page-before", "results-quick",
        "results-suggested", "scale",
    )  # fmt: skip
    performance, results, page, before, quick, suggested, scale = (
        read(f"{name}.json") for name in names
    )
    return {
        "results.md": fill(
            "results.md",
            {
                **result_tables(results),
                **page_tables(page, before),
                **quick_tables(quick),
                "suggested": suggested_table(suggested),
            },
        ),
        "results-appendix.md": fill("results-appendix.md", appendix_tables(results)),
        "performance.md": fill("performance.md", performance_tables(performance)),
        "scale.md": fill("scale.md", scale_costs.tables(scale, performance)),
    }


def read(name: str) -> Any:
    """A file of measurements."""
    return json.loads((DOCS / name).read_text(encoding="utf8"))


def fill(name: str, parts: Mapping[str, str]) -> str:
    """A page with its tables.

    RAISES (ValueError): If the page has no place for a table, or one that there is no table for.
    """
    page = (DOCS / name).read_text(encoding="utf8")
    for part, text in parts.items():
        before, found, rest = page.partition(f"<!-- measured: {part} -->\n")
        _, closed, after = rest.partition(END)
        if not found or not closed:
            raise ValueError(f"docs/{name} has no place for {part}")
        page = f"{before}{found}\n{text}\n\n{closed}{after}"
    if page.count("<!-- measured: ") != len(parts):
        raise ValueError(f"docs/{name} has places for more than {', '.join(parts)}")
    return page


def performance_tables(results: dict[str, Any]) -> dict[str, str]:
    """The table of all cases, those that cases have of their own, and where it was measured."""
    # not an installed package: found from the repository's root
    from benchmarks.results import number

    header = ["Case", "Ours", "Other", "Unit", "Ratio", "The other side"]
    rows = [
        [
            f"`{name}`", number(row["ours"]), number(row["other"]), row["unit"],
            f"**{number(row['ratio'])}**" if row["ratio"] is not None else "-",
            row.get("other_is", "none"),
        ]
        for name, row in results.items()
    ]  # fmt: skip
    parts = {"cases": table(header, rows), "machine": where(results)}
    for name, row in results.items():
        if row.get("tables"):
            parts[name] = "\n\n".join(
                f"*{title}*\n\n{table(head, [[number(cell) for cell in line] for line in lines])}"
                for title, (head, *lines) in row["tables"].items()
            )
    return parts


def result_tables(results: list[dict[str, Any]]) -> dict[str, str]:
    """The tables of the results page: variants with all pairs and seeds, and PARTS.

    "gap" is there only if there are runs that were trained on the target's gold labels.
    """

    def cases(variant: str | None = None) -> set[tuple[str, int]]:
        return {(pair_of(r), r["seed"]) for r in results if variant in (None, r["variant"])}

    whole = [r for r in results if cases(r["variant"]) == cases()]
    parts = difference_table([r for r in results if r["variant"] in PARTS])
    gap = gap_table(whole).strip()
    return {
        "f1": f1_table(whole).strip(),
        **({"gap": gap} if gap else {}),
        "parts": without(parts, ("F1, source dev", "noise at end")),
        "details": detail_table(whole).strip(),
        "study": study_table(whole).strip(),
    }


def page_tables(results: list[dict[str, Any]], before: list[dict[str, Any]]) -> dict[str, str]:
    """The tables of the runs of configs/benchmark.yml, with today's defaults and with those before."""
    return {
        "page": f1_table(results).strip(),
        "page_gap": gap_table(results).strip(),
        "page_warnings": warning_table(results).strip(),
        "page_before": f1_table(before).strip(),
        "page_before_gap": gap_table(before).strip(),
    }


def quick_tables(results: list[dict[str, Any]]) -> dict[str, str]:
    """The tables of the runs with little text (configs/benchmark_quick.yml)."""
    without_gold = [r for r in results if r["target_gold"] is None]
    return {"quick": f1_table(without_gold).strip(), "quick_gold": gold_table(results).strip()}


def gold_table(results: Sequence[dict[str, Any]]) -> str:
    """F1 of variants with labelled target sentences, and the difference to those without, by pair.

    A teacher is compared with the teacher of the same seed, and a student with the student.
    """
    plain = {
        (pair_of(r), r["seed"], r["adapted"]): r["f1"]
        for r in results
        if not is_changed(r) and not is_ceiling(r)
    }
    pairs, rows = list(grouped(results, pair_of)), []
    for variant, own in grouped((r for r in results if r["target_gold"]), variant_of).items():
        cells, numbers = [], []
        for runs in (grouped(own, pair_of).get(pair, []) for pair in pairs):
            f1 = Mean.of(r["f1"] for r in runs)
            change = Mean.of(r["f1"] - plain[pair_of(r), r["seed"], r["adapted"]] for r in runs)
            cells.append(f"{f1.show(sd=True)} ({change.show('+.2f')})")
            numbers.append(len(runs))
        low, high = min(numbers), max(numbers)
        rows.append([variant, *cells, str(high) if low == high else f"{low}-{high}"])
    return markdown_table(["variant", *pairs, "seeds"], rows)


def suggested_table(rows: Sequence[dict[str, Any]]) -> str:
    """F1 by pair and choice of labelled target sentences (tools/study_suggest.py)."""
    lines = [
        [
            row["pair"], CHOICES[row["choice"], row["unit"]], row["sentences"], f"{row['words']:,}",
            f"{row['entities']:,}", f"{100 * row['f1']:.1f}",
        ]
        for row in rows
    ]  # fmt: skip
    header = ["pair", "labelled sentences", "number", "words", "entities", "F1"]
    return markdown_table(header, [list(map(str, line)) for line in lines]).strip()


def appendix_tables(results: list[dict[str, Any]]) -> dict[str, str]:
    """The tables of the results page's appendix: all variants, and the machines of the runs."""
    found = {
        f"{r['machine']['processor']}, {r['threads']} thread{'s' if r['threads'] > 1 else ''} per run, "
        f"{r['precision_format']} in training, PyTorch {r['versions']['torch']}, {r['date'][:10]}"
        for r in results
    }
    return {
        "machine": "\n".join(f"- {line}" for line in sorted(found)),
        "differences": difference_table(results).strip(),
        "settings": settings_table(against_plain(results)).strip(),
    }


def without(markdown: str, columns: Sequence[str]) -> str:
    """A Markdown table without some of its columns."""
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines()]
    kept = [i for i, name in enumerate(rows[0]) if name not in columns]
    return "\n".join(f"| {' | '.join(row[i] for i in kept)} |" for row in rows)


def where(results: dict[str, Any]) -> str:
    """Machine, threads, encoder, number formats, versions and dates of results."""
    formats: dict[tuple[str, str], set[str]] = {}
    for r in results.values():
        threads = f"{r['threads']} thread{'s' if r['threads'] > 1 else ''}"
        place = f"{r['machine']['processor']}, {threads}, {r['encoder']}"
        time = f"PyTorch {r['versions']['torch']}, {r['date']}"
        formats.setdefault((place, time), set()).update(
            [r["precision"]] if "precision" in r else []
        )
    return "\n".join(
        f"- {', '.join([place, *sorted(found), time])}"
        for (place, time), found in sorted(formats.items())
    )
