# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv first.
# TORCH passes options to pip for torch alone, e.g. TORCH="--index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
TORCH ?=
BIN := .venv/bin
MARK := .venv/.installed

.PHONY: install demo test check fix bench clean

install: $(MARK)

$(MARK): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or later is needed, this is ' + sys.version.split()[0]) if sys.version_info < (3, 11) else None"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(MARK)

demo: install
	$(BIN)/latente demo

test: install
	$(BIN)/python -m pytest

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	for b in benchmarks/*.py; do $(BIN)/python $$b --quick || exit 1; done

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
