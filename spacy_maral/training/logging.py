"""What a run tells: a line an epoch, and any spaCy logger that the configuration names."""

from __future__ import annotations

import sys
from typing import Any

from spacy.language import Language
from spacy.util import registry
from tqdm import tqdm

from .loop import Hook


class EpochLines(Hook):
    """Print one line for each epoch.

    n_epochs (int): All epochs of the run.
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs

    def on_row(self, row: dict[str, Any]) -> None:
        tqdm.write(describe_row(row, self.n_epochs))


def describe_row(row: dict[str, Any], n_epochs: int) -> str:
    """An epoch's row of the log as one line of text."""
    parts = [f"epoch {row['epoch']}/{n_epochs}"]
    parts += [f"{name} {value:.4f}" for name, value in row["losses"].items()]
    parts.append(f"dev F1 {100 * row['dev_f1']:.2f}")
    parts.append("kappa {:.0f}-{:.0f}".format(*row["kappa"]))
    parts.append(f"centroid cosine {row['centroid_cosine']:+.3f}")
    if "reliable" in row:
        shares = (f"{k} {100 * v:.0f}%" for k, v in row["reliable"].items() if v is not None)
        parts.append("reliable " + " ".join(shares))
        parts.append(f"changed {row['changed']:,}")
    if "noise_ratio" in row:
        kept, all_labels = row["noise_ratio_reliable"], row["noise_ratio"]
        parts.append(f"noise {all_labels:.3f} (reliable {kept:.3f})")
    parts.append(f"{row['spans_per_second']:,.0f} spans/s")
    return " | ".join(parts)


class SpacyLogger(Hook):
    """Pass the epochs on to a registered spaCy logger, such as spacy.ConsoleLogger.v3.

    config (dict): The logger's block of the configuration, with "@loggers".
    nlp (Language): The pipeline in training.
    n_epochs (int): All epochs of the run; after the last one the logger is closed.
    """

    def __init__(self, config: dict[str, Any], nlp: Language, n_epochs: int) -> None:
        setup = registry.resolve({"logger": config})["logger"]
        self.log_step, self.finalize = setup(nlp, sys.stdout, sys.stderr)
        self.n_epochs = n_epochs
        self.pipes = nlp.pipe_names
        self.steps = 0

    def on_row(self, row: dict[str, Any]) -> None:
        self.steps += row["steps"]
        # spaCy's loggers want a loss of every component; ours is one for encoder and span model
        losses = {**dict.fromkeys(self.pipes, 0.0), "maral_ner": sum(row["losses"].values())}
        scores = {f"ents_{x}": row[f"dev_{y}"] for x, y in zip("prf", PRF, strict=True)}
        self.log_step(
            {
                "epoch": row["epoch"],
                "step": self.steps,
                "score": row["score"],
                "other_scores": scores,
                "losses": {**losses, **row["losses"]},
                "checkpoints": [],
                "seconds": row["seconds"],
                "words": 0,
            }
        )
        if row["epoch"] == self.n_epochs:
            self.finalize()


PRF = ("precision", "recall", "f1")
