"""A GPU that is asked for and cannot be used."""

from __future__ import annotations

import pytest
import torch
from thinc.api import NumpyOps, get_current_ops
from typer.testing import CliRunner

from spacy_maral import load
from spacy_maral.cli import app
from spacy_maral.errors import MaralError
from spacy_maral.model import machine

# a number that no machine has, so that the tests say the same on those with GPUs
MISSING = 99


def test_a_missing_gpu_is_an_error_and_leaves_the_cpu():
    with pytest.raises(MaralError, match=r"M345.*GPU 99 cannot be used.*omit --gpu-id"):
        machine.use_device(MISSING)
    assert isinstance(get_current_ops(), NumpyOps)


def test_the_command_line_says_it(tmp_path):
    (tmp_path / "maral.cfg").write_text("", encoding="utf8")
    (tmp_path / "x.spacy").write_bytes(b"")
    result = CliRunner().invoke(
        app,
        ["train-teacher", f"{tmp_path}/maral.cfg", "--source", f"{tmp_path}/x.spacy",
         "--dev", f"{tmp_path}/x.spacy", "-o", f"{tmp_path}/out", "--gpu-id", str(MISSING)],
    )  # fmt: skip
    assert result.exit_code == 1
    assert "[M345]" in result.output
    assert not (tmp_path / "out").exists()


def test_loading_a_pipeline_says_it():
    with pytest.raises(MaralError, match="M345"):
        load("en_no_such_pipeline", gpu_id=MISSING)


@pytest.mark.parametrize(
    ("cupy", "cuda", "problem"),
    [
        (RuntimeError("cudaErrorInvalidDevice\nand a stack"), True, "cudaErrorInvalidDevice"),
        (None, False, "PyTorch finds no CUDA device"),
    ],
)
def test_what_else_can_be_missing(monkeypatch, cupy, cuda, problem):
    def require_gpu(gpu_id):
        if cupy is not None:
            raise cupy

    monkeypatch.setattr(machine, "set_gpu_allocator", lambda name: None)
    monkeypatch.setattr(machine.spacy, "require_gpu", require_gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    with pytest.raises(MaralError) as error:
        machine.use_device(0)
    assert f"cannot be used: {problem}. Install" in str(error.value)
