"""The setting of the benchmarks: encoder, text, threads, sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spacy_maral.errors import MaralError
from spacy_maral.model.encoder.files import read_encoder_config

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "maral_small.cfg"
SOURCE, TARGET = "en", "de"


@dataclass(frozen=True)
class Sizes:
    """The amount of work of each case.

    sentences: Sentences of each language in the cases of training steps. steps: Training steps of a
    trial. memory_sentences, data_sentences: Sentences of the cases memory_vs_literal and data.
    vmf_spans: Scored spans. pcla_scale: Factor on the number of candidate spans of the cases pcla.
    infer_sentences: Sentences that pipelines annotate in a trial. train_sentences: Sentences that
    these pipelines are trained on. distil_sentences: Sentences of each language that student and
    distilled pipelines are trained on. product: Side of the large matrix product.
    """

    sentences: int = 3000
    steps: int = 3
    memory_sentences: int = 20_000
    data_sentences: int = 20_000
    vmf_spans: int = 100_000
    pcla_scale: float = 1.0
    infer_sentences: int = 400
    train_sentences: int = 1500
    student_sentences: int = 3000
    distil_sentences: int = 20_000
    layers_sentences: int = 5000
    product: int = 2048


SMOKE = Sizes(
    sentences=60, steps=2, memory_sentences=60, data_sentences=60, vmf_spans=500, pcla_scale=0.01,
    infer_sentences=12, train_sentences=24, student_sentences=160,
    distil_sentences=160, layers_sentences=160, product=128,
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What all cases share.

    encoder: Folder of the pretrained encoder. data: Folder with en/train, en/dev, de/train and so
    on, laid out like WikiAnn. scratch: Folder for temporary files. repeats: Trials of each side.
    smoke: Whether sizes are tiny, so that figures mean nothing. student: Folder of a trained student
    for the cases distil and layers; None to train one. before: Checkout of an older version for the
    cases vs_before; None to leave them out.
    """

    encoder: Path
    data: Path
    scratch: Path
    threads: int = 2
    repeats: int = 9
    smoke: bool = False
    sizes: Sizes = field(default_factory=Sizes)
    student: Path | None = None
    before: Path | None = None

    def part(self, language: str, part: str) -> Path:
        """A file of sentences.

        RAISES (MaralError): If the file is missing.
        """
        path = self.data / language / part
        if not path.is_file():
            raise MaralError(
                f"{path} does not exist. Give with --data a folder of labelled sentences with the files "
                "en/train, en/dev, en/test, de/train, de/dev and de/test, such as WikiAnn's."
            )
        return path

    @property
    def half_of_layers(self) -> int:
        """Half of the number of the encoder's layers, which a teacher freezes."""
        config = read_encoder_config(
            str(self.encoder), local_files_only=True, trust_remote_code=False
        )
        return int(config.num_hidden_layers) // 2

    def describe(self) -> dict[str, Any]:
        """The entries that describe the setting in every result."""
        return {
            "threads": self.threads,
            "encoder": self.encoder.name,
            "data": self.data.name,
            "smoke": self.smoke,
        }
