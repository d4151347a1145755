# Two commands do all the set-up on a machine that has Python >= 3.11, make and a package registry:
#   make demo         install, build the miniature world and its model, align it three ways, score everything
#   make test         install what the tests need, run them; what needs official data is skipped where there is none
# And where official data, golden vectors and NLTK's data are at hand (EVALKIT_ASSETS, EVALKIT_GOLDEN):
#   make conformance  only the tests that need them
#   make rescored     score released response files of others again: docs/rescored.md
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

# official data beside the checkout, if it is there (a mirror folder; see `evalkit assets list`)
ifneq ($(wildcard ../shared/assets),)
export EVALKIT_ASSETS ?= $(abspath ../shared/assets)
export EVALKIT_GOLDEN ?= $(abspath ../shared/golden)
endif

.PHONY: install install-dev demo test conformance rescored mutation wheel check speed speed-gpu speed-peers results results-all validate test-vllm test-browser vocabulary clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone: an exact version takes a CPU build where one is at hand
$(VENV)/.torch: constraints.txt | $(BIN)/python
	$(PIP) torch==2.13.0
	touch $@

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.torch
	$(PIP) --editable ".[align,dashboard]"
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/.torch
	$(PIP) --editable ".[dev]"
	touch $@ $(VENV)/.installed

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

demo: install
	$(BIN)/evalkit demo

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: install-dev
	$(PYTEST)

conformance: install-dev
	@test -d "$(EVALKIT_ASSETS)" -a -d "$(EVALKIT_GOLDEN)" || \
	  { echo "make conformance needs EVALKIT_ASSETS and EVALKIT_GOLDEN, the folders of official data and golden vectors"; exit 1; }
	$(PYTEST) -m official

# response files that others released, from EVALKIT_ASSETS/released or from where they were found
rescored: install-dev
	$(BIN)/python -m tests.rescored

# single faults planted in what keeps a number right, one at a time: each must make a test fail
mutation: install-dev
	$(BIN)/python -m tests.mutation

# build the wheel, install it into an empty environment, use it outside the checkout
wheel: install-dev
	$(BIN)/python -m tests.wheel --demo

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

speed: install-dev
	$(BIN)/python -m tests.speed

# needs a GPU and ten minutes; measures vLLM too if it is installed in VENV
speed-gpu: install-dev
	$(BIN)/python -m tests.speed gpu gpu_training

# beside other harnesses, each in an environment of its own
LMMS_VENV ?= .venv-lmms
LMMS_PIP := $(LMMS_VENV)/bin/python -m pip install --quiet

$(LMMS_VENV)/.installed: tests/speed/peers/requirements.txt
	$(PYTHON) -m venv $(LMMS_VENV)
	$(LMMS_PIP) torch==2.13.0
	$(LMMS_PIP) --requirement tests/speed/peers/requirements.txt
	$(LMMS_PIP) --no-deps lmms-eval==0.7.3 decord
	touch $@

speed-peers: install-dev $(LMMS_VENV)/.installed
	LMMS_VENV=$(LMMS_VENV) $(BIN)/python -m tests.speed peers/lmms_eval

# vLLM on a CPU needs other versions of some packages: an environment of its own
VLLM_VENV ?= .venv-vllm

$(VLLM_VENV)/.installed: constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet torch==2.13.0
	$(VLLM_VENV)/bin/python -m pip install --quiet --no-deps --requirement constraints-vllm.txt
	touch $@

# here torchvision can be imported too: the model families that need it are tested along
# a published sentencepiece file for the token-level tests; only its wheel is fetched, nothing is installed
vocabulary: | $(BIN)/python
	$(BIN)/python -m pip download --quiet --no-deps --dest .vocabulary mistral-common==1.13.1
	$(BIN)/python -m zipfile -e .vocabulary/mistral_common-*.whl .vocabulary
	cp .vocabulary/mistral_common/data/tokenizer.model.v1 .vocabulary/

test-vllm: $(VLLM_VENV)/.installed
	PYTHONPATH=tests/vllm_engine/site $(VLLM_VENV)/bin/python -m pytest tests/vllm_engine tests/evalkit/engines/test_transformers_families.py tests/evalkit/engines/test_shared_prefixes.py --timeout 1500

# needs a Chromium, e.g. Debian's package
test-browser: install-dev
	$(BIN)/python -m pytest -m browser

# fronts of the three methods, dense against plain DPO, facts against reward hacking, on three bases: docs/results.md
results: install-dev
	$(BIN)/python -m tests.results

# every experiment there is; `python -m tests.results --list` says which
results-all: install-dev
	$(BIN)/python -m tests.results --all

validate: install-dev
	$(BIN)/python -m tests.validation

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
