# make ala2    train the default run and write its report (installs into .venv first)
# make test    lint, types and tests, in two processes; the slowest ten at the end
# make docs    the documentation as a site, build/site/index.html; its warnings are errors
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := runs/ala2
WORKERS ?= 2

.PHONY: ala2 test check docs clean

ala2: $(VENV)/.installed
	$(BIN)/bgp4 train --config ala2.yaml --run $(RUN) $(if $(wildcard $(RUN)/checkpoint.safetensors),--resume)
	$(BIN)/bgp4 report $(RUN)

test check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=10 --durations-min=1

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/.installed: pyproject.toml constraints.txt $(shell find bgp4 configs data -type f -not -name '*.pyc' 2>/dev/null)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt .
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	rm -f $(VENV)/.installed
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed-test
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist
