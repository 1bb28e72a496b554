"""Words that `nlp.pipe` reads in a second, with our component, spaCy's ner, or spaCy's spancat.

The encoder, its windows and the text are the same; all are float32. Each pipeline is trained on
some sentences first, for it to find about as many entities as there are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..pipelines import BATCH, MAX_WIDTH, build, read
from ..setting import SOURCE, Setting
from ..timing import alternate, compare
from ..world import read_sample


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the case of a name."""
    other = name.removeprefix("infer_vs_")
    train = read_sample(setting, SOURCE, "train", setting.sizes.train_sentences)
    docs = read_sample(setting, SOURCE, "dev", setting.sizes.infer_sentences)
    sides, found = {}, {}
    for side, component in (("ours", "maral_ner"), ("other", other)):
        nlp = build(setting, component, train)
        found[side] = [0]
        sides[side] = partial(read, nlp, docs, found[side])
    trials = alternate(sides, setting.repeats)
    return compare(trials, unit="words/s") | {
        "other_is": f"spaCy's {other}",
        "precision": "float32",
        "max_width": MAX_WIDTH if other == "spancat" else f"{MAX_WIDTH} (ours)",
        "entities_found": {side: counts[0] for side, counts in found.items()},
        "entities_gold": sum(len(doc.ents) for doc in docs),
        "sentences": len(docs),
        "trained_on": f"{len(train)} sentences once, batches of {BATCH}",
    }
