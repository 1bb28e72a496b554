"""Workers load the model once and annotate shards; engines run them: here, in `ray_engine` on Ray."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from spacy.util import import_file

from ...data.files import digest
from ...errors import Errors, MaralError
from .corpus_files import BEGUN, FORMATS, RUN, Shard, places
from .corpus_names import use_names
from .model import load_model
from .shard import ShardSettings, ShardSummary, annotate_steps
from .storage import describe, join, list_files, read_json, remove_file, write_json


@dataclass(frozen=True)
class Work:
    """What a worker has to know, as plain values: it may be on another machine.

    model (str): Folder or name of the pipeline.
    output (str): The output folder.
    settings (ShardSettings): How to annotate shards.
    gpu_id (int): GPU to use, -1 for the CPU.
    code (str | None): Python file to import first.
    retries (int): How often a shard is begun again after its worker died.
    """

    model: str
    output: str
    settings: ShardSettings
    gpu_id: int = -1
    code: str | None = None
    retries: int = 0


@dataclass
class Report:
    """A message of a worker about a shard.

    shard (str): Name of the shard.
    step (ShardSummary): Counts since the report before.
    summary (ShardSummary | None): Counts over the whole shard, once it is done.
    error (str | None): Why the shard failed.
    """

    shard: str
    step: ShardSummary
    summary: ShardSummary | None = None
    error: str | None = None

    def to_json(self) -> str:
        """RETURNS (str): The report for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """RETURNS (Report): The report that `to_json` was called on."""
        found = json.loads(text)
        for key in ("step", "summary"):
            found[key] = found[key] and ShardSummary(**found[key])
        return cls(**found)


class Worker:
    """Holds the model.

    work (Work): What to do.
    RAISES (MaralError): If the model cannot be loaded, or differs from the run's.
    """

    def __init__(self, work: Work) -> None:
        if work.code is not None:
            import_file("python_code", Path(work.code))
        self.work = work
        self.nlp = load_model(work.model, work.settings.model, work.gpu_id)
        use_names(self.nlp, work.output, work.settings)

    def __call__(self, shard: Shard) -> Iterator[Report]:
        """Annotate a shard.

        shard (Shard): The shard.
        YIELDS (Report): The progress; the last report has the summary or the error.
        """
        settings, summary = self.work.settings, ShardSummary()
        target = places(self.work.output, shard.name, FORMATS[settings.format])
        try:
            self._begin(shard.name, target.begun)
            for step in annotate_steps(self.nlp, shard.address, shard.name, target, settings):
                summary.add(step)
                yield Report(shard.name, step)
            rest = ShardSummary(size=max(shard.size - summary.size, 0))
            summary.size = shard.size
            # enough to see later whether the shard is still done
            write_json(
                target.done,
                {
                    "address": shard.address, "size": shard.size, "version": shard.version,
                    "output_size": sum(file.size for file in list_files(target.output)),
                    "summary": summary.to_dict(), "settings": digest(settings.fingerprint()),
                },
            )  # fmt: skip
        except Exception as error:
            # the other shards go on
            remove_file(target.begun)
            yield Report(shard.name, ShardSummary(), error=describe(error))
            return
        except BaseException:
            # stopped, not killed
            remove_file(target.begun)
            raise
        remove_file(target.begun)
        yield Report(shard.name, rest, summary)

    def _begin(self, name: str, place: str) -> None:
        """Note that a shard is begun.

        RAISES (MaralError): If too many workers died over it: the next one would too.
        """
        times = times_begun([place])[place]
        if times > self.work.retries:
            raise MaralError(Errors.M483.format(shard=name, times=times))
        write_json(place, {"times": times + 1})


def times_begun(records: list[str]) -> Counter[str]:
    """How often each shard was begun and not ended, by the address of its record."""
    found: Counter[str] = Counter()
    for place, record in read_json(records).items():
        times = record.get("times") if isinstance(record, dict) else None
        found[place] = times if type(times) is int else 1
    return found


class Engine(Protocol):
    """Gives shards to workers; the summary has its name.

    counts_starts says whether starts of the whole run count among the retries of a shard.
    """

    name: str
    counts_starts: bool

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Report]:
        """Annotate shards, and yield the reports of the workers."""


@dataclass
class LocalEngine:
    """One worker, this process.

    retries (int): How often a shard is begun again, at later starts, after the process died over it.
    """

    retries: int = 3
    name = "local"
    counts_starts = True

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Report]:
        """Annotate shards one after the other; those that the process died over come last.

        work (Work): What to do.
        shards (Sequence[Shard]): The shards.
        YIELDS (Report): The reports of the worker.
        RAISES (MaralError): If the model cannot be loaded.
        """
        worker = Worker(replace(work, retries=self.retries))
        ending = FORMATS[work.settings.format]
        records = {shard: places(work.output, shard.name, ending).begun for shard in shards}
        there = {file.address for file in list_files(join(work.output, RUN, BEGUN))}
        times = times_begun([place for place in records.values() if place in there])
        for shard in sorted(shards, key=lambda shard: times[records[shard]]):
            yield from worker(shard)
