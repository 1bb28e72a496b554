"""Names of the files that a training writes into its pipeline's folder."""

from __future__ import annotations

META = "meta.json"
"""spaCy's description of a pipeline; a folder without it holds no pipeline."""

CONFIG = "config.cfg"
"""spaCy's configuration of a pipeline."""

RUN_FOLDER = "training"
"""Folder of the run, in the folder of the pipeline; holds all files below."""

LOG = "log.jsonl"
SUMMARY = "summary.json"
CACHE = "cache"
DIAGNOSTICS = "diagnostics"
DIAGNOSTICS_VERSION = 1
