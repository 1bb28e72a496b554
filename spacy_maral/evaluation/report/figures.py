"""The figures of a run's report: curves by epoch, scores, geometry, a map of the spans, errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ...model.spans import OUTSIDE
from ..metrics import OUTSIDE_NAME, EntityReport
from .charts import Curve, Points, Series, bar_chart, heat_map, histogram, line_chart, scatter
from .colours import class_colours
from .run_record import RunRecord
from .svg import colour_class, percent

MAX_BARS = 60
RARE = 0.002
PERPLEXITY = 30.0
SIGNAL = "A signal from raw target text, measured after each epoch without labels."
MEASURED = {
    "target_f1": (
        "Target F1",
        "On the labelled documents of --diagnosis, after each epoch. It is measured with gold labels "
        "and has no effect on the run.",
    )
}
LOSS_COLOURS = {"source": 1, "target": 2, "target_mlm": 3}
KINDS = {
    "boundary": "wrong ends",
    "boundary_and_type": "wrong ends and type",
    "wrong_type": "wrong type",
    "spurious": "no entity there",
    "missed": "missed",
}


class Figure(NamedTuple):
    """A chart with its heading and a sentence on how to read it."""

    heading: str
    svg: Markup
    note: str = ""


def curve_figures(record: RunRecord) -> list[Figure]:
    """Draw losses, development scores, concentrations, and what is measured on the target, by epoch."""
    rows = record.rows
    losses = [
        Series(name.replace("_", " "), [row["losses"].get(name) for row in rows], LOSS_COLOURS.get(name, 4))
        for name in dict.fromkeys(name for row in rows for name in row["losses"])
    ]  # fmt: skip
    scores = _series(rows, {"F1": "dev_f1", "precision": "dev_precision", "recall": "dev_recall"})
    note = "Entities, strict: both ends and the type."
    if record.dev_f1 != record.selected["dev_f1"]:
        note += " They are without the offset that the saved pipeline got after the last epoch."
    figures = [
        draw_by_epoch(record, "Loss", losses, "Mean over the steps of an epoch."),
        draw_by_epoch(record, "Source development set", scores, note, show=percent),
    ]
    if all("kappa" in row for row in rows):
        spread = [
            Series(name, [row["kappa"][i] for row in rows], i + 1)
            for i, name in enumerate(("smallest κ", "largest κ"))
        ]
        note = "Concentrations of the widest and the narrowest class on the sphere."
        figures.append(draw_by_epoch(record, "Concentration", spread, note))
    for name in [name for name in rows[-1] if name.startswith("target_")]:
        values = [Series(name.partition("_")[2], [row.get(name) for row in rows], 2)]
        heading, note = MEASURED.get(name, (name.replace("_", " ").capitalize(), SIGNAL))
        figures.append(draw_by_epoch(record, heading, values, note))
    return figures


def draw_by_epoch(
    record: RunRecord,
    heading: str,
    series: Sequence[Series],
    note: str,
    *,
    rows: Sequence[dict[str, Any]] | None = None,
    **options: Any,
) -> Figure:
    """Draw values of all epochs, or of those in `rows`, with the selected epoch marked."""
    x = [row["epoch"] for row in (record.rows if rows is None else rows)]
    marked = record.selected["epoch"]
    chart = line_chart(f"{heading} by epoch", x, series, marked=marked, **options)
    return Figure(heading, chart, note)


def _series(rows: Sequence[dict[str, Any]], keys: dict[str, str]) -> list[Series]:
    """Make a series of each key, by its name in the figure."""
    named = enumerate(keys.items(), start=1)
    return [Series(name, [row.get(key) for row in rows], colour) for colour, (name, key) in named]


def label_figures(record: RunRecord) -> list[Figure]:
    """Draw reliable shares, changes and noise of the pseudo-labels by epoch."""
    rows = record.rows
    figures = []
    if all("reliable" in row for row in rows):
        shares = [
            Series(name, [row["reliable"].get(name) for row in rows], colour)
            for name, colour in record.colours.items()
        ]
        changed = Series("changed", [None if r["alpha"] is None else r["changed"] for r in rows], 1)
        figures += [
            draw_by_epoch(
                record, "Reliable share", shares,
                "Share of the pseudo-labels of each class that the filter keeps for the next epoch.",
                show=percent, y_range=(0, 1.02),
            ),
            draw_by_epoch(
                record, "Changed labels", [changed],
                "Share of all candidate spans. The refinery does not run after the last epoch.",
            ),
        ]  # fmt: skip
    if all("noise_ratio" in row for row in rows):
        noise = _series(rows, {"reliable": "noise_ratio_reliable", "all": "noise_ratio"})
        start = rows[0].get("noise_ratio_start")
        reference = None if start is None else (start, "the teacher's labels")
        note = "Share of wrong labels among spans that are entities by pseudo-label or by gold."
        figures.append(
            draw_by_epoch(record, "Noise ratio", noise, note, show=percent, reference=reference)
        )
    if known := [epoch for epoch in record.epochs if epoch["gold"]]:
        keys = {"correct": "rho_clean", "wrong": "rho_noisy"}
        means = _series([epoch["gold"] for epoch in known], keys)
        note = (
            "Over spans labelled as entities. The farther the two are apart, the better the filter "
            "can separate correct from wrong labels."
        )
        figures.append(draw_by_epoch(record, "Mean ρ by truth", means, note, rows=known))
    return figures


def score_figures(epoch: dict[str, Any]) -> list[Figure]:
    """Draw the scores ρ under the pseudo-label for each class, with the mixture and its cut."""
    figures = []
    colours = class_colours(epoch["classes"])
    for c, name in enumerate(epoch["classes"]):
        css = colour_class(colours[name])
        size = sum(epoch["counts"][c])
        if not size:
            continue
        sides = [np.array(epoch[k][c]) for k in ("counts", "counts_noisy") if k in epoch]
        edges, (counts, *mistaken), below = crop_bins(np.array(epoch["edges"]), sides)
        stacks = [("pseudo-labels", counts.tolist(), css)]
        for wrong in mistaken:
            stacks = [
                ("correct labels", (counts - wrong).tolist(), css),
                ("wrong labels", wrong.tolist(), "wrong"),
            ]
        mixture = epoch["mixtures"][c]
        curves, cut, note = [], None, "No mixture was fitted: all labels are reliable."
        if mixture is not None:
            cut = mixture["cut"]
            curves = mixture_curves(mixture, edges, size, 1.3 * counts.max())
            note = f"{percent(epoch['reliable'][c] / size)} of {size:,} labels are reliable."
        if not epoch["filtered"]:
            note = "The filter did not run after this epoch."
        if gold := epoch["gold"]:
            clean, noisy = (number(gold[f"rho_{k}_by_class"][c]) for k in ("clean", "noisy"))
            note += f" Mean ρ: {clean} for correct labels, {noisy} for wrong ones."
        if below:
            note += f" {below:,} labels with lower scores are not drawn."
        title = f"Scores of {name} in epoch {epoch['epoch']}"
        chart = histogram(title, edges.tolist(), stacks, curves=curves, cut=cut)
        figures.append(Figure(name, chart, note))
    return figures


def crop_bins(
    edges: NDArray[np.floating], counts: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.floating], list[NDArray[np.int64]], int]:
    """Leave out empty bins at both ends and the lowest 0.2 % of the first counts; join the other bins.

    edges (NDArray): Ends of the bins, shape (n + 1,).
    counts (Sequence): Counts in the bins, each of shape (n,).
    RETURNS (tuple): Edges and counts of at most MAX_BARS bins, and the count below the first edge.
    """
    before = np.cumsum(counts[0]) - counts[0]
    filled = np.flatnonzero((counts[0] > 0) & (before + counts[0] > RARE * counts[0].sum()))
    first, stop = max(int(filled[0]) - 1, 0), min(int(filled[-1]) + 2, len(counts[0]))
    step = max(1, math.ceil((stop - first) / MAX_BARS))
    starts = np.arange(first, stop, step)
    joined = [np.add.reduceat(side[:stop], starts) for side in counts]
    places = np.append(starts, starts[-1] + step)
    return edges[0] + (edges[1] - edges[0]) * places, joined, int(before[first])


def mixture_curves(
    mixture: dict[str, Any], edges: NDArray[np.floating], size: int, limit: float
) -> list[Curve]:
    """Compute the expected counts of both components of a mixture in bins, up to a limit."""
    x = np.linspace(edges[0], edges[-1], 161)
    curves = []
    for i, css in enumerate(("low", "high")):
        mean, sd, weight = (mixture[key][i] for key in ("means", "sds", "weights"))
        density = np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
        y = np.minimum(weight * size * (edges[1] - edges[0]) * density, limit)
        curves.append(Curve(list(zip(x.tolist(), y.tolist(), strict=True)), css))
    return curves


def centroid_figures(record: RunRecord) -> list[Figure]:
    """Draw the cosines of the class means: in the shown epoch, at the optimum, and their mean by epoch."""
    rows, classes = record.rows, record.classes
    figures: list[Figure] = []
    reference = None
    if len(classes) > 1:
        optimum = -1 / (len(classes) - 1)
        reference = (optimum, f"optimum {signed(optimum)}")
    if record.epoch is not None and reference is not None:
        best = np.where(np.eye(len(classes)), 1.0, optimum).tolist()
        tables = (
            ("Class means", record.epoch["centroid_cosine"], f"In epoch {record.epoch['epoch']}."),
            ("The optimum", best, f"−1/(K − 1) = {signed(optimum)} for {len(classes)} classes."),
        )
        for name, table, note in tables:
            chart = heat_map(f"Cosines: {name}", classes, table, strengths=table, show=signed)
            figures.append(Figure(name, chart, note))
    if all("centroid_cosine" in row for row in rows):
        figures.append(
            draw_by_epoch(
                record, "Mean cosine of two classes", _series(rows, {"mean cosine": "centroid_cosine"}),
                "The lower, the farther apart.", reference=reference, show=signed,
            )
        )  # fmt: skip
    return figures


def geometry_figures(record: RunRecord) -> list[Figure]:
    """Draw compactness and low margins of the classes by epoch, on source and target."""
    figures = []
    compact = "Mean cosine of spans to their class mean; the optimum is 1."
    margins = "The margin that 95 % of the spans of a class exceed; a span below 0 is closer to another class."
    for key, heading, note, show in (
        ("compactness", "Compactness", compact, number),
        ("margin_low", "Low margin", margins, signed),
    ):
        for side in ("source", "target"):
            known = [epoch for epoch in record.epochs if key in epoch[side]]
            series = [
                Series(name, [epoch[side][key][c] for epoch in known], record.colours[name])
                for c, name in enumerate(record.classes)
            ]
            if known:
                title = f"{heading}, {side}"
                figures.append(draw_by_epoch(record, title, series, note, rows=known, show=show))
    return figures


def map_figure(record: RunRecord, sample: dict[str, NDArray]) -> Markup:
    """Draw span features in two dimensions, coloured by class, with a shape for each language.

    record (RunRecord): The run.
    sample (dict): The sample that `read_sample` returns.
    RETURNS (Markup): The map.
    """
    places = tsne(sample["z"].astype(np.float32), record.summary.get("seed", 0))
    groups = []
    for side, marker, kind in ((0, "circle", "source"), (1, "diamond", "target")):
        for c, name in enumerate(record.classes):
            rows = np.flatnonzero((sample["side"] == side) & (sample["classes"] == c))
            texts = [
                f"{sample['text'][i]} ({name}, {kind} document {sample['doc'][i]})" for i in rows
            ]
            xy = [(float(a), float(b)) for a, b in places[rows]]
            groups.append(Points(f"{kind} {name}", xy, texts, record.colours[name], marker))
    title = f"Span features of epoch {record.epoch['epoch'] if record.epoch else ''} by t-SNE"
    return scatter(title, [group for group in groups if group.xy])


def tsne(z: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Project features to two dimensions by t-SNE, starting from their principal components.

    z (NDArray): Features, shape (n, q).
    seed (int): Seed.
    RETURNS (NDArray[np.float32]): Shape (n, 2).
    """
    from sklearn.manifold import TSNE

    if len(z) < 5:
        return np.pad(z, ((0, 0), (0, 2)))[:, :2]
    perplexity = min(PERPLEXITY, (len(z) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(z)


def error_figures(report: EntityReport, colours: Mapping[str, int]) -> list[Figure]:
    """Draw the confusion with outside, the errors by kind, and F1 by label in the labels' colours."""
    names = [OUTSIDE_NAME, *report.labels]
    counts = report.confusion.tolist()
    totals = [max(sum(row), 1) for row in counts]
    shares = [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]
    counts[OUTSIDE][OUTSIDE] = None
    confusion = heat_map(
        "Gold and predicted entities with the same ends", names, counts,
        strengths=shares, show="{:,}".format, axes=("gold", "predicted"),
    )  # fmt: skip
    # grey, since the colours are those of the classes
    errors = [(name, getattr(report, kind), 0) for kind, name in KINDS.items()]
    kinds = bar_chart("Errors by kind", errors, show="{:,}".format)
    scores = [(label, report.per_type[label].f1, colours[label]) for label in report.labels]
    by_label = bar_chart("F1 by label", scores, show=percent)
    outside = f"{OUTSIDE_NAME} means no entity with these ends. Colours show the share of a row."
    total = report.boundary + report.boundary_and_type
    return [
        Figure("Confusion", confusion, outside),
        Figure("Kinds of errors", kinds, f"{total:,} predictions have wrong ends."),
        Figure("F1 by label", by_label, "Strict: both ends and the type."),
    ]


def signed(value: float) -> str:
    """Format a number with its sign and two digits."""
    return f"{value:+.2f}".replace("-", "−") if round(value, 2) else "0"


def number(value: float | None) -> str:
    """Format a number with two digits, None as a dash."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")
