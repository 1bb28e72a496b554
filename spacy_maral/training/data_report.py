"""The report of the debug-data command: checks of the data of a run, each with a mark."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

from spacy.language import Language
from wasabi import MESSAGES, Printer

from ..data.languages import blank_pipeline
from ..model.visible import any_visible
from .data_checks import (
    FileCounts,
    Pieces,
    count_pieces,
    coverage,
    known_share,
    retokenise,
    share,
    shared_sentences,
)
from .settings import read_languages

# as in `spacy debug data`
FEW_ENTITIES = 50
FEW_DOCS, TOO_FEW_DOCS = 2000, 100
LITTLE_COVERAGE = 0.98
MANY_UNKNOWN = 0.01


class DataReport:
    """Checks of the data of a run, each shown with a mark.

    msg (Printer): Shows the checks and counts the marks.
    parts (list[FileCounts]): The documents of all files, source and dev first.
    nlp (Language): The pipeline, not initialised.
    verbose (bool): Whether to show examples.
    """

    def __init__(self, msg: Printer, parts: list[FileCounts], nlp: Language, verbose: bool) -> None:
        self.msg = msg
        self.parts = parts
        self.nlp = nlp
        self.source_nlp = blank_pipeline(read_languages(nlp.config).source)
        self.verbose = verbose
        self.source, self.dev = parts[:2]
        self.labelled = [part for part in parts if part.labelled]
        self.targets = [part for part in parts if not part.labelled]
        config = nlp.get_pipe_config("maral_ner")
        self.max_width: int = config["model"]["max_width"]

    def show(self) -> None:
        """Run all checks."""
        self.documents()
        self.labels()
        self.spans()
        self.tokenizer()
        self.encoder()
        self.vocabulary()
        self.leaks()
        self.summary()

    def verdict(self, bad: bool, warning: str, good: str, examples: Any = ()) -> None:
        """Show a warning with examples if a check found a problem, otherwise the good message."""
        if bad:
            self.warn(warning, examples)
        else:
            self.msg.good(good)

    def warn(self, warning: str, examples: Any) -> None:
        self.msg.warn(warning)
        if self.verbose and examples:
            self.msg.text("For example: " + "; ".join(str(example) for example in examples))

    def table(self, rows: list[Any], *header: str, n_names: int = 1) -> None:
        """Show rows that begin with names, of which the first needs no heading, before numbers."""
        aligns = [*"l" * n_names, *"r" * (len(header) + 1 - n_names)]
        self.msg.table(rows, header=("", *header), aligns=aligns, divider=True)

    def documents(self) -> None:
        """Show the size of each file, and its empty, unlabelled and repeated documents."""
        self.msg.divider("Documents")
        rows = [
            (p.name, f"{len(p.docs):,}", f"{p.n_words:,}", f"{len(p.words):,}",
             f"{p.entities.total():,}" if p.labelled else "not used")
            for p in self.parts
        ]  # fmt: skip
        self.table(rows, "documents", "words", "different", "entities")
        for part in self.parts:
            n = len(part.docs)
            if part.n_empty == n:
                self.msg.fail(f"{part.name}: no document has words")
            elif part.n_empty:
                self.msg.warn(f"{part.name}: {part.n_empty:,} of {n:,} documents have no words")
            if part.labelled and part.n_unlabelled == n:
                self.msg.fail(
                    f"{part.name}: no document has entity annotation",
                    "Convert the labelled file without --unlabelled.",
                )
            elif part.labelled and part.n_unlabelled:
                self.msg.warn(
                    f"{part.name}: {part.n_unlabelled:,} of {n:,} documents have no entity "
                    "annotation: they are left out"
                )
            if not part.labelled and part.n_unlabelled < n:
                self.msg.info(f"{part.name}: has entities, which are not looked at")
            if part.n_repeated:
                self.msg.warn(f"{part.name}: {part.n_repeated:,} sentences are repetitions")
        n_source = len(self.source.docs)
        self.verdict(
            n_source < FEW_DOCS,
            f"Low number of documents to train a teacher ({n_source:,}), at least {FEW_DOCS:,} are "
            f"recommended (minimum {TOO_FEW_DOCS})",
            "Enough documents to train a teacher",
        )

    def labels(self) -> None:
        """Show the entities by type, and the types that are rare or missing."""
        self.msg.divider("Labels")
        names = sorted({label for part in self.labelled for label in part.entities})
        total = self.source.entities.total()
        if not total:
            self.msg.fail("source: there is no entity", "Nothing can be learnt from it.")
            return
        rows = [
            (label, f"{100 * self.source.entities[label] / total:.1f} %",
             *(f"{part.entities[label]:,}" for part in self.labelled))
            for label in names
        ]  # fmt: skip
        self.table(rows, "share", *(part.name for part in self.labelled))
        entities = share(total, self.source.n_candidates(self.max_width))
        self.msg.info(f"{100 * entities:.2f} % of the source's candidate spans are entities")
        for part in self.labelled[1:]:
            unknown = sorted(set(part.entities) - set(self.source.entities))
            problem = f"{part.name}: labels that the source lacks: {', '.join(unknown)}"
            if unknown and part is self.dev:
                text = "The training refuses them. Map the labels when you convert (--label-map)."
                self.msg.fail(problem, text)
            elif unknown:
                self.msg.warn(problem, "No model trained on this source can find them.")
        missing = sorted(set(self.source.entities) - set(self.dev.entities))
        self.verdict(
            bool(missing),
            f"dev: lacks labels that the source has: {', '.join(missing)}",
            "The development data has all labels of the source",
        )
        rare = [x for x in names if 0 < self.source.entities[x] < FEW_ENTITIES]
        self.verdict(
            bool(rare),
            f"Low number of examples (less than {FEW_ENTITIES}): {', '.join(rare)}",
            "Good amount of examples for all labels",
        )

    def spans(self) -> None:
        """Show the number of entities that are candidate spans."""
        self.msg.divider(f"Candidate spans of up to {self.max_width} words")
        totals: dict[str, Counter[int]] = {}
        rows = []
        for part in self.labelled:
            totals[part.name] = sum(part.widths.values(), Counter())
            types = {**dict(sorted(part.widths.items())), "all": totals[part.name]}
            for label, widths in types.items():
                if not widths or (part is not self.source and label != "all"):
                    continue
                c = coverage(widths, self.max_width)
                rows.append((
                    part.name, label, f"{c.n_entities:,}", f"{100 * c.share:.1f} %",
                    f"{c.n_entities - c.n_covered:,}", str(c.enough), str(c.longest),
                ))  # fmt: skip
        if not rows:
            return
        header = ("label", "entities", "covered", "too wide", "99 % up to", "longest")
        self.table(rows, *header, n_names=2)
        for name, widths in totals.items():
            c = coverage(widths, self.max_width)
            if c.n_entities:
                self.verdict(
                    c.share < LITTLE_COVERAGE,
                    f"{name}: {100 * (1 - c.share):.1f} % of the entities are longer than max_width "
                    f"= {self.max_width} words and cannot be found; {c.enough} would cover 99 %",
                    f"{name}: {100 * c.share:.1f} % of the entities can be found",
                )

    def tokenizer(self) -> None:
        """Show the number of entities that the pipeline could not find in raw text."""
        self.msg.divider("Raw text")
        for part in self.labelled:
            nlp = self.source_nlp if part in (self.source, self.dev) else self.nlp
            self.msg.info(f"{part.name}: by the tokenizer of '{nlp.lang}'")
            found = retokenise(nlp, part.docs, self.max_width)
            if not found.n_entities:
                continue
            bad = found.n_cut + found.n_too_wide
            self.verdict(
                bad > 0,
                f"{part.name}: {bad:,} of {found.n_entities:,} entities "
                f"({100 * bad / found.n_entities:.1f} %) cannot be found in raw text: "
                f"{found.n_cut:,} begin or end within a word, {found.n_too_wide:,} get too many words",
                f"{part.name}: all entities begin and end where words do",
                found.examples,
            )

    def encoder(self) -> None:
        """Show the word pieces of the documents if the encoder's tokenizer is on this machine."""
        self.msg.divider("Encoder")
        name, tokenizer, get_spans = _tokenizer(self.nlp)
        if tokenizer is None:
            self.msg.info(f"The encoder '{name}' is not here: its word pieces are not checked")
            return
        special = tokenizer.all_special_ids
        found = {
            part.name: count_pieces(part, tokenizer, get_spans, special)
            for part in self.parts
            if any_visible(part.docs)
        }
        sizes = {part.name: part for part in self.parts}
        rows = [
            (x, f"{p.counts.total():,}", f"{p.counts.total() / sizes[x].n_words:.2f}",
             f"{100 * share(p.n_unknown, p.counts.total() + p.n_unknown):.2f} %", f"{p.n_long:,}")
            for x, p in found.items()
        ]  # fmt: skip
        self.table(rows, "word pieces", "a word", "unknown", "long documents")
        for x, p in found.items():
            self._pieces(x, p)
        targets = [part.name for part in self.targets] if "source" in found else []
        for name in [name for name in targets if name in found]:
            kinds, all_of_them = known_share(found["source"].counts, found[name].counts)
            self.msg.info(
                f"{name}: {100 * kinds:.1f} % of the different word pieces are in the source, "
                f"{100 * all_of_them:.1f} % of all word pieces"
            )

    def _pieces(self, name: str, pieces: Pieces) -> None:
        unknown = share(pieces.n_unknown, pieces.counts.total() + pieces.n_unknown)
        if unknown > MANY_UNKNOWN:
            self.msg.warn(
                f"{name}: {100 * unknown:.1f} % of the word pieces are unknown to the encoder; take "
                "one that knows the language and script"
            )
        if pieces.n_long:
            self.msg.info(f"{name}: {pieces.n_long:,} documents are read in several windows")
        self.verdict(
            pieces.n_lost > 0,
            f"{name}: {pieces.n_lost:,} words have no word piece, {pieces.n_lost_ends:,} entities "
            "begin or end with such a word",
            f"{name}: every word has a word piece",
        )

    def vocabulary(self) -> None:
        """Show the share of each other file's words and entities that the source has as well."""
        others = [part for part in self.parts if part not in (self.source, self.dev)]
        if not others:
            return
        self.msg.divider("What is known from the source")
        rows = []
        for part in others:
            kinds, all_of_them = known_share(self.source.words, part.words)
            row = [part.name, f"{100 * kinds:.1f} %", f"{100 * all_of_them:.1f} %", "-"]
            if part.names:
                row[-1] = f"{100 * known_share(self.source.names, part.names)[1]:.1f} %"
            rows.append(row)
        self.table(rows, "different words", "all words", "entities")

    def leaks(self) -> None:
        """Show the sentences that two files share."""
        self.msg.divider("Sentences in two files")
        found = False
        for first, second in combinations(self.parts, 2):
            shared = shared_sentences(first, second)
            n, n_all = shared.total(), second.sentences.total()
            if n:
                found = True
                percent = f"{100 * share(n, n_all):.1f} %"
                text = f"{second.name}: {n:,} sentences ({percent}) are in {first.name}, too"
                self.warn(text, list(shared)[:5])
        if not found:
            self.msg.good("No sentence is in two files")

    def summary(self) -> None:
        """Show the numbers of passed checks, warnings and errors."""
        self.msg.divider("Summary")
        counts = self.msg.counts
        for kind, show, what in (
            (MESSAGES.GOOD, self.msg.good, "check"), (MESSAGES.WARN, self.msg.warn, "warning"),
            (MESSAGES.FAIL, self.msg.fail, "error"),
        ):  # fmt: skip
            n = counts[kind]
            if n:
                passed = " passed" if what == "check" else ""
                show(f"{n} {what}{'s' if n > 1 else ''}{passed}")


def _tokenizer(nlp: Language) -> tuple[str, Any, Any]:
    """Name of the encoder, and its tokenizer and windows if they are on this machine."""
    from transformers import AutoTokenizer

    from ..model.encoder.transformer import window_getter

    model = nlp.get_pipe("transformer").model  # type: ignore[attr-defined]
    name = str(nlp.get_pipe_config("transformer")["model"]["name"])
    found = nlp.get_pipe_config("transformer")["model"]["tokenizer_config"]
    settings = {"trust_remote_code": False, "local_files_only": True, **found}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **settings)
    except (OSError, ValueError):
        return name, None, None
    return name, tokenizer, window_getter(model)
