"""The commands convert, export, prepare-text and stats."""

from __future__ import annotations

import json
import warnings
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from spacy.cli._util import Arg, Opt
from wasabi import msg

from ._options import FILE, SEGMENTER, Segmenter
from ._util import app, reported, show_counts

if TYPE_CHECKING:
    from ..data.statistics import SpanStatistics


# the names of data.formats.registry.FORMATS, which is not imported for --help
NAMES = (
    "conll", "bioes", "wikiann", "multiconer", "iob2", "conllu", "huggingface", "gliner",
    "label-studio", "argilla", "spacy-annotator", "doccano", "spacy", "prodigy", "jsonl", "brat",
)  # fmt: skip
Format = Enum("Format", {name: name for name in ("auto", *NAMES)}, type=str)  # type: ignore[misc]
ExportFormat = Enum("ExportFormat", {name: name for name in NAMES}, type=str)  # type: ignore[misc]


class Tags(str, Enum):
    repair = "repair"
    strict = "strict"


class Misaligned(str, Enum):
    refuse = "refuse"
    drop = "drop"
    expand = "expand"


FORMAT = Opt("auto", "--format", "-f", help="Format of the file")
LANG = Opt("xx", "--lang", "-l", help="Language code; xx for several languages or an unknown one")
LABEL_MAP = Opt(
    None, "--label-map", "-m",
    help="'coarse' (maps MultiCoNER's fine types to six), or a JSON or TOML file of old and new labels",
)  # fmt: skip


@app.command("convert")
def convert_cli(
    input_path: str = Arg(
        ...,
        help="File of labelled sentences (also .spacy), folder of a dataset or of brat, or hf://OWNER/NAME",
    ),
    output_path: Path = Arg(..., help="File to write (.spacy)", dir_okay=False),
    format: Format = FORMAT,
    lang: str = LANG,
    label_map: str | None = LABEL_MAP,
    unlabelled: bool = Opt(False, "--unlabelled", "-u", help="Remove entities, to get raw text"),
    tags: Tags = Opt(
        Tags.repair, "--tags",
        help="What to do with tags that do not fit together, such as I- after O",
    ),
    misaligned: Misaligned = Opt(
        Misaligned.refuse, "--misaligned",
        help="What to do with entities that do not begin and end where words do",
    ),
    columns: str | None = Opt(
        None, "--columns", help="Columns of word and tag, counted from 0, such as word=1,tag=3"
    ),
    tag_names: Path | None = Opt(
        None, "--tag-names", exists=True, dir_okay=False,
        help="JSON file with the names of tags that are numbers",
    ),
    split: str = Opt("train", "--split", help="Part of a dataset in several parts"),
    segmenter: Segmenter | None = SEGMENTER,
) -> None:  # fmt: skip
    """
    Convert labelled sentences to spaCy's binary format, one document per
    sentence. Tags that do not fit together are repaired: an entity begins where
    the label changes or a begin tag is missing. Repairs are counted, and the
    first ones are shown. Other lines that violate the format are refused, all
    of them at once, with their line numbers. Of a .spacy file, the words, spaces
    and entities are kept, with new labels by --label-map.
    """
    from ..data.convert import convert

    with reported("convert the data"), warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        report = convert(
            input_path,
            output_path,
            format=format.value,
            lang=lang,
            label_map=label_map,
            unlabelled=unlabelled,
            tags=tags.value,
            misaligned=misaligned.value,
            columns=columns,
            tag_names=tag_names,
            split=split,
            segmenter=segmenter and segmenter.value,
        )
    msg.good(f"{report.sentences:,} sentences, {report.tokens:,} tokens", report.output)
    for note in notes:
        msg.warn(str(note.message))
    show_counts("Entities", report.entities)
    show_counts("Repaired", report.repairs)
    for kind, examples in report.examples.items():
        msg.text(f"{kind}, for example:\n  " + "\n  ".join(examples))
    show_counts("Left out by the label map", report.dropped)
    if report.duplicates:
        msg.warn(
            f"{report.duplicates:,} sentences repeat the words of an earlier one; they are kept"
        )


@app.command("export")
def export_cli(
    input_path: Path = Arg(..., help="File of labelled documents (.spacy)", **FILE),
    output_path: Path = Arg(..., help="File to write", dir_okay=False),
    format: ExportFormat = Opt("jsonl", "--format", "-f", help="Format to write"),
    lang: str = LANG,
) -> None:
    """
    Write labelled documents in another format, for annotation tools and other
    libraries. Rows become JSON Lines, one list of JSON (.json) or Parquet
    (.parquet). The file is read back and compared before it gets its name:
    'convert' makes the same documents of it.
    """
    from ..data.export import export

    with reported("export the data"):
        n_docs = export(input_path, output_path, format=format.value, lang=lang)
    msg.good(f"{n_docs:,} documents", output_path)


@app.command("prepare-text")
def prepare_text_cli(
    inputs: list[Path] = Arg(
        ..., help="Files or directories of text (.txt, .jsonl, .spacy, optionally .gz)", exists=True
    ),
    output_path: Path = Arg(..., help="File to write (.spacy)", dir_okay=False),
    lang: str = Opt(..., "--lang", "-l", help="Language code; selects tokenizer and splitter"),
    split: bool = Opt(True, "--split/--no-split", help="Split into sentences by rules"),
    min_words: int = Opt(3, "--min-words", min=1, help="Shortest sentence, in words"),
    max_words: int = Opt(200, "--max-words", min=1, help="Longest sentence, in words"),
    limit: int | None = Opt(None, "--limit", "-n", min=1, help="Maximum number of sentences"),
    seed: int | None = Opt(
        None,
        "--seed",
        help="Seed for drawing --limit sentences at random, instead of the first ones",
    ),
    segmenter: Segmenter | None = SEGMENTER,
    as_json: bool = Opt(False, "--json", "-j", help="Print JSON only"),
) -> None:
    """
    Convert unlabelled text to spaCy's binary format, as raw text for adaptation.
    A .txt file has one sentence or document per line; a .jsonl file has objects
    with the key "text". spaCy's tokenizer for the language splits the text into
    words. Sentences that are too short or too long, or that repeat an earlier
    one, are left out and counted.
    """
    from ..data.raw import prepare_text

    with reported("prepare the text"):
        report = prepare_text(
            inputs, output_path, lang=lang, split=split, min_words=min_words,
            max_words=max_words, limit=limit, seed=seed,
            segmenter=segmenter and segmenter.value,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False))
        return
    msg.good(f"{report.sentences:,} sentences, {report.tokens:,} tokens", output_path)
    msg.info(f"Texts read: {report.texts:,}")
    show_counts("Sentences left out", report.left_out)


def show_widths(statistics: SpanStatistics) -> None:
    """Print how many entities of each type are longer than the longest candidate span."""
    if not statistics.entities:
        return
    counts = [(k, statistics.wider[k], n) for k, n in statistics.entities.items()]
    counts.append(("all", sum(statistics.wider.values()), sum(statistics.entities.values())))
    msg.table(
        [(label, f"{n:,}", f"{wide:,}", f"{100 * wide / n:.1f}") for label, wide, n in counts],
        title=f"Entities of more than {statistics.max_width} words",
        header=("", "entities", "longer", "%"),
        aligns=("l", "r", "r", "r"),
        divider=True,
    )
    msg.text(
        f"95 % of the entities have up to {statistics.width_of(0.95)} words, 99 % up to "
        f"{statistics.width_of(0.99)}; a model cannot find entities longer than its max_width."
    )


@app.command("stats")
def stats_cli(
    paths: list[Path] = Arg(..., help="Files of labelled sentences or .spacy files", **FILE),
    format: Format = FORMAT,
    lang: str = LANG,
    max_width: int = Opt(8, "--max-width", "-w", min=1, help="Longest candidate span, in words"),
    label_map: str | None = LABEL_MAP,
    as_json: bool = Opt(False, "--json", "-j", help="Print JSON only"),
) -> None:
    """
    Count sentences, candidate spans and entities. Entities longer than the
    longest candidate span still count for their class. The number of outside
    spans is the number of candidates minus the number of entities. Several
    files, such as the parts of a dataset, make one table with a column each.
    """
    from ..data.statistics import span_table, stats

    with reported("count the spans"):
        found = {
            str(path): stats(
                path, format=format.value, lang=lang, max_width=max_width, label_map=label_map
            )
            for path in paths
        }
    if as_json:
        results = {path: statistics.to_dict() for path, statistics in found.items()}
        shown = results if len(paths) > 1 else results[str(paths[0])]
        typer.echo(json.dumps(shown, ensure_ascii=False))
    elif len(paths) > 1:
        header, rows = span_table(found)
        aligns = ("l", *("r" for _ in paths))
        title = f"Spans of up to {max_width} words"
        msg.table(rows, title=title, header=header, aligns=aligns, divider=True)
    else:
        show_statistics(paths[0], found[str(paths[0])])


def show_statistics(path: Path, statistics: SpanStatistics) -> None:
    """Print the counts of one file."""
    show_counts(str(path), {"sentences": statistics.sentences, "tokens": statistics.tokens})
    title = f"Spans of up to {statistics.max_width} words"
    show_counts(title, statistics.to_dict()["spans"])
    show_widths(statistics)
    show_counts("Repaired", statistics.repairs)
    show_counts("Left out by the label map", statistics.dropped)
    if statistics.unlabelled:
        msg.warn(
            f"{statistics.unlabelled:,} sentences have no labels, so their spans are not counted"
        )
    if statistics.partial:
        msg.warn(
            f"{statistics.partial:,} sentences are partly annotated: spans with words that are not "
            "are not counted"
        )
