"""Add maral_ner to a pipeline that has a tagger and a parser on one transformer, in code.

    python examples/add_to_pipeline.py --encoder intfloat/multilingual-e5-small --output pipeline

The new component listens to the transformer that is there. The transformer, the tagger and the
parser are not updated, so that tags and trees stay as they were; where they may change too, leave
`exclude` and `annotates` out and give all annotations. Your own pipeline takes the place of
`existing_pipeline`, which trains a toy: nlp = spacy.load("my_pipeline").
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.training import Example
from spacy.util import minibatch
from wasabi import msg

TREEBANK = [
    (
        ["Ada", "met", "Obama", "in", "Paris"],
        ["PROPN", "VERB", "PROPN", "ADP", "PROPN"],
        [1, 1, 1, 4, 1],
        ["nsubj", "ROOT", "obj", "case", "obl"],
    ),
    (
        ["Nothing", "happened", "in", "Berlin"],
        ["NOUN", "VERB", "ADP", "PROPN"],
        [1, 1, 3, 1],
        ["nsubj", "ROOT", "case", "obl"],
    ),
]
ENTITIES = [
    ("Ada Lovelace met Barack Obama in Paris", [(0, 12, "PER"), (17, 29, "PER"), (33, 38, "LOC")]),
    ("Obama lives in Berlin", [(0, 5, "PER"), (15, 21, "LOC")]),
    ("Nothing happened in Paris", [(20, 25, "LOC")]),
    ("Ada met nobody", [(0, 3, "PER")]),
]


def existing_pipeline(encoder: str) -> Language:
    """A tagger and a parser that share a transformer, trained on two sentences."""
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-maral.TransformerModel.v1",
        "name": encoder,
        "get_spans": {"@span_getters": "spacy-maral.bounded_windows.v1"},
        "tokenizer_config": {"use_fast": True},
    }
    nlp.add_pipe("transformer", config={"model": model})
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
        "upstream": "*",
    }
    nlp.add_pipe("tagger", config={"model": {"tok2vec": listener}})
    # 1: relations are learnt however rare they are
    nlp.add_pipe("parser", config={"model": {"tok2vec": listener}, "min_action_freq": 1})
    examples = []
    for words, tags, heads, deps in TREEBANK:
        doc = spacy.tokens.Doc(nlp.vocab, words=words)
        annotation = {"words": words, "tags": tags, "heads": heads, "deps": deps}
        examples.append(Example.from_dict(doc, annotation))
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(10):
        nlp.update(examples, sgd=optimizer)
    return nlp


def add_entities(nlp: Language, *, steps: int = 60, seed: int = 0) -> dict[str, float]:
    """Add the component and train it alone; RETURNS (dict): The last losses."""
    random.seed(seed)
    others = nlp.pipe_names
    examples = [
        Example.from_dict(nlp.make_doc(text), {"entities": ents}) for text, ents in ENTITIES
    ]
    settings = {"max_width": 4, "dim": 16, "hidden_width": 64}
    ner = nlp.add_pipe("maral_ner", config={"model": settings})
    ner.initialize(lambda: examples, nlp=nlp)
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.003
    losses: dict[str, float] = {}
    for _ in range(steps):
        random.shuffle(examples)
        losses = {}
        for batch in minibatch(examples, 4):
            nlp.update(
                batch, sgd=optimizer, losses=losses, exclude=others, annotates=["transformer"]
            )
    return losses


def copy_component(nlp: Language) -> Language:
    """A pipeline of the transformer and the new component only, taken over with their weights."""
    small = spacy.blank("en", vocab=nlp.vocab)
    for name in ("transformer", "maral_ner"):
        small.add_pipe(name, source=nlp)
    return small


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, build and save the pipeline."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--encoder", required=True, help="name on the hub, or folder")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    nlp = existing_pipeline(args.encoder)
    losses = add_entities(nlp)
    nlp.to_disk(args.output)
    doc = nlp("Ada Lovelace lives in Paris")
    msg.table([(t.text, t.tag_, t.dep_, t.ent_type_) for t in doc])
    msg.good(f"Saved {', '.join(nlp.pipe_names)} (loss {losses['maral_ner']:.3f})", args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
