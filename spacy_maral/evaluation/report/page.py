"""The report of a training run: one HTML file that needs neither network nor scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...data.files import write_file
from ..evaluate import load_pipeline
from ..mistakes import Judgement, judge
from .figures import (
    Figure,
    centroid_figures,
    curve_figures,
    error_figures,
    geometry_figures,
    label_figures,
    map_figure,
    number,
    score_figures,
    signed,
)
from .run_record import RunRecord, read_run, read_sample
from .sentences import doubtful_sentences, mistake_sentences
from .svg import clean, colour_class, percent, short

NO_RECORDS = (
    "The run kept no diagnostics: they are written by adapt where the setting "
    "adaptation.diagnostics is true, from release 0.1 on."
)
MANY_CLASSES = 5
TEACHER = "A teacher has no pseudo-labels; this part is for the runs of adapt."


@dataclass
class Section:
    """A part of the page: anchor, heading, and HTML."""

    key: str
    heading: str
    body: str


def write_report(
    run: Path,
    output: Path,
    *,
    gold: Path | None = None,
    dev: Path | None = None,
    gpu_id: int = -1,
) -> Path:
    """Write the report of a training run.

    run (Path): Output folder of train-teacher or adapt.
    output (Path): The HTML file.
    gold (Path): Labelled documents (.spacy) to look for mistakes in, such as a test set.
    dev (Path): The same of the source language, used where there is no gold.
    gpu_id (int): GPU to use for that, -1 for the CPU.
    RETURNS (Path): The file.
    RAISES (MaralError): If there is no run in the folder, or a file cannot be read or written.
    """
    record = read_run(run)
    data = gold or dev
    judgement = None
    if data is not None:
        from ...data.docs import read_docs

        docs = read_docs(data)
        judgement = judge(load_pipeline(run, gpu_id=gpu_id), docs, name=str(data))
    write_file(output, render_report(record, judgement, data.name if data else ""))
    return output


def render_report(record: RunRecord, judgement: Judgement | None = None, data: str = "") -> str:
    """Render the page.

    record (RunRecord): The run.
    judgement (Judgement): What its pipeline gets wrong, if it was asked.
    data (str): Name of the documents that it was asked about.
    RETURNS (str): HTML.
    """
    sections = [
        _curves(record),
        _labels(record),
        _geometry(record),
        _map(record),
        _errors(record, judgement, data),
        _settings(record),
    ]
    kind = "Adaptation" if record.is_adaptation else "Teacher"
    name = record.folder.resolve().name
    style = (files(__package__) / "page.css").read_text(encoding="utf8")
    links = "".join(f'<a href="#{s.key}">{clean(s.heading)}</a>' for s in sections)
    body = "".join(
        f'<section id="{s.key}"><h2>{clean(s.heading)}</h2>{s.body}</section>' for s in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{kind} {clean(name)}</title>\n<style>\n{style}</style></head>\n<body>"
        f'<header class="inner"><h1>{kind}: {clean(name)}</h1>'
        f'<p class="soft">{_lead(record)}</p>{_tiles(record, judgement, data)}</header>'
        f'<nav aria-label="Sections"><div class="inner">{links}</div></nav>\n'
        f"<main>{body}<footer>Made by spacy-maral. The page holds everything that it shows; hover "
        "over points, bars and cells for their values.</footer></main></body></html>\n"
    )


def _lead(record: RunRecord) -> str:
    labels = ", ".join(record.classes[1:])
    about = f"Entity labels: {labels}. " if labels else ""
    if not record.summary:
        return clean(f"{about}The run is not finished: there is no summary yet.")
    band = "In the curves a band marks the selected epoch."
    return clean(f"{about}Epoch selected by {record.summary['select'].replace('_', ' ')}. {band}")


def _tiles(record: RunRecord, judgement: Judgement | None, data: str) -> str:
    row, facts = record.selected, record.summary
    tiles = [
        (f"{row['epoch']} of {len(record.rows)}", "selected epoch"),
        (f"{100 * row['dev_f1']:.2f}", "F1, source development set"),
    ]
    if judgement is not None:
        tiles.append((f"{100 * judgement.report.f1:.2f}", f"F1, {data}"))
    if "noise_ratio" in row:
        tiles.append((percent(row["noise_ratio"]), "noise of the pseudo-labels"))
    tiles.append((signed(row["centroid_cosine"]), "mean cosine of two classes"))
    if "seconds" in facts:
        tiles.append((_duration(facts["seconds"]), "time"))
    if facts.get("peak_memory_bytes"):
        tiles.append((f"{facts['peak_memory_bytes'] / 2**30:.1f} GiB", "largest memory"))
    shown = "".join(
        f'<div class="tile"><b>{clean(value)}</b><span>{clean(name)}</span></div>'
        for value, name in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def _curves(record: RunRecord) -> Section:
    names = list(dict.fromkeys(name for row in record.rows for name in row["losses"]))
    header = ["epoch", *(f"loss {name}" for name in names), "dev P", "dev R", "dev F1", "seconds"]
    rows = [
        [
            str(row["epoch"]),
            *(f"{row['losses'][n]:.4f}" if n in row["losses"] else "–" for n in names),
            *(f"{100 * row[f'dev_{k}']:.2f}" for k in ("precision", "recall", "f1")),
            f"{row['seconds']:,.0f}",
        ]
        for row in record.rows
    ]
    table = f"<details><summary>Figures of all epochs</summary>{_table(header, rows)}</details>"
    return Section("curves", "Training", _grid(curve_figures(record)) + table)


def _labels(record: RunRecord) -> Section:
    heading = "Pseudo-labels"
    if not record.is_adaptation:
        return Section("labels", heading, _absent(TEACHER))
    body = _grid(label_figures(record))
    if not record.epochs:
        return Section("labels", heading, body + _absent(NO_RECORDS))
    filtered = record.filtered or record.epochs[-1:]
    latest = filtered[-1]
    body += (
        f'<h3 class="part">Scores of the pseudo-labels, epoch {latest["epoch"]}</h3>'
        "<p>The score ρ of a span under its pseudo-label says how well it fits that class of the "
        "student. For each class two Gaussians are fitted; labels from the cut on are reliable and "
        f"train the student, the others are refined.</p>{_score_legend(latest)}"
        f"{_grid(score_figures(latest))}"
    )
    if filtered[:-1]:
        earlier = "".join(
            f'<h3 class="part">Epoch {epoch["epoch"]}</h3>{_grid(score_figures(epoch))}'
            for epoch in filtered[:-1]
        )
        body += f"<details><summary>Earlier epochs</summary>{earlier}</details>"
    sentences = doubtful_sentences(latest)
    body += (
        '<h3 class="part" id="doubtful">The least reliable pseudo-labels</h3>'
        f"<p>Entities of the target with the lowest scores in epoch {latest['epoch']}, one a "
        "document: what the student believes least.</p>"
    )
    body += sentences or _absent("The target has no entity by pseudo-label.")
    return Section("labels", heading, body)


def _score_legend(epoch: dict[str, Any]) -> str:
    items = [("right label, in the colour of its class", "s1"), ("wrong label", "ink")]
    if "counts_noisy" not in epoch:
        items = []
    items += [("lower component", "stroke broken"), ("upper component", "stroke")]
    return _legend([*items, ("cut", "stroke dotted")])


def _geometry(record: RunRecord) -> Section:
    body = (
        "<p>Training drives the means of the classes apart on the sphere, at best to a regular "
        "simplex, and the spans of a class together.</p>"
    )
    body += _grid(centroid_figures(record), large=len(record.classes) > MANY_CLASSES)
    epoch = record.epoch
    if epoch is None:
        return Section("geometry", "Geometry", body + _absent(NO_RECORDS))
    header = ["class"]
    for side in ("source", "target"):
        header += [f"{side} compactness", f"{side} γ", f"{side} γ without 5 %"]
    columns = [
        epoch[side].get(key, [None] * len(record.classes))
        for side in ("source", "target")
        for key in ("compactness", "margin", "margin_low")
    ]
    rows = [[name, *(number(col[c]) for col in columns)] for c, name in enumerate(record.classes)]
    overall = [number(epoch[side].get("overall_margin")) for side in ("source", "target")]
    rows.append(["all classes", "", overall[0], "", "", overall[1], ""])
    body += (
        _grid(geometry_figures(record)) + f'<h3 class="part">Margins in epoch {epoch["epoch"]}</h3>'
        "<p>The margin of a span is the cosine to the mean of its class less the largest cosine to "
        "another. γ of a class is the smallest margin of its spans, so that one odd span decides; the "
        "second figure leaves the lowest 5 % out. Source spans are taken by gold (all entities and a "
        "sample of the outside ones), target spans by pseudo-label; features are those seen in "
        f'training.</p><div class="card">{_table(header, rows)}</div>'
    )
    return Section("geometry", "Geometry", body)


def _map(record: RunRecord) -> Section:
    heading = "Map of the spans"
    sample = read_sample(record)
    if sample is None or record.epoch is None:
        return Section("map", heading, _absent(NO_RECORDS if record.is_adaptation else TEACHER))
    figure = map_figure(record, sample)
    classes = [(name, colour_class(c)) for c, name in enumerate(record.classes)]
    shapes = [("source, gold", "circle ink"), ("target, pseudo-label", "diamond ink")]
    counts = [int((sample["side"] == side).sum()) for side in (0, 1)]
    body = (
        f"<p>t-SNE of the features of {counts[0]:,} source and {counts[1]:,} target spans of epoch "
        f"{record.epoch['epoch']}, drawn with equal shares of the classes. Where the languages "
        "share the clusters, what was learnt on one carries over to the other.</p>"
        f"{_legend([*classes, *shapes])}"
        f'<figure class="card wide">{figure.svg}</figure>'
    )
    return Section("map", heading, body)


def _errors(record: RunRecord, judgement: Judgement | None, data: str) -> Section:
    heading = "Errors"
    if judgement is None:
        text = (
            "Not shown: confusion matrix, boundary errors and the most confident mistakes need "
            "labelled documents. Give a test set of the target with --gold, or the development set "
            "of the source with --dev."
        )
        return Section("errors", heading, _absent(text))
    from ..tables import score_table

    header, rows = score_table(judgement.report)
    body = (
        f"<p>On {clean(data)}: {judgement.n_docs:,} documents, {judgement.n_words:,} words, "
        f"{judgement.report.micro.support:,} gold entities.</p>"
        f'<div class="card">{_table(header, rows)}</div>'
        f"{_grid(error_figures(judgement.report), large=len(record.classes) > MANY_CLASSES)}"
        '<h3 class="part" id="mistakes">The most confident mistakes</h3>'
    )
    numbers = {name: c for c, name in enumerate(record.classes)}
    body += mistake_sentences(judgement.mistakes, numbers) or _absent("There are no mistakes.")
    return Section("errors", heading, body)


def _settings(record: RunRecord) -> Section:
    facts, body = record.summary, ""
    for name, sizes in facts.get("data", {}).items():
        shown = {key.replace("_", " "): f"{value:,}" for key, value in sizes.items()}
        body += f'<h3 class="part">Data: {clean(name)}</h3>{_facts(shown)}'
    run = {
        key.replace("_", " "): facts[key]
        for key in ("seed", "select", "selected_epoch", "precision", "threads", "machine")
        if key in facts
    }
    if "seconds" in facts:
        run["seconds"] = f"{facts['seconds']:,.0f}"
    if facts.get("peak_memory_bytes"):
        run["largest memory"] = f"{facts['peak_memory_bytes'] / 2**20:,.0f} MiB"
    groups = [("Run", run), ("Versions", facts.get("versions", {}))]
    groups += [(f"Settings: {name}", values) for name, values in facts.get("settings", {}).items()]
    for name, values in groups:
        if values:
            body += f'<h3 class="part">{clean(name)}</h3>{_facts(values)}'
    return Section("run", "Run", body or _absent("The run has left no summary yet."))


def _grid(figures: Sequence[Figure], *, large: bool = False) -> str:
    cards = "".join(
        f'<figure class="card"><h3>{clean(f.heading)}</h3>{f.svg}'
        f"<figcaption>{clean(f.note)}</figcaption></figure>"
        for f in figures
    )
    css = "grid two" if large or len(figures) == 4 else "grid"
    return f'<div class="{css}">{cards}</div>' if cards else ""


def _legend(items: Sequence[tuple[str, str]]) -> str:
    entries = "".join(f'<li><i class="{css}"></i>{clean(name)}</li>' for name, css in items)
    return f'<ul class="legend">{entries}</ul>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{clean(name)}</th>' for name in header)
    lines = "".join(
        f"<tr>{''.join(f'<td>{clean(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        '<div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _facts(values: dict[str, Any]) -> str:
    entries = "".join(
        f"<div><dt>{clean(str(name).replace('_', ' '))}</dt><dd>{clean(_plain(value))}</dd></div>"
        for name, value in values.items()
    )
    return f'<dl class="facts">{entries}</dl>'


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return short(value) if abs(value) >= 1e-3 or not value else f"{value:g}"
    return "none" if value is None else str(value)


def _absent(text: str) -> str:
    return f'<p class="absent">{clean(text)}</p>'


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
