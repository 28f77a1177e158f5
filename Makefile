# make demo   everything from an empty machine to nine trained retrievers and the report of a study
# make test   set-up, then the tests (make test-all adds the long ones and a SLURM cluster's)
# make coverage   the lines that the tests run, those of started processes included
# make test-oldest   the unit tests with the oldest versions of the dependencies that are supported
# make release   wheel, sdist, SBOM and hashes (docs/releasing.md)
# PIP_ARGS adds options to every pip call, such as an index: make demo PIP_ARGS="--index-url URL"

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DEMO := runs/demo

# DeepSpeed compiles its CPU operators at first use: keep them with the environment
export TORCH_EXTENSIONS_DIR := $(CURDIR)/$(VENV)/torch_extensions
# and always with the environment's ninja: one of another version compiles them again
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest

.PHONY: demo test test-all test-oldest test-newest test-slurm slurm-packages coverage lint fuzz \
  bench bench-parts docs docs-serve pictures gpu venv clean licences release

venv: $(READY)

$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "hybrid_dist needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "== set-up: $(VENV) with the pinned dependencies (about 2 GB, a few minutes)"
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing: apt install python3-venv"; exit 1; }
	@$(BIN)/pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt torch
	@$(BIN)/pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[cpu,dev]"
	@touch $@

demo: $(READY)
	@echo "== data: eight invented languages; a tenth of the pairs of each are translations"
	@$(BIN)/hybrid-dist toy --out $(DEMO)/toy --parallel 0.1
	@echo "== monolingual, cross-lingual and hybrid batches, three seeds each, two runs at a time"
	@$(BIN)/hybrid-dist study configs/studies/demo.yaml --out $(DEMO)/study --jobs 2

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@if command -v shellcheck >/dev/null; then shellcheck -x slurm/*.sh slurm/*.sbatch; \
	  else echo "shellcheck is not here: the batch files are not checked"; fi

# Launched tests wait for processes to start and for limits of time: one more worker than two cores.
# They come first, in the order given, since they take longest: the end is many short files.
test: $(READY)
	@$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder --durations=30 \
	  tests/launched tests/gpu tests/fuzz tests/unit

# Not part of CI, since it runs all tests once more and slower. COVERAGE_FLOOR is in percent.
COVERAGE_FLOOR ?= 90
# a limit on the size of files, which the data file of coverage exceeds
NOT_COVERED := --deselect tests/unit/runtime/test_full_disks.py::test_the_largest_file_that_a_shell_allows_is_named
coverage: $(READY)
	@$(BIN)/coverage erase
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/coverage run -m pytest -n 2 --dist loadfile $(NOT_COVERED) tests/unit tests/launched
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under=$(COVERAGE_FLOOR)

test-all: $(READY) slurm-packages
	@$(PYTEST) -m "" -rs

# Not part of CI: PyPI's torch 2.11 brings CUDA packages, 5.7 GB in all (an index of CPU builds: 2 GB)
OLDEST := .venv-oldest
test-oldest: $(OLDEST)/ready
	@TORCH_EXTENSIONS_DIR=$(CURDIR)/$(OLDEST)/torch_extensions $(OLDEST)/bin/pytest -p no:cacheprovider tests/unit

$(OLDEST)/ready: constraints-oldest.txt pyproject.toml
	@echo "== set-up: $(OLDEST) with the oldest supported dependencies (up to 6 GB, a few minutes)"
	@$(PYTHON) -m venv $(OLDEST)
	@$(OLDEST)/bin/pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints-oldest.txt -e ".[cpu,dev]"
	@touch $@

test-slurm: $(READY) slurm-packages
	@$(PYTEST) -m "not thorough" -rs --durations=20 tests/slurm

# what the tests bring a cluster up with; where it cannot be had they say so and are skipped
SLURM_PROGRAMS := slurmctld slurmd munged ip
slurm-packages:
	@PATH="$$PATH:/usr/sbin:/sbin"; for program in $(SLURM_PROGRAMS); do \
	  command -v $$program >/dev/null || missing=1; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "== SLURM, from the system's packages"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq -y \
	    --no-install-recommends slurm-wlm munge iproute2 shellcheck >/dev/null; } || true; fi

# FUZZ_SECONDS=60 SEED=1 ONLY=pairs,stores: a shorter one, that one again, some classes
FUZZ_SECONDS ?= 600
fuzz: $(READY)
	@$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) --jobs $$(nproc) \
	  $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

# Beside other libraries, each in an environment of its own in .venv-peers; HYBRID_DIST_DATA names a
# folder with tldr/ and xquad-r/. PEERS adds options: make bench PEERS="--parts speed --only PyLate"
E5 := runs/e5-small
bench: $(READY) $(E5)
	@$(BIN)/python benchmarks/peers/run.py --model $(E5) --pip-args="$(PIP_ARGS)" $(PEERS)

$(E5): | $(READY)
	@test -d "$(HYBRID_DIST_DATA)" || { echo "HYBRID_DIST_DATA: name a folder with tldr/ and xquad-r/"; exit 1; }
	@$(BIN)/python examples/e5_small_4bit.py --out $@ \
	  --prune-vocab $(wildcard $(HYBRID_DIST_DATA)/tldr/*.jsonl.gz $(HYBRID_DIST_DATA)/xquad-r/*.json*)

# Parts of hybrid_dist beside the usual alternatives, in this environment
bench-parts: $(READY)
	@$(BIN)/python benchmarks/engine.py
	@$(BIN)/python benchmarks/loss_options.py
	@$(BIN)/python benchmarks/auxiliary.py
	@$(BIN)/python benchmarks/chunks.py
	@$(BIN)/python benchmarks/mining.py search
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/batching.py
	@$(BIN)/python benchmarks/loop.py
	@$(BIN)/python benchmarks/encoders.py

# The documentation as a site, in site/; a broken link or another warning is an error
docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html"

docs-serve: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# The pictures of docs/images, from what studies and reports wrote; ONLY=NAME.png draws one
pictures: $(READY)
	@$(BIN)/python docs/images/pictures.py $(ONLY)

# What needs a GPU; DRY_RUN=1 runs the same programs with tiny sizes on a CPU
gpu: $(READY)
	@PYTHON=$(BIN)/python benchmarks/gpu/run.sh

# The unit tests with the newest versions of all dependencies, to see early what they break
NEWEST := .venv-newest
test-newest:
	@echo "== set-up: $(NEWEST) with the newest dependencies (up to 6 GB, a few minutes)"
	@$(PYTHON) -m venv $(NEWEST)
	@$(NEWEST)/bin/pip install -q --disable-pip-version-check $(PIP_ARGS) --upgrade -e ".[cpu,dev]"
	@TORCH_EXTENSIONS_DIR=$(CURDIR)/$(NEWEST)/torch_extensions $(NEWEST)/bin/pytest -p no:cacheprovider tests/unit

licences: $(READY)
	@$(BIN)/python -m tests.licences > docs/licences.md

# dist/: wheel and sdist. release/: the tested versions, an SBOM of what these bring to an empty
# environment, and the hashes of all
RELEASE := .venv-release
release: $(READY)
	@rm -rf dist release $(RELEASE) && mkdir release
	@$(BIN)/pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[release]"
	@$(BIN)/python -m build
	@$(BIN)/twine check --strict dist/*
	@echo "== the wheel in an empty environment: $(RELEASE)"
	@$(PYTHON) -m venv --without-pip $(RELEASE)
	@$(BIN)/pip --python $(RELEASE)/bin/python install -q --disable-pip-version-check $(PIP_ARGS) \
	  -c constraints.txt "$$(ls dist/*.whl)[cpu]"
	@cd / && $(CURDIR)/$(RELEASE)/bin/hybrid-dist --version
	@rm $(RELEASE)/lib/python3*/site-packages/hybrid_dist-*/direct_url.json # names a folder of this machine
	@$(BIN)/cyclonedx-py environment --output-reproducible --output-file release/sbom.cdx.json \
	  $(RELEASE)/bin/python
	@cp constraints.txt release/
	@(cd dist && sha256sum *; cd ../release && sha256sum constraints.txt sbom.cdx.json) > release/SHA256SUMS
	@cat release/SHA256SUMS

clean:
	rm -rf .venv* $(DEMO) dist release site
