"""Translate labelled sentences word by word, with a lexicon that the encoder finds in raw text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span

from ..data.config import read_config
from ..data.convert import check_output, write_docs
from ..data.files import Paths, as_paths, prove_writable, write_file
from ..data.text import read_lines
from ..errors import Errors, MaralError
from ..model.gold import annotated_words
from ..model.machine import use_device
from ..model.visible import VisibleWords, any_visible
from ..training.inputs import Inputs
from ..training.pipelines import build_pipeline, run_seed
from ..training.settings import read_section
from ..training.word_states import States, make_states, read_chunks
from .lexicon import (
    average_words,
    find_translations,
    of_other_scripts,
    translate,
    translate_name,
)

# sentences of each side that the lexicon is found in
SENTENCES = 20_000
BREAKS = re.compile(r"[\t\n\r\0]|^\s|\s$")


@dataclass
class TranslationReport:
    """Counts over the sentences that were written.

    sentences, words, entities (int): Of the sentences.
    replaced (int): Words that were replaced.
    pairs (int): Words of the lexicon, those that were given included.
    """

    sentences: int = 0
    words: int = 0
    entities: int = 0
    replaced: int = 0
    pairs: int = 0


def translate_words(
    config_path: str | Path,
    source: Paths,
    target: Paths,
    output: str | Path,
    *,
    lang: str | Sequence[str] | None = None,
    lexicon: str | Path | None = None,
    save_lexicon: str | Path | None = None,
    limit: int = SENTENCES,
    layer: int | None = None,
    overrides: dict[str, Any] | None = None,
    gpu_id: int = -1,
) -> TranslationReport:
    """Translate labelled sentences word by word, and keep their entities.

    The pretrained encoder of a configuration gives a vector to each word of the sentences, and of raw
    text of the target language; words whose vectors are nearest translate each other (see
    `find_translations`). What has no translation stays. Words of entities are replaced only by words of
    another script: within one, a name is likely to stay as it is, and its nearest word is another name.
    The sentences are no good text, but they show a model between which words of the other language
    names stand. They are a further source for `train_teacher` and `adapt`. After Mayhew et al. (2017)
    and Xie et al. (2018), who translate all names.

    EXAMPLE: translate_words("maral.cfg", "english.spacy", "german.txt", "translated.spacy", lang="de")

    config_path (str | Path): The configuration, which names the encoder.
    source (Paths): Labelled sentences (.spacy).
    target (Paths): Documents of the target language (.spacy), whose entities are not used, or raw
        text (see `read_raw`).
    output (str | Path): The file to write (.spacy).
    lang (str | Sequence[str] | None): Language of raw text; one for all, or one for each target.
    lexicon (str | Path | None): Translations that take the place of those found: a text file with a
        word, a tab and its translation in each line. A translation may have several words, and may be
        the word itself, which then stays. Those that were not found hold for words of entities, too.
    save_lexicon (str | Path | None): File to write the whole lexicon to, in the same format.
    limit (int): Most sentences of each side that the lexicon is found in; of more, some are drawn.
    layer (int | None): Layer of the encoder whose states are the vectors, from 1; None for the middle
        one.
    overrides (dict): Settings that replace those of the configuration.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (TranslationReport): Counts.
    RAISES (MaralError): If a file cannot be read or written, the output is a file of the input, the
        source has no entity, or no word has a translation.
    """
    read = [Path(config_path), *as_paths(source), *as_paths(target)]
    read += [] if lexicon is None else as_paths(lexicon)
    path = check_output(Path(output), read)
    if save_lexicon is not None:
        prove_writable(Path(save_lexicon), inputs=[*read, path])
    own = {} if lexicon is None else read_lexicon(lexicon)
    use_device(gpu_id)
    config = read_config(config_path, overrides)
    inputs = Inputs.read(lang, source=source, target=target)
    labels = sorted({ent.label_ for doc in inputs.docs["source"] for ent in doc.ents})
    if not labels:
        raise MaralError(Errors.M312.format(path=", ".join(map(str, as_paths(source)))))
    nlp = build_pipeline(config, labels, read_section(config, "teacher")).nlp
    states = make_states(nlp, layer, str(config_path))
    means = [
        average_words(
            words_and_vectors(draw(inputs.docs[side], limit, run_seed(config)), states, side)
        )
        for side in ("source", "target")
    ]
    found = find_translations(*means)
    whole, of_names = combine(found, own)
    if not whole:
        raise MaralError(Errors.M545.format(paths=", ".join(map(str, as_paths(target)))))
    if save_lexicon is not None:
        write_lexicon(Path(save_lexicon), whole)
    report = TranslationReport(pairs=len(whole))
    write_docs(path, (translate_doc(doc, whole, of_names, report) for doc in inputs.docs["source"]))
    return report


def combine(found: dict[str, str], own: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Combine translations that were found with those of the user, which come first.

    RETURNS (tuple): Translations of words outside of entities, and of words of entities: those found
        in another script, and those of the user that were not found. So a lexicon that was saved and
        corrected does what it did, and what was corrected.
    """
    rest = {w: o for w, o in found.items() if w in own or w.lower() not in own}
    changed = {w: o for w, o in own.items() if found.get(w) != o}
    return {**rest, **own}, {**of_other_scripts(rest), **changed}


def read_lexicon(path: str | Path) -> dict[str, str]:
    """Read translations: a word, a tab and its translation in each line; the first one of a word counts.

    RAISES (MaralError): If a line has not two columns, or the file has no translation.
    """
    found: dict[str, str] = {}
    for number, line in read_lines(path):
        if not line.strip():
            continue
        word, _, other = (part.strip() for part in line.partition("\t"))
        if not (word and other) or "\t" in other:
            raise MaralError(Errors.M546.format(place=f"{path}:{number}", found=line[:80]))
        found.setdefault(unicodedata.normalize("NFC", word), " ".join(other.split()))
    if not found:
        raise MaralError(Errors.M547.format(path=path))
    return found


def write_lexicon(path: Path, lexicon: dict[str, str]) -> None:
    """Write translations as `read_lexicon` reads them, without words that have tabs or line breaks."""
    pairs = (pair for pair in sorted(lexicon.items()) if not any(map(BREAKS.search, pair)))
    write_file(path, "".join(f"{word}\t{other}\n" for word, other in pairs))


def draw(docs: Sequence[Doc], limit: int, seed: int) -> Sequence[Doc]:
    """Draw documents, in their order; all if there are no more than the limit."""
    if len(docs) <= limit:
        return docs
    chosen = np.random.default_rng(seed).choice(len(docs), limit, replace=False)
    return [docs[number] for number in np.sort(chosen).tolist()]


def words_and_vectors(
    docs: Sequence[Doc], states: States, name: str
) -> Iterator[tuple[list[str], NDArray]]:
    """Visible words of documents, and their vectors, some thousand at a time."""
    seen = [doc for doc in docs if any_visible([doc])]
    for chunk, vectors in read_chunks(seen, states, name=f"Words of the {name}", unit="sentences"):
        yield VisibleWords.of(chunk).texts, vectors


def translate_doc(
    doc: Doc, lexicon: dict[str, str], of_names: dict[str, str], report: TranslationReport
) -> Doc:
    """A copy of a document in which words are replaced, with the entities of the original.

    lexicon (dict[str, str]): Translations of words that are no part of an entity.
    of_names (dict[str, str]): Translations of words that are.

    A translation of several words has the annotation of the word that it replaces, and so have words
    without annotation.
    """
    words: list[list[str]] = []
    for token in doc:
        word = unicodedata.normalize("NFC", token.text)
        if token.ent_type:
            other = translate_name(word, of_names)
        else:
            other = translate(word, lexicon)
        report.replaced += other not in (None, word)
        words.append([token.text] if other is None else other.split())
    starts = [0, *accumulate(map(len, words))]
    spaces = [
        space
        for token, own in zip(doc, words, strict=True)
        for space in [True] * (len(own) - 1) + [bool(token.whitespace_)]
    ]
    new = Doc(doc.vocab, words=list(chain.from_iterable(words)), spaces=spaces)

    def moved(start: int, end: int, label: str = "") -> Span:
        return Span(new, starts[start], starts[end], label=label)

    new.set_ents(
        [moved(ent.start, ent.end, ent.label_) for ent in doc.ents],
        missing=[moved(i, i + 1) for i in np.flatnonzero(~annotated_words(doc)).tolist()],
        default="outside",
    )
    report.sentences += 1
    report.words += len(new)
    report.entities += len(new.ents)
    return new
