"""The model of a run: found, loaded, and identified by the content of its files."""

from __future__ import annotations

from pathlib import Path

from spacy.language import Language
from spacy.util import get_model_meta, get_package_path, is_package

from ...data.layout import META
from ...errors import Errors, MaralError
from ...evaluation.evaluate import load_pipeline
from ...training.folders import digest_pipeline

FINGERPRINT = 12


def model_version(name: str) -> str:
    """Name and version of a pipeline, and a fingerprint of its weights and all its other files.

    name (str): Its folder, or its name if it is installed.
    RETURNS (str): As "de_student-0.1.0+3f9a0c27b1d4".
    RAISES (MaralError): If there is none of that name.
    """
    folder = Path(name)
    if not folder.exists() and is_package(name):
        package = get_package_path(name)
        folder = package / _full_name(package)
    if not (folder / META).is_file():
        raise MaralError(Errors.M477.format(name=name))
    return f"{_full_name(folder)}+{digest_pipeline(folder)[:FINGERPRINT]}"


def _full_name(folder: Path) -> str:
    meta = get_model_meta(folder)
    return f"{meta['lang']}_{meta['name']}-{meta['version']}"


def load_model(name: str, version: str, gpu_id: int) -> Language:
    """Load a pipeline, and make sure that it is the one that all other workers have.

    name (str): Its folder, or its name if it is installed.
    version (str): See `model_version`.
    gpu_id (int): GPU to use, -1 for the CPU.
    RETURNS (Language): The pipeline.
    RAISES (MaralError): If there is none, or its version differs.
    """
    found = model_version(name)
    if found != version:
        raise MaralError(Errors.M478.format(name=name, found=found, wanted=version))
    return load_pipeline(name, gpu_id=gpu_id)
