# Two commands start everything: `make demo` and `make test`. Each sets up .venv once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1

.PHONY: setup demo test check proof bench format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing headhunt and what it needs into $(VENV) (about a minute and a half)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,dev]'
	@mkdir -p build/types/headhunt  # where pyright finds the packages under their import names
	@for folder in spaces stores trainables search analysis; do ln -sfn ../../../$$folder build/types/headhunt/$$folder; done
	@touch $(STAMP)

demo: $(STAMP)  ## the main job on the built-in synthetic corpus
	@$(BIN)/headhunt demo

test: $(STAMP)  ## the tests; no GPU, no network
	@$(BIN)/python -m pytest -m "not proof" -n 2 --dist worksteal --durations 12

check: $(STAMP)  ## format, lint, types, arrows between the folders
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

proof: $(STAMP)  ## the long checks: kills, clusters, servers, browsers
	@sh tests/stores/install_postgresql.sh
	@sh tests/analysis/install_chromium.sh
	@$(BIN)/python -m pytest -m proof -n 2 --dist loadfile --no-loadscope-reorder --durations 12

bench: $(STAMP)  ## benchmarks, half an hour; their figures stand in docs/benchmarks.md
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.peers

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info
