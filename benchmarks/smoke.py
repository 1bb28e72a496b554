"""A tiny untrained encoder and artificial text, for runs that only show that all cases work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from spacy_maral.errors import MaralError

from .setting import ROOT


def make_inputs(folder: Path) -> tuple[Path, Path]:
    """Write encoder and text to a folder; RETURNS (tuple): Their folders."""
    encoder, data = folder / "tiny", folder / "demo"
    _script("tools/build_encoder.py", "--name", "tiny", "--out", str(encoder))
    _script("tools/make_demo_corpus.py", "--out", str(data), "--size", "small")
    return encoder, data


def _script(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / name), *arguments], capture_output=True, text=True,
        encoding="utf8", cwd=ROOT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise MaralError(f"{name} failed with exit code {done.returncode}:\n{done.stderr}")
