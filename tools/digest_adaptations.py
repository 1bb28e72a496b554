# ruff: noqa: E402, T201
"""Do two versions of spacy-maral adapt identically?

    python tools/digest_adaptations.py OUT.json                   # with the version of this Python
    python tools/digest_adaptations.py A.json --compare B.json    # list differences; exit 1 if any

The script makes a toy world of two languages with a tiny XLM-R, trains teachers, pseudo-labels the
target and adapts students: every combination of the settings of filter and refinery, and some other
settings, each in one process and in two. For every run it writes digests of all tensors of the saved
pipeline, of the entities that this finds in test text, and the rows of the log. It uses the public
functions and files only, and its configuration states every setting, in the notation of 0.1, so that
it runs unchanged on versions with other defaults and another layout. OUT.json depends on neither
folder, time nor hash seed. All runs take six minutes on two cores.

Options: --only TEXT (runs whose name contains it), --keep FOLDER (the folders of the runs stay).
"""

from __future__ import annotations

import os

os.environ.update(
    OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="passive", HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1", TRANSFORMERS_VERBOSITY="error",
)  # fmt: skip
for _name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
    os.environ.pop(_name, None)

import argparse
import copy
import gc
import hashlib
import itertools
import json
import shutil
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import spacy
import torch
from spacy.tokens import Doc, DocBin, Span
from thinc.api import Config
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)  # fmt: skip

import spacy_maral
from spacy_maral import adapt, pseudo_label, train_teacher

# keys of the log that are timings, or signals that some versions compute only when asked
LEFT_OUT = {
    "seconds", "spans_per_second", "target_agreement", "target_density", "target_information",
}  # fmt: skip
EXIT_FAILED = 3
CORES = 2

# ---------------------------------------------------------------------------- the toy world

NAMES = {
    "LOC": {
        "both": ["Paris", "York", "Jordan", "Sidney"],
        "source": ["New York", "San Pedro", "Dublin"],
        "target": ["Wien", "Bad Homburg", "Ulm", "Sankt Peter"],
    },
    "PER": {
        "both": ["Merkel", "Obama", "Anna", "Sidney"],
        "source": ["Anna Smith", "Pedro", "Obama Jones"],
        "target": ["Anna Schmidt", "Peter", "Ute Wien", "Uwe"],
    },
    "ORG": {
        "both": ["Siemens", "York Post", "Jordan Bank"],
        "source": ["Smith Bank", "Acme"],
        "target": ["Ulm Post", "Schmidt Bank"],
    },
}
BEFORE = {
    "source": {"LOC": ["in", "visited", "to"], "PER": ["met", "called"], "ORG": ["joined", "the"]},
    "target": {"LOC": ["in", "nach", "aus"], "PER": ["trifft", "ruft"], "ORG": ["bei", "die"]},
}
OTHERS = {
    "source": ["today", "and", "the", "in", "then", "7", "."],
    "target": ["heute", "und", "die", "in", "dann", "7", "."],
}
# share of entities that are not labelled, or get another label
NOISE = 0.08


def make_docs(side: str, n_docs: int, seed: int, *, labelled: bool = True) -> list[Doc]:
    rng = np.random.default_rng(seed)
    vocab, docs = spacy.blank("xx").vocab, []
    for _ in range(n_docs):
        words, ents = [], []
        for _ in range(int(rng.integers(1, 4))):
            words += rng.choice(OTHERS[side], int(rng.integers(1, 3))).tolist()
            if rng.random() < 0.7:
                label = str(rng.choice(list(NAMES)))
                if rng.random() < 0.7:
                    words.append(str(rng.choice(BEFORE[side][label])))
                name = str(rng.choice(NAMES[label]["both"] + NAMES[label][side])).split()
                given = label if rng.random() >= NOISE else str(rng.choice(["", *NAMES]))
                if given:
                    ents.append((len(words), len(words) + len(name), given))
                words += name
        doc = Doc(vocab, words=words)
        if labelled:
            doc.set_ents([Span(doc, s, e, label=x) for s, e, x in ents], default="outside")
        docs.append(doc)
    return docs


def write(path: Path, docs: list[Doc]) -> Path:
    DocBin(docs=docs).to_disk(path)
    return path


SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MODEL_MAX_LENGTH = 64


def make_encoder(path: Path) -> Path:
    """A tiny XLM-R, with dropout, a pooler and an LM head, and a tokenizer of its own."""
    words = {w for by in NAMES.values() for names in by.values() for n in names for w in n.split()}
    words |= {w for by in BEFORE.values() for some in by.values() for w in some}
    words |= {w for some in OTHERS.values() for w in some}
    pieces = [(piece, 0.0) for piece in SPECIAL] + [("▁", -3.0)]
    chars = sorted({c for word in words for c in word})
    pieces += [(c, -9.0) for c in chars] + [(f"▁{c}", -9.5) for c in chars]
    halves = {h for w in words if len(w) > 3 for h in ("▁" + w[: len(w) // 2], w[len(w) // 2 :])}
    pieces += [(half, -6.0) for half in sorted(halves)]
    pieces = list(dict(pieces).items())
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", SPECIAL.index("<s>")), ("</s>", SPECIAL.index("</s>"))],
    )  # fmt: skip
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=MODEL_MAX_LENGTH + 2, type_vocab_size=1,
        pad_token_id=SPECIAL.index("<pad>"), bos_token_id=SPECIAL.index("<s>"),
        eos_token_id=SPECIAL.index("</s>"),
        hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = XLMRobertaForMaskedLM(config)
        # so that nobody has to make a pooler by chance
        pooler = {"weight": torch.randn(32, 32) / 6, "bias": torch.zeros(32)}
        given = {f"roberta.pooler.dense.{name}": tensor for name, tensor in pooler.items()}
        model.save_pretrained(path, state_dict={**model.state_dict(), **given})
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": MODEL_MAX_LENGTH,
        "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>",
        "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>",
    }  # fmt: skip
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf8")
    # what they import when they are first used, every process that is forked has already
    for cls in (AutoTokenizer, AutoModel, AutoModelForMaskedLM):
        cls.from_pretrained(path, trust_remote_code=False)
    gc.collect()
    gc.freeze()
    return path


# ---------------------------------------------------------------------------- the configuration

CONFIG = """
[system]
seed = 3
gpu_allocator = null

[nlp]
lang = "xx"
pipeline = ["transformer","maral_ner"]
batch_size = 128

[components]

[components.transformer]
factory = "transformer"
max_batch_items = 4096

[components.transformer.model]
@architectures = "spacy-maral.TransformerModel.v1"
name = "ENCODER"
mixed_precision = false
max_batch_pieces = 32768
weights = "float32"

[components.transformer.model.get_spans]
@span_getters = "spacy-maral.bounded_windows.v1"
max_words = 24
stride = 16
max_chars = 60

[components.transformer.model.tokenizer_config]
use_fast = true

[components.transformer.model.transformer_config]

[components.maral_ner]
factory = "maral_ner"
loss = "max_margin"
decision = "likelihood"
prior_scale = 1.0
include_outside = true
outside_weight = 1.0
memory = 10000.0
overwrite = true
scores = true
threshold = 0.0
spans_key = null
spans_threshold = null

[components.maral_ner.model]
@architectures = "spacy-maral.SpanModel.v1"
max_width = 3
dim = 8
hidden_width = 24
dropout = 0.1
width_embedding = 25
shape_embedding = 25
temperature = 0.07
pseudo_count = 200
seed = 3
max_batch_spans = 32768

[components.maral_ner.model.tok2vec]
@architectures = "spacy-maral.WordPieceEnds.v1"
grad_factor = 1.0
upstream = "*"

[teacher]
loss = "cross_entropy"
decision = "linear"
include_outside = true
outside_weight = 1.0
prior_scale = 1.0
epochs = 12
batch_tokens = 300
min_updates = 0
batch_docs = 0
accumulate = 1
learn_rate = 2e-3
head_learn_rate = 2e-2
weight_decay = 0.01
warmup = 0.06
grad_clip = 1.0
precision = "float32"
freeze_embeddings = false
freeze_layers = 0
cache = null
frozen_cache = 8.0
select = "last"
checkpoint_minutes = 0.0
logger = null

[student]
loss = "max_margin"
decision = "likelihood"
include_outside = true
outside_weight = 1.0
prior_scale = 1.0
epochs = 3
batch_tokens = 600
min_updates = 0
batch_docs = 0
accumulate = 1
learn_rate = 3e-3
head_learn_rate = 3e-2
weight_decay = 0.01
warmup = 0.06
grad_clip = 1.0
precision = "float32"
freeze_embeddings = false
freeze_layers = 0
cache = null
frozen_cache = 8.0
select = "last"
checkpoint_minutes = 0.0
logger = null

[adaptation]
init = "encoder"
warmup_epochs = 1
target_labels = "soft"
target_prior_scale = 0.5
target_weight = 1.0
statistics = "reliable"
features = "training"
filter = true
filter_limit = "none"
guidance = "both"
guidance_weights = "equal"
neighbours = 10
bank_outside_rate = 0.2
bank_size = 262144
alpha_start = 0.8
alpha_end = 0.4
mlm_weight = 0.0
mask_rate = 0.25
diagnose_with_gold = false
diagnostics = false
"""

PRODUCT = {
    "filter": [True, False],
    "filter_limit": ["none", "doubt"],
    "guidance": ["both", "global", "local", "none"],
    "guidance_weights": ["equal", "graded"],
    "features": ["training", "clean"],
}
LINEAR = {"student.loss": "cross_entropy", "student.decision": "linear"}
SMALL_BANK = {"adaptation.bank_size": 60, "adaptation.neighbours": 3}
# name: (settings, other data)
EXTRAS = {
    "hard-all": ({"adaptation.target_labels": "hard", "adaptation.statistics": "all"}, {}),
    "hard-reliable": ({"adaptation.target_labels": "hard"}, {}),
    "hard-source": ({"adaptation.target_labels": "hard", "adaptation.statistics": "source"}, {}),
    "hard-doubt-graded-clean": (
        {
            "adaptation.target_labels": "hard", "adaptation.filter_limit": "doubt",
            "adaptation.guidance_weights": "graded", "adaptation.features": "clean",
        },
        {},
    ),
    "soft-all": ({"adaptation.statistics": "all"}, {}),
    "soft-source": ({"adaptation.statistics": "source"}, {}),
    "two-targets": ({}, {"target": "halves", "labels": "labels of halves"}),
    "two-targets-doubt-clean": (
        {"adaptation.filter_limit": "doubt", "adaptation.features": "clean"},
        {"target": "halves", "labels": "labels of halves"},
    ),
    "two-sources": ({}, {"source": "source halves"}),
    "init-teacher": ({"adaptation.init": "teacher"}, {}),
    "supcon": ({"student.loss": "supcon"}, {}),
    "gold": ({"adaptation.diagnose_with_gold": True}, {"target": "gold"}),
    "gold-two-targets": (
        {"adaptation.diagnose_with_gold": True},
        {"target": "gold halves", "labels": "labels of halves", "diagnosis": "test"},
    ),
    "diagnostics": ({"adaptation.diagnostics": True}, {}),
    "linear": (LINEAR, {}),
    "posterior": ({"student.decision": "posterior", "adaptation.target_prior_scale": 1.0}, {}),
    "no-prior": ({"student.prior_scale": 0.0, "adaptation.target_prior_scale": 0.0}, {}),
    "no-outside": ({"student.include_outside": False}, {}),
    "outside-weight": ({"student.outside_weight": 0.3}, {}),
    "accumulate": ({"student.accumulate": 2, "student.batch_docs": 9}, {}),
    "frozen": ({"student.freeze_embeddings": True, "student.freeze_layers": 1}, {}),
    "frozen-clean": ({"student.freeze_layers": 1, "adaptation.features": "clean"}, {}),
    "source-dev": ({"student.select": "source_dev"}, {}),
    "mlm": ({"adaptation.mlm_weight": 0.5}, {}),
    "target-weight": ({"adaptation.target_weight": 0.4}, {}),
    "small-bank": (SMALL_BANK, {}),
    "small-bank-no-filter": ({**SMALL_BANK, "adaptation.filter": False}, {}),
    "warmup": ({"adaptation.warmup_epochs": 2, "adaptation.diagnostics": True}, {}),
    "one-epoch": ({"student.epochs": 1}, {}),
    "teacher-asked": ({}, {"labels": None}),
    "raw-text": ({}, {"target": "text", "labels": None, "lang": "de"}),
    "annotators": ({}, {"labels": "labels of both"}),
}  # fmt: skip


def product() -> dict[str, tuple[dict, dict]]:
    found = {}
    for values in itertools.product(*PRODUCT.values()):
        chosen = dict(zip(PRODUCT, values, strict=True))
        name = " ".join(f"{k}={json.dumps(v).strip(chr(34))}" for k, v in chosen.items())
        found[name] = ({f"adaptation.{k}": v for k, v in chosen.items()}, {})
    return found


def write_config(path: Path, base: Config, changed: dict) -> Path:
    config = copy.deepcopy(base)
    for key, value in changed.items():
        *sections, name = key.split(".")
        section = config
        for part in sections:
            section = section[part]
        if name not in section:
            raise KeyError(key)
        section[name] = value
    config.to_disk(path)
    return path


# ---------------------------------------------------------------------------- what a run gave


def tensors_of(nlp: spacy.Language) -> dict[str, torch.Tensor]:
    """All parameters and buffers of the torch modules of a pipeline's components."""
    seen: set[int] = set()
    found = {}
    for name, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        modules = []
        for node in model.walk() if model is not None else ():
            for holder in (*map(vars, node.shims), node.attrs):
                for value in holder.values():
                    if isinstance(value, torch.nn.Module) and id(value) not in seen:
                        seen.add(id(value))
                        modules.append(value)
        for i, module in enumerate(m for m in modules if m.state_dict()):
            prefix = name if i == 0 else f"{name}.{i}"
            found.update({f"{prefix}: {k}": v for k, v in module.state_dict().items()})
    if len({key.split(":")[0] for key in found}) < 2:
        raise ValueError(f"no tensors of the encoder or of the span model: {sorted(found)}")
    return found


def digest_array(array: np.ndarray) -> str:
    head = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def digest_of(arrays: dict[str, np.ndarray]) -> dict:
    """One digest of all arrays, whatever their names, and a digest and the norm of each."""
    each = {k: digest_array(a) for k, a in sorted(arrays.items())}
    norms = {k: float(np.linalg.norm(a.astype(np.float64))) for k, a in arrays.items()}
    whole = hashlib.sha256("\n".join(sorted(each.values())).encode()).hexdigest()
    return {"digest": whole, "tensors": {k: [d[:16], norms[k]] for k, d in each.items()}}


def record_pipeline(folder: Path, test: Path) -> dict:
    nlp = spacy.load(folder)
    found = digest_of({k: t.detach().cpu().numpy() for k, t in tensors_of(nlp).items()})
    given = DocBin().from_disk(test).get_docs(nlp.vocab)
    docs = [Doc(nlp.vocab, [t.text for t in doc]) for doc in given]
    predicted = [
        [[e.start, e.end, e.label_, round(float(e._.maral_score), 4)] for e in doc.ents]
        for doc in nlp.pipe(docs)
    ]
    lines = (folder / "training" / "log.jsonl").read_text(encoding="utf8").splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k not in LEFT_OUT} for line in lines]
    text = json.dumps(predicted).encode()
    return {
        **found,
        "predictions": [hashlib.sha256(text).hexdigest()[:16], sum(map(len, predicted))],
        "rows": rows,
    }


def record_labels(path: Path, test: Path) -> dict:
    with np.load(path, allow_pickle=False) as file:
        arrays = {k: file[k] for k in ("probabilities", "reliable") if k in file}
    return {**digest_of(arrays), "rows": []}


# ---------------------------------------------------------------------------- processes


def work(step, arguments: dict, record, test: Path, notes: Path, rank: int) -> None:
    torch.set_num_threads(1)
    step(**arguments)
    if rank == 0:
        notes.write_text(json.dumps(record(Path(arguments["output"]), test)), encoding="utf8")


def fork(size: int, rank: int, port: int, said: int, **job) -> int:
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.dup2(said, 1)
        os.dup2(said, 2)
        if size > 1:
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size),
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
            )  # fmt: skip
        work(rank=rank, **job)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Job:
    """A step by processes that are forked; the first of them notes what is to be kept of it."""

    def __init__(self, name: str, size: int, step, arguments: dict, record, test: Path) -> None:
        self.name, self.size, self.output = name, size, Path(arguments["output"])
        self.notes, self.said = (Path(f"{self.output}.{end}") for end in ("json", "said.txt"))
        self.given = {"step": step, "arguments": arguments, "record": record, "test": test}
        self.codes: dict[int, int | None] = {}

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.started = time.perf_counter()
        given = {**self.given, "notes": self.notes}
        with self.said.open("w") as file:
            for rank in range(self.size):
                self.codes[fork(self.size, rank, port, file.fileno(), **given)] = None

    def result(self) -> dict:
        if any(self.codes.values()):
            text = self.said.read_text(encoding="utf8", errors="replace").splitlines()
            return {"failed": list(self.codes.values()), "said": text[-25:]}
        return json.loads(self.notes.read_text(encoding="utf8"))


def do(jobs: list[Job], found: dict[str, dict], *, keep: bool) -> None:
    """Do jobs, as many at a time as there are cores for their processes."""
    waiting, running = list(jobs), []
    found.update((job.name, {}) for job in jobs)  # in this order, whichever is done first
    while waiting or running:
        while waiting and sum(job.size for job in running) + waiting[0].size <= CORES:
            running.append(waiting.pop(0))
            running[-1].start()
        process, status = os.wait()
        job = next(job for job in running if process in job.codes)
        job.codes[process] = os.waitstatus_to_exitcode(status)
        if None in job.codes.values():
            continue
        running.remove(job)
        found[job.name] = job.result()
        failed = "failed" in found[job.name]
        result = "FAILED" if failed else found[job.name]["digest"][:12]
        print(f"{time.perf_counter() - job.started:5.1f} s  {result}  {job.name}", flush=True)
        if failed:
            print("    " + "\n    ".join(found[job.name]["said"][-6:]), flush=True)
        if not keep:
            shutil.rmtree(job.output, ignore_errors=True)


def make_world(folder: Path, found: dict[str, dict]) -> dict:
    """Data, teachers and pseudo-labels; found gets what is to be kept of these two."""
    base = Config().from_str(CONFIG.replace("ENCODER", str(make_encoder(folder / "encoder"))))
    source = make_docs("source", 110, 0)
    gold = make_docs("target", 100, 2)
    bare = make_docs("target", 100, 2, labelled=False)
    data = {
        "source": write(folder / "source.spacy", source),
        "dev": write(folder / "dev.spacy", make_docs("source", 25, 1)),
        "target": write(folder / "target.spacy", bare),
        "test": write(folder / "test.spacy", make_docs("target", 40, 3)),
        "gold": write(folder / "gold.spacy", gold),
        "source halves": [
            write(folder / f"source-{i}.spacy", source[s])
            for i, s in enumerate((slice(60), slice(60, None)))
        ],
    }
    for name, docs in (("halves", bare), ("gold halves", gold)):
        place = folder / name.replace(" ", "-")
        place.mkdir(exist_ok=True)
        data[name] = [
            write(place / f"{part}.spacy", docs[rows])
            for part, rows in (("first", slice(60)), ("second", slice(60, None)))
        ]
    data["text"] = folder / "target.txt"
    data["text"].write_text("".join(doc.text + "\n" for doc in bare), encoding="utf8")
    jobs = []
    for name, changed in (("teacher", {}), ("other teacher", {"system.seed": 5})):
        data[name] = folder / name.replace(" ", "-")
        config = write_config(folder / f"{data[name].name}.cfg", base, changed)
        given = {"source": data["source"], "dev": data["dev"], "output": data[name]}
        given = {"config_path": config, **given}
        jobs.append(Job(name, 1, train_teacher, given, record_pipeline, data["test"]))
    do(jobs, found, keep=True)
    jobs = []

    def label(name: str, model, target: Path) -> Path:
        output = folder / f"{name.replace(' ', '-')}.npz"
        given = {"model": model, "target": target, "output": output}
        jobs.append(Job(name, 1, pseudo_label, given, record_labels, data["test"]))
        return output

    data["labels"] = label("labels", data["teacher"], data["target"])
    data["labels of halves"] = [
        label(f"labels of the {path.stem} half", data["teacher"], path) for path in data["halves"]
    ]
    both = [data["teacher"], data["other teacher"]]
    data["labels of both"] = label("labels of both", both, data["target"])
    do(jobs, found, keep=True)
    return {"base": base, **data}


def make_all(output: Path, only: str, keep: Path | None) -> int:
    found: dict[str, dict] = {}
    started = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="digests-")) if keep is None else keep
    folder.mkdir(parents=True, exist_ok=True)
    print(
        f"spacy-maral {spacy_maral.__version__} in {Path(spacy_maral.__file__).parent}", flush=True
    )

    try:
        world = make_world(folder, found)
        jobs = []
        for i, (name, (changed, others)) in enumerate({**product(), **EXTRAS}.items()):
            config = write_config(folder / f"{i}.cfg", world["base"], changed)
            given = {"source": "source", "target": "target", "dev": "dev", "teacher": "teacher"}
            given = {**given, "labels": "labels", **others}
            arguments = {k: v if v is None or k == "lang" else world[v] for k, v in given.items()}
            for size in (1, 2):
                place = folder / f"student-{i}-{size}"
                whole = {"config_path": config, **arguments, "output": place}
                title = f"{name} x{size}"
                jobs.append(Job(title, size, adapt, whole, record_pipeline, world["test"]))
        chosen = [job for job in jobs if only in job.name]
        # those of one process first, two at a time
        do(sorted(chosen, key=lambda job: job.size), found, keep=keep is not None)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    failed = [name for name, one in found.items() if "failed" in one]
    digests = {one.get("digest") for one in found.values()}
    print(
        f"{len(found)} runs, {len(failed)} failed, {len(digests)} different digests, "
        f"{time.perf_counter() - started:.0f} s: {output}"
    )
    return EXIT_FAILED if failed else 0


# ---------------------------------------------------------------------------- comparison


def tensor_differences(a: dict, b: dict) -> list[str]:
    """How digests of tensors differ; names alone do not count."""
    ours, theirs = a["tensors"], b["tensors"]
    if a["digest"] == b["digest"]:
        return []
    lines = []
    for name in sorted({*ours, *theirs}):
        if name not in theirs or name not in ours:
            lines.append(f"{name}: only in the {'first' if name in ours else 'second'}")
        elif ours[name][0] != theirs[name][0]:
            x, y = ours[name][1], theirs[name][1]
            lines.append(f"{name}: norm {x:.9g} / {y:.9g}")
    first = lines[:4] + ([f"... and {len(lines) - 4} more tensors"] if len(lines) > 4 else [])
    return [f"{len(lines)} of {len({*ours, *theirs})} tensors", *first]


def row_differences(a: list[dict], b: list[dict]) -> list[str]:
    lines = [] if len(a) == len(b) else [f"{len(a)} / {len(b)} rows"]
    for i, (x, y) in enumerate(zip(a, b, strict=False), start=1):
        for key in sorted({*x, *y}):
            if key not in x or key not in y:
                lines.append(f"row {i}: {key} only in the {'first' if key in x else 'second'}")
            elif x[key] != y[key] and json.dumps(x[key]) != json.dumps(y[key]):
                lines.append(f"row {i}: {key} {json.dumps(x[key])} / {json.dumps(y[key])}")
    return lines


def compare(first: Path, second: Path, most: int = 12) -> int:
    a, b = (json.loads(path.read_text(encoding="utf8")) for path in (first, second))
    n_other = 0
    for name in [*a, *(name for name in b if name not in a)]:
        if name not in a or name not in b:
            lines = [f"only in {first if name in a else second}"]
        elif "failed" in a[name] or "failed" in b[name]:
            lines = [f"failed in {p}" for p, x in ((first, a), (second, b)) if "failed" in x[name]]
        else:
            lines = tensor_differences(a[name], b[name])
            lines += row_differences(a[name]["rows"], b[name]["rows"])
            if a[name].get("predictions") != b[name].get("predictions"):
                lines.append(
                    f"predictions {a[name].get('predictions')} / {b[name].get('predictions')}"
                )
            if sorted(a[name]["tensors"]) != sorted(b[name]["tensors"]) and not lines:
                print(f"note: {name}: the same tensors under other names")
        if lines:
            n_other += 1
            print(f"{name}")
            for line in lines[:most]:
                print(f"    {line}")
            if len(lines) > most:
                print(f"    ... and {len(lines) - most} more")
    print(f"{n_other} of {len({*a, *b})} runs differ")
    return 1 if n_other else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="file to write, or with --compare the first one")
    parser.add_argument("--compare", type=Path, metavar="B.json", help="compare with this file")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--keep", type=Path, help="folder for the runs, which stay")
    given = parser.parse_args()
    if given.compare:
        return compare(given.path, given.compare)
    return make_all(given.path, given.only, given.keep)


if __name__ == "__main__":
    sys.exit(main())
