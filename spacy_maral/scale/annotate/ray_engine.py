"""Workers of a Ray cluster: Ray Data gives them shards, replaces those that die, and waits for all."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ...errors import Errors, MaralError, first_line
from .corpus_files import Shard
from .extras import import_extra
from .worker import Report, Work, Worker

# no statistics are sent anywhere; what is started here listens to this machine only
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}
LOCALHOST = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray's own processes say on stderr what is none of the user's business
QUIET = {"RAY_BACKEND_LOG_LEVEL": "fatal"}
# only shards' names and reports go through it
OBJECT_STORE = 128 << 20


@dataclass
class RayEngine:
    """Many workers, each with the model once.

    address (str | None): A cluster, as "auto", "host:6379" or "ray://host:10001"; None starts one on
        this machine, for as long as the run takes.
    workers (int | None): Workers; by default as many as the cluster has room for.
    cpus (float): Cores of a worker, or a share of one.
    gpus (float): GPUs of a worker, or a share of one.
    retries (int): Times that a shard is begun again because its worker died.
    verbose (bool): Whether what workers print is shown.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 3
    verbose: bool = False
    name = "ray"

    def __post_init__(self) -> None:
        if self.cpus <= 0 and self.gpus <= 0:
            raise MaralError(
                Errors.M481.format(name="cpus", rule="above 0 without a GPU", value=self.cpus)
            )

    @property
    def gpu_id(self) -> int:
        """GPU of a worker: the first of those that Ray gives it, -1 without."""
        return 0 if self.gpus else -1

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Report]:
        """Give shards to workers, the largest first.

        work (Work): What to do; with GPUs each worker uses the one that Ray gives it.
        shards (Sequence[Shard]): The shards.
        YIELDS (Report): What the workers report, as it comes.
        RAISES (MaralError): If Ray is not installed or not there, or workers cannot be set up.
        """
        work = replace(work, retries=self.retries, gpu_id=self.gpu_id)
        with self.connected() as ray:
            tasks = sorted(shards, key=lambda shard: (-shard.size, shard.name))
            rows = [shard._asdict() for shard in tasks]
            for row in self.map(ray, RayWorker, (work,), rows):
                yield Report.from_json(row["report"])

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """YIELDS (module): ray, connected to the cluster until the end.

        RAISES (MaralError): If Ray is not installed, or not there.
        """
        os.environ.update(SETTINGS if self.address else {**SETTINGS, **LOCALHOST})
        if not self.verbose:
            os.environ.update(QUIET)
        import_extra("ray.data", "--engine ray", "ray")
        ray = import_extra("ray", "--engine ray", "ray")
        if ray.is_initialized():
            # by the program that called us, which also ends it
            yield ray
            return
        options: dict[str, Any] = {
            "log_to_driver": self.verbose, "logging_level": "error", "include_dashboard": False,
        }  # fmt: skip
        if self.address is None:
            options |= {"_node_ip_address": "127.0.0.1", "object_store_memory": OBJECT_STORE}
            if self.workers is not None:
                options["num_cpus"] = max(math.ceil(self.workers * self.cpus), os.cpu_count() or 1)
        with same_signals():
            try:
                ray.init(self.address or "local", **options)
            except (OSError, RuntimeError, ValueError, TimeoutError) as error:
                raise MaralError(Errors.M479.format(problem=first_line(error))) from error
            try:
                yield ray
            finally:
                ray.shutdown()

    def map_items(
        self, worker: Callable[[Any], Callable[[bytes], bytes]], argument: Any, items: list[bytes]
    ) -> Iterator[bytes]:
        """Let workers turn items into others, and keep their order.

        worker (Callable): Called with the argument, once in each process, it gives the function that
            takes an item and gives another.
        argument (Any): For the workers.
        items (list[bytes]): The items.
        YIELDS (bytes): The other items.
        RAISES (MaralError): If Ray is not installed or not there, or a worker fails.
        """
        with self.connected() as ray:
            attempts = ray.remote(num_cpus=0)(Attempts).remote()
            rows = [{"number": number, "item": item} for number, item in enumerate(items)]
            found: dict[int, bytes] = {}
            following = 0
            arguments = (worker, argument, attempts, self.retries)
            for row in self.map(ray, ItemWorker, arguments, rows):
                if row["error"] is not None:
                    raise MaralError(row["error"])
                found[row["number"]] = row["item"]
                while following in found:
                    yield found.pop(following)
                    following += 1
        if following < len(items):
            raise MaralError(Errors.M484.format(shard=f"part {following + 1} of {len(items)}"))

    def map(
        self, ray: Any, worker: type, arguments: tuple[Any, ...], rows: Sequence[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Let workers turn rows into others, which come as soon as they are there.

        ray (module): Ray, connected.
        worker (type): Made once in each process with the arguments; called with a table of one row,
            it gives tables.
        arguments (tuple): For the workers.
        rows (Sequence[dict]): The rows, in the order in which they are begun.
        YIELDS (dict): The other rows, each once: what a worker gave before it died is not given again.
        RAISES (MaralError): If no worker can be set up.
        """
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # a report is sent when it is made, not when there are many
        context.target_max_block_size = 1
        # what is missing in the end is reported then
        context.max_errored_blocks = -1
        for name in ("ray.data", "ray.data._internal"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        size = min(self.workers or self.room(ray), len(rows))
        pool = ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
        dataset = ray.data.from_items(list(rows), override_num_blocks=len(rows)).map_batches(
            worker, batch_size=1, batch_format="pyarrow", compute=pool,
            fn_constructor_args=arguments, num_cpus=self.cpus, num_gpus=self.gpus or None,
        )  # fmt: skip
        try:
            yield from dataset.iter_rows()
        except ray.exceptions.RayError as error:
            raise MaralError(Errors.M480.format(problem=_cause(error))) from error

    def room(self, ray: Any) -> int:
        """How many workers the cluster has room for."""
        there = ray.cluster_resources()
        rooms = [
            int(there.get(name, 0) / share)
            for name, share in (("CPU", self.cpus), ("GPU", self.gpus))
            if share
        ]
        return max(min(rooms), 1)


class RayWorker:
    """A `Worker` as Ray Data wants one: it takes and gives tables of Arrow."""

    def __init__(self, work: Work) -> None:
        self.worker = Worker(work)

    def __call__(self, table: Any) -> Iterator[Any]:
        """Annotate the shards of a table."""
        for row in table.to_pylist():
            for report in self.worker(Shard(**row)):
                yield _table([{"report": report.to_json()}], report="string")


class ItemWorker:
    """A function of items as Ray Data wants one; its errors travel as rows."""

    def __init__(
        self,
        worker: Callable[[Any], Callable[[bytes], bytes]],
        argument: Any,
        attempts: Any,
        retries: int,
    ) -> None:
        self.attempts, self.retries = attempts, retries
        self.function = worker(argument)

    def __call__(self, table: Any) -> Iterator[Any]:
        """Turn the items of a table into others."""
        import ray

        for row in table.to_pylist():
            number, item, error = row["number"], None, None
            times = ray.get(self.attempts.begin.remote(number))
            try:
                if times > self.retries + 1:
                    part = f"part {number + 1}"
                    raise MaralError(Errors.M483.format(shard=part, times=times - 1))
                item = self.function(row["item"])
            except Exception as problem:
                known = isinstance(problem, MaralError)
                error = str(problem) if known else f"{type(problem).__name__}: {problem}"
                error = error if known else Errors.M480.format(problem=error)
            rows = [{"number": number, "item": item, "error": error}]
            yield _table(rows, number="int64", item="large_binary", error="string")


class Attempts:
    """Counts how often items were begun; a process of its own, which outlives the workers."""

    def __init__(self) -> None:
        self.times: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """Note that an item is begun; RETURNS (int): For the how manieth time."""
        self.times[number] += 1
        return self.times[number]


def _table(rows: list[dict[str, Any]], **columns: str) -> Any:
    """Rows as a table of Arrow: lists of bytes as arrays of numpy would lose zeros at their ends."""
    import pyarrow as pa

    schema = pa.schema({name: getattr(pa, kind)() for name, kind in columns.items()})
    return pa.Table.from_pylist(rows, schema=schema)


@contextmanager
def same_signals() -> Iterator[None]:
    """Leave SIGTERM to whom it was left before: Ray takes it over, and does not give it back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _cause(error: BaseException) -> str:
    """What a worker itself said; Ray gives it as the text of a traceback."""
    text = str(error).strip()
    ours = text.rfind(f"{MaralError.__name__}: ")
    if ours >= 0:
        return text[ours:].partition(": ")[2]
    return text.splitlines()[-1].strip() if text else type(error).__name__
