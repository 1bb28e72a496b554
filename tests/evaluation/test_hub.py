"""Publishing on the hub, without a network: the hub is a fake that keeps what it gets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import spacy
import srsly
from typer.testing import CliRunner

from spacy_maral.cli import app
from spacy_maral.errors import MaralError
from spacy_maral.evaluation.report.hub import push


class FakeHub:
    """Keeps commits as files by name."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.repositories, self.files, self.messages = error, {}, {}, []

    def create_repo(self, repo_id, **options):
        if self.error is not None:
            raise self.error
        self.repositories[repo_id] = options

    def create_commit(self, repo_id, operations, *, commit_message):
        assert repo_id in self.repositories
        self.messages.append(commit_message)
        for operation in operations:
            with operation.as_file() as file:
                self.files[operation.path_in_repo] = file.read()
        return SimpleNamespace(commit_url=f"https://hub.example/{repo_id}/commit/1")


@pytest.fixture
def model(make_nlp, tmp_path):
    nlp = make_nlp()
    nlp.meta.update(name="german_news", version="0.2.0", license="CC BY 4.0", lang="de")
    folder = tmp_path / "student"
    nlp.to_disk(folder)
    (folder / "training" / "diagnostics").mkdir(parents=True)
    (folder / "training" / "log.jsonl").write_text("{}", encoding="utf8")
    (folder / "training" / "diagnostics" / ".epoch-0001.json").write_text("text", encoding="utf8")
    (folder / ".secret").write_text("x", encoding="utf8")
    return folder


def test_the_hub_gets_what_spacy_loads_and_nothing_of_the_training(model, tmp_path):
    hub = FakeHub()
    address = push(model, "me/german_news", private=True, api=hub)
    assert address == "https://hub.example/me/german_news/commit/1"
    assert hub.repositories == {"me/german_news": {"private": True, "exist_ok": True}}
    assert hub.messages == ["de_german_news 0.2.0"]
    assert not [name for name in hub.files if "training" in name or name.startswith(".")]
    for name, data in hub.files.items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert spacy.load(tmp_path / "copy").pipe_names == spacy.load(model).pipe_names


def test_the_card_begins_with_facts_for_the_hub(model):
    hub = FakeHub()
    push(model, "me/german_news", message="new", api=hub)
    text = hub.files["README.md"].decode("utf8")
    _, front, body = text.split("---\n", 2)
    facts = srsly.yaml_loads(front)
    assert (facts["language"], facts["license"]) == (["de"], "cc-by-4.0")
    assert facts["pipeline_tag"] == "token-classification" and "spacy" in facts["tags"]
    assert 'snapshot_download("me/german_news")' in body and "`de_german_news`" in body
    assert hub.messages == ["new"]


@pytest.mark.parametrize("name", ["german", "a/b/c", "me/ger man", "me/-x"])
def test_names_that_are_none_of_the_hub(model, name):
    hub = FakeHub()
    with pytest.raises(MaralError, match=f"M568.*{name}"):
        push(model, name, api=hub)
    assert not hub.repositories


def test_the_command_says_what_the_hub_refuses(model, monkeypatch):
    hub = FakeHub(error=RuntimeError("401 Unauthorized\nlong text"))
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    result = CliRunner().invoke(app, ["push", str(model), "me/x"])
    assert result.exit_code == 1
    assert "M569" in result.stderr and "401 Unauthorized)" in result.stderr
    hub.error = None
    result = CliRunner().invoke(app, ["push", str(model), "me/x", "--private"])
    assert result.exit_code == 0 and "hub.example/me/x" in result.output


def test_a_folder_without_a_pipeline_is_refused(tmp_path):
    with pytest.raises(MaralError, match="M411"):
        push(tmp_path, "me/x", api=FakeHub())
