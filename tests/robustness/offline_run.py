"""All steps from raw data to predictions, in a process that may not use the network.

    python tests/robustness/offline_run.py ENCODER FOLDER

`test_safety.py` starts it. Every try to reach another machine is refused and written to
FOLDER/network.txt, as a library may pass over a refusal in silence.
"""

from __future__ import annotations

import socket
import sys
import traceback
from pathlib import Path
from typing import Any

ENCODER, FOLDER = sys.argv[1:3]


def refuse(*args: Any, **kwargs: Any) -> None:
    with open(Path(FOLDER, "network.txt"), "a", encoding="utf8") as file:
        file.write("".join(traceback.format_stack(limit=12)) + f"{args}\n\n")
    raise OSError("the network is not to be used")


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse  # type: ignore

import spacy  # noqa: E402
import torch  # noqa: E402
from typer.main import get_command  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from installed import ARCHITECTURE, OURS  # noqa: E402
from worlds import CONFIG, make_docs  # noqa: E402

from spacy_maral.cli import app  # noqa: E402
from spacy_maral.training import summary  # noqa: E402

LABEL = "../../../escaped"


def maral(*arguments: str | Path) -> None:
    """Run a `spacy maral` command."""
    get_command(app)([str(argument) for argument in arguments], standalone_mode=False)


def write_conll(path: Path, side: str, n_docs: int, seed: int) -> Path:
    """Sentences of the toy world as text, one of their labels made to look like a path."""
    lines = []
    for doc in make_docs(side, n_docs, seed):
        for token in doc:
            label = LABEL if token.ent_type_ == "PER" else token.ent_type_
            lines.append(f"{token.text}\t{token.ent_iob_}{'-' if label else ''}{label}")
        lines.append("")
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


def main() -> None:
    folder = Path(FOLDER)
    torch.set_num_threads(1)
    config = folder / "toy.cfg"
    text = CONFIG.replace("ENCODER", ENCODER).replace("epochs = 4", "epochs = 2")
    config.write_text(text.replace(ARCHITECTURE, OURS), encoding="utf8")
    sizes = {"train": ("source", 40), "dev": ("source", 12), "target": ("target", 24)}
    for seed, (name, (side, n_docs)) in enumerate(sizes.items()):
        raw = write_conll(folder / f"{name}.conll", side, n_docs, seed)
        maral("convert", raw, folder / f"{name}.spacy", "--format", "conll", "--lang", "xx")
    train, dev, target = (folder / f"{name}.spacy" for name in sizes)
    # the checkpoints stay, so that they can be looked into
    summary.remove_folder = lambda path: None
    maral("train-teacher", config, "-s", train, "-d", dev, "-o", folder / "teacher")
    maral("pseudo-label", folder / "teacher", target, "-o", folder / "labels.npz")
    maral(
        "adapt", config, "--teacher", folder / "teacher", "--source", train, "--dev", dev,
        "--target", target, "--labels", folder / "labels.npz", "-o", folder / "student",
    )  # fmt: skip
    maral("evaluate", folder / "student", dev, "-o", folder / "metrics.json")
    maral("report", folder / "student", "-o", folder / "report.html")
    nlp = spacy.load(folder / "student")
    assert nlp("Merkel visited Paris").has_annotation("ENT_IOB")


if __name__ == "__main__":
    main()
