# Every target works alone on a fresh machine: it makes the virtual environment first.
VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Strict: a broken link, a missing page or anchor fails. (--quiet would hide warnings from --strict.)
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: demo test check docs clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/python -m da_toolkit.demo

test: $(STAMP)
	$(BIN)/python -m pytest -n auto

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy da_toolkit
	$(BIN)/lint-imports setup.cfg
	$(MKDOCS)

docs: $(STAMP)
	$(MKDOCS)
	@echo "site/index.html"

# The plain wheel of torch is the CUDA build; it also runs without a GPU.
$(STAMP): pyproject.toml setup.cfg constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[demo,docs,test]'
	touch $@

clean:
	rm -rf $(VENV)
