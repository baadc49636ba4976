# On a fresh Debian or Ubuntu: sudo apt install git make python3-venv
#
#   make demo      segment held-out scenes with the shipped weights: outputs/demo/
#   make test      ruff, every test, then every notebook on the smallest budget
#   make browser   the quickstart in JupyterLab in a real browser (Debian: sudo apt install chromium)
#   make lab       JupyterLab on the first notebook
#   make notebooks run the notebooks again and keep what they show: notebooks/
#   make twice     run all cells of each notebook twice in one kernel; keeps nothing
#   make html      the notebooks as web pages that need no network: outputs/html/
#   make student   the notebooks without solutions, for students: outputs/student/
#   make course    assignments for students, solutions and answers for teachers: outputs/course/
#   make grade     marks and feedback for a folder of submissions, SUBMISSIONS=folder: outputs/course/marks/
#   make train     train a small model in 15 minutes: outputs/train/ (RECIPE=scenes: the best model)
#   make bench     measure speed and memory here, beside transformers: results/bench/
#   make weights   train the shipped weights again from their seeds: data/weights/
#   make clean     remove .venv and caches, but not outputs/, which may hold trained models
#
# Each first makes the environment .venv and installs into it, once.

PYTHON ?= python3
VENV ?= .venv
RECIPE ?= scenes_short

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FIRST_NOTEBOOK := notebooks/00_quickstart.ipynb

.PHONY: help demo test browser lab notebooks twice html student course grade train bench weights clean

help:
	@sed -n '/^#   make/s/^#   //p' Makefile

demo: $(STAMP)
	$(BIN)/python -m minigroupvit demo

test: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/python -m pytest $(ARGS)
	MINIGROUPVIT_BUDGET=tiny $(BIN)/python -m pytest --nbval-lax notebooks

browser: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r browser/requirements.txt
	command -v chromium >/dev/null || $(BIN)/python -m playwright install chromium
	$(BIN)/python -m pytest $(ARGS) browser

lab: $(STAMP)
	@if [ -f $(FIRST_NOTEBOOK) ]; then exec $(BIN)/jupyter lab $(FIRST_NOTEBOOK); \
	else echo "$(FIRST_NOTEBOOK) is not there yet: JupyterLab opens on an empty folder"; \
	mkdir -p notebooks; exec $(BIN)/jupyter lab --notebook-dir notebooks; fi

# MINIGROUPVIT_BUDGET=cpu or gpu sets how much they compute; by default gpu if there is a GPU, else cpu.
notebooks: $(STAMP)
	$(BIN)/python scripts/notebook_setup.py
	$(BIN)/python scripts/run_notebooks.py $(ARGS)
	$(BIN)/python scripts/notebook_numbers.py

twice: $(STAMP)
	MINIGROUPVIT_BUDGET=tiny $(BIN)/python scripts/run_notebooks.py --twice $(ARGS)

html: $(STAMP)
	$(BIN)/python scripts/make_pages.py $(ARGS)

student: $(STAMP)
	$(BIN)/python scripts/student_notebooks.py $(ARGS)

course: $(STAMP)
	$(BIN)/python -m course build $(ARGS)

grade: $(STAMP)
	@[ -n "$(SUBMISSIONS)" ] || { echo "make grade SUBMISSIONS=folder, with a folder for each student"; exit 1; }
	$(BIN)/python -m course grade "$(SUBMISSIONS)" $(ARGS)

train: $(STAMP)
	$(BIN)/python -m minigroupvit train --recipe $(RECIPE) $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m minigroupvit bench $(ARGS)

weights: $(STAMP)
	$(BIN)/python scripts/make_weights.py $(ARGS)

# Made once, and again when pyproject.toml has changed.
$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
	{ echo "there is no $(PYTHON): sudo apt install python3 python3-venv, or make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	{ echo "$(PYTHON) is `$(PYTHON) -V 2>&1`; Python 3.10 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	{ echo "$(PYTHON) cannot make environments: sudo apt install python3-venv"; exit 1; }
	@echo "installing into $(VENV): some minutes, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[all,test]'
	@touch $(STAMP)

clean:
	[ ! -f $(VENV)/pyvenv.cfg ] || rm -rf $(VENV)
	rm -rf build dist .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
