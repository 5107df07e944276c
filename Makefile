# Verbs: `make demo` shows ma2l at work, `make test` proves it. Everything is installed into .venv by itself.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FRAMEWORKS := .venv-frameworks
OPENMPI5 := .venv-openmpi5

.PHONY: demo test unit lint frameworks openmpi5 engine bench clean

demo: $(VENV)/.installed ## A mock job of two nodes with four NPUs each
	@sh examples/demo.sh $(BIN)/ma2l $(BIN)/python

test: $(VENV)/.dev ## All tests; real trainings need `make frameworks`, those of the image `make engine`
	$(BIN)/python -m pytest $(PYTEST_ARGS)

unit: $(VENV)/.dev
	$(BIN)/python -m pytest tests/unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	shellcheck examples/*.sh .ci/run tests/container/engine.sh
	shellcheck -s sh entrypoint/ma2l-entrypoint entrypoint/step.sh entrypoint/lib/*.sh entrypoint/steps/*.sh ma-pre-start.sh

frameworks: $(FRAMEWORKS)/.installed ## Real MindSpore and PyTorch (CPU), in an environment of their own as in a real image

openmpi5: $(OPENMPI5)/.installed ## OpenMPI 5.0, beside the 4.1 of Debian

engine: ## What builds and runs the image in tests: podman and buildah from Debian
	sh tests/container/engine.sh

bench: $(VENV)/.installed ## First worker up, no-op run, memory and idle wake-ups, beside mpirun where there is one
	$(BIN)/python benchmarks/start.py

clean:
	rm -rf $(VENV) $(FRAMEWORKS) $(OPENMPI5) ma2l-log

$(VENV)/.installed: pyproject.toml $(shell find ma2l -name '*.py' -o -name '*.yaml')
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	touch $@

$(FRAMEWORKS)/.installed: requirements-frameworks.txt
	test -x $(FRAMEWORKS)/bin/python || $(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-frameworks.txt
	touch $@

$(OPENMPI5)/.installed: requirements-openmpi5.txt
	test -x $(OPENMPI5)/bin/python || $(PYTHON) -m venv $(OPENMPI5)
	$(OPENMPI5)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-openmpi5.txt
	touch $@
