"""Checksums of the files that spaCy writes beside a component: tokenizer, vocabulary, configuration."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from spacy.util import logger
from spacy.vocab import Vocab

from ..errors import Warnings

SUMS = "sha256.json"
CONFIG, META, TOKENIZER, VOCAB = "config.cfg", "meta.json", "tokenizer", "vocab"


def write_sums(folder: Path, vocab: Vocab) -> None:
    """Write the checksums of what spaCy writes of a pipeline, into the folder of its component.

    spaCy writes configuration and tokenizer before the components, and the vocabulary after them.

    folder (Path): The component's folder, in that of the pipeline.
    vocab (Vocab): The vocabulary.
    """
    before = _files(folder.parent / CONFIG, folder.parent / TOKENIZER)
    sums = {path.relative_to(folder.parent).as_posix(): digest(path) for path in before}
    with tempfile.TemporaryDirectory() as name:
        # tables of word vectors may be large, and are not ours
        vocab.to_disk(name, exclude=["vectors"] if len(vocab.vectors) else [])
        written = _files(Path(name))
        sums |= {f"{VOCAB}/{p.relative_to(name).as_posix()}": digest(p) for p in written}
    text = json.dumps(sums, indent=1, sort_keys=True) + "\n"
    (folder / SUMS).write_text(text, encoding="utf8")


def check_sums(folder: Path) -> None:
    """Compare the files of a pipeline with their checksums, if the component was saved with it.

    Components that development versions of 0.1 saved have no checksums. The configuration may have
    been edited, and a component that another pipeline has taken over (`add_pipe` with `source`) was
    saved with the checksums of its first vocabulary: changes of both give a warning. A pipeline may
    be saved without its vocabulary.

    folder (Path): The component's folder.
    RAISES (ValueError): If a file of the tokenizer is missing or has changed.
    """
    place = folder / SUMS
    if not place.is_file() or not (folder.parent / META).is_file():
        return
    sums = json.loads(place.read_text(encoding="utf8"))
    changed = [name for name, wanted in sums.items() if _digest(folder.parent / name) != wanted]
    of_vocab = [name for name in changed if Path(name).parts[0] == VOCAB]
    for name in changed:
        path = folder.parent / name
        if name == CONFIG:
            logger.warning(Warnings.W532.format(path=path))
        elif name not in of_vocab:
            raise ValueError(f"{path} {'is missing' if _digest(path) is None else 'has changed'}")
    if of_vocab and (folder.parent / VOCAB).is_dir():
        files = ", ".join(Path(name).name for name in of_vocab)
        logger.warning(Warnings.W535.format(path=folder.parent / VOCAB, files=files))


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, None if there is none."""
    return digest(path) if path.is_file() else None


def _files(*places: Path) -> Iterable[Path]:
    for place in places:
        found = sorted(place.rglob("*")) if place.is_dir() else [place]
        yield from (path for path in found if path.is_file())


def digest(path: Path) -> str:
    """SHA-256 of a small file, 64 hexadecimal digits."""
    return sha256(path.read_bytes()).hexdigest()
