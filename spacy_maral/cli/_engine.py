"""Options of the commands that share their work out."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from spacy.cli._util import Opt

if TYPE_CHECKING:
    from ..scale import RayEngine


class EngineName(str, Enum):
    local = "local"
    ray = "ray"


ENGINE = Opt(EngineName.local, "--engine", "-e", help="What it runs on")
ADDRESS = Opt(
    None, "--address",
    help="Ray cluster to use, such as 'auto' or ray://host:10001; by default one is started here",
)  # fmt: skip
WORKERS = Opt(None, "--workers", min=1, help="Ray workers; by default as many as fit")
CPUS = Opt(1.0, "--cpus-per-worker", min=0.0, help="CPU cores of a Ray worker, or a share of one")
GPUS = Opt(0.0, "--gpus-per-worker", min=0.0, help="GPUs of a Ray worker, or a share of one")
RETRIES = Opt(3, "--retries", min=0, help="Times that work is begun again if its worker dies")


def ray_engine(
    name: EngineName,
    *,
    address: str | None,
    workers: int | None,
    cpus: float,
    gpus: float,
    retries: int,
    verbose: bool,
) -> RayEngine | None:
    """RETURNS (RayEngine | None): The engine that the options name, None for this process."""
    if name is EngineName.local:
        return None
    from ..scale import RayEngine

    return RayEngine(address, workers, cpus, gpus, retries, verbose)
