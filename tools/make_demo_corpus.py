"""Generate the demonstration corpus: short sentences with names in four languages.

    python tools/make_demo_corpus.py --out corpus/demo-raw --size default --seed 0

Everything comes from the templates and name lists in assets/demo, one file a language. Train and
raw text use part of the templates and names only, dev and test all of them. The files are like
WikiAnn's: OUT/LANGUAGE/PART, a `xx:token<TAB>tag` a line (IOB2), a blank line after a sentence.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wasabi import msg

from spacy_maral.errors import MaralError

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "demo"
SOURCE = "en"
TARGETS = ("de", "es", "hi")
SIZES = {
    "default": {"source_train": 2000, "source_dev": 400, "target_train": 1500, "target_test": 300},
    "small": {"source_train": 200, "source_dev": 60, "target_train": 150, "target_test": 60},
}
RARE = "EVENT"
IMBALANCE = 100
SHARES = {"common": 0.87, "PROD": 0.06, "none": 0.07}
# Of four names and of five templates, the last is kept from train and raw text.
HELD_OUT_NAMES, HELD_OUT_TEMPLATES = 4, 5
SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
MAX_TRIES = 1000


class Sentence(NamedTuple):
    """Words and their IOB2 tags."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class Grammar:
    """The templates and names of one language, as far as one part of the corpus may use them.

    data (Mapping[str, Any]): Contents of the language's file.
    everything (bool): Whether held-out names and templates may be used.
    rng (random.Random): Source of all choices.
    """

    def __init__(self, data: Mapping[str, Any], *, everything: bool, rng: random.Random) -> None:
        self.rng = rng
        self.entities = data["entities"]
        self.lists = dict(data["words"])
        for name, values in data["names"].items():
            self.lists[name] = values if everything else without(values, HELD_OUT_NAMES)
        self.templates = {
            kind: values if everything else without(values, HELD_OUT_TEMPLATES)
            for kind, values in data["templates"].items()
        }

    def sentence(self, kind: str) -> Sentence:
        """Make a sentence from a random template.

        kind (str): Which templates: "common", "none" or the rarest type in them.
        RETURNS (Sentence): The sentence.
        """
        words: list[str] = []
        tags: list[str] = []
        for piece in self.rng.choice(self.templates[kind]).split():
            slot = SLOT.fullmatch(piece)
            if slot is None or slot[2] is None:
                new = self.fill(piece).split()
                tags += ["O"] * len(new)
            else:
                new = self.fill(self.rng.choice(self.entities[slot[1]][slot[2]])).split()
                tags += [f"B-{slot[1]}"] + [f"I-{slot[1]}"] * (len(new) - 1)
            words += new
        return Sentence(tuple(words), tuple(tags))

    def fill(self, pattern: str) -> str:
        """Replace every {list} in a pattern by one of the list's values."""
        return SLOT.sub(lambda slot: self.rng.choice(self.lists[slot[1]]), pattern)


def without(values: Sequence[str], every: int) -> list[str]:
    """Leave out the last of every so many values; short lists lose their last one."""
    if len(values) < every:
        return list(values[:-1])
    return [value for i, value in enumerate(values) if i % every != every - 1]


def load_language(lang: str) -> dict[str, Any]:
    """Read the templates and names of a language.

    lang (str): Language code.
    RETURNS (dict[str, Any]): Contents of assets/demo/LANG.json.
    RAISES (MaralError): If the demonstration has no such language.
    """
    path = ASSETS / f"{lang}.json"
    if not path.is_file():
        known = ", ".join([SOURCE, *TARGETS])
        raise MaralError(
            f"The demonstration corpus has no language '{lang}', only {known}. For other languages, "
            "use a real dataset (--vars.dataset and --vars.data_dir)."
        )
    return json.loads(path.read_text(encoding="utf8"))


def make_part(
    lang: str, n: int, *, seed: int, part: str, avoid: Iterable[Sentence] = ()
) -> list[Sentence]:
    """Make one part of the corpus, with one RARE entity for IMBALANCE of the most frequent type.

    lang (str): Language code.
    n (int): Number of sentences.
    seed (int): Seed of the corpus.
    part (str): "train", "dev" or "test"; train leaves held-out names and templates alone.
    avoid (Iterable[Sentence]): Sentences that must not come again.
    RETURNS (list[Sentence]): The sentences, in random order.
    """
    if n == 0:
        return []
    rng = random.Random(f"{seed}-{lang}-{part}")
    grammar = Grammar(load_language(lang), everything=part != "train", rng=rng)
    taken = {sentence.words for sentence in avoid}
    kinds = rng.choices(list(SHARES), list(SHARES.values()), k=n)
    sentences = [draw(grammar, kind, taken) for kind in kinds]
    most = max(count_entities(sentences).values(), default=0)
    n_rare = max(1, round(most / IMBALANCE))
    sentences[:n_rare] = [draw(grammar, RARE, taken) for _ in range(n_rare)]
    rng.shuffle(sentences)
    return sentences


def draw(grammar: Grammar, kind: str, taken: set[tuple[str, ...]]) -> Sentence:
    """Make a sentence that is not taken.

    grammar (Grammar): Where it comes from.
    kind (str): Kind of template.
    taken (set[tuple[str, ...]]): Words of the sentences that must not come again.
    RETURNS (Sentence): The sentence.
    RAISES (MaralError): If the templates and names give no other.
    """
    for _ in range(MAX_TRIES):
        sentence = grammar.sentence(kind)
        if sentence.words not in taken:
            return sentence
    raise MaralError(
        f"The templates gave no new sentence of the kind '{kind}' in {MAX_TRIES} tries. Ask for fewer "
        "sentences, or add templates or names to assets/demo."
    )


def count_entities(sentences: Iterable[Sentence]) -> Counter[str]:
    """Count the entities of each type."""
    return Counter(tag[2:] for sentence in sentences for tag in sentence.tags if tag[0] == "B")


def make_corpus(
    *, sizes: Mapping[str, int], seed: int, source: str = SOURCE, targets: Sequence[str] = TARGETS
) -> dict[tuple[str, str], list[Sentence]]:
    """Make the whole corpus.

    sizes (Mapping[str, int]): Sentences of source_train, source_dev, target_train, target_test.
    seed (int): Seed; the same seed and sizes give the same corpus everywhere.
    source (str): Source language.
    targets (Sequence[str]): Target languages.
    RETURNS (dict[tuple[str, str], list[Sentence]]): Sentences by language and part.
    """
    corpus = {}
    for lang, role, held in [(source, "source", "dev"), *((t, "target", "test") for t in targets)]:
        train = make_part(lang, sizes[f"{role}_train"], seed=seed, part="train")
        corpus[lang, "train"] = train
        corpus[lang, held] = make_part(
            lang, sizes[f"{role}_{held}"], seed=seed, part=held, avoid=train
        )
    return corpus


def write_corpus(corpus: Mapping[tuple[str, str], Sequence[Sentence]], out: Path) -> None:
    """Write the corpus as WikiAnn-like files.

    corpus (Mapping[tuple[str, str], Sequence[Sentence]]): What `make_corpus` made.
    out (Path): Folder; the files are OUT/LANGUAGE/PART.
    """
    for (lang, part), sentences in corpus.items():
        blocks = (
            "".join(f"{lang}:{w}\t{t}\n" for w, t in zip(s.words, s.tags, strict=True))
            for s in sentences
        )
        path = out / lang / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(blocks), encoding="utf8", newline="\n")


def write_demo(
    out: Path, *, size: str, seed: int, source: str = SOURCE, targets: Sequence[str] = TARGETS
) -> None:
    """Make and write the corpus, and say what is in it.

    out (Path): Folder to write.
    size (str): A key of `SIZES`.
    seed (int): Seed of the corpus.
    source (str): Source language.
    targets (Sequence[str]): Target languages.
    RAISES (MaralError): If a language is not in assets/demo.
    """
    corpus = make_corpus(sizes=SIZES[size], seed=seed, source=source, targets=targets)
    write_corpus(corpus, out)
    for (lang, part), sentences in corpus.items():
        counts = ", ".join(f"{k} {v:,}" for k, v in count_entities(sentences).most_common())
        msg.good(f"{out / lang / part}: {len(sentences):,} sentences; {counts}")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and write the corpus.

    arguments (list[str]): Arguments; None for those of the process.
    RETURNS (int): Exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--size", choices=list(SIZES), default="default")
    parser.add_argument("--source", default=SOURCE, help="source language")
    parser.add_argument("--target", default="+".join(TARGETS), help="languages, joined by '+'")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    targets = args.target.split("+")
    try:
        write_demo(args.out, size=args.size, seed=args.seed, source=args.source, targets=targets)
    except MaralError as error:
        msg.fail("Cannot make the demonstration corpus", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
