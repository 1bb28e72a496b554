"""A tiny untrained encoder and made-up text, for runs that only show that everything works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from spacy_maral.errors import Errors, MaralError

from .setting import ROOT

TOOLS = ROOT / "tools"


def make_inputs(folder: Path) -> tuple[Path, Path]:
    """Write an encoder and text into a folder; RETURNS (tuple): Their folders."""
    encoder, data = folder / "tiny", folder / "demo"
    _script("build_encoder.py", "--name", "tiny", "--out", str(encoder))
    _script("make_demo_corpus.py", "--out", str(data), "--size", "small")
    return encoder, data


def _script(name: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOLS / name), *arguments], capture_output=True, text=True,
        encoding="utf8", cwd=ROOT, check=False,
    )  # fmt: skip
    if done.returncode:
        found = {"function": f"tools/{name}", "code": done.returncode, "tail": done.stderr}
        raise MaralError(Errors.M444.format(**found))
