"""Options of the commands that can distribute their work."""

from __future__ import annotations

from enum import Enum

from spacy.cli._util import Opt


class Engine(str, Enum):
    local = "local"
    ray = "ray"


ENGINE = Opt(Engine.local, "--engine", "-e", help="Where the work runs: in this process or on Ray")
ADDRESS = Opt(
    None, "--address",
    help="Ray cluster, such as 'auto' or ray://host:10001; by default a local one is started",
)  # fmt: skip
WORKERS = Opt(None, "--workers", min=1, help="Number of Ray workers; by default as many as fit")
CPUS = Opt(
    1.0, "--cpus-per-worker", min=0.0, help="CPU cores per Ray worker; fractions are allowed"
)
GPUS = Opt(0.0, "--gpus-per-worker", min=0.0, help="GPUs per Ray worker; fractions are allowed")
RETRIES = Opt(3, "--retries", min=0, help="How often work is retried if its worker dies")
