# make demo              set up .venv, segment a generated phantom (or SCAN=path.nii.gz), name what was written
# make test              set up .venv-test, run every test
# make lint              ruff, mypy and the import contract, in .venv-test
# make examples          run every script in examples/, in .venv-test
# make docs              build the documentation site into site/, in .venv-test
# make clean             remove what the others made

PYTHON ?= python3
SCAN ?=
OUT ?= demo
TEST_FLAGS ?= -n 2 --dist loadfile

DEMO_VENV := .venv
TEST_VENV := .venv-test
PIP_FLAGS := --prefer-binary --disable-pip-version-check --no-compile --quiet
PACKAGE := pyproject.toml README.md LICENSE $(shell find spineps models -type f ! -name '*.pyc')

.PHONY: demo test lint examples docs clean python

demo: $(DEMO_VENV)/installed
ifeq ($(strip $(SCAN)),)
	$(DEMO_VENV)/bin/spineps phantom "$(OUT)/rawdata" --seed 2024 --vertebrae 8 --contrast t2w
	$(DEMO_VENV)/bin/spineps sample -i "$$(ls $(OUT)/rawdata/*_T2w.nii.gz | head -n 1)" -o "$(OUT)"
else
	$(DEMO_VENV)/bin/spineps sample -i "$(SCAN)" -o "$(OUT)"
endif

test: $(TEST_VENV)/installed
	OMP_NUM_THREADS=1 $(TEST_VENV)/bin/python -m pytest $(TEST_FLAGS)

lint: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/ruff check .
	$(TEST_VENV)/bin/ruff format --check .
	$(TEST_VENV)/bin/mypy
	$(TEST_VENV)/bin/lint-imports

examples: $(TEST_VENV)/installed
	@set -e; for script in examples/*.py; do echo "== $$script"; $(TEST_VENV)/bin/python $$script; done

docs: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/pip install $(PIP_FLAGS) --editable '.[docs]'
	$(TEST_VENV)/bin/mkdocs build --strict

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) demo site dist build

# A copy of the package, as a user's own `pip install .` makes it.
$(DEMO_VENV)/installed: $(PACKAGE) | python
	@echo "Setting up $(DEMO_VENV): some 6 GB of packages, most of it PyTorch; later runs start at once."
	test -x $(DEMO_VENV)/bin/pip || $(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/pip install $(PIP_FLAGS) .
	@touch $@

# The checkout itself: a changed source file needs no second installation.
$(TEST_VENV)/installed: pyproject.toml | python
	@echo "Setting up $(TEST_VENV): some 6 GB of packages, most of it PyTorch; later runs start at once."
	test -x $(TEST_VENV)/bin/pip || $(PYTHON) -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/pip install $(PIP_FLAGS) --editable '.[test]'
	@touch $@

python:
	@command -v $(PYTHON) >/dev/null || { echo "spineps needs Python 3.10 or newer; '$(PYTHON)' was not found. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "spineps needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "spineps needs Python's venv module; on Debian and Ubuntu it is the package python3-venv." >&2; exit 1; }
