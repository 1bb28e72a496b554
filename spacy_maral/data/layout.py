"""What a training leaves in its pipeline's folder, by name."""

from __future__ import annotations

META = "meta.json"
"""spaCy's description of a pipeline; a folder without it holds none."""

RUN_FOLDER = "training"
"""Folder of the run, in that of the pipeline; what follows is in it."""

LOG = "log.jsonl"
SUMMARY = "summary.json"
CACHE = "cache"
DIAGNOSTICS = "diagnostics"
DIAGNOSTICS_VERSION = 1
