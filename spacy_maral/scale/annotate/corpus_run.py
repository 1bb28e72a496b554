"""A run over a corpus: what is to be done, what is done already, and what it came to."""

from __future__ import annotations

import logging
import os
import platform
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...data.files import TEMPORARY, differences
from ...errors import Errors, MaralError, Warnings
from ...training.interrupts import Interrupted, sole_run
from .corpus_files import BEGUN, FORMATS, RUN, Shard, find_shards, places
from .engines import Engine, LocalEngine
from .model import model_version
from .progress import Progress
from .shard import ShardSettings, ShardSummary
from .storage import (
    FileInfo,
    absolute,
    is_remote,
    join,
    list_files,
    local_path,
    read_json,
    remove_file,
    write_json,
)
from .worker import Work

logger = logging.getLogger("spacy")

FORMAT_VERSION = 1
STATE, SUMMARY = "run.json", "summary.json"
SHOWN = 10


@dataclass
class CorpusSummary:
    """What a run came to.

    output: The folder. model: Version of the model. engine: What it ran on. shards: Of the corpus;
    shards_done of them are done, shards_skipped of these by an earlier start, and shards_failed
    could not be done, for the reasons in failures. documents, words, entities (by label), rejected,
    size (bytes of input): Of all shards that are done. seconds: Of this start, its loading of models
    included. documents_per_second, words_per_second: Of this start. worker_seconds: That workers
    spent on the shards that are done, in all starts.
    """

    output: str
    model: str
    engine: str
    shards: int
    shards_done: int = 0
    shards_skipped: int = 0
    shards_failed: int = 0
    documents: int = 0
    words: int = 0
    rejected: int = 0
    size: int = 0
    entities: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    documents_per_second: float = 0.0
    words_per_second: float = 0.0
    worker_seconds: float = 0.0
    finished: bool = False
    failures: dict[str, str] = field(default_factory=dict)

    def count(self, summary: ShardSummary) -> None:
        """Add a shard that is done."""
        self.shards_done += 1
        self.documents += summary.documents
        self.words += summary.words
        self.rejected += summary.rejected
        self.size += summary.size
        self.worker_seconds += summary.seconds
        self.entities = dict(sorted((Counter(self.entities) + Counter(summary.entities)).items()))

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): Ready for JSON."""
        return dict(self.__dict__)


def annotate_corpus(
    model: str | Path,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    engine: Engine | None = None,
    format: str = "jsonl",
    text_field: str = "text",
    id_field: str = "id",
    score_attr: str | None = None,
    batch_words: int = 1024,
    give_up: int = 100,
    gpu_id: int = -1,
    code: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> CorpusSummary:
    """Find the entities of all documents of a corpus, shard by shard.

    Each shard of the input becomes one of the output, written whole or not at all. What is done is
    passed over, so that the same call goes on with a run that was stopped. Documents that cannot be
    annotated are set aside in _rejected/ with the reason.

    EXAMPLE: annotate_corpus("student", ["news/", "s3://corpora/wiki/*.parquet"], "annotated")

    model (str | Path): Folder of the pipeline, or its name if it is installed.
    inputs (str | Path | Sequence): Files (.txt, .jsonl, both also .gz, .parquet), folders of them,
        or patterns; here or at any address that fsspec knows.
    output (str | Path): Folder for the output, here or at such an address.
    engine (Engine | None): What runs it: a LocalEngine, by default, or a RayEngine.
    format (str): Of the output: "jsonl", "jsonl.gz" or "parquet".
    text_field (str): Key or column of the text.
    id_field (str): Key or column of the id. Without, the id is the shard's name and the line.
    score_attr (str | None): Extension attribute of an entity with its score; by default
        ent._.maral_score or ent._.score, where there is one.
    batch_words (int): Words of a batch; GPUs are faster with more.
    give_up (int): Documents in a row that the model may fail on before the shard fails.
    gpu_id (int): GPU of the local engine, -1 for the CPU.
    code (str | Path | None): Python file that workers import first.
    on_progress (Callable | None): Called with the progress after each step.
    RETURNS (CorpusSummary): What it came to; also in _run/summary.json.
    RAISES (MaralError): If there is nothing to read, the folder is that of another run, or a shard
        failed; all others are done first.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    home, name = absolute(str(output)), str(model)
    settings = ShardSettings(
        model_version(name), format, text_field, id_field, score_attr, batch_words, give_up
    )
    shards = find_shards(map(str, given), home)
    engine = engine or LocalEngine()
    path = Path(name)
    name = str(path.absolute()) if path.exists() else name
    source = None if code is None else str(Path(code).absolute())
    work = Work(name, home, settings, gpu_id, source)
    with sole_writer(home):
        check_run(home, settings)
        run = Run(work, engine, shards)
        try:
            run.go(on_progress or (lambda progress: None))
        except KeyboardInterrupt:
            done = {"done": run.summary.shards_done, "shards": run.summary.shards}
            raise Interrupted(Warnings.W466.format(**done), signal.SIGINT) from None
        finally:
            run.write_summary()
        # of workers that died
        remove_leftovers(home)
    if run.summary.failures:
        raise MaralError(describe_failures(run.summary))
    return run.summary


class Run:
    """One start of a run.

    work (Work): What to do.
    engine (Engine): What does it.
    shards (Sequence[Shard]): The corpus.
    """

    def __init__(self, work: Work, engine: Engine, shards: Sequence[Shard]) -> None:
        self.work, self.engine = work, engine
        self.summary = CorpusSummary(work.output, work.settings.model, engine.name, len(shards))
        self.started = datetime.now(timezone.utc)
        self.pending = []
        for shard, done in zip(shards, find_done(work, shards), strict=True):
            if done is None:
                self.pending.append(shard)
            else:
                self.summary.count(done)
                self.summary.shards_skipped += 1
        self.progress = Progress(len(self.pending), sum(shard.size for shard in self.pending))

    def go(self, on_progress: Callable[[Progress], None]) -> None:
        """Annotate what is to be done; shards that fail are noted."""
        if not self.pending:
            return
        left = {shard.name: shard for shard in self.pending}
        for file in list_files(join(self.work.output, RUN, BEGUN)):
            # those of an earlier start
            remove_file(file.address)
        progress = self.progress
        for report in self.engine.run(self.work, self.pending):
            progress.add(report.step)
            if report.summary is not None:
                self.summary.count(report.summary)
                progress.shards_done += 1
                del left[report.shard]
            elif report.error is not None:
                self._fail(report.shard, report.error)
                del left[report.shard]
            on_progress(progress)
        for name in left:
            self._fail(name, Errors.M484.format(shard=name))

    def _fail(self, name: str, problem: str) -> None:
        self.summary.failures[name] = problem
        self.summary.shards_failed += 1
        self.progress.shards_failed += 1

    def write_summary(self) -> None:
        """Write what it came to so far."""
        self.progress.tick()
        summary, progress = self.summary, self.progress
        summary.seconds = progress.seconds
        summary.documents_per_second = progress.documents_per_second
        summary.words_per_second = progress.words_per_second
        summary.finished = summary.shards_done == summary.shards
        write_json(
            join(self.work.output, RUN, SUMMARY),
            {
                **summary.to_dict(),
                "started": self.started.isoformat(timespec="seconds"),
                "machine": {"system": platform.platform(), "cores": os.cpu_count()},
            },
        )


def check_run(output: str, settings: ShardSettings) -> None:
    """Refuse to go on with a run that was started with something else; note how one is started.

    output (str): The output folder.
    settings (ShardSettings): How shards are annotated now.
    RAISES (MaralError): If the run in the folder has another model or other settings.
    """
    place = join(output, RUN, STATE)
    wanted = {"format_version": FORMAT_VERSION, **settings.fingerprint()}
    found = read_json([place]).get(place)
    if found is None:
        write_json(place, wanted)
        return
    changed = differences(found, wanted)
    if changed:
        raise MaralError(Errors.M474.format(output=output, changed="\n  ".join(changed)))


def find_done(work: Work, shards: Sequence[Shard]) -> list[ShardSummary | None]:
    """What became of the shards that are done; None for the others.

    A shard whose input has changed since is done again, with a warning.
    """
    ending = FORMATS[work.settings.format]
    targets = [places(work.output, shard.name, ending) for shard in shards]
    there: dict[str, FileInfo] = {file.address: file for file in list_files(work.output)}
    records = read_json([target.done for target in targets if target.done in there])
    found: list[ShardSummary | None] = []
    changed = []
    for shard, target in zip(shards, targets, strict=True):
        record = records.get(target.done)
        file = there.get(target.output)
        if record is None or file is None or file.size != record["output_size"]:
            found.append(None)
        elif (record["size"], record["version"]) != (shard.size, shard.version):
            changed.append(shard.address)
            found.append(None)
        else:
            found.append(ShardSummary(**record["summary"]))
    if changed:
        logger.warning(Warnings.W465.format(n=len(changed), shards=_some(changed)))
    return found


@contextmanager
def sole_writer(output: str) -> Iterator[None]:
    """Keep other runs out of an output folder here, and tidy up what killed ones have left.

    At other addresses there are no locks: two runs would do the same work, to the same files.
    """
    if is_remote(output):
        yield
        return
    with sole_run(local_path(output) / RUN):
        remove_leftovers(output)
        yield


def remove_leftovers(output: str) -> None:
    """Delete what killed workers had begun to write, when none is at work."""
    for file in list_files(output):
        name = file.address.rpartition("/")[2]
        if name.startswith(".") and name.endswith(TEMPORARY):
            remove_file(file.address)


def describe_failures(summary: CorpusSummary) -> str:
    """The shards that failed, for people."""
    lines = [f"{name}: {problem}" for name, problem in summary.failures.items()]
    return Errors.M475.format(
        n=len(lines), shards=summary.shards, done=summary.shards_done,
        failures="\n  ".join(lines[:SHOWN]),
    )  # fmt: skip


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN:,} more"
