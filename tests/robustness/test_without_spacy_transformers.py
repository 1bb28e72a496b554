"""Pipelines load, train and say the same whether or not spacy-transformers is installed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from installed import IS_INSTALLED, needs_spacy_transformers, without
from make_golden import GOLDEN

DRIVER = Path(__file__).with_name("encoder_run.py")
WITHOUT = without("spacy_transformers")
OURS = "spacy_maral.model.encoder.component"


def run_code(code: str, *arguments: object) -> list[str]:
    """Lines that a process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True,
        encoding="utf8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def run_driver(*arguments: object, before: str = "") -> tuple[dict, str]:
    """What the driver finds, and the module of its transformer component."""
    code = f"{before}\nimport runpy\nrunpy.run_path({str(DRIVER)!r}, run_name='__main__')\n"
    *_, found, module = run_code(code, *arguments)
    return json.loads(found), module


@pytest.fixture(scope="module")
def alone(encoder_dir, tmp_path_factory):
    """Found without spacy-transformers, and the folder of the pipeline."""
    folder = tmp_path_factory.mktemp("alone") / "model"
    return *run_driver(encoder_dir, folder, before=WITHOUT), folder


def test_the_golden_pipeline_says_the_same(alone):
    found, module, _ = alone
    assert module == OURS
    rows = json.loads((GOLDEN / "0.1" / "predictions.json").read_text(encoding="utf8"))
    known = {row["text"]: row["ents"] for row in rows}
    sys.path.append(str(DRIVER.parent))
    from encoder_run import SAID

    n_ents = 0
    for text, ents in zip(SAID, found["golden"], strict=True):
        if text in known:
            assert [e[:3] for e in ents] == [e[:3] for e in known[text]]
            scores = [[e[3] for e in some] for some in (ents, known[text])]
            np.testing.assert_allclose(*scores, rtol=0, atol=1e-4)
            n_ents += len(ents)
    assert n_ents > 10


def test_a_pipeline_is_trained_saved_and_loaded(alone):
    found, _, _ = alone
    # how many there are after so few steps depends on the release of transformers
    assert sum(map(len, found["trained"])) > 3
    assert found["loaded"] == found["trained"] == found["in two processes"]
    ents, own = (
        [[e[:3] for e in ents] for ents in found[k]] for k in ("trained", "encoder of its own")
    )
    assert ents == own
    assert 'factory = "transformer"' in found["config"]


@needs_spacy_transformers
def test_nothing_depends_on_who_serves_the_component(alone, encoder_dir, tmp_path):
    found, _, folder = alone
    theirs, module = run_driver(encoder_dir, tmp_path / "model", folder)
    assert module == "spacy_transformers.pipeline_component"
    assert theirs.pop("of the other") == found["trained"]
    for name, value in theirs.items():
        assert found[name] == value, name
    files = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
    for file in files:
        if file.name != "meta.json":
            assert (folder / file).read_bytes() == (tmp_path / "model" / file).read_bytes(), file
    code = f"{WITHOUT}\nimport spacy\nprint([(e.text, e.label_) for e in spacy.load(sys.argv[1])(sys.argv[2]).ents])"
    text = "Angela Merkel visited Paris in May ."
    assert run_code(code, folder, text) == run_code(code, tmp_path / "model", text)


def serving(*, turned: bool, before: str = "") -> list[str]:
    """Check who serves the component; the packages that say that they do, in their order."""
    turn = "[::-1]" if turned else ""
    code = f"""{before}
import importlib.metadata as metadata

present = metadata.distributions
metadata.distributions = lambda **given: list(present(**given)){turn}
import catalogue, spacy
from spacy.util import registry

found = catalogue.AVAILABLE_ENTRY_POINTS.select(group="spacy_factories", name="transformer")
print([entry_point.value.split(".")[0] for entry_point in found])
meta = spacy.blank("xx").get_factory_meta("transformer")
print(registry.factories.get("transformer").__module__)
print(registry.span_getters.get("spacy-transformers.strided_spans.v1").__module__)
print(meta.default_config["model"]["@architectures"])
"""
    theirs = IS_INSTALLED and not before
    served = ["spacy_transformers.pipeline_component", "spacy_transformers.span_getters",
              "spacy-transformers.TransformerModel.v3"]  # fmt: skip
    own = ["spacy_maral.model.encoder.factory", "spacy_maral.model.encoder.windows",
           "spacy-maral.TransformerModel.v1"]  # fmt: skip
    declared, *found = run_code(code)
    assert found == (served if theirs else own)
    packages = ["spacy_maral", *(["spacy_transformers"] if theirs else [])]
    assert sorted(ast.literal_eval(declared)) == packages
    return ast.literal_eval(declared)


def test_the_order_of_packages_does_not_decide_who_serves_the_component():
    orders = [serving(turned=turned) for turned in (False, True)]
    assert orders[0] == orders[1][::-1]
    serving(turned=False, before=WITHOUT)


def test_a_pipeline_without_a_transformer_does_not_import_transformers():
    code = f"{WITHOUT}\nimport spacy\nspacy.blank('xx').add_pipe('ner')\nprint('transformers' in sys.modules)"
    assert run_code(code) == ["False"]


def test_a_release_that_does_not_fit_is_a_coded_error(tmp_path):
    """Where transformers 5 is forced upon spacy-transformers, which imports what is gone there."""
    package = tmp_path / "spacy_transformers"
    package.mkdir()
    (package / "__init__.py").write_text("from transformers.utils import no_such_name\n")
    (tmp_path / "spacy_transformers-1.4.0.dist-info").mkdir()
    facts = "Metadata-Version: 2.1\nName: spacy-transformers\nVersion: 1.4.0\n"
    (tmp_path / "spacy_transformers-1.4.0.dist-info" / "METADATA").write_text(facts)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from spacy_maral.errors import MaralError
from spacy_maral.model.encoder.installed import has_spacy_transformers
try:
    has_spacy_transformers()
except MaralError as error:
    print(error)
"""
    (message,) = run_code(code)
    assert message.startswith("[M594] spacy-transformers 1.4.0 does not work with transformers ")
    assert "no_such_name" in message and "pip uninstall spacy-transformers" in message
