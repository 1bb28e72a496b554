"""Publish a trained pipeline, with its card, on the Hugging Face hub."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import srsly

from ...data.layout import RUN_FOLDER
from ...errors import Errors, MaralError, first_line
from .card import read_pipeline

README = "README.md"
USE = """\
```python
import spacy
from huggingface_hub import snapshot_download

nlp = spacy.load(snapshot_download("REPOSITORY"))
```

This needs `spacy-maral`, which has the component.

"""


class Hub(Protocol):
    """What is asked of `huggingface_hub.HfApi`."""

    def create_repo(self, repo_id: str, **options: Any) -> Any: ...

    def create_commit(self, repo_id: str, operations: Any, **options: Any) -> Any: ...


def push(
    model: str | Path,
    repository: str,
    *,
    private: bool = False,
    message: str = "",
    api: Hub | None = None,
) -> str:
    """Upload a pipeline's folder in one commit, without the files of its training.

    EXAMPLE: push("student", "ME/german_news")

    model (str | Path): Folder of the pipeline.
    repository (str): Name on the hub, as "OWNER/NAME"; it is made if it does not exist.
    private (bool): Whether a new repository is private.
    message (str): Message of the commit; by default name and version of the pipeline.
    api (Hub | None): The hub; by default that of `huggingface_hub`, with the token of `hf auth login`
        or of the variable HF_TOKEN.
    RETURNS (str): Address of the commit.
    RAISES (MaralError): If the folder has no pipeline with a maral_ner, the name is not one of the
        hub, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    folder = Path(model)
    meta, _, _ = read_pipeline(folder)
    try:
        validate_repo_id(repository)
        if repository.count("/") != 1:
            raise HFValidationError("it has no owner")
    except HFValidationError as error:
        problem = first_line(error).rstrip(".")
        raise MaralError(Errors.M568.format(repository=repository, problem=problem)) from error
    readme = model_card(meta, repository).encode("utf8")
    operations = [CommitOperationAdd(README, io.BytesIO(readme))]
    operations += [CommitOperationAdd(name, str(path)) for name, path in published(folder)]
    hub = HfApi() if api is None else api
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.create_commit(
            repository, operations,
            commit_message=message or f"{meta['lang']}_{meta['name']} {meta['version']}",
        )  # fmt: skip
    # of the network, of the hub and of the token: there is no common class
    except Exception as error:
        problem = f"{type(error).__name__}: {first_line(error)}".rstrip(".")
        raise MaralError(Errors.M569.format(repository=repository, problem=problem)) from error
    return str(getattr(commit, "commit_url", commit))


def published(folder: Path) -> Iterator[tuple[str, Path]]:
    """Find the files of a pipeline that are published: not those of its training, which quote text.

    YIELDS (tuple): Name in the repository, and file.
    """
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and parts[0] not in (RUN_FOLDER, README) and not hidden:
            yield "/".join(parts), path


def model_card(meta: Mapping[str, Any], repository: str) -> str:
    """Write the card of a pipeline for the hub, from its meta.json.

    meta (Mapping): The pipeline's meta.json.
    repository (str): Name on the hub.
    RETURNS (str): Markdown that begins with facts for the hub: language, license, tags.
    """
    from spacy.cli.package import generate_readme

    facts: dict[str, Any] = {
        "library_name": "spacy",
        "pipeline_tag": "token-classification",
        "tags": ["spacy", "token-classification", "named-entity-recognition", "spacy-maral"],
    }
    if meta["lang"] not in ("xx", "mul"):
        facts["language"] = [meta["lang"]]
    if meta.get("license"):
        facts["license"] = str(meta["license"]).lower().replace(" ", "-")
    front = srsly.yaml_dumps(facts)
    body = generate_readme(dict(meta))
    return f"---\n{front}---\n{USE.replace('REPOSITORY', repository)}{body}"
