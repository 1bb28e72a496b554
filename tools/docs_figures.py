"""Draw the figures of the documentation with the package's own modules: see build_docs.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from docs_measured import CHOICES, read
from markupsafe import Markup
from numpy.typing import NDArray
from torch.nn.functional import normalize

from spacy_maral.adaptation.filter import split_scores
from spacy_maral.evaluation.report.charts import Curve, histogram
from spacy_maral.evaluation.report.svg import (
    Scale,
    clean,
    colour_class,
    element,
    grid,
    short,
    text_at,
    ticks,
)
from spacy_maral.model.geometry import centroid_cosine, compactness
from spacy_maral.model.losses import cross_entropy, max_margin
from spacy_maral.model.spans import decode, enumerate_spans
from spacy_maral.model.vmf import ClassStatistics, score

DRAWN = (("random", "sentences"), ("suggested", "sentences"), ("suggested", "words"))
UNLABELLED = ("none", "sentences")
STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #5b6575; }
text.note, text.label, text.value { fill: #1b2230; } text.head { fill: #1b2230; font-weight: 600; }
.s0 { --c: #8b929e; } .s1 { --c: #0072b2; } .s2 { --c: #d55e00; } .s3 { --c: #009e73; }
.s4 { --c: #c4629b; } .s5 { --c: #b07d00; } .gridline { stroke: #e9ecf1; }
.ref { stroke: #5b6575; stroke-dasharray: 5 4; } .cut { stroke: #1b2230; stroke-width: 1.5; stroke-dasharray: 2 3; }
.bar { fill: var(--c); fill-opacity: .5; } .curve { fill: none; stroke: var(--c); stroke-width: 2; }
.mean { fill: var(--c); stroke: #fff; stroke-width: 1.5; } .dot { fill: var(--c); fill-opacity: .55; }
.track { fill: none; stroke: var(--c); stroke-width: 1.6; stroke-opacity: .8; }
.globe { fill: #f6f7f9; stroke: #c9cfd8; } .ring { fill: none; stroke: #dfe3e9; }
.box { fill: #fff; stroke: #9aa3b0; stroke-width: 1.3; } .box.made { fill: #e8f2fa; stroke: #0072b2; }
.box.end { fill: #e6f5ef; stroke: #009e73; } .arrow { fill: none; stroke: #5b6575; stroke-width: 1.4; }
.solid { fill: var(--c); fill-opacity: .8; } .faint { fill: #e1e5eb; }
"""
CLASSES = ("outside", "PER", "LOC", "ORG")
SIZES = (600, 6, 6, 6)
STEPS = 400


def standalone(svg: str) -> str:
    """An svg element as a file of its own, on white ground."""
    opening, rest = svg.split(">", 1)
    box = opening.split('viewBox="')[1].split('"')[0]
    width, height = box.split()[2:]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" width="{width}" height="{height}" '
        f'role="img"><style>{STYLE}</style>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{rest}\n'
    )


def polyline(points: Sequence[tuple[float, float]], css: str) -> str:
    return f'<polyline class="{css}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def draw_scores() -> str:
    """rho against the cosine with the class mean, for several concentrations."""
    cosines = np.linspace(-1, 1, 81)
    z = np.zeros((len(cosines), 64))
    z[:, 0], z[:, 1] = cosines, np.sqrt(1 - cosines**2)
    kappas = (20.0, 60.0, 200.0, 2000.0)
    directions = torch.eye(1, 64, dtype=torch.float64).expand(len(kappas), -1)
    rho = score(torch.from_numpy(z), directions, torch.tensor(kappas, dtype=torch.float64)).numpy()
    size = (560, 300)
    across = Scale(-1, 1, 52, 450)
    up = Scale(float(np.floor(rho.min())), float(np.ceil(rho.max())), 262, 16)
    body = grid(up, across, ticks(up.low, up.high), short)
    for place in (-1, -0.5, 0, 0.5, 1):
        body.append(text_at(across(place), 280, short(place), "middle"))
    body.append(text_at(251, 296, "cosine between the span and the class mean", "middle", "note"))
    body.append(text_at(8, 12, "ρ", css="note"))
    for number, kappa in enumerate(kappas, start=1):
        line = [(across(x), up(y)) for x, y in zip(cosines, rho[:, number - 1], strict=True)]
        body.append(polyline(line, f"curve {colour_class(number)}"))
        body.append(text_at(456, line[-1][1] + 4, f"κ = {kappa:.0f}", css="label"))
    return element("Class score against cosine", "Curves for four concentrations", size, body)


class Course(NamedTuple):
    """A toy training: class means after each step, and the features at the end."""

    means: NDArray[np.float64]
    z: NDArray[np.float64]
    classes: NDArray[np.int64]
    cosine: NDArray[np.float64]
    compact: NDArray[np.float64]


def train_toy(loss: str, prior_scale: float = 0.0) -> Course:
    """Let features move freely on the sphere, one class a hundred times as large as the others."""
    generator = torch.Generator().manual_seed(4)
    classes = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    # features of a fresh model: all of them in one cone
    start = torch.tensor([0.3, -0.5, 0.8]) + 0.35 * torch.randn(
        len(classes), 3, generator=generator
    )
    free = torch.nn.Parameter(start.double())
    statistics = ClassStatistics(len(SIZES), 3, temperature=0.5, pseudo_count=100.0, seed=2)
    log_prior = prior_scale * torch.log(torch.tensor(SIZES) / sum(SIZES))
    head = torch.nn.Linear(3, len(SIZES), dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(0.3 * torch.randn(len(SIZES), 3, generator=generator))
        head.bias.zero_()
    optimiser = torch.optim.Adam([free, *head.parameters()], lr=0.03)
    means = []
    for _ in range(STEPS):
        z = normalize(free, dim=1)
        member = torch.nn.functional.one_hot(classes).double()
        means.append(normalize(member.T @ z.detach(), dim=1).numpy())
        if loss == "max_margin":
            value = max_margin(statistics.score(z), classes, log_prior)
        else:
            value = cross_entropy(head(z), classes)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        statistics.reset_counts()
        statistics.update(z.detach(), classes)
    last, numbers = z.detach().numpy(), classes.numpy()
    rows, columns = np.triu_indices(len(SIZES), 1)
    cosine = np.array([centroid_cosine(step)[rows, columns].max() for step in means])
    return Course(np.stack(means), last, numbers, cosine, compactness(last, numbers, means[-1]))


def turn(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Look at the sphere from the side and a little from above."""
    a, b = np.radians(35), np.radians(-62)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return points @ about_z.T @ about_x.T


def draw_globe(course: Course, title: str, x: float, y: float, radius: float) -> list[str]:
    """Spans as dots, class means as discs, and their ways."""
    body = [text_at(x, y - radius - 14, title, "middle", "head")]
    body.append(f'<circle class="globe" cx="{x}" cy="{y}" r="{radius}"/>')
    angles = np.linspace(0, 2 * np.pi, 60)
    ring = turn(np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1))
    body.append(polyline([(x + radius * p[0], y - radius * p[1]) for p in ring], "ring"))
    shown = np.concatenate([np.flatnonzero(course.classes == c)[:60] for c in range(len(SIZES))])
    for p, c in zip(turn(course.z[shown]), course.classes[shown], strict=True):
        place = f'cx="{x + radius * p[0]:.1f}" cy="{y - radius * p[1]:.1f}"'
        body.append(f'<circle class="dot {colour_class(c)}" {place} r="2"/>')
    for c in range(len(SIZES)):
        way = turn(course.means[::8, c])
        body.append(
            polyline(
                [(x + radius * p[0], y - radius * p[1]) for p in way], f"track {colour_class(c)}"
            )
        )
        end = turn(course.means[-1, c])
        place = f'cx="{x + radius * end[0]:.1f}" cy="{y - radius * end[1]:.1f}"'
        body.append(f'<circle class="mean {colour_class(c)}" {place} r="6.5"/>')
    return body


def draw_spheres() -> str:
    """Class means under cross-entropy, under max-margin loss, and under the same with the log prior."""
    courses = {
        "cross-entropy": train_toy("cross_entropy"),
        "max-margin loss": train_toy("max_margin"),
        "the same with log prior": train_toy("max_margin", prior_scale=1.0),
    }
    size = (760, 500)
    body = []
    for i, (title, course) in enumerate(courses.items()):
        body += draw_globe(course, title, 128 + 252 * i, 160, 112)
    for c, name in enumerate(CLASSES):
        left = 230 + 82 * c
        body.append(f'<circle class="mean {colour_class(c)}" cx="{left}" cy="304" r="5.5"/>')
        body.append(text_at(left + 10, 308, name, css="label"))
    across, up = Scale(0, STEPS, 52, 560), Scale(-0.5, 1, 466, 340)
    body += grid(up, across, (-0.5, 0, 0.5, 1), short)
    for place in range(0, STEPS + 1, 100):
        body.append(text_at(across(place), 482, str(place), "middle"))
    body.append(text_at(across.start, 330, "largest cosine of two class means", css="note"))
    body.append(text_at(306, 497, "step", "middle", "note"))
    best = up(-1 / (len(SIZES) - 1))
    body.append(f'<line class="ref" x1="52" x2="560" y1="{best}" y2="{best}"/>')
    body.append(text_at(566, best + 14, "optimum −1/3", css="note"))
    for css, (title, course) in zip(("s2", "s1", "s3"), courses.items(), strict=True):
        line = [(across(i), up(v)) for i, v in enumerate(course.cosine) if i % 4 == 0]
        body.append(polyline(line, f"curve {css}"))
        body.append(text_at(566, line[-1][1] - 2, title, css="label"))
    return element("Toy training with imbalance 100 to 1", "Class means on the sphere", size, body)


def draw_mixture() -> str:
    """Scores of the pseudo-labels of one class, both components and the cut."""
    rng = np.random.default_rng(0)
    dim, n_right, n_wrong = 64, 900, 350
    statistics = ClassStatistics(5, dim, seed=1)
    direction = statistics.direction[1].numpy().astype(np.float64)
    # right labels lie near the class mean, wrong ones anywhere between it and the other classes
    cosines = np.concatenate(
        [rng.normal(0.86, 0.05, n_right), rng.normal(0.52, 0.13, n_wrong)]
    ).clip(-0.99, 0.99)
    other = rng.normal(size=(len(cosines), dim))
    other -= np.outer(other @ direction, direction)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    z = cosines[:, None] * direction + np.sqrt(1 - cosines**2)[:, None] * other
    rho = statistics.score(torch.from_numpy(z)).numpy()[:, 1]
    right = np.arange(len(rho)) < n_right
    _, mixture = split_scores(rho, seed=0)
    assert mixture is not None
    edges = np.linspace(rho.min(), rho.max(), 41)
    counts = [np.histogram(rho[part], edges)[0].tolist() for part in (~right, right)]
    places = np.linspace(edges[0], edges[-1], 120)
    curves = []
    parts = zip(mixture.means, mixture.sds, mixture.weights, ("s2", "s1"), strict=True)
    for mean, sd, weight, css in parts:
        density = np.exp(-0.5 * ((places - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
        heights = density * weight * len(rho) * (edges[1] - edges[0])
        curves.append(Curve(list(zip(places, heights, strict=True)), css))
    stacks = [("wrong labels", counts[0], "s2"), ("right labels", counts[1], "s1")]
    drawn = histogram(
        "Scores of one class's pseudo-labels", edges.tolist(), stacks, curves=curves,
        cut=mixture.cut, size=(560, 280),
    )  # fmt: skip
    legend = [text_at(300, 278, "ρ", "middle", "note")]
    for i, (name, _, css) in enumerate(stacks):
        legend.append(f'<rect class="bar {css}" x="70" y="{30 + 18 * i}" width="12" height="10"/>')
        legend.append(text_at(88, 39 + 18 * i, name, css="label"))
    return drawn.replace("</svg>", Markup("\n".join(legend) + "\n</svg>"))


def draw_spans() -> str:
    """Candidate spans of a sentence, and those that the decoder chooses."""
    words = ["Die", "Deutsche", "Bahn", "zog", "nach", "Bad", "Homburg"]
    starts, ends, _ = enumerate_spans([len(words)], 4)
    scores = np.tile([4.0, 0.0, 0.0], (len(starts), 1))
    named = {(1, 2): (1.0, 6.5), (2, 2): (2.0, 4.5), (5, 6): (1.5, 7.0), (6, 6): (2.0, 4.4)}
    kinds = {(1, 2): 1, (2, 2): 1, (5, 6): 2, (6, 6): 2}
    for i, span in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if span in named:
            scores[i, 0], scores[i, kinds[span]] = named[span]
    chosen, classes, _ = decode(scores, starts, ends)
    found = dict(zip(chosen.tolist(), classes.tolist(), strict=True))
    size, step = (660, 188), 88
    body = []
    for j, word in enumerate(words):
        body.append(text_at(20 + step * (j + 0.5), 20, word, "middle", "head"))
    for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        width = end - start
        # spans of one width are stacked so that none covers another
        y = 34 + 8 * (width * (width + 1) // 2 + start % (width + 1)) + 14 * width
        css = f"solid {colour_class(found[i] + 1)}" if i in found else "faint"
        if i not in found and (start, end) in named:
            css = "bar s0"
        body.append(
            f'<rect class="{css}" x="{24 + step * start}" y="{y}" width="{step * (width + 1) - 8}" '
            f'height="6" rx="3"/>'
        )
    legend = [
        ("solid s2", "chosen: ORG"), ("solid s3", "chosen: LOC"),
        ("bar s0", "overlaps a better one"), ("faint", "outside"),
    ]  # fmt: skip
    x = 24
    for css, name in legend:
        body.append(f'<rect class="{css}" x="{x}" y="168" width="14" height="6" rx="3"/>')
        body.append(text_at(x + 20, 175, name, css="label"))
        x += 50 + int(6.3 * len(name))
    return element("Candidate spans of up to four words", f"{len(starts)} spans", size, body)


def draw_pipeline() -> str:
    """What goes into a model and how it comes out."""
    boxes = {
        "source": (16, 24, "labelled text", "source language", ""),
        "raw": (16, 204, "raw text", "target language", ""),
        "teacher": (216, 24, "train-teacher", "cross-entropy", "made"),
        "labels": (416, 204, "pseudo-label", "soft labels of all spans", "made"),
        "student": (416, 24, "adapt: the student", "max-margin loss", "made"),
        "filter": (616, 114, "filter and refine", "after each epoch", "made"),
        "model": (616, 24, "spaCy pipeline", "evaluate, card, package", "end"),
    }
    wide, high = 166, 56
    body = [
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#5b6575"/></marker></defs>'
    ]
    arrows = [
        "M182 52H214", "M582 52H614", "M182 240H414", "M299 80V222H414",
        "M480 204V82", "M550 80V142H614", "M699 170V232H584", "M99 80V118H450V82",
    ]  # fmt: skip
    body += [f'<path class="arrow" d="{way}" marker-end="url(#tip)"/>' for way in arrows]
    for x, y, title, below, css in boxes.values():
        body.append(
            f'<rect class="box {css}" x="{x}" y="{y}" width="{wide}" height="{high}" rx="8"/>'
        )
        body.append(text_at(x + wide / 2, y + 24, title, "middle", "head"))
        body.append(text_at(x + wide / 2, y + 43, below, "middle"))
    notes = [
        (108, 134, "gold labels of the source"), (190, 256, "without labels"),
        (488, 190, "reliable ones"), (596, 250, "better labels"),
    ]  # fmt: skip
    body += [text_at(x, y, text) for x, y, text in notes]
    return element("From labelled source text and raw target text to a model", "", (798, 276), body)


def draw_suggested() -> str:
    """F1 against the labelled target words, of sentences that are suggested or drawn at random."""
    rows = read("results-suggested.json")
    f1s = [100 * row["f1"] for row in rows]
    up = Scale(math.floor(min(f1s)) - 1, math.ceil(max(f1s)) + 1, 232, 30)
    most = math.sqrt(max(row["words"] for row in rows))
    body = []
    for left, pair in zip((40, 390), dict.fromkeys(row["pair"] for row in rows), strict=True):
        roots = Scale(0, most, left, left + 310)
        body += grid(up, roots, ticks(up.low, up.high), short)
        body += [
            text_at(roots(math.sqrt(words)), 250, f"{words:,}", "middle")
            for words in (0, 500, 2000, 5000, 10000)
        ]
        body.append(text_at(left + 155, 14, pair, "middle", "head"))
        for colour, kind in enumerate(DRAWN, start=1):
            own = [
                (row["words"], 100 * row["f1"])
                for row in rows
                if row["pair"] == pair and (row["choice"], row["unit"]) in (kind, UNLABELLED)
            ]
            line = [(roots(math.sqrt(words)), up(f1)) for words, f1 in sorted(own)]
            css = colour_class(colour)
            body.append(polyline(line, f"curve {css}"))
            body += [f'<circle class="mean {css}" cx="{x}" cy="{y}" r="4"/>' for x, y in line]
    body.append(text_at(8, 14, "F1", css="note"))
    body.append(text_at(370, 270, "words of labelled target sentences", "middle", "note"))
    for colour, (kind, x) in enumerate(zip(DRAWN, (150, 290, 460), strict=True), start=1):
        body.append(f'<circle class="mean {colour_class(colour)}" cx="{x}" cy="288" r="4"/>')
        body.append(text_at(x + 10, 292, CHOICES[kind], css="label"))
    return element("F1 by number of labelled target words", "", (720, 302), body)


FIGURES: Mapping[str, Callable[[], str]] = {
    "pipeline": draw_pipeline,
    "spans": draw_spans,
    "scores": draw_scores,
    "spheres": draw_spheres,
    "mixture": draw_mixture,
    "suggested": draw_suggested,
}


def draw_figures() -> dict[str, str]:
    """RETURNS (dict): Figures by file name, each a whole SVG file."""
    torch.set_num_threads(1)
    return {f"{clean(name)}.svg": standalone(draw()) for name, draw in FIGURES.items()}
