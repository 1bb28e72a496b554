# make demo: the main job on the embedded corpus. make test: the fast test suite.
# Both set themselves up in .venv and need nothing but Python.

PYTHON ?= python3
# PyTorch, installed first. The smaller CPU build on Linux:
#   make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
VENV ?= .venv
# default; small: a tenth of the text; tiny: small, with an untrained encoder that knows nothing
DEMO ?= default
# More settings, such as VARS="--vars.target de --vars.seed 1"
VARS ?=
# For make bench: a folder of an encoder, and one of WikiAnn with en/train, de/train and so on
ENCODER ?= encoders/e5-small
DATA ?= data/wikiann
# Settings of the two trainings, such as OVERRIDES="--teacher.epochs 1 --student.epochs 2"
OVERRIDES ?= $(OVERRIDES_$(DEMO))

PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

# 200 sentences need more epochs; the tiny encoder has only two layers to freeze or train.
OVERRIDES_small := --teacher.epochs 12 --student.epochs 4
OVERRIDES_tiny := --teacher.freeze_layers 0 --student.freeze_layers 0
DEMO_default :=
DEMO_small := --vars.size small
DEMO_tiny := --vars.size small --vars.encoder tiny --vars.encoder_dir encoders/tiny

# Two jobs that share cores slow each other down several times over when idle threads spin.
export OMP_WAIT_POLICY ?= passive
export TOKENIZERS_PARALLELISM ?= false

.PHONY: all setup demo test lint bench clean

all: test

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet $(TORCH)
	$(PY) -m pip install --quiet -e ".[dev]"
	touch $(STAMP)

demo: $(STAMP)
	MARAL_OVERRIDES="$(OVERRIDES)" $(PY) -m spacy project run all . $(DEMO_$(DEMO)) $(VARS)
	@cat metrics/demo-*/table.md

# One process a core; a file's tests share what they set up, so they stay together.
test: export OMP_NUM_THREADS ?= 1
test: $(STAMP)
	$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile

# make bench ENCODER=encoders/e5-small DATA=data/wikiann: takes long; a second start goes on
bench: $(STAMP)
	$(PY) -m pip install --quiet -e ".[bench]"
	$(PY) -m benchmarks --encoder "$(ENCODER)" --data "$(DATA)" --output docs/performance.json

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf corpus metrics packages training project.lock build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
