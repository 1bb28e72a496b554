# make demo: all steps of the project on the generated corpus. make test: the fast tests.
# Both create an environment in .venv and need only Python.

PYTHON ?= python3
# The PyTorch to install. For the smaller CPU build on Linux:
#   make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
VENV ?= .venv
# Extras of pyproject.toml; test-ray is for the tests with a Ray cluster, docs for make site
EXTRAS ?= dev
# default; small: a tenth of the text; tiny: the small corpus with an untrained encoder
DEMO ?= default
# Variables of project.yml, such as VARS="--vars.target de --vars.seed 1"
VARS ?=
# For make bench and bench-gpu: the folder of an encoder, and a WikiAnn folder with en/train, de/train and so on
ENCODER ?= encoders/e5-small
DATA ?= data/wikiann
# Settings for both trainings, such as OVERRIDES="--teacher.epochs 1 --student.epochs 2"
OVERRIDES ?= $(OVERRIDES_$(DEMO))

PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

# 200 sentences need more epochs; the tiny encoder has only two layers to freeze or train.
OVERRIDES_small := --teacher.epochs 12 --student.epochs 4
OVERRIDES_tiny := --teacher.freeze_layers 0 --student.freeze_layers 0
# Each size has folders of its own, whose name is vars.run; the default's is that of project.yml.
DEMO_default :=
DEMO_small := --vars.size small --vars.data_dir corpus/small-raw --vars.run demo-small
DEMO_tiny := --vars.size small --vars.data_dir corpus/small-raw --vars.run demo-tiny \
	--vars.encoder tiny --vars.encoder_dir encoders/tiny
RUN_default := demo-??-*

# Idle threads must not busy-wait: they slow down other jobs on the same cores several times over.
export OMP_WAIT_POLICY ?= passive
export TOKENIZERS_PARALLELISM ?= false

.PHONY: all setup demo test lint bench bench-gpu site clean

all: test

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet $(TORCH)
	$(PY) -m pip install --quiet -e ".[$(EXTRAS)]"
	touch $(STAMP)

demo: $(STAMP)
	MARAL_OVERRIDES="$(OVERRIDES)" $(PY) -m spacy project run all . $(DEMO_$(DEMO)) $(VARS)
	@cat metrics/$(or $(RUN_$(DEMO)),demo-$(DEMO))/table.md

# One process per core. Tests of one file stay in one process, because they share fixtures, and files
# are begun in the order of tests/conftest.py, not with those that have the most tests.
test: export OMP_NUM_THREADS ?= 1
test: $(STAMP)
	$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# make bench ENCODER=encoders/e5-small DATA=data/wikiann: takes long; run it again to continue
bench: $(STAMP)
	$(PY) -m pip install --quiet -e ".[bench]"
	$(PY) -m benchmarks --encoder "$(ENCODER)" --data "$(DATA)" --output docs/performance.json

# the same on a machine with a GPU: some minutes
bench-gpu: $(STAMP)
	$(PY) -m benchmarks.gpu --encoder "$(ENCODER)" --data "$(DATA)" --output docs/gpu.json

site: $(STAMP)
	$(PY) -m pip install --quiet -e ".[docs]"
	$(PY) -m mkdocs build --strict

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf site corpus metrics packages training project.lock build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
