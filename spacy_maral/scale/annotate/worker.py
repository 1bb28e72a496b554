"""What an engine runs: a worker that has the model once and takes one shard after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spacy.util import import_file

from ...errors import Errors, MaralError
from .corpus_files import FORMATS, Shard, places
from .model import load_model
from .shard import ShardSettings, ShardSummary, Step, annotate_steps
from .storage import FileInfo, list_files, read_json, remove_file, write_json


@dataclass(frozen=True)
class Work:
    """What a worker has to know, as plain values: it may be on another machine.

    model: Folder or name of the pipeline. output: The output folder. settings: How shards are
    annotated. gpu_id: GPU to use, -1 for the CPU. code: Python file to import first. retries: Times
    that a shard is begun again if its worker died.
    """

    model: str
    output: str
    settings: ShardSettings
    gpu_id: int = -1
    code: str | None = None
    retries: int = 0


@dataclass
class Report:
    """A message of a worker about a shard: what it did, and at the end how that went.

    shard: Its name. step: What was done since the report before. summary: What became of it, once
    it is done. error: Why it failed.
    """

    shard: str
    step: Step
    summary: ShardSummary | None = None
    error: str | None = None

    def to_json(self) -> str:
        """RETURNS (str): To be read by `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """RETURNS (Report): What `to_json` wrote."""
        found: dict[str, Any] = json.loads(text)
        summary = None if found["summary"] is None else ShardSummary(**found["summary"])
        return cls(found["shard"], Step(**found["step"]), summary, found["error"])


class Worker:
    """Holds the model.

    work (Work): What to do.
    RAISES (MaralError): If the model cannot be loaded, or is another one than the run's.
    """

    def __init__(self, work: Work) -> None:
        if work.code is not None:
            import_file("python_code", Path(work.code))
        self.work = work
        self.nlp = load_model(work.model, work.settings.model, work.gpu_id)

    def __call__(self, shard: Shard) -> Iterator[Report]:
        """Annotate a shard.

        shard (Shard): The shard.
        YIELDS (Report): How far it is; the last one says how it ended.
        """
        work, summary = self.work, ShardSummary()
        target = places(work.output, shard.name, FORMATS[work.settings.format])
        try:
            self._begin(shard.name, target.begun)
            steps = annotate_steps(
                self.nlp, shard.address, shard.name, target, work.settings, summary
            )
            for step in steps:
                yield Report(shard.name, step)
            rest = Step(size=max(shard.size - summary.size, 0))
            summary.size = shard.size
            write_json(target.done, done_record(shard, list_files(target.output), summary))
        except Exception as error:
            # a shard that cannot be done must not keep the others from it
            known = isinstance(error, MaralError)
            problem = str(error) if known else f"{type(error).__name__}: {error}"
            yield Report(shard.name, Step(), error=problem)
            return
        remove_file(target.begun)
        yield Report(shard.name, rest, summary)

    def _begin(self, name: str, place: str) -> None:
        """Note that a shard is begun.

        RAISES (MaralError): If all workers died that began it; the next one would too.
        """
        times = read_json([place]).get(place, {"times": 0})["times"]
        if times > self.work.retries:
            raise MaralError(Errors.M483.format(shard=name, times=times))
        write_json(place, {"times": times + 1})


def done_record(shard: Shard, output: list[FileInfo], summary: ShardSummary) -> dict[str, Any]:
    """What is kept of a shard that is done: enough to see whether it still is."""
    size = sum(file.size for file in output)
    return {
        "address": shard.address, "size": shard.size, "version": shard.version,
        "output_size": size, "summary": summary.to_dict(),
    }  # fmt: skip
