# make demo      sets up what the demonstration needs, then runs it
# make test      sets up what the tests need, then runs every check (TORCH=1: with torch, for its files)
# make lint      style and types only
# make bench     measures codecs, scans, stores, tables and searches beside their peers; see docs/benchmarks
#                (QUICK=1: in minutes, few rows of generated sets; no figures, but a look at all of it)
#
# Needs Python 3.11 or later and nothing else; everything is installed into .venv here.

, := ,
PYTHON ?= $(shell command -v python3.11 || command -v python3)
JOBS   ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints-test.txt

.PHONY: demo test lint bench clean setup
.DEFAULT_GOAL := demo

demo: $(VENV)/.core
	@$(BIN)/vecstore demo

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Vector intrinsics need the compiler, so only the kernels' plain twins run as Python, for debuggers and coverage;
# integers wrap and floats overflow there with warnings that compiled code does not know.
# The whole suite comes last: its closing line is the answer.
test: lint $(if $(TORCH),$(VENV)/.torch)
	NUMBA_DISABLE_JIT=1 VECSTORE_ISA=scalar \
		$(BIN)/python -m pytest -q -n $(JOBS) -W ignore::RuntimeWarning tests/kernels
	$(BIN)/python -m pytest -q -n $(JOBS)

# Goes on where it stopped. VECSTORE_DATA: the folder of data sets; hours, with all of them.
# A quick run begins anew each time, and leaves the kept records and README alone.
RECORDS := $(if $(QUICK),build/bench,docs/benchmarks)
sets     = $(if $(QUICK),--quick --datasets $(1),$(2))
task     = $(BIN)/vecstore bench $(1) --out $(RECORDS)/$(2).jsonl --resume --page $(RECORDS)/$(2).md

bench: $(VENV)/.torch
	$(if $(QUICK),rm -rf $(RECORDS))
	mkdir -p $(RECORDS) build
	$(call task,codecs $(call sets,generated_32,--threads 1$(,)2),codecs)
	$(call task,scan $(if $(QUICK),--quick),scan)
	$(call task,store $(if $(QUICK),--quick),store)
	$(call task,tables $(call sets,gmf),tables)
	$(call task,tables --speed --threads 1$(if $(QUICK), --quick,$(,)2),tables)
	$(call task,vectors $(call sets,manual),vectors)
	$(call task,limit $(if $(QUICK),--quick --dims 16),vectors)
	$(BIN)/python scripts/bench_plan.py --data "$(VECSTORE_DATA)" --out $(RECORDS)/plan.jsonl --resume \
		--page $(RECORDS)/plan.md $(if $(QUICK),--datasets generated_32 --budgets 8B/row$(,)12%)
	$(BIN)/python scripts/bench_memory.py build --out $(RECORDS)/memory.jsonl --resume \
		--page $(RECORDS)/memory.md $(if $(QUICK),--gb 0.1)
	$(if $(QUICK),,$(BIN)/python scripts/fill_readme.py)
	$(BIN)/vecstore report $(RECORDS)/*.jsonl --force -o $(RECORDS)/report.html

setup: $(VENV)/.test

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; say where: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up $(VENV) (once; a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.core: $(VENV)/.pip pyproject.toml constraints-test.txt
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	@$(PIP) --editable '.[hdf5,safetensors,bench,plots,report]' --group test
	@touch $@

$(VENV)/.torch: $(VENV)/.test
	@$(PIP) torch
	@touch $@
