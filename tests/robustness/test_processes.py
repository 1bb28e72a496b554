"""Several processes, as users start them: in a fresh process, with the threads that torch takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from make_golden import GOLDEN

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, spacy, torch
assert torch.get_num_threads() == 2
nlp = spacy.load(sys.argv[1])
texts = ["Angela Merkel in Paris"] * 40
said = lambda docs: [[(e.text, e.label_) for e in doc.ents] for doc in docs]
before = said(nlp.pipe(texts, n_process=2, batch_size=5))
# starts the threads, which a forked process lacks
found = said(nlp.pipe(texts))
after = said(nlp.pipe(texts, n_process=2, batch_size=5))
assert before == found == after and len(found[0]) > 0
assert torch.get_num_threads() == 2
"""


def test_two_processes_with_two_threads():
    # two also on a machine with one core
    env = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(GOLDEN / "0.1" / "model")]
    done = subprocess.run(command, env=env, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
