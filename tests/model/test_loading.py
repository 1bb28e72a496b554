"""What loading a pipeline imports, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from test_encoder_files import pipeline

# spaCy imports all components that are installed, among them spacy-transformers
PROGRAM = """
import json, sys
import spacy
spacy.blank("xx")
import spacy_maral.model.encoder.transformer
before = set(sys.modules)
nlp = spacy.load(sys.argv[1])
loaded = sorted(set(sys.modules) - before)
nlp("Anna visits Berlin")
print(json.dumps([loaded, "faiss" in sys.modules]))
"""
NOT_NEEDED = (
    "sklearn",
    "faiss",
    "scipy",
    "pandas",
    "datasets",
    "typer",
    "torch._inductor",
    "jinja2",
)


def test_loading_imports_only_what_it_needs(encoder_dir, tmp_path):
    nlp = pipeline(encoder_dir)
    nlp.to_disk(tmp_path / "pipeline")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "pipeline")],
        capture_output=True, text=True, encoding="utf8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded, has_faiss = json.loads(done.stdout.splitlines()[-1])
    assert not has_faiss
    for name in NOT_NEEDED:
        assert not [module for module in loaded if f"{module}.".startswith(f"{name}.")]
    families = {name.split(".")[2] for name in loaded if name.startswith("transformers.models.")}
    assert families <= {"auto", "xlm_roberta", "roberta", "bert"}
