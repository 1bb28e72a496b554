"""Data sets: readers, label maps, conversion to .spacy files, span statistics."""

from __future__ import annotations

from .convert import ConvertReport, convert, read_docbin, read_labelled
from .detection import FORMATS, detect_format
from .docs import read_docs
from .formats import Sentence, read_sentences
from .labels import load_label_map
from .prodigy import read_prodigy, write_prodigy
from .raw import RawReport, prepare_text, read_raw
from .statistics import SpanStatistics, span_statistics, stats
from .tags import Entity

__all__ = [
    "FORMATS",
    "ConvertReport",
    "Entity",
    "RawReport",
    "Sentence",
    "SpanStatistics",
    "convert",
    "detect_format",
    "load_label_map",
    "prepare_text",
    "read_docbin",
    "read_docs",
    "read_labelled",
    "read_prodigy",
    "read_raw",
    "read_sentences",
    "span_statistics",
    "stats",
    "write_prodigy",
]
