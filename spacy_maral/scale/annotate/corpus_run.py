"""A run over a corpus: finds the shards that are not done yet, annotates them and counts."""

from __future__ import annotations

import logging
import os
import platform
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

from ...data.files import UNREADABLE, Paths, differences, digest, listed, prove_writable
from ...errors import Errors, MaralError, Warnings
from ...training.interrupts import Interrupted, sole_run
from . import storage
from .corpus_files import BEGUN, FORMATS, RUN, Shard, find_shards, places
from .corpus_names import remember_corpus
from .model import model_version
from .progress import Progress, progress_bar
from .shard import TWO_PASS, ShardSettings, ShardSummary, read_summary
from .worker import Engine, LocalEngine, Work

logger = logging.getLogger("spacy")

FORMAT_VERSION = 1
STATE, SUMMARY = "run.json", "summary.json"
SHOWN = 10


@dataclass(kw_only=True)
class CorpusSummary(ShardSummary):
    """Counts over all shards that are done, and facts about the run.

    documents, words, entities, rejected, size: As in `ShardSummary`.
    output (str): The output folder.
    model (str): Version of the model.
    engine (str): Name of the engine.
    shards (int): Shards of the corpus.
    shards_done (int): Shards that are done.
    shards_skipped (int): Shards among these that an earlier start has done.
    shards_failed (int): Shards that failed.
    failures (dict): Why they failed, by shard.
    seconds (float): Time of this start, with the loading of models.
    documents_per_second, words_per_second (float): Speed of this start.
    worker_seconds (float): Time that workers spent on the shards that are done, in all starts.
    finished (bool): Whether all shards are done.
    """

    output: str
    model: str
    engine: str
    shards: int
    shards_done: int = 0
    shards_skipped: int = 0
    shards_failed: int = 0
    documents_per_second: float = 0.0
    words_per_second: float = 0.0
    worker_seconds: float = 0.0
    finished: bool = False
    failures: dict[str, str] = field(default_factory=dict)

    def count(self, summary: ShardSummary) -> None:
        """Add a shard that is done."""
        self.add(replace(summary, seconds=0.0))
        self.shards_done += 1
        self.worker_seconds += summary.seconds


def annotate_corpus(
    model: str | Path,
    inputs: Paths,
    output: str | Path,
    *,
    engine: Engine | None = None,
    format: str = "jsonl",
    text_field: str = "text",
    id_field: str = "id",
    score_attr: str | None = None,
    batch_words: int = 1024,
    give_up: int = 100,
    names: str | None = None,
    text_seconds: float = 600.0,
    doubt: float | None = None,
    gpu_id: int = -1,
    code: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> CorpusSummary:
    """Find the entities of all documents of a corpus, shard by shard.

    Each file of the input, a shard, becomes one file of the output, written whole or not at all.
    Shards that are done are skipped, so that the same call goes on with a run that was stopped.
    Documents that cannot be annotated are set aside in _rejected/ with the reason.

    EXAMPLE: annotate_corpus("student", ["news/", "s3://corpora/wiki/*.parquet"], "annotated")

    model (str | Path): Folder of the pipeline, or its name if it is installed.
    inputs (Paths): Files (.txt, .jsonl, both also .gz, .parquet), folders of them,
        or patterns, as local paths or addresses that fsspec knows.
    output (str | Path): Folder for the output, a local path or such an address.
    engine (Engine | None): A LocalEngine (default) or a RayEngine.
    format (str): Format of the output: "jsonl", "jsonl.gz" or "parquet".
    text_field (str): Key or column of the text.
    id_field (str): Key or column of the id; by default the shard's name and the line.
    score_attr (str | None): Extension attribute of an entity with its score; by default
        ent._.maral_score or ent._.score, if one is set.
    batch_words (int): Words of a batch; more are faster on GPUs.
    give_up (int): Documents in a row that the model may fail on before the shard fails.
    names (str | None): "two-pass" to build a name memory of the whole corpus first, in this process,
        and to use it for all documents; "off" to use none; None for what the pipeline says.
    text_seconds (float): Seconds after which a text is set aside; 0 for no limit.
    doubt (float | None): Probability from which other readings make words doubtful, so that they are
        written as such (see `ShardSettings`); needs a model with maral_ner.
    gpu_id (int): GPU of the local engine, -1 for the CPU.
    code (str | Path | None): Python file that each worker imports first.
    on_progress (Callable | None): Called with the progress after each step.
    RETURNS (CorpusSummary): Counts over the corpus; also in _run/summary.json.
    RAISES (MaralError): If there is nothing to read, the folder belongs to another run, or a shard
        failed; the other shards are done first.
    """
    given = listed(inputs)
    home, name = storage.absolute(str(output)), str(model)
    settings = ShardSettings(
        model_version(name), format, text_field, id_field, score_attr, batch_words, give_up,
        names, text_seconds, doubt,
    )  # fmt: skip
    shards = find_shards(map(str, given), home)
    engine = engine or LocalEngine()
    path = Path(name)
    name = str(path.absolute()) if path.exists() else name
    source = None if code is None else str(Path(code).absolute())
    work = Work(name, home, settings, gpu_id, source)
    # at remote addresses there are no locks: two runs would do the same work, to the same files
    local = not storage.is_remote(home)
    if local:
        prove_writable(storage.local_path(home) / RUN, folder=True)
    with sole_run(storage.local_path(home) / RUN) if local else nullcontext():
        if local:
            storage.remove_files(home, storage.UNFINISHED)
        check_run(home, settings)
        run = CorpusRun(work, engine, shards)
        try:
            if names == TWO_PASS and run.pending:
                remember_corpus(name, home, settings, shards, gpu_id=gpu_id)
            run.go(on_progress or (lambda progress: None))
        except KeyboardInterrupt:
            done = {"done": run.summary.shards_done, "shards": run.summary.shards}
            raise Interrupted(Warnings.W466.format(**done), signal.SIGINT) from None
        finally:
            run.write_summary()
        # workers that died may have left files
        storage.remove_files(home, storage.UNFINISHED)
    if run.summary.failures:
        lines = [f"{shard}: {problem}" for shard, problem in run.summary.failures.items()]
        counts = {"n": len(lines), "shards": len(shards), "done": run.summary.shards_done}
        raise MaralError(Errors.M475.format(**counts, failures="\n  ".join(lines[:SHOWN])))
    return run.summary


class CorpusRun:
    """One start of a run.

    work (Work): What to do.
    engine (Engine): What does it.
    shards (Sequence[Shard]): The corpus.
    """

    def __init__(self, work: Work, engine: Engine, shards: Sequence[Shard]) -> None:
        self.work, self.engine = work, engine
        self.summary = CorpusSummary(
            output=work.output, model=work.settings.model, engine=engine.name, shards=len(shards)
        )
        self.started = datetime.now(timezone.utc)
        done = find_done(work, shards)
        self.summary.shards_skipped = len(done)
        self.pending = [shard for shard in shards if shard.name not in done]
        for summary in done.values():
            self.summary.count(summary)
        self.progress = Progress(len(self.pending), sum(shard.size for shard in self.pending))

    def go(self, on_progress: Callable[[Progress], None]) -> None:
        """Annotate the pending shards; note those that fail."""
        if not self.pending:
            return
        left = {shard.name for shard in self.pending}
        if not self.engine.counts_starts:
            # those of an earlier start
            storage.remove_files(storage.join(self.work.output, RUN, BEGUN))
        progress = self.progress
        # closed at once: a shard that was stopped is not one over which the process died
        running = closing(cast(Generator, self.engine.run(self.work, self.pending)))
        with progress_bar(progress.size) as bar, running as reports:
            for report in reports:
                progress.add(report.step)
                if report.summary is not None:
                    self.summary.count(report.summary)
                    progress.shards_done += 1
                    left.remove(report.shard)
                elif report.error is not None:
                    self._fail(report.shard, report.error)
                    left.remove(report.shard)
                bar.set_postfix_str(str(progress), refresh=False)
                bar.update(report.step.size)
                on_progress(progress)
        for name in sorted(left):
            self._fail(name, Errors.M484.format(shard=name))

    def _fail(self, name: str, problem: str) -> None:
        self.summary.failures[name] = problem
        self.summary.shards_failed += 1
        self.progress.shards_failed += 1

    def write_summary(self) -> None:
        """Write the summary so far."""
        summary, progress = self.summary, self.progress
        progress.add(ShardSummary())
        summary.seconds = progress.seconds
        summary.documents_per_second = progress.documents_per_second
        summary.words_per_second = progress.words_per_second
        summary.finished = summary.shards_done == summary.shards
        started = self.started.isoformat(timespec="seconds")
        machine = {"system": platform.platform(), "cores": os.cpu_count()}
        facts = {**summary.to_dict(), "started": started, "machine": machine}
        storage.write_json(storage.join(self.work.output, RUN, SUMMARY), facts)


def check_run(output: str, settings: ShardSettings) -> None:
    """Refuse to go on with a run that was started otherwise; record how a new one is started.

    output (str): The output folder.
    settings (ShardSettings): How to annotate shards.
    RAISES (MaralError): If the run in the folder has another model or other settings.
    """
    place = storage.join(output, RUN, STATE)
    wanted = {"format_version": FORMAT_VERSION, **settings.fingerprint()}
    found = storage.read_json([place]).get(place)
    if not isinstance(found, dict):
        if storage.list_files(place):
            # each record of a shard says with which settings it was annotated
            logger.warning(Warnings.W534.format(place=place))
        storage.write_json(place, wanted)
    elif changed := differences(found, wanted):
        raise MaralError(Errors.M474.format(output=output, changed="\n  ".join(changed)))


def find_done(work: Work, shards: Sequence[Shard]) -> dict[str, ShardSummary]:
    """Find the shards that are done; warn of those whose input has changed since.

    work (Work): Where the outputs are.
    shards (Sequence[Shard]): The corpus.
    RETURNS (dict): Counts over each shard that is done and unchanged, by its name.
    """
    ending = FORMATS[work.settings.format]
    targets = [places(work.output, shard.name, ending) for shard in shards]
    files = {file.address: file for file in storage.list_files(work.output)}
    records = storage.read_json([target.done for target in targets if target.done in files])
    found: dict[str, ShardSummary] = {}
    changed = []
    mine = digest(work.settings.fingerprint())
    for shard, target in zip(shards, targets, strict=True):
        record: Any = records.get(target.done)
        file = files.get(target.output)
        try:
            if file is None or file.size != record["output_size"]:
                continue
            if record.get("settings", mine) != mine:
                continue
            if (record["size"], record["version"]) == (shard.size, shard.version):
                found[shard.name] = read_summary(record["summary"])
            else:
                changed.append(shard.address)
        except UNREADABLE:
            # no record, or a damaged one
            continue
    if changed:
        more = f" and {len(changed) - SHOWN:,} more" if len(changed) > SHOWN else ""
        names = ", ".join(changed[:SHOWN]) + more
        logger.warning(Warnings.W465.format(n=len(changed), shards=names))
    return found
