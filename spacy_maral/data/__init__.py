"""Data sets: readers, label maps, conversion to .spacy files, span statistics."""

from __future__ import annotations

from .convert import ConvertReport, convert, read_docbin
from .detection import FORMATS, detect_format
from .formats import Sentence, read_sentences
from .labels import load_label_map
from .statistics import SpanStatistics, span_statistics, stats
from .tags import Entity

__all__ = [
    "FORMATS",
    "ConvertReport",
    "Entity",
    "Sentence",
    "SpanStatistics",
    "convert",
    "detect_format",
    "load_label_map",
    "read_docbin",
    "read_sentences",
    "span_statistics",
    "stats",
]
