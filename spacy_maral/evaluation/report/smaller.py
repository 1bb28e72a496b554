"""Sizes before and after a pipeline was made smaller, as a section of a model card and as rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEY = "maral_smaller"
TITLE = "### Made smaller"
MIB = 2**20


def with_section(notes: str, meta: Mapping[str, Any]) -> str:
    """Replace or add the section "Made smaller" in the notes of a model card.

    notes (str): The notes.
    meta (Mapping): The pipeline's meta.json.
    RETURNS (str): The notes with the section.
    """
    head, found, tail = notes.partition(TITLE)
    rest = tail[tail.index("\n### ") + 1 :] if found and "\n### " in tail else ""
    parts = (head.strip("\n"), rest.strip("\n"), smaller_section(meta).strip("\n"))
    return "\n\n".join(part for part in parts if part) + "\n"


def smaller_section(meta: Mapping[str, Any]) -> str:
    """Write the section "Made smaller" of a model card.

    meta (Mapping): The pipeline's meta.json.
    RETURNS (str): Markdown; empty if the pipeline was not made smaller.
    """
    from ..tables import markdown_table

    parts = []
    for task, report in meta.get(KEY, {}).items():
        table = markdown_table(["", "before", "after"], rows_of(report))
        heading = [f"`{task}`", describe_teacher(report), table]
        parts.append("\n\n".join(part for part in heading if part))
    return f"{TITLE}\n\n" + "\n".join(parts) if parts else ""


def describe_teacher(report: Mapping[str, Any]) -> str:
    """Say who labelled the text that a pipeline was trained on.

    report (Mapping): The report on a distilled pipeline.
    RETURNS (str): Some sentences; empty for a report on another change.
    """
    if "teacher" not in report:
        return ""
    silver = report["silver"]
    counts = [f"{silver[name]:,} {name}" for name in ("words", "entities") if name in silver]
    parts = [
        f"Trained on {silver['documents']:,} texts ({', '.join(counts)}) that {report['teacher']} "
        "labelled."
    ]
    if silver.get("doubtful_words"):
        parts.append(f"{silver['doubtful_words']:,} words were left out as doubtful.")
    if gold := report.get("gold"):
        parts.append(f"{gold['documents']:,} texts with gold labels joined them.")
    if vectors := report.get("vectors"):
        size = f"{vectors['rows']:,} rows of {vectors['dim']:,} numbers"
        kind = "floret vectors" if vectors["mode"] == "floret" else "word vectors"
        parts.append(f"Its {kind} ({size}) are those of {vectors['from']}.")
    return " ".join(parts)


def rows_of(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Tabulate a report on a smaller pipeline.

    report (Mapping): The report that `save_small` makes.
    RETURNS (list[tuple]): Rows of name, value before, value after.
    """
    rows = []
    if "layers" in report:
        rows.append(("layers", *_both(report["layers"], "{:,.0f}")))
    if "pieces" in report:
        rows.append(("word pieces", *_both(report["rows"], "{:,.0f}")))
    rows.append(("files, MiB", *_both(report["bytes"], "{:,.1f}", MIB)))
    loading = report["loading"]
    rows.append(("loading, s", *_both(loading["seconds"], "{:.2f}")))
    rows.append(("memory of the process, MiB", *_both(loading["resident_bytes"], "{:,.0f}", MIB)))
    rows.append(("of the pipeline, MiB", *_both(loading["pipeline_bytes"], "{:,.0f}", MIB)))
    if test := report.get("test"):
        data, cut = test["data"], test["tokenisation"]
        rows.append((f"F1 on {data}", *_both(test["f1"], "{:.2f}", 0.01)))
        rows.append(("words/s", *_both(test["words_per_second"], "{:,.0f}")))
        rows.append(("speed-up", "", f"{test['speed_up']:.2f}"))
        rows.append(("same entities", "", f"{100 * test['agreement']:.2f} %"))
        if "pieces" in report:
            rows.append(("words cut otherwise", "", f"{100 * cut['words_changed']:.2f} %"))
            rows.append(("sentences cut otherwise", "", f"{100 * cut['documents_changed']:.2f} %"))
            rows.append(("unknown pieces", *_both(cut["unknown_pieces"], "{:,.0f}")))
    return rows


def _both(values: Mapping[str, float | None], form: str, unit: float = 1) -> tuple[str, str]:
    before, after = (values[side] for side in ("before", "after"))
    return tuple("-" if v is None else form.format(v / unit) for v in (before, after))  # type: ignore[return-value]
