"""Measure speed and memory: `python -m benchmarks --encoder DIR --data DIR -o FILE.json`.

Each case is written to the file as soon as it is finished. Cases in the file are not run again
without --again. --smoke runs everything in seconds, with a tiny encoder and artificial text; its
figures mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# waiting threads must not take the cores from working threads
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

REPEATS = 9


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--cases", nargs="+", default=["*"], help="names such as step_w4 or step_*")
    parser.add_argument("--encoder", type=Path, help="folder of the pretrained encoder")
    parser.add_argument("--data", type=Path, help="folder with en/train, en/dev, de/train, …")
    parser.add_argument("--student", type=Path, help="a trained student, for distil_* and layers_*")
    parser.add_argument("--before", type=Path, help="checkout of an older version, for *_vs_before")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="trials of each side")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; figures mean nothing")
    parser.add_argument("--again", action="store_true", help="also run cases that the file has")
    parser.add_argument("-o", "--output", type=Path, help="JSON file of the results")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; RETURNS (int): Exit status."""
    args = parse_arguments(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    from wasabi import msg

    from spacy_maral.errors import MaralError

    try:
        with tempfile.TemporaryDirectory() as scratch:
            run_cases(args, Path(scratch))
    except MaralError as error:
        msg.fail("Failed", str(error))
        return 1
    return 0


def run_cases(args: argparse.Namespace, scratch: Path) -> None:
    """Run the chosen cases that the file does not have, and show all chosen ones."""
    from wasabi import msg

    from spacy_maral.errors import MaralError

    from .cases import Unavailable, choose, run_case
    from .memory import use_threads
    from .results import add_result, facts, read_results, show_table
    from .setting import ROOT, SMOKE, Setting, Sizes
    from .smoke import make_inputs

    wanted, done = choose(args.cases), read_results(args.output)
    if args.smoke:
        args.encoder, args.data = make_inputs(scratch)
    elif args.encoder is None or args.data is None:
        raise MaralError(
            "The benchmarks need an encoder and text. Give their folders with --encoder and --data, or "
            "give --smoke for a trial run, whose figures mean nothing."
        )
    use_threads(args.threads)
    setting = Setting(
        args.encoder, args.data, scratch, threads=args.threads, repeats=args.repeats,
        smoke=args.smoke, sizes=SMOKE if args.smoke else Sizes(),
        student=args.student, before=args.before or (ROOT if args.smoke else None),
    )  # fmt: skip
    for name in wanted:
        if name in done and not args.again:
            continue
        msg.info(f"Case {name}")
        started = time.perf_counter()
        try:
            with quiet():
                row = {**run_case(name, setting), **setting.describe(), **facts()}
        except Unavailable as error:
            if name in args.cases:
                raise
            msg.warn(f"Case {name} is left out", str(error))
            continue
        done[name] = row | {"seconds_taken": time.perf_counter() - started}
        add_result(args.output, name, done[name])
        show_table({name: done[name]}, msg)
    if len(wanted) > 1:
        show_table({name: done[name] for name in wanted if name in done}, msg)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide progress bars and warnings of the training."""
    import logging

    logger = logging.getLogger("spacy")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
        yield
    logger.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
