"""Give damaged input to everything that reads: python tests/robustness/fuzz.py --inputs 100000.

Each input ends in a valid result or a MaralError with a code, in time and in bounded memory. Writes a
report as JSON to stdout, and inputs that ended otherwise to a folder. Exit status 1 if there are any.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz_models import MODELS
from fuzz_targets import READERS, Target

from spacy_maral.data import tokens
from spacy_maral.errors import MaralError

SECONDS, MEMORY = 5, 4 << 30
TARGETS: tuple[Target, ...] = (*READERS, *MODELS)
CODE = re.compile(r"\[(M\d{3})\] .")


class Hang(BaseException):
    """An input took too long. No Exception: nothing may take it for damage to the input."""


@dataclass
class Result:
    """What came of the inputs of a target; faults: by exception and line, count and an example."""

    inputs: int = 0
    valid: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    codes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, tuple[int, str, Any]] = field(default_factory=dict)

    def fault(self, place: str, trace: str, given: Any) -> None:
        count, *first = self.faults.get(place, (0, trace, given))
        self.faults[place] = (count + 1, *first)  # type: ignore[assignment]


def ring(signum: int, frame: FrameType | None) -> None:
    raise Hang(f"no result after {SECONDS} seconds")


@contextmanager
def prepared() -> Iterator[None]:
    """Alarms, quiet logs, and one tokenizer for all inputs: making it takes longer than reading."""
    before = signal.signal(signal.SIGALRM, ring)
    make, tokens.blank_pipeline = tokens.blank_pipeline, lru_cache(tokens.blank_pipeline)
    tokens.blank_pipeline("xx")
    logger = logging.getLogger("spacy")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
            tokens.blank_pipeline = make
            signal.signal(signal.SIGALRM, before)


def try_input(target: Target, given: Any, folder: Path, result: Result) -> None:
    """Give one input to a target and note what came of it."""
    started = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        target.check(given, folder)
        result.valid += 1
    except MaralError as error:
        match = CODE.match(str(error))
        if match is None:
            result.fault("an error without a code", traceback.format_exc(), given)
        else:
            result.codes[match[1]] += 1
    except (Exception, Hang) as error:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [f for f in frames if "spacy_maral" in f.filename] or frames[-1:]
        last = inside[-1]
        problem = str(error)[:40] if isinstance(error, AssertionError) else ""
        place = f"{type(error).__name__} {Path(last.filename).name}:{last.lineno} {problem}"
        result.fault(re.sub(r"[^\x20-\x7e]|\d{5,}", "?", place), traceback.format_exc(), given)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    took = time.perf_counter() - started
    result.inputs += 1
    result.seconds += took
    result.slowest = max(result.slowest, took)


def fuzz(targets: Sequence[Target], inputs: int, seed: int, folder: Path) -> dict[str, Result]:
    """Try inputs, shared out among targets; the same inputs for the same seed."""
    total = sum(target.share for target in targets)
    results = {}
    with prepared():
        for target in targets:
            draw = random.Random(f"{seed} {target.name}")
            results[target.name] = result = Result()
            for _ in range(math.ceil(inputs * target.share / total)):
                try_input(target, target.make(draw), folder, result)
    return results


def describe(results: dict[str, Result]) -> dict[str, Any]:
    """The results as JSON has them."""
    return {
        name: {
            "inputs": result.inputs, "valid": result.valid, "coded": result.codes.total(),
            "codes": dict(result.codes.most_common()), "seconds": round(result.seconds, 1),
            "slowest": round(result.slowest, 3),
            "faults": {place: count for place, (count, _, _) in result.faults.items()},
        }
        for name, result in results.items()
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose names begin so")
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"))
    options = parser.parse_args()
    targets = [target for target in TARGETS if target.name.startswith(options.only)]
    tokens.blank_pipeline("xx")  # imports what registers itself with spaCy
    resource.setrlimit(resource.RLIMIT_AS, (_memory() + MEMORY, resource.RLIM_INFINITY))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        results = fuzz(targets, options.inputs, options.seed, Path(name))
    for name, result in results.items():
        for number, (_, trace, given) in enumerate(result.faults.values()):
            options.faults.mkdir(parents=True, exist_ok=True)
            path = options.faults / f"{name.replace(' ', '-')}-{number}.txt"
            path.write_text(f"{trace}\n{given!r}\n", encoding="utf8", errors="backslashreplace")
    n_faults = sum(len(result.faults) for result in results.values())
    report = {
        "seed": options.seed, "inputs": sum(result.inputs for result in results.values()),
        "seconds": round(time.perf_counter() - started, 1), "faults": n_faults,
        "targets": describe(results),
    }  # fmt: skip
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return int(n_faults > 0)


def _memory() -> int:
    """Address space of this process, bytes."""
    with open(f"/proc/{os.getpid()}/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
