"""The documents that a run is given: one or more files a side, labelled or raw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spacy.tokens import Doc
from tqdm.auto import tqdm

from ..data.docs import read_docs
from ..data.raw import RawReport, is_docbin, read_raw
from ..errors import Errors, MaralError
from ..model.memory import give_back_memory
from .streams import Parts

Paths = str | Path | Sequence[str | Path]


@dataclass
class Inputs:
    """Documents by side, and the files of those sides that have several.

    docs (dict): Documents of "source", "target", "dev" and so on; of several files, one after the
        other. parts (dict): Names and sizes of the files.
    """

    docs: dict[str, list[Doc]] = field(default_factory=dict)
    parts: dict[str, Parts] = field(default_factory=dict)

    @classmethod
    def read(cls, lang: str | Sequence[str] | None = None, **sides: Paths | None) -> Inputs:
        """Read documents.

        lang (str | Sequence[str] | None): Language of a target that is raw text; one for all its
            files, or one for each.
        sides (Paths | None): Files by side; the target may have raw text. None is passed over.
        RETURNS (Inputs): The documents.
        RAISES (MaralError): If a file cannot be read, or raw text has no language.
        """
        inputs = cls()
        for side, given in sides.items():
            if given is None:
                continue
            paths = as_paths(given)
            files = read_targets(paths, lang) if side == "target" else [*map(read_docs, paths)]
            inputs.docs[side] = [doc for docs in files for doc in docs]
            if len(paths) > 1:
                inputs.parts[side] = Parts(part_names(paths), tuple(map(len, files)))
        return inputs

    def forget(self) -> None:
        """Let go of the documents, once there are arrays of them: a training needs their memory."""
        self.docs.clear()
        give_back_memory()

    def sizes(self) -> dict[str, str]:
        """What a run's fingerprint has of its parts: they decide about the priors."""
        return {
            f"{side} files": " + ".join(map(str, parts.sizes)) for side, parts in self.parts.items()
        }


def as_paths(paths: Paths) -> list[Path]:
    """One path or several as a list."""
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def part_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """What files are called in the log: by their names, or where these are alike, their paths."""
    names = tuple(path.name.partition(".")[0] or path.name for path in paths)
    return names if len(set(names)) == len(names) else tuple(map(str, paths))


def read_targets(paths: Sequence[Path], lang: str | Sequence[str] | None) -> list[list[Doc]]:
    """Read documents of the target, a list for each path.

    .spacy files are taken as they are; raw text is read as `prepare_text` does by default, so that
    the documents are the same whenever they are read.

    paths (Sequence[Path]): .spacy files, or files and folders of raw text (see `read_raw`).
    lang (str | Sequence[str] | None): Language of raw text; one for all paths, or one for each.
    RETURNS (list): Documents of each path.
    RAISES (MaralError): If a file cannot be read, or raw text has no language.
    """
    langs = [lang] if lang is None or isinstance(lang, str) else list(lang)
    if len(langs) == 1:
        langs = langs * len(paths)
    if len(langs) != len(paths):
        found = {"n": len(langs), "what": "languages", "n_targets": len(paths)}
        raise MaralError(Errors.M338.format(**found))
    files = []
    for path, code in zip(paths, langs, strict=True):
        if is_docbin(path):
            files.append(read_docs(path))
        elif code is None:
            raise MaralError(Errors.M337.format(path=path))
        else:
            report = RawReport([], code)
            files.append(list(read_raw(path, code, report=report)))
            tqdm.write(f"{path}: {report}")
    return files
