"""The input documents of a run: one or more files per side, labelled or raw."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spacy.tokens import Doc
from thinc.api import Config
from tqdm.auto import tqdm

from ..data.docs import read_docs
from ..data.files import Paths, as_paths
from ..data.languages import MULTIPLE_LANGUAGES, own_tokenizer, tokenizer_language
from ..data.raw import RawReport, is_docbin, list_files, read_raw
from ..data.text import check_file
from ..errors import Errors, MaralError, Warnings
from ..model.memory import give_back_memory
from ..model.visible import any_visible
from .streams import Parts

logger = logging.getLogger("spacy")

LABELLED = ("source", "dev")
# sides whose documents without annotation are left out
ANNOTATED = (*LABELLED, "target_gold")


@dataclass
class Inputs:
    """Documents by side, and the names and sizes of the files of each side that has several.

    docs (dict): Documents of "source", "target", "dev" and so on; those of several files follow one
        another.
    parts (dict): Names of the files, and their numbers of documents, by side.
    """

    docs: dict[str, list[Doc]] = field(default_factory=dict)
    parts: dict[str, Parts] = field(default_factory=dict)

    @classmethod
    def read(cls, lang: str | Sequence[str] | None = None, **sides: Paths | None) -> Inputs:
        """Read the documents of all sides.

        lang (str | Sequence[str] | None): Language of a target that is raw text; one for all its
            files, or one for each.
        sides (Paths | None): Files by side; only the target may be raw text. A side that is None is
            skipped.
        RETURNS (Inputs): The documents. Those of "source", "dev" and "target_gold" without any
            entity annotation are left out: missing annotation says nothing about entities.
        RAISES (MaralError): If a file cannot be read, raw text has no language, a file of a labelled
            side has no annotation, or "dev" has no entity with a label of "source".
        """
        inputs = cls()
        for side, given in sides.items():
            if given is None:
                continue
            paths = as_paths(given)
            files = read_targets(paths, lang) if side == "target" else [*map(read_docs, paths)]
            if side in ANNOTATED:
                files = [*map(annotated_docs, files, paths)]
            inputs.docs[side] = [doc for docs in files for doc in docs]
            if len(paths) > 1:
                inputs.parts[side] = Parts(part_names(paths), tuple(map(len, files)))
        inputs.check_dev()
        return inputs

    def check_dev(self) -> None:
        """Refuse development documents on which every model of the source scores 0.

        RAISES (MaralError): If no entity of "dev" has a label of "source".
        """
        known, found = (
            {ent.label_ for doc in self.docs.get(side, ()) for ent in doc.ents} for side in LABELLED
        )
        # documents without words have an error of their own
        if any_visible(self.docs.get("dev", ())) and known and not known & found:
            labels = {"known": ", ".join(sorted(known)), "found": ", ".join(sorted(found))}
            raise MaralError(Errors.M333.format(**{k: v or "none" for k, v in labels.items()}))

    def forget(self) -> None:
        """Free the memory of the documents, which training does not need once they are encoded."""
        self.docs.clear()
        give_back_memory()

    def sizes(self) -> dict[str, str]:
        """Describe the file sizes for a run's fingerprint, since each file has its own prior."""
        return {
            f"{side} files": " + ".join(map(str, parts.sizes)) for side, parts in self.parts.items()
        }


def annotated_docs(docs: list[Doc], path: Path) -> list[Doc]:
    """Leave out the documents without any entity annotation, with a warning.

    docs (list[Doc]): The documents.
    path (Path): Their file, for the message.
    RETURNS (list[Doc]): Those with annotation, and those without words.
    RAISES (MaralError): If none of the documents with words has annotation.
    """
    kept = [doc for doc in docs if doc.has_annotation("ENT_IOB")]
    if len(kept) < len(docs):
        if not any_visible(kept):
            raise MaralError(Errors.M332.format(path=path))
        n_missing = len(docs) - len(kept)
        logger.warning(Warnings.W332.format(path=path, n=n_missing, n_docs=len(docs)))
    return kept


def part_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Names of files in the log: their file names, or their paths if two file names are equal."""
    names = tuple(path.name.partition(".")[0] or path.name for path in paths)
    return names if len(set(names)) == len(names) else tuple(map(str, paths))


def read_targets(paths: Sequence[Path], lang: str | Sequence[str] | None) -> list[list[Doc]]:
    """Read the documents of the target, a list for each path.

    .spacy files are read unchanged; raw text is read with the defaults of `prepare_text`, so that
    every read gives the same documents.

    paths (Sequence[Path]): .spacy files, or files and folders of raw text (see `read_raw`).
    lang (str | Sequence[str] | None): Language of raw text; one for all paths, or one for each.
    RETURNS (list): Documents of each path.
    RAISES (MaralError): If a file cannot be read, or raw text has no language.
    """
    files = []
    for path, code in zip(paths, check_targets(paths, lang), strict=True):
        if is_docbin(path):
            files.append(read_docs(path, code))
        else:
            report = RawReport([], code)
            files.append(list(read_raw(path, code, report=report)))
            tqdm.write(f"{path}: {report}")
    return files


def check_targets(paths: Sequence[Path], lang: str | Sequence[str] | None) -> list[str]:
    """Make sure that the files of the target are there, and that raw text has a language.

    paths, lang: As of `read_targets`.
    RETURNS (list[str]): The language of each path.
    RAISES (MaralError): If a file is missing, or raw text has no language.
    """
    langs = languages_of(lang, len(paths))
    for path, code in zip(paths, langs, strict=True):
        if is_docbin(path):
            check_file(path)
        elif code is None:
            raise MaralError(Errors.M337.format(path=path))
        else:
            list_files([path])
    return [code or MULTIPLE_LANGUAGES for code in langs]


def warn_of_words(config: Config, paths: Sequence[Path], lang: str | Sequence[str] | None) -> None:
    """Warn of raw text whose words the pipeline will not find again, such as Chinese among others.

    config (Config): The configuration of the pipeline.
    paths, lang: As of `read_targets`.
    """
    section = config.get("nlp", {})
    for path, code in zip(paths, check_targets(paths, lang), strict=True):
        wanted = None if is_docbin(path) else own_tokenizer(code)
        found = section.get("tokenizer", wanted)
        same_lang = tokenizer_language(code) == section.get("lang")
        if wanted is not None and not (same_lang and found == wanted):
            own = f'nlp.lang = "{section.get("lang")}", nlp.tokenizer = {found}'
            logger.warning(Warnings.W104.format(path=path, lang=code, own=own))


def languages_of(lang: str | Sequence[str] | None, n_targets: int) -> list[str | None]:
    """The language of each target.

    RAISES (MaralError): If there are several languages, and not as many as targets.
    """
    langs: list[str | None] = [lang] if lang is None or isinstance(lang, str) else [*lang]
    if len(langs) == 1:
        langs = langs * n_targets
    if len(langs) != n_targets:
        found = {"n": len(langs), "what": "languages", "n_targets": n_targets}
        raise MaralError(Errors.M338.format(**found))
    return langs
