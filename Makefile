# What a newcomer needs: `make demo` and `make test`. Each sets up what it needs, in .venv and nowhere else, save that as
# root on Linux `make test` installs the Debian packages that the NAT lab and the real peers need, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find pknet adapters -name '*.pyx' -o -name '*.pxd') pyproject.toml

.PHONY: build demo test lint types wheel sanitize fuzz bench clean

build: $(VENV)/built

# The environment, with everything that tests, checks and benchmarks use.
$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pknet needs Python 3.11 or later with venv (Debian: apt install python3-venv python3-dev)"; exit 1; }
	@echo "Setting up $(VENV): what builds and tests need is taken from PyPI, which takes a minute"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(VENV)/built: $(VENV)/ready $(SOURCES)
	@echo "Building pknet: its Cython modules are compiled, which takes two minutes or so and prints nothing"
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-build-isolation --editable .
	@touch $@

# The main job, with no root and no configuration; NAT=cone,cone (as root on Linux) does it across two NATs.
demo: build
	$(BIN)/python -m examples.demo $(if $(NAT),--nat $(NAT))

test: build
	$(BIN)/python -m tests.setup
	$(BIN)/python -m pytest $(PYTEST)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/cython-lint pknet adapters
	$(BIN)/codespell

types: build
	$(BIN)/mypy
	$(BIN)/python -m tests.stubs

# A source distribution, a wheel made from it, and the tests run against that wheel.
wheel: build
	$(BIN)/python -m tests.wheel

# The core's tests, with compiled modules in which each wrong access and each undefined operation ends the run.
sanitize: build
	$(BIN)/python -m tests.sanitize $(PYTEST)

# Looks for inputs that break a target of tests/fuzz: FUZZ is its name (all if not given), TIME the seconds for each.
fuzz: build
	$(BIN)/python -m pip install --quiet --group fuzz
	$(BIN)/python -m tests.fuzz $(FUZZ) $(if $(TIME),--seconds $(TIME))

bench: build
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .peers build dist *.egg-info
	find pknet adapters -name '*.so' -delete -o -name '*.c' -delete
