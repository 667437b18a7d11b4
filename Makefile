# What a newcomer needs: `make train` and `make test`. Everything is installed at first use.

PYTHON ?= python3
EXPERIMENT ?= shakespeare
# A text of your own, and how long it may take. The shell reads both from the environment, so that a name may
# have spaces and quotation marks.
CORPUS ?=
MINUTES ?=
# The run to sample and evaluate: the newest of EXPERIMENT where that is given and has one, else the newest of all.
RUN ?= $(if $(filter-out file,$(origin EXPERIMENT)),$(shell ls -td runs/$(EXPERIMENT) runs/$(EXPERIMENT)-[0-9]* 2>/dev/null | head -n 1))
ARGS ?=
TRAINER = $(if $(and $(CORPUS),$(filter file,$(origin EXPERIMENT))),jaxchar train,python experiments/$(EXPERIMENT).py)
export CORPUS MINUTES RUN
# What JAX needs for an accelerator: cuda12, cuda13 or tpu.
EXTRA ?=
$(if $(filter-out cuda12 cuda13 tpu,$(EXTRA)),$(error EXTRA is $(EXTRA), but it must be cuda12, cuda13 or tpu))
WITH_EXTRA := $(if $(EXTRA),-with-$(EXTRA))

BIN := .venv/bin
READY := .venv/ready
DOCS_READY := .venv/docs-ready
PEERS_READY := .venv-peers/ready
REPORT_READY := .venv-peers/report-ready
ACCELERATORS_READY := .venv-accelerators/ready
BROWSER_READY := .venv/browser-ready

.PHONY: help install train sample evaluate test prove test-accelerators test-browser check bench bench-peers
.PHONY: accelerator-report docs clean

help: ## Show what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(READY)$(WITH_EXTRA) ## Make .venv and install the package with its development tools, and EXTRA=cuda12, cuda13 or tpu

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("jaxchar needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(READY)-with-%: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

train: $(READY)$(WITH_EXTRA) ## Train on CORPUS=my_novel.txt, or EXPERIMENT (shakespeare), for MINUTES=20, with ARGS="--seed 1"
	$(BIN)/$(TRAINER) $${CORPUS:+"$$CORPUS"} $${MINUTES:+--minutes "$$MINUTES"} $(ARGS)

sample: $(READY) ## Write text with the model of RUN (the newest; of EXPERIMENT, if given)
	$(BIN)/jaxchar sample $${RUN:+--ckpt "$$RUN"} $(ARGS)

evaluate: $(READY) ## Score the model of RUN (likewise)
	$(BIN)/jaxchar evaluate $${RUN:+--ckpt "$$RUN"} $(ARGS)

.PHONY: play
play: $(READY) ## See the model of RUN (likewise) write, and what its units see, in a browser
	$(BIN)/jaxchar play $${RUN:+"$$RUN"} $(ARGS)

test: $(READY) ## Run the tests
	$(BIN)/python -m pytest -q -n auto --dist loadfile $(ARGS)

prove: $(READY) ## Run all tests and long proofs; print the table of promises
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "slow or not slow" $(ARGS)

test-accelerators: $(ACCELERATORS_READY) ## Compile every program for a GPU and a TPU, which need not be there
	.venv-accelerators/bin/python -m pytest -q -m "slow or not slow" tests/accelerators tests/recurrence/test_nvrtc.py $(ARGS)

# Of JAX's plug-ins the compilers are enough: what computes on a card is not needed.
$(ACCELERATORS_READY): pyproject.toml
	$(PYTHON) -m venv .venv-accelerators
	.venv-accelerators/bin/python -m pip install --quiet --editable '.[dev]'
	jax=$$(.venv-accelerators/bin/python -c 'import jax; print(jax.__version__)') && \
	.venv-accelerators/bin/python -m pip install --quiet --no-deps jax-cuda12-plugin==$$jax jax-cuda12-pjrt==$$jax \
	nvidia-cuda-nvcc-cu12 nvidia-cuda-nvrtc-cu12 libtpu
	@touch $@

# BROWSER=firefox takes the system's Firefox. The tests with the real server are run in both, where they are there.
BROWSER ?= chromium
test-browser: $(BROWSER_READY) ## Test the playground's page in a real browser, the system's Chromium or BROWSER=firefox
	@command -v $(if $(filter firefox,$(BROWSER)),firefox || command -v firefox-esr,chromium || command -v chromium-browser || command -v google-chrome) || { \
	echo "There is no $(BROWSER) on this machine: install it (Debian: apt-get install chromium firefox-esr), then try again"; exit 2; }
	JAXCHAR_BROWSER=$(BROWSER) $(BIN)/python -m pytest -q -m "slow or not slow" tests/playground/browser $(ARGS)

$(BROWSER_READY): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[browser]'
	@touch $@

check: $(READY) ## Lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v clang-format >/dev/null; then clang-format --dry-run -Werror jaxchar/recurrence/cpp/* jaxchar/recurrence/cuda/*; \
	else echo "clang-format is not installed: the format of the C++ files was not checked"; fi

bench: $(READY)$(WITH_EXTRA) ## Race training against the other ways that .venv has (bench.json, bench.png)
	$(BIN)/python -m jaxchar.bench --plot bench.png $(ARGS)

bench-peers: $(PEERS_READY)$(WITH_EXTRA) ## The same with PyTorch and Keras, in .venv-peers
	.venv-peers/bin/python -m jaxchar.bench --plot bench.png $(ARGS)

$(PEERS_READY): pyproject.toml $(READY)
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --editable '.[peers]'
	@touch $@

$(PEERS_READY)-with-%: $(PEERS_READY)
	.venv-peers/bin/python -m pip install --quiet --editable '.[$*]'
	@touch $@

accelerator-report: $(REPORT_READY) $(PEERS_READY)$(WITH_EXTRA) ## Test, check and time all on a card, in MINUTES=25 (accelerator-report.html)
	.venv-peers/bin/python -m jaxchar.benchmark.report $${MINUTES:+--minutes "$$MINUTES"} $(ARGS)

# With the tests' tools, since it runs tests, too.
$(REPORT_READY): $(PEERS_READY)
	.venv-peers/bin/python -m pip install --quiet --editable '.[dev]'
	@touch $@

docs: $(DOCS_READY) ## Build the tutorial and the reference as pages in build/docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "The pages are in build/docs: open build/docs/index.html"

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

clean: ## Remove .venv and caches, but no run
	rm -rf .venv .venv-peers .venv-accelerators .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
