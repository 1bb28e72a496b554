"""What pipelines of this package say and learn, as JSON, in a process that may lack spacy-transformers.

encoder_run.py ENCODER FOLDER [OTHER]   train a pipeline and save it in FOLDER; load that in OTHER
"""

from __future__ import annotations

import json
import sys
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "training")]

import spacy
import torch
from sentences import LABELS, TEXTS
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from thinc.api import Adam

from spacy_maral.model.architectures import get_encoder

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "0.1" / "model"
STEPS = 8
EXTRA = ["", "  ", "x" * 400, "Zürich ist " * 40, "Zu\u0308rich\n\nBonn\t ist  da .", "👩🚀 ● ..."]
SAID = [text for text, _ in TEXTS] + EXTRA
WINDOWS = [
    {"@span_getters": "spacy-maral.bounded_windows.v1", "max_words": 24, "stride": 16},
    {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 12, "stride": 8},
    {"@span_getters": "spacy-transformers.doc_spans.v1"},
]


def said(nlp: Language, texts: list[str] = SAID, **settings: Any) -> list:
    """Entities with their confidences, in all digits."""
    return [
        [(ent.start, ent.end, ent.label_, float(ent._.maral_score)) for ent in doc.ents]
        for doc in nlp.pipe(texts, **settings)
    ]


def digest(*arrays: Any) -> str:
    """SHA-256 of arrays."""
    sha = sha256()
    for array in arrays:
        sha.update(str(array.shape).encode() + array.tobytes())
    return sha.hexdigest()


def examples_for(nlp: Language) -> list[Example]:
    """The labelled sentences."""
    found = []
    for text, entities in TEXTS:
        predicted, reference = nlp.make_doc(text), nlp.make_doc(text)
        spans = [reference.char_span(*entity) for entity in entities]
        reference.set_ents(spans, default="outside")
        found.append(Example(predicted, reference))
    return found


def make_pipeline(encoder: str, windows: dict[str, Any], n_listeners: int = 1) -> Language:
    """A pipeline of an encoder and components that listen to it, trained for some steps."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    model = {
        "@architectures": "spacy-maral.TransformerModel.v1", "name": encoder, "get_spans": windows,
        "tokenizer_config": {"use_fast": True},
    }  # fmt: skip
    nlp.add_pipe("transformer", config={"model": model})
    settings = {"model": {"hidden_width": 32, "dim": 16, "max_width": 4, "dropout": 0.0}}
    names = [f"ner_{number}" for number in range(n_listeners)]
    for name in names:
        nlp.add_pipe("maral_ner", name=name, config={**settings, "keep_trf_data": True})
    nlp.config["initialize"]["components"] = {name: {"labels": LABELS} for name in names}
    nlp.initialize(lambda: examples_for(nlp))
    examples, sgd = examples_for(nlp), Adam(learn_rate=3e-3)
    losses: dict[str, float] = {}
    for _ in range(STEPS):
        nlp.update(examples, sgd=sgd, losses=losses)
    assert all(losses[name] > 0 for name in nlp.pipe_names)
    return nlp


def main(encoder: str, folder: Path, other: Path | None) -> dict[str, Any]:
    """RETURNS (dict): All that must not depend on who serves the component."""
    golden = spacy.load(GOLDEN)
    nlp = make_pipeline(encoder, WINDOWS[0])
    found: dict[str, Any] = {"golden": said(golden), "trained": said(nlp)}
    nlp.to_disk(folder)
    found["config"] = (folder / "config.cfg").read_text(encoding="utf8")
    found["loaded"] = said(spacy.load(folder))
    found["in two processes"] = said(spacy.load(folder), n_process=2)
    parameters = [p.detach().numpy() for p in get_encoder(nlp)[0].parameters()]
    found["weights"] = digest(*parameters)
    docs = list(nlp.pipe(SAID))
    kept = [doc._.trf_data for doc in docs if doc._.trf_data.tensors]
    found["vectors"] = [digest(data.tensors[0], data.align.lengths) for data in kept]
    # documents take their vectors along
    read = DocBin(store_user_data=True).from_bytes(
        DocBin(docs=docs, store_user_data=True).to_bytes()
    )
    again = [doc._.trf_data for doc in read.get_docs(nlp.vocab)]
    assert [digest(d.tensors[0], d.align.lengths) for d in again if d.tensors] == found["vectors"]
    nlp.replace_listeners("transformer", "ner_0", ["model.tok2vec"])
    found["encoder of its own"] = said(nlp)
    found["windows"] = [said(make_pipeline(encoder, windows)) for windows in WINDOWS[1:]]
    found["two listeners"] = said(make_pipeline(encoder, WINDOWS[0], 2))
    if other is not None:
        found["of the other"] = said(spacy.load(other))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    given = [Path(argument) for argument in sys.argv[2:]]
    result = main(sys.argv[1], given[0], given[1] if len(given) > 1 else None)
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    sys.stdout.write(type(spacy.load(GOLDEN).get_pipe("transformer")).__module__ + "\n")
