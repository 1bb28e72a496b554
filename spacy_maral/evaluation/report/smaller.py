"""What was made smaller, as the section of a model card and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEY = "maral_smaller"
TITLE = "### Made smaller"
MIB = 2**20


def with_section(notes: str, meta: Mapping[str, Any]) -> str:
    """Notes of a model card with the section on what was made smaller, in place of an older one.

    notes (str): The notes.
    meta (Mapping): The pipeline's meta.json.
    RETURNS (str): The notes.
    """
    head, found, tail = notes.partition(TITLE)
    rest = tail[tail.index("\n### ") + 1 :] if found and "\n### " in tail else ""
    parts = (head.strip("\n"), rest.strip("\n"), smaller_section(meta).strip("\n"))
    return "\n\n".join(part for part in parts if part) + "\n"


def smaller_section(meta: Mapping[str, Any]) -> str:
    """The section of a card about what was made smaller, nothing if there is none.

    meta (Mapping): The pipeline's meta.json.
    RETURNS (str): Markdown.
    """
    from ..tables import markdown_table

    parts = []
    for task, report in meta.get(KEY, {}).items():
        rows = [[name, before, after] for name, before, after in rows_of(report)]
        parts.append(f"`{task}`\n\n" + markdown_table(["", "before", "after"], rows))
    return f"{TITLE}\n\n" + "\n".join(parts) if parts else ""


def rows_of(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What a report says, as rows of a table.

    report (Mapping): As `save_small` makes it.
    RETURNS (list[tuple]): Name, before, after.
    """
    rows = []
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
