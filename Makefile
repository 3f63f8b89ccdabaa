# Two commands matter: `make demo` and `make test`. Both set up all they need in .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PATH := $(abspath $(BIN)):$(PATH)
# The one package that comes as source is llama-cpp-python; it takes three to four minutes on two cores.
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)
# GCC 12, Debian's, keeps 8 of the 64 bytes that configure AMX's tiles: the model crashes on processors that have them.
NO_AMX := -mno-amx-tile -mno-amx-int8 -mno-amx-bf16
WITHOUT_AMX = $(shell $(CC) $(NO_AMX) -x c -c -o /dev/null /dev/null 2>/dev/null && echo '$(NO_AMX)')

.PHONY: help install install-dev demo test test-clients test-tools check checks lint format types imports unused spelling bench bench-start bench-gateway bench-gateway-soak study-retrieval study-answers bench-evals study-gates study-rollouts soak kills bench-pipeline reference lock clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Shipway needs Python 3.11 or newer; set PYTHON=python3.12, say")'
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: install your system's venv package (Debian: python3-venv)"; exit 1; }
	@touch $@

$(VENV)/.runtime: requirements/build.txt requirements/runtime.txt pyproject.toml | $(VENV)/.created
	@echo "Installing Shipway and the embedded model stack (the first time takes about five minutes)"
	@$(PIP) install --quiet --require-hashes -r requirements/build.txt
	@CFLAGS="$$CFLAGS $(WITHOUT_AMX)" CXXFLAGS="$$CXXFLAGS $(WITHOUT_AMX)" \
	  $(PIP) install --quiet --require-hashes --no-build-isolation -r requirements/runtime.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/shipway models install
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@$(PIP) install --quiet --require-hashes --no-build-isolation -r requirements/dev.txt
	@touch $@

install: $(VENV)/.runtime ## Install Shipway and its models into .venv, and run nothing

install-dev: $(VENV)/.dev ## The same with what tests need

demo: $(VENV)/.runtime ## Walk the main job on this machine, with a real model
	@$(BIN)/shipway demo

test: $(VENV)/.dev ## Run every test
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not e2e and not model and not clients and not tools and not compiled"
	@$(BIN)/python -m pytest -p no:randomly -m "e2e or model"

CLIENTS := .venv-clients

CLIENTS_PIP := $(CLIENTS)/python/bin/python -m pip --disable-pip-version-check

$(CLIENTS)/.python: requirements/build.txt requirements/clients.txt
	@$(PYTHON) -m venv --clear $(CLIENTS)/python
	@$(CLIENTS_PIP) install --quiet --require-hashes -r requirements/build.txt
	@$(CLIENTS_PIP) install --quiet --require-hashes --no-build-isolation --no-deps -r requirements/clients.txt
	@$(CLIENTS_PIP) check
	@touch $@

$(CLIENTS)/.node: tests/clients/programs/package-lock.json tests/clients/programs/package.json
	@command -v npm >/dev/null || { echo "the Node clients need node 20 or newer with npm"; exit 1; }
	@mkdir -p $(CLIENTS)/node && cp $^ $(CLIENTS)/node/
	@cd $(CLIENTS)/node && npm install --loglevel=error --no-audit --no-fund
	@touch $@

test-clients: $(VENV)/.dev $(CLIENTS)/.python $(CLIENTS)/.node ## Run other people's clients against the gateway (downloads them once, 2.5 GB)
	@$(BIN)/python -m pytest -p no:randomly tests/clients

TOOLS := .venv-tools
TOOL_NAMES := promptfoo lm-eval deepeval ragas inspect great-expectations
LOCKS := src/shipway/adapters/evaluation_tools/locks

$(TOOLS)/.made: $(wildcard $(LOCKS)/*.txt) $(wildcard $(LOCKS)/promptfoo/*.json) | $(VENV)/.dev
	@command -v npm >/dev/null || { echo "promptfoo needs node 20 or newer with npm"; exit 1; }
	@for name in $(TOOL_NAMES); do $(BIN)/shipway eval tool install $$name --tools $(TOOLS) || exit 1; done
	@touch $@

$(TOOLS)/ci/.made: requirements/tools/ci.txt | $(VENV)/.dev
	@$(PYTHON) -m venv --clear $(TOOLS)/ci
	@$(TOOLS)/ci/bin/python -m pip install --quiet --require-hashes -r requirements/tools/ci.txt
	@touch $@

$(TOOLS)/ci-node/.made: tests/tools/ci/package.json tests/tools/ci/package-lock.json
	@command -v npm >/dev/null || { echo "the validators of CI files need node 20 or newer with npm"; exit 1; }
	@mkdir -p $(TOOLS)/ci-node && cp $^ $(TOOLS)/ci-node/
	@cd $(TOOLS)/ci-node && npm install --loglevel=error --no-audit --no-fund
	@touch $@

CHECKERS := $(TOOLS)/.made $(TOOLS)/ci/.made $(TOOLS)/ci-node/.made

test-tools: $(VENV)/.dev $(CHECKERS) ## Run other people's evaluation tools by their adapters, and the validators of CI files (3 GB)
	@$(BIN)/python -m pytest -p no:randomly tests/tools

wheel: $(VENV)/.runtime ## Build the wheel, pure Python, into dist/
	@SHIPWAY_COMPILE=0 $(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

$(VENV)/.compile: requirements/compile.txt | $(VENV)/.runtime
	@$(PIP) install --quiet --require-hashes -r requirements/compile.txt
	@touch $@

COMPILED := .bench/compiled

# A marker is made anew with the folder, so that nothing older than a source is taken for its build.
$(COMPILED)/.built: $(shell find src -type f -not -name '*.pyc') hatch_build.py pyproject.toml | $(VENV)/.compile
	@rm -rf $(COMPILED) $(COMPILED).wheel
	@SHIPWAY_COMPILE=1 $(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir $(COMPILED).wheel .
	@mkdir -p dist && cp $(COMPILED).wheel/*.whl dist/
	@$(BIN)/python -m zipfile --extract $(COMPILED).wheel/*.whl $(COMPILED)
	@rm -rf $(COMPILED).wheel
	@touch $@

compiled: $(COMPILED)/.built ## Build the wheel with the gateway's hot path compiled, into dist/ (needs a C compiler)
	@ls dist/*.whl

COMPILED_TESTS := tests/build tests/integration/gateway tests/unit/gateway tests/unit/telemetry tests/contract/limits \
	tests/unit/core $(addprefix tests/unit/adapters/,httptools_client httptools_server spool shared_limits)

test-compiled: $(VENV)/.dev $(COMPILED)/.built ## Run the gateway's tests with its hot path compiled
	@PYTHONPATH=$(abspath $(COMPILED)) $(BIN)/python -m pytest -n 2 --dist loadgroup $(COMPILED_TESTS)

lint: $(VENV)/.dev ## Check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Rewrite files in the house's style
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

types: $(VENV)/.dev ## Check types
	@MYPYPATH=src $(BIN)/mypy src/shipway benchmarks

imports: $(VENV)/.dev ## Check who imports whom
	@$(BIN)/lint-imports

unused: $(VENV)/.dev ## Find dead code and unused dependencies
	@$(BIN)/vulture
	@$(BIN)/deptry src

spelling: $(VENV)/.dev ## Find misspelt words
	@$(BIN)/codespell src tests docs README.md CHANGELOG.md examples Makefile

# The stages of shipway.yaml: one whose inputs did not change is not run again.
checks: $(VENV)/.dev ## Run lint, types, imports, unused and spelling as a pipeline, as far as something changed
	@$(BIN)/shipway pipeline run

check: checks test ## What CI runs

bench: bench-start bench-gateway ## Run every benchmark

bench-start: $(VENV)/.dev ## Time --help, config show, doctor and up-until-ready
	@$(BIN)/python benchmarks/bench_start.py

NATIVE := benchmarks/native

.bench/native/upstream: $(NATIVE)/upstream.c $(NATIVE)/wire.c $(NATIVE)/wire.h
.bench/native/load: $(NATIVE)/load.c $(NATIVE)/samples.c $(NATIVE)/wire.c $(NATIVE)/wire.h $(NATIVE)/samples.h
.bench/native/%:
	@mkdir -p $(@D)
	@cc -O2 -std=c11 -Wall -Wextra -o $@ $(filter %.c,$^)

# Without a C compiler that makes extension modules, the row of the compiled gateway is left out, and the program says so.
bench-gateway: $(VENV)/.dev .bench/native/upstream .bench/native/load ## Compare the gateway with nginx, LiteLLM and Portkey (ARGS="--only ours,nginx --quick")
	@$(MAKE) --no-print-directory compiled || echo "the gateway is measured in Python alone"
	@$(BIN)/python benchmarks/bench_gateway.py $(ARGS)

bench-gateway-soak: $(VENV)/.dev .bench/native/upstream .bench/native/load ## Watch the gateway's memory under 512 streams for ten minutes
	@$(BIN)/python benchmarks/bench_gateway_soak.py $(ARGS)

study-retrieval: $(VENV)/.dev ## Measure retrieval on the example's corpus
	@$(BIN)/python benchmarks/study_retrieval.py

study-answers: $(VENV)/.dev ## Measure answers of the example on the real model
	@$(BIN)/python benchmarks/study_answers.py

bench-evals: $(VENV)/.dev ## Measure evaluation beside promptfoo and DeepEval
	@$(BIN)/python benchmarks/bench_evals.py $(ARGS)

study-gates: $(VENV)/.dev ## Measure how often gates block what did not change, and what they see
	@$(BIN)/python benchmarks/study_gates.py $(ARGS)

study-rollouts: $(VENV)/.dev ## Measure how often rollouts take back a good release, and whom a bad one harms
	@$(BIN)/python benchmarks/study_rollouts.py $(ARGS)

soak: $(VENV)/.dev ## Roll good and bad releases out by every strategy, live, under load
	@$(BIN)/python benchmarks/soak_rollouts.py $(ARGS)

kills: $(VENV)/.dev ## Kill control and gateway at random moments of real rollouts
	@$(BIN)/python benchmarks/kill_rollouts.py $(ARGS)

bench-pipeline: $(VENV)/.dev ## Measure what a pipeline costs a stage beside doit and Prefect
	@$(BIN)/python benchmarks/bench_pipeline.py $(ARGS)

reference: $(VENV)/.runtime ## Write the CLI and settings reference from the code
	@$(BIN)/python -m shipway.entrypoints.docs_reference docs/reference

lock: ## Resolve the requirements files again (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line requirements/build.in -o requirements/build.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line requirements/compile.in -o requirements/compile.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line --extra local pyproject.toml -o requirements/runtime.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line --extra local pyproject.toml requirements/dev.in -o requirements/dev.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line benchmarks/peers/litellm.in -o benchmarks/peers/litellm.txt
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line requirements/clients.in -o requirements/clients.txt
	@cd tests/clients/programs && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --silent
	@for name in build lm-eval deepeval ragas inspect great-expectations; do uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line requirements/tools/$$name.in -o $(LOCKS)/$$name.txt; done
	@cd $(LOCKS)/promptfoo && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --silent
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line requirements/tools/ci.in -o requirements/tools/ci.txt
	@cd tests/tools/ci && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --silent
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line benchmarks/peers/pipeline.in -o benchmarks/peers/pipeline.txt

clean: ## Remove what was built here
	@rm -rf $(VENV) .bench dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
