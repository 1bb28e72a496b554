"""Benchmarks: a matrix of datasets, languages, variants and seeds, run and shown as tables."""

from __future__ import annotations

from .matrix import Matrix, PlannedRun, choose_runs, plan_runs, read_matrix
from .runs import Benchmark, run_all
from .tables import write_tables

__all__ = [
    "Benchmark",
    "Matrix",
    "PlannedRun",
    "choose_runs",
    "plan_runs",
    "read_matrix",
    "run_all",
    "write_tables",
]
