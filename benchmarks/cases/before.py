"""This version against an older one (`--before DIR`), each in a process of its own.

infer_float32_vs_before, infer_bfloat16_vs_before: Words per second of `nlp.pipe` over sentences of
development data, the latter after `optimise`. step_vs_before: Sentences per second of the student's
training steps with `maral_small.cfg`, source and target together.
"""

from __future__ import annotations

from typing import Any

from spacy_maral.model.encoder.weights import has_bfloat16

from ..setting import ROOT, Setting
from ..timing import alternate, compare
from ..versions import Version, describe
from . import Unavailable


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Measure the named case.

    RAISES (Unavailable): If no older version is given, or the processor has no bfloat16.
    """
    if setting.before is None:
        raise Unavailable(
            f"{name} compares with an older version. Give its checkout with --before."
        )
    step, bfloat16 = name.startswith("step"), "bfloat16" in name
    if bfloat16 and not has_bfloat16():
        raise Unavailable(f"{name} needs a processor with bfloat16, which this one does not have.")
    what = "training_steps" if step else "prediction"
    precision = "bfloat16" if bfloat16 or (step and has_bfloat16()) else "float32"
    with (
        Version(ROOT, what, precision, setting) as ours,
        Version(setting.before, what, precision, setting) as other,
    ):
        trials = alternate({"ours": ours.trial, "other": other.trial}, setting.repeats)
        for side, version in (("ours", ours), ("other", other)):
            # those of the rounds that count, as the other process has measured them
            trials.seconds[side] = version.seconds[-setting.repeats :]
            trials.cpu_seconds[side] = version.cpu_seconds[-setting.repeats :]
    return compare(trials, unit="sentences/s" if step else "words/s") | {
        "other_is": f"{describe(setting.before)}, in a process of its own",
        "precision": precision,
    }
