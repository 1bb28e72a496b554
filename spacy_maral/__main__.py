"""`python -m spacy_maral` is `python -m spacy maral`; `torchrun -m` takes it too."""

from __future__ import annotations

import os

# of several processes of a training only the first shows its progress
if int(os.environ.get("RANK", 0)):
    os.environ.setdefault("TQDM_DISABLE", "1")

from .cli import app

if __name__ == "__main__":
    app(prog_name="python -m spacy_maral")
