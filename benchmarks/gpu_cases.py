"""The cases of `benchmarks.gpu`. Each takes a setting and a device, "cpu" or "cuda", and returns a dict.

Each runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spacy_maral import adapt, evaluate_pipeline, load, train_teacher
from spacy_maral.adaptation.student import StudentPlan
from spacy_maral.model.machine import use_device
from spacy_maral.training.network import run_over

from .pipelines import build, read
from .setting import CONFIG, ROOT, SOURCE, TARGET, Setting
from .world import Student, Text, read_sample, student_plan

PAPER = ROOT / "configs" / "maral_paper.cfg"
# width, layers, heads, inner width
SHAPES = {
    "small": (384, 12, 12, 1536),
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
}
SMOKE_SHAPE = (64, 2, 2, 128)
PRECISIONS = ("float32", "bfloat16", "float16")
STEPS, WARM = 20, 3
BATCH = 4096
WIDTH = 4


def gpu_id(device: str) -> int:
    return 0 if device == "cuda" else -1


def synchronise(device: str) -> None:
    """Wait until the device has done all its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def gpu_gib(device: str) -> float | None:
    """Largest memory of the GPU that this process has used, in GiB."""
    return torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None


def timed(device: str, work: Callable[[], float]) -> float:
    """Work per second of a function that returns its amount of work."""
    synchronise(device)
    started = time.perf_counter()
    done = work()
    synchronise(device)
    return done / (time.perf_counter() - started)


def random_encoder(setting: Setting, shape: str) -> Path:
    """Write an encoder of XLM-R's kind with random weights and an LM head; RETURNS (Path): Its folder.

    It has the tokenizer and the vocabulary of the setting's encoder. Speed and memory need no trained
    weights.
    """
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForMaskedLM

    folder = setting.scratch / f"encoder-{shape}"
    if not (folder / "config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(setting.encoder, local_files_only=True)
        width, layers, heads, inner = SMOKE_SHAPE if setting.smoke else SHAPES[shape]
        config = XLMRobertaConfig(
            vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=layers,
            num_attention_heads=heads, intermediate_size=inner, max_position_embeddings=514,
            type_vocab_size=1, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        torch.manual_seed(0)
        XLMRobertaForMaskedLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def agree(setting: Setting, device: str) -> dict[str, Any]:
    """CPU and device compute the same: scores, one training step, filter and refinery.

    Both sides have the same weights and batches, float32 and no dropout. The labels are improved from
    the same features.
    """
    size = min(setting.sizes.sentences, 400)
    text = Text.read(setting, WIDTH, size)
    plan = student_plan(setting, WIDTH, student_precision="float32", student_epochs=2)
    sides = []
    for name in ("cpu", device):
        use_device(gpu_id(name))
        student = Student.build(setting, text, plan)
        for module in student.run.module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        sides.append(student)
    cpu, other = sides
    other.run.module.load_state_dict(copy.deepcopy(cpu.run.module.state_dict()))
    found = {"scores": largest_difference(*(scores_of(student) for student in (cpu, other)))}
    before = weights_of(cpu)
    for student in (cpu, other):
        student.steps(len(student.plan))
    found["weights_after_an_epoch"] = apart(before, weights_of(cpu), weights_of(other))
    statistics = cpu.run.network.span_model.statistics.state_dict()
    other.run.network.span_model.statistics.load_state_dict(statistics)
    for kept in ("source_features", "target_features"):
        getattr(other.hook, kept).z = getattr(cpu.hook, kept).z.copy()
    labels = []
    for student in (cpu, other):
        student.hook.on_epoch_end(0)
        labels.append(student.hook.labels)
    found["reliable_differ"] = float((labels[0].reliable != labels[1].reliable).mean())
    found["labels_differ"] = float((labels[0].classes != labels[1].classes).mean())
    return found


def scores_of(student: Student) -> np.ndarray:
    """Class scores of a batch's spans, without dropout."""
    network, stream = student.run.network, student.run.streams[0]
    network.eval()
    with torch.inference_mode():
        batch = network.batch(stream.share.corpus, student.plan[0][0])
        scores = network.class_scores(network(batch)).cpu().numpy()
    network.train()
    return scores


def weights_of(student: Student) -> np.ndarray:
    parts = [p.detach().cpu().numpy().ravel() for p in student.run.network.parameters()]
    return np.concatenate(parts)


def largest_difference(first: np.ndarray, second: np.ndarray) -> float:
    known = np.isfinite(first)
    return float(np.abs(first[known] - second[known]).max())


def apart(start: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """How far two trainings are apart, as a share of the way that the first has gone.

    The distance is over all weights together: one by one, those whose gradient is zero but for rounding
    would be as far apart as they have moved, since Adam gives each a step of the same length.
    """
    return float(np.linalg.norm(second - first) / np.linalg.norm(first - start))


def speed(setting: Setting, device: str, shape: str, precision: str) -> dict[str, Any]:
    """Sentences per second of a student's training, words per second of scoring, and memory.

    All layers are trained, in batches of 4,096 word pieces.
    """
    use_device(gpu_id(device))
    size = setting.sizes.sentences
    text = Text.read(setting, WIDTH, size)
    plan = StudentPlan.read(
        CONFIG,
        {
            "paths.encoder": str(random_encoder(setting, shape)),
            "components.maral_ner.model.max_width": WIDTH,
            "adaptation.diagnostics": False,
            "student.min_updates": 0,
            "student.batch_tokens": BATCH,
            "student.freeze_layers": 0,
            "student.freeze_embeddings": False,
            "student.precision": precision,
        },
    )
    student = Student.build(setting, text, plan)
    steps = 1 if setting.smoke else STEPS
    student.steps(1 if setting.smoke else WARM)
    trained = timed(device, lambda: student.steps(steps))
    corpus, network = student.run.streams[1].share.corpus, student.run.network

    def score() -> int:
        words = 0
        for batch, output in run_over(network, corpus, batch_tokens=BATCH, name="Score"):
            network.class_scores(output).cpu()
            words += len(batch.first)
        return words

    return {
        "train_sentences_per_second": trained,
        "score_words_per_second": timed(device, score),
        "gpu_gib": gpu_gib(device),
    }


def paper(setting: Setting, device: str) -> dict[str, Any]:
    """Seconds of an update and memory with maral_paper.cfg and an encoder of XLM-R large's shape."""
    use_device(gpu_id(device))
    text = Text.read(setting, WIDTH, min(setting.sizes.sentences, 400))
    overrides = {
        "paths.encoder": str(random_encoder(setting, "large")), "adaptation.diagnostics": False,
    }  # fmt: skip
    student = Student.build(setting, text, StudentPlan.read(PAPER, overrides))
    accumulate = student.run.settings.accumulate
    student.steps(accumulate)
    updates = 1 if setting.smoke else 5
    rate = timed(device, lambda: student.steps(updates * accumulate) and updates)
    return {
        "seconds_per_update": 1 / rate,
        "sentences_per_update": accumulate * 2 * student.sentences_per_batch,
        "gpu_gib": gpu_gib(device),
    }


def pipe(setting: Setting, device: str) -> dict[str, Any]:
    """Words per second of `nlp.pipe`."""
    use_device(gpu_id(device))
    docs = read_sample(setting, TARGET, "train", setting.sizes.sentences)
    nlp = build(setting, "maral_ner", docs[: setting.sizes.train_sentences])
    entities: list[int] = []
    read(nlp, docs[:128], entities)
    return {
        "words_per_second": timed(device, lambda: read(nlp, docs, entities)),
        "entities": entities[0],
        "gpu_gib": gpu_gib(device),
    }


def road(setting: Setting, device: str) -> dict[str, Any]:
    """The whole road from labelled English to a German student: all layers, the paper's 20 epochs."""
    folder, number = setting.scratch / "road", gpu_id(device)
    size = 60 if setting.smoke else 20_000
    from spacy.tokens import DocBin

    def sample(language: str, part: str, n: int) -> Path:
        path = folder / f"{language}-{part}.spacy"
        path.parent.mkdir(parents=True, exist_ok=True)
        DocBin(docs=read_sample(setting, language, part, n)).to_disk(path)
        return path

    source = {"source": sample(SOURCE, "train", size), "dev": sample(SOURCE, "dev", size // 20)}
    test = sample(TARGET, "test", size // 10)
    settings: dict[str, Any] = {"paths.encoder": str(setting.encoder)}
    for side in ("teacher", "student"):
        settings |= {
            f"{side}.epochs": 2 if setting.smoke else 20, f"{side}.batch_tokens": BATCH,
            f"{side}.freeze_layers": 0, f"{side}.freeze_embeddings": False,
        }  # fmt: skip
    settings["adaptation.diagnostics"] = False
    started, found = time.perf_counter(), {}
    teacher = train_teacher(
        CONFIG, **source, output=folder / "teacher", overrides=settings, gpu_id=number
    )
    found["teacher_seconds"] = time.perf_counter() - started
    student = adapt(
        CONFIG, **source, target=sample(TARGET, "train", size), teacher=teacher,
        output=folder / "student", overrides=settings, gpu_id=number,
    )  # fmt: skip
    found["seconds"] = time.perf_counter() - started
    for name, path in (("teacher_f1", teacher), ("student_f1", student)):
        found[name] = evaluate_pipeline(load(path, gpu_id=number), test).report.f1
    return {**found, "gpu_gib": gpu_gib(device)}
