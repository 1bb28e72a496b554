"""Check and measure on a GPU: `python -m benchmarks.gpu --encoder DIR --data DIR -o FILE.json`.

Agreement of CPU and GPU, speed and memory of three encoder sizes in three number formats, `nlp.pipe`, the
paper's settings, and the whole road from labelled English to a German student. Each case is written to the file
as soon as it is finished, and cases in the file are not run again: a run that was stopped goes on. A case that
fails is shown and does not stop the others. With --device cpu --smoke everything runs in a minute or two, with a
tiny encoder and artificial text; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from spacy_maral.data.files import write_json
from spacy_maral.errors import MaralError

from .gpu_cases import PRECISIONS, SHAPES
from .memory import in_process
from .results import facts, number
from .setting import SMOKE, Setting, Sizes
from .smoke import make_inputs

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "agree": ("agree", {}),
    "pipe": ("pipe", {}),
    **{
        f"speed-{shape}-{precision}": ("speed", {"shape": shape, "precision": precision})
        for shape in SHAPES
        for precision in PRECISIONS
    },
    "paper": ("paper", {}),
    "road": ("road", {}),
}
"""Function of `gpu_cases` and its arguments, by case."""


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--encoder", type=Path, help="folder of the pretrained encoder")
    parser.add_argument("--data", type=Path, help="folder with en/train, en/dev, de/train, …")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; figures mean nothing")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file of the results")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; RETURNS (int): Exit status, 1 if a case has failed."""
    from wasabi import msg

    args = parse_arguments(arguments)
    problem = why_not(args)
    if problem:
        msg.fail("Failed", problem)
        return 1
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        if args.smoke:
            args.encoder, args.data = make_inputs(Path(scratch))
        sizes = SMOKE if args.smoke else Sizes()
        setting = Setting(args.encoder, args.data, Path(scratch), smoke=args.smoke, sizes=sizes)
        for name in args.cases:
            done = read_file(args.output)
            if name in done:
                continue
            msg.info(f"Case {name}")
            function, given = CASES[name]
            started = time.perf_counter()
            try:
                row = in_process(f"gpu_cases:{function}", setting, device=args.device, **given)
            except MaralError as error:
                failed.append(name)
                msg.fail(f"Case {name}", str(error))
                continue
            row = {**describe(args), **row, "seconds_taken": time.perf_counter() - started}
            write_json(args.output, {**done, name: row})
            msg.text(
                json.dumps({key: number(value) for key, value in row.items() if is_figure(value)})
            )
    if failed:
        msg.fail("Cases that failed", ", ".join(failed))
    return int(bool(failed))


def why_not(args: argparse.Namespace) -> str:
    """Why the cases cannot run, "" if they can."""
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        return "PyTorch finds no GPU. Install its CUDA build and CuPy (see docs/gpu.md), or give --device cpu."
    if not args.smoke and (args.encoder is None or args.data is None):
        return (
            "The cases need an encoder and text. Give their folders with --encoder and --data, or give "
            "--smoke for a trial run, whose figures mean nothing."
        )
    return ""


def read_file(path: Path) -> dict[str, Any]:
    """Results of earlier runs, by case."""
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Device, smoke, machine, versions and date of a result."""
    import torch

    name = torch.cuda.get_device_name(0) if args.device == "cuda" else None
    return {"device": args.device, "gpu": name, "smoke": args.smoke, **facts()}


def is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


if __name__ == "__main__":
    sys.exit(main())
