"""A version of the package, in a folder of its own, that runs trials in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from spacy_maral.errors import MaralError

from .setting import ROOT, Setting

# sizes that every version knows
SIZES = ("sentences", "steps", "infer_sentences", "train_sentences")
TAIL = 2000


class Version:
    """A process in which a version of the package waits for orders to run a trial.

    EXAMPLE: with Version(Path("../spacy-maral-0.1"), "prediction", "float32", setting) as version:
        words = version.trial()

    folder (Path): The version: a checkout with `spacy_maral` and `benchmarks`.
    what (str): What a trial does: one of `side.TRIALS`.
    precision (str): "float32" or "bfloat16".
    setting (Setting): The setting.
    """

    def __init__(self, folder: Path, what: str, precision: str, setting: Setting) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        scratch = setting.scratch / f"{what}-{len(list(setting.scratch.glob(f'{what}-*')))}"
        scratch.mkdir(parents=True)
        order = {
            "what": what, "precision": precision, "encoder": setting.encoder.absolute(),
            "data": setting.data.absolute(), "scratch": scratch.absolute(),
            "threads": setting.threads, "smoke": setting.smoke,
            "sizes": {name: getattr(setting.sizes, name) for name in SIZES},
            "frozen_layers": setting.half_of_layers,
        }  # fmt: skip
        self.errors = scratch / "errors.txt"
        paths = [folder.absolute()]
        if folder.absolute() != ROOT:
            paths.insert(0, install(folder, scratch / "installed"))
        # run as a file, it would find the modules beside it first
        side = Path(__file__).with_name("side.py").read_text(encoding="utf8")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", side, json.dumps(order, default=str)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, encoding="utf8", cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
            )  # fmt: skip
        self._answer()

    def trial(self) -> float:
        """Run a trial; RETURNS (float): Its amount of work."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found = self._answer()
        self.seconds.append(found["seconds"])
        self.cpu_seconds.append(found["cpu_seconds"])
        return float(found["work"])

    def _answer(self) -> dict[str, Any]:
        """The next line of the process.

        RAISES (MaralError): If it has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            tail = self.errors.read_text(encoding="utf8")[-TAIL:]
            raise MaralError(
                f"A version of the package failed, with exit code {self.process.wait()}. The end of its "
                f"output:\n{tail}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Version:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()


def install(folder: Path, target: Path) -> Path:
    """Install a version without its dependencies: spaCy finds components by what is installed.

    RETURNS (Path): The target, a folder for the search path.
    RAISES (MaralError): If it cannot be installed.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*command, "--target", str(target.absolute()), str(folder.absolute())],
        capture_output=True, text=True, encoding="utf8", check=False,
    )  # fmt: skip
    if done.returncode:
        raise MaralError(f"{folder} cannot be installed:\n{done.stderr[-TAIL:]}")
    return target.absolute()


def describe(folder: Path) -> str:
    """Commit of a version, if it is a checkout of git's, or the name of its folder."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else folder.name
