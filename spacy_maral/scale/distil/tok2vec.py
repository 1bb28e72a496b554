"""Distil a pipeline into spaCy's own tok2vec and ner, which need neither torch nor this package."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.training.initialize import init_nlp
from spacy.training.loop import DIR_MODEL_BEST
from spacy.training.loop import train as train_nlp
from thinc.api import Config

from ...data.files import Paths, listed, replacing, writing_output
from ...errors import Errors, MaralError
from ...evaluation.evaluate import load_pipeline
from ...model.architectures import get_span_module
from ...model.checks import check_choice
from ...training.interrupts import sole_run
from ...training.pipelines import require_component
from ..annotate.corpus_files import FORMATS, find_shards, places
from ..annotate.corpus_run import CorpusSummary, annotate_corpus
from ..annotate.worker import Engine
from ..names import component as maral_ner
from ..shrink.pipelines import Smaller, report_small
from .folders import describe_gold, read_labelled, work_folder
from .silver import Labelled, SilverCorpus, SilverCounts
from .spacy_config import COMPONENTS, LABELS, NER, SmallPlan, copy_tokenizer
from .word_vectors import encoder_vectors, has_encoder, save_vectors

ANNOTATED, CORPUS, VECTORS, TRAINED = "annotated", "corpus", "vectors", "trained"
CONFIG = "config.cfg"
FORMAT = "jsonl.gz"
TASK = "distil"
KEPT_META = ("author", "email", "url", "license", "sources")
DOUBT = 0.3
AUTO, NONE = "auto", "none"
"""Word vectors: of the teacher's encoder, if it has one, or none."""
VECTORS_SETTINGS = ("paths.vectors", "initialize.vectors")


def distil_tok2vec(
    model: str | Path,
    texts: Paths,
    output: str | Path,
    *,
    gold: Paths | None = None,
    dev: Paths | None = None,
    test: str | Path | None = None,
    component: str = NER,
    vectors: str | Path = AUTO,
    doubt: float = DOUBT,
    text_field: str = "text",
    overrides: dict[str, Any] | None = None,
    engine: Engine | None = None,
    gpu_id: int = -1,
) -> Smaller:
    """Distil a pipeline into spaCy's own tok2vec and ner, trained on text that the pipeline labels.

    The text is labelled shard by shard, as by `annotate_corpus`; a call that was stopped goes on when it
    is repeated. spaCy's own training then learns from it. Words whose annotation is in doubt count as
    missing, not as outside. The result loads with spaCy alone.

    EXAMPLE: distil_tok2vec("student", ["german/"], "small", test="de-test.spacy").parity.f1_change

    model (str | Path): The teacher: the folder of a pipeline with maral_ner, or its name.
    texts (Paths): Raw text as for `annotate_corpus`: files (.txt, .jsonl, both also
        .gz, .parquet), folders of them, or patterns.
    output (str | Path): Folder for the new pipeline.
    gold (Paths | None): Labelled documents (.spacy) to train on, too.
    dev (Paths | None): Labelled documents (.spacy) that choose the epoch, and on which the pipelines
        are compared if there is no test; by default a part of the silver text chooses the epoch.
    test (str | Path | None): Labelled documents (.spacy) to compare the two pipelines on.
    component (str): "ner" or "spancat".
    vectors (str | Path): Word vectors of the new pipeline: "auto" for floret vectors that are fitted to
        what the teacher's encoder reads in the words (see `encoder_vectors`), or none if it has no
        encoder; "none"; or a pipeline that has word vectors or floret vectors.
    doubt (float): Probability from which other readings of a text make its words doubtful (see
        `ShardSettings`); with 1 none is. spancat is not trained on texts with doubtful words.
    text_field (str): Key or column of the text.
    overrides (dict | None): Settings that replace those of the new pipeline's configuration, such as
        {"training.max_steps": 5000}.
    engine (Engine | None): Labels the text: a LocalEngine (default) or a RayEngine.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Smaller): The changes, also in distil.json and meta.json of the new pipeline.
    RAISES (MaralError): If the teacher, the text or the labelled data cannot be used, or a file cannot be
        written.
    RAISES (ConfigValidationError): If a setting is unknown or out of range.
    """
    output = Path(output)
    given = listed(texts)
    plan = read_plan(model, component, vectors, overrides or {}, gpu_id=gpu_id)
    labelled = read_labelled(plan.labels, gold=gold, dev=dev, test=test)
    work = work_folder(output, [model, *given])
    plan.blank(plan.config(work / CORPUS, n_documents=0))
    with sole_run(work):
        summary = annotate_corpus(
            model, given, work / ANNOTATED, engine=engine, format=FORMAT, text_field=text_field,
            doubt=doubt, gpu_id=gpu_id,
        )  # fmt: skip
        fitted = vectors == AUTO and fits_vectors(plan)
        counts, words = write_silver(plan, given, work, labelled, summary, count_words=fitted)
        if fitted:
            plan = add_vectors(plan, words, work)
        n_documents = counts.documents + len(labelled.gold)
        config = plan.config(work / CORPUS, n_documents=n_documents)
        nlp = train(plan, config, work, gpu_id=gpu_id)
    vectors_from = (
        "the teacher's encoder" if fitted else config.interpolate()["initialize"]["vectors"]
    )
    finish(nlp, plan.teacher)
    facts: dict[str, Any] = {
        "to": "tok2vec", "component": component, "teacher": summary.model,
        "silver": {**counts.to_dict(), "doubt": doubt},
        "vectors": describe_vectors(vectors_from, nlp),
    }  # fmt: skip
    if labelled.gold:
        facts["gold"] = describe_gold(labelled)
    with writing_output(output), replacing(output) as folder:
        nlp.to_disk(folder)
        return report_small(
            plan.teacher, folder, TASK, facts, labelled.test, spans_key=plan.spans_key
        )


def read_plan(
    model: str | Path,
    component: str,
    vectors: str | Path,
    overrides: dict[str, Any],
    *,
    gpu_id: int,
) -> SmallPlan:
    """Load the teacher, and check it, the component and the vectors.

    RAISES (MaralError): If one of them cannot be used.
    """
    check_choice("component", component, list(COMPONENTS))
    teacher = load_pipeline(model, gpu_id=gpu_id)
    require_component(teacher, model)
    pipe = maral_ner(teacher)
    width = get_span_module(pipe.model).max_width
    return SmallPlan(teacher, pipe.labels, width, component, check_vectors(vectors), overrides)


def check_vectors(given: str | Path) -> str | None:
    """Find word vectors.

    given (str | Path): Folder or name of a pipeline, or "auto" or "none".
    RETURNS (str | None): Its absolute path, or its name; None for "auto" and "none".
    RAISES (MaralError): If there is no such pipeline, or it has no vectors.
    """
    if given in (AUTO, NONE):
        return None
    if not load_pipeline(given).vocab.vectors.size:
        raise MaralError(Errors.M570.format(path=given))
    return str(Path(given).absolute()) if Path(given).exists() else str(given)


def fits_vectors(plan: SmallPlan) -> bool:
    """Whether the teacher has an encoder to fit vectors to, and no override names other vectors."""
    return has_encoder(plan.teacher) and plan.overrides.keys().isdisjoint(VECTORS_SETTINGS)


def add_vectors(plan: SmallPlan, words: Counter[str], work: Path) -> SmallPlan:
    """Fit word vectors to the teacher's encoder; RETURNS (SmallPlan): The plan with them."""
    with writing_output(work):
        save_vectors(encoder_vectors(plan.teacher, words), work / VECTORS)
    return replace(plan, vectors=str((work / VECTORS).absolute()))


def describe_vectors(given: str, nlp: Language) -> dict[str, Any] | None:
    """Describe the word vectors of a pipeline, for the report; None without any.

    given (str): Where they are from: a path, of which the report tells the name, or words.
    """
    rows, dim = nlp.vocab.vectors.shape
    if not rows * dim:
        return None
    return {"from": Path(given).name, "mode": nlp.vocab.vectors.mode, "rows": rows, "dim": dim}


def write_silver(
    plan: SmallPlan,
    texts: Sequence[str | Path],
    work: Path,
    labelled: Labelled,
    summary: CorpusSummary,
    *,
    count_words: bool,
) -> tuple[SilverCounts, Counter[str]]:
    """Write what the teacher has labelled as documents for spaCy's training.

    count_words (bool): Whether to count the words of the documents.
    RETURNS (tuple): Counts, and the words of the documents with their frequencies.
    """
    home = str(work / ANNOTATED)
    shards = find_shards(map(str, texts), home)
    files = [places(summary.output, shard.name, FORMATS[FORMAT]).output for shard in shards]
    config = plan.config(work / CORPUS, n_documents=summary.documents)
    corpus = SilverCorpus(
        plan.blank(config), labelled, spans_key=plan.spans_key,
        n_documents=max(1, summary.documents), seed=int(config["system"]["seed"]),
        count_words=count_words,
    )  # fmt: skip
    with writing_output(work), replacing(work / CORPUS) as folder:
        return corpus.write(files, folder), corpus.words


def train(plan: SmallPlan, config: Config, work: Path, *, gpu_id: int) -> Language:
    """Train the pipeline of a configuration by spaCy's own loop; RETURNS (Language): The best one."""
    with writing_output(work):
        config.to_disk(work / CONFIG)
        (work / TRAINED).mkdir(exist_ok=True)
        (work / CORPUS / LABELS).write_text(json.dumps(plan.label_data()), encoding="utf8")
    nlp = init_nlp(config, use_gpu=gpu_id)
    copy_tokenizer(plan.teacher, nlp)
    train_nlp(nlp, work / TRAINED, use_gpu=gpu_id, stdout=sys.stdout, stderr=sys.stderr)
    return spacy.load(work / TRAINED / DIR_MODEL_BEST)


def finish(nlp: Language, teacher: Language) -> None:
    """Give a trained pipeline the teacher's name and facts, and no paths of this machine."""
    nlp.config["paths"] = dict.fromkeys(nlp.config["paths"])
    nlp.config["initialize"]["components"] = {}
    nlp.meta |= {key: teacher.meta[key] for key in KEPT_META if teacher.meta.get(key)}
    lang = teacher.meta["lang"]
    nlp.meta |= {
        "lang": lang,
        "name": f"{teacher.meta['name']}_{TASK}",
        "version": teacher.meta["version"],
    }
    labels = ", ".join(label for found in nlp.meta["labels"].values() for label in found)
    nlp.meta["description"] = (
        f"Entities ({labels}), distilled from {lang}_{teacher.meta['name']} into spaCy's own components."
    )
