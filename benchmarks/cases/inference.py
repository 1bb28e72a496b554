"""Words per second of `nlp.pipe`, with our component, spaCy's ner, or spaCy's spancat.

All pipelines share the encoder's weights, the text, and float32. The other pipeline has the encoder
component of spaCy's `init config`. The table also shows it with our encoder component, so that only
ner or spancat differs. Each component has a short training, so that it finds some entities.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..pipelines import MAX_WIDTH, PASSES, build, read
from ..setting import SOURCE, Setting
from ..timing import alternate, compare
from ..world import read_sample

SAME = "same encoder component"


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the named case."""
    other = name.removeprefix("infer_vs_")
    train = read_sample(setting, SOURCE, "train", setting.sizes.train_sentences)
    docs = read_sample(setting, SOURCE, "dev", setting.sizes.infer_sentences)
    names = {
        "ours": ("maral_ner", "ours"), "other": (other, "spacy"), SAME: (other, "ours"),
    }  # fmt: skip
    found: dict[str, list[int]] = {side: [0] for side in names}
    sides = {
        side: partial(read, build(setting, component, train, encoder), docs, found[side])
        for side, (component, encoder) in names.items()
    }
    trials = alternate(sides, setting.repeats)
    row, same = compare(trials, unit="words/s"), compare(trials, unit="words/s", other=SAME)
    return row | {
        "other_is": f"spaCy's {other}, with spaCy's encoder component",
        "ratio_same_encoder_component": same["ratio"],
        "precision": "float32",
        "max_width": MAX_WIDTH if other == "spancat" else f"{MAX_WIDTH} (ours)",
        "entities_found": {side: counts[0] for side, counts in found.items()},
        "entities_gold": sum(len(doc.ents) for doc in docs),
        "sentences": len(docs),
        "trained_on": f"{len(train)} sentences, {PASSES} times, the encoder frozen",
        "tables": {
            f"words in a second, against {other}": [
                ["pipeline", "words/s", "ours is so many times as fast"],
                ["ours", row["ours"], 1.0],
                [f"{other} with spaCy's encoder component", row["other"], row["ratio"]],
                [f"{other} with our encoder component", same["other"], same["ratio"]],
            ]
        },
    }
