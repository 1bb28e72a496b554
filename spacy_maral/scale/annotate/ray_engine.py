"""Run workers on a Ray cluster: Ray Data distributes shards and replaces workers that die."""

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

from ...data.extras import import_extra
from ...errors import Errors, MaralError, first_line
from .corpus_files import Shard
from .storage import describe
from .worker import Report, Work, Worker

# Ray sends no statistics, and a cluster started here listens to this machine only
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}
LOCALHOST = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray's own processes keep their messages off stderr
QUIET = {"RAY_BACKEND_LOG_LEVEL": "fatal"}
# bytes; it only holds names of shards and reports
OBJECT_STORE = 128 << 20

ItemFunction = Callable[[Any], Callable[[bytes], bytes]]
"""Takes an argument, and returns the function that turns an item into another."""


@dataclass
class RayEngine:
    """Many workers, each of which loads the model once.

    address (str | None): A cluster, as "auto", "host:6379" or "ray://host:10001"; None starts one on
        this machine for the time of the run.
    workers (int | None): Number of workers; by default as many as the cluster has room for.
    cpus (float): Cores of a worker, also a share of one.
    gpus (float): GPUs of a worker, also a share of one.
    retries (int): How often a shard is begun again after its worker died.
    verbose (bool): Whether to show what workers print.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 3
    verbose: bool = False
    name = "ray"
    # a start with Ray has retries of its own
    counts_starts = False

    def __post_init__(self) -> None:
        if self.cpus <= 0 and self.gpus <= 0:
            rule = "above 0 without a GPU"
            raise MaralError(Errors.M481.format(name="cpus", rule=rule, value=self.cpus))

    @property
    def gpu_id(self) -> int:
        """GPU of a worker: the first that Ray assigns to it, -1 without GPUs."""
        return 0 if self.gpus else -1

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Report]:
        """Distribute shards over the workers, the largest first.

        work (Work): What to do; each worker uses the GPU that Ray assigns to it.
        shards (Sequence[Shard]): The shards.
        YIELDS (Report): The reports of the workers, as they arrive.
        RAISES (MaralError): If Ray is not installed or cannot be reached, or no worker can start.
        """
        work = replace(work, retries=self.retries, gpu_id=self.gpu_id)
        with self.connected() as ray:
            largest_first = sorted(shards, key=lambda shard: (-shard.size, shard.name))
            tasks = [shard._asdict() for shard in largest_first]
            for message in self.map(ray, RayWorker, (work,), tasks):
                yield Report.from_json(message["report"])

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """YIELDS (module): ray, connected to the cluster until the end.

        RAISES (MaralError): If Ray is not installed, or cannot be reached.
        """
        os.environ.update(SETTINGS if self.address else {**SETTINGS, **LOCALHOST})
        if not self.verbose:
            os.environ.update(QUIET)
        import_extra("ray.data", "--engine ray", "ray")
        ray = import_extra("ray", "--engine ray", "ray")
        if ray.is_initialized():
            # the calling program has connected, and will disconnect
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

    def map_items(self, worker: ItemFunction, argument: Any, items: list[bytes]) -> Iterator[bytes]:
        """Apply a function to items on the workers, and keep the order of the items.

        worker (Callable): Called with the argument once in each process; returns the function.
        argument (Any): Argument of the worker.
        items (list[bytes]): The items.
        YIELDS (bytes): The results.
        RAISES (MaralError): If Ray is not installed or cannot be reached, or a worker fails.
        """
        with self.connected() as ray:
            attempts = ray.remote(num_cpus=0)(Attempts).remote()
            tasks = [{"number": number, "item": item} for number, item in enumerate(items)]
            found: dict[int, bytes] = {}
            following = 0
            arguments = (worker, argument, attempts, self.retries)
            for message in self.map(ray, ItemWorker, arguments, tasks):
                if message["error"] is not None:
                    raise MaralError(message["error"])
                found[message["number"]] = message["item"]
                while following in found:
                    yield found.pop(following)
                    following += 1
        if following < len(items):
            raise MaralError(Errors.M484.format(shard=f"part {following + 1} of {len(items)}"))

    def map(
        self, ray: Any, worker: type, arguments: tuple[Any, ...], tasks: Sequence[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Let workers turn tasks into messages, which arrive as soon as they are made.

        ray (module): Ray, connected.
        worker (type): Made once in each process with the arguments; called with an Arrow table of
            one task, it yields tables of messages.
        arguments (tuple): Arguments of the worker.
        tasks (Sequence[dict]): The tasks, in the order in which they are begun.
        YIELDS (dict): The messages, each once: those of a worker that died are not repeated.
        RAISES (MaralError): If no worker can start.
        """
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # send each message at once
        context.target_max_block_size = 1
        # lost tasks are reported at the end
        context.max_errored_blocks = -1
        for name in ("ray.data", "ray.data._internal"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        size = min(self.workers or self.room(ray), len(tasks))
        pool = ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
        dataset = ray.data.from_items(list(tasks), override_num_blocks=len(tasks)).map_batches(
            worker, batch_size=1, batch_format="pyarrow", compute=pool,
            fn_constructor_args=arguments, num_cpus=self.cpus, num_gpus=self.gpus or None,
        )  # fmt: skip
        try:
            yield from dataset.iter_rows()
        except ray.exceptions.RayError as error:
            raise MaralError(Errors.M480.format(problem=_cause(error))) from error

    def room(self, ray: Any) -> int:
        """How many workers the cluster has room for."""
        there, wanted = ray.cluster_resources(), {"CPU": self.cpus, "GPU": self.gpus}
        return max(min(int(there.get(name, 0) / n) for name, n in wanted.items() if n), 1)


class RayWorker:
    """A `Worker` for Ray Data: takes and yields Arrow tables."""

    def __init__(self, work: Work) -> None:
        self.worker = Worker(work)

    def __call__(self, table: Any) -> Iterator[Any]:
        """Annotate the shards of a table."""
        for task in table.to_pylist():
            for report in self.worker(Shard(**task)):
                yield _table({"report": report.to_json()}, report="string")


class ItemWorker:
    """A function of items for Ray Data; sends its errors as messages."""

    def __init__(self, worker: ItemFunction, argument: Any, attempts: Any, retries: int) -> None:
        self.attempts, self.retries = attempts, retries
        self.function = worker(argument)

    def __call__(self, table: Any) -> Iterator[Any]:
        """Apply the function to the items of a table."""
        import ray

        for task in table.to_pylist():
            number, item, error = task["number"], None, None
            times = ray.get(self.attempts.begin.remote(number))
            try:
                if times > self.retries + 1:
                    part = f"part {number + 1}"
                    raise MaralError(Errors.M483.format(shard=part, times=times - 1))
                item = self.function(task["item"])
            except MaralError as problem:
                error = str(problem)
            except Exception as problem:
                error = Errors.M480.format(problem=describe(problem))
            message = {"number": number, "item": item, "error": error}
            yield _table(message, number="int64", item="large_binary", error="string")


class Attempts:
    """Counts how often each item was begun, in a process of its own that outlives the workers."""

    def __init__(self) -> None:
        self.times: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """RETURNS (int): How often an item was begun, this time included."""
        self.times[number] += 1
        return self.times[number]


def _table(message: dict[str, Any], **columns: str) -> Any:
    """A message as an Arrow table: as numpy arrays, bytes would lose zeros at their end."""
    import pyarrow as pa

    schema = pa.schema({name: getattr(pa, kind)() for name, kind in columns.items()})
    return pa.Table.from_pylist([message], schema=schema)


@contextmanager
def same_signals() -> Iterator[None]:
    """Restore the handler of SIGTERM, which Ray replaces and does not restore."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _cause(error: BaseException) -> str:
    """The message of a worker, which Ray gives as the text of a traceback."""
    text = str(error).strip()
    ours = text.rfind(f"{MaralError.__name__}: ")
    if ours >= 0:
        return text[ours:].partition(": ")[2]
    return text.splitlines()[-1].strip() if text else type(error).__name__
