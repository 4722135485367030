# make run · test · lab · lint · browser-test · bench · model · readme
# The first target that you call creates .venv from requirements.txt; set PYTHON to choose the Python.

PYTHON    ?= python3
BIN       := .venv/bin
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
NBVAL     := --nbval --nbval-current-env --nbval-cell-timeout 300
EXECUTE   := $(BIN)/jupyter nbconvert --execute --to notebook --log-level WARN \
             --KernelManager.transport_encryption=auto --ExecutePreprocessor.record_timing=False \
             --ExecutePreprocessor.store_widget_state=False
# Carriage returns of progress bars are applied after a run, so that one line stays where many stood.
COALESCE  := $(BIN)/jupyter nbconvert --log-level ERROR --CoalesceStreamsPreprocessor.enabled=True

# One thread waits for no other, however busy the cores are; and no test compares times.
test: export OMP_NUM_THREADS = 1
test: export REPEATS = 2

.PHONY: run test lab lint browser-test bench model readme

# Run every notebook in order and write the executed copies as HTML into executed/.
run: .venv/ready
	@for notebook in $(NOTEBOOKS); do \
	    echo "running $$notebook"; \
	    $(EXECUTE) --output-dir executed "$$notebook" || exit; \
	done
	@$(COALESCE) --to html executed/*.ipynb && rm executed/*.ipynb
	@grep -Eoh '(shipped|your) model, test accuracy: [0-9][^<]*' executed/04_*.html
	@echo "The executed notebooks are in executed/: open executed/01_explore_the_data.html"

# Lint, then the unit tests and every cell of every notebook against its stored output, two files at
# a time. (Without loadfile, the cells of one notebook would go to different kernels.) Notebook 04
# comes last, and not beside 03: it tests the weights that 03 is making.
test: lint
	$(BIN)/pytest -n 2 --dist loadfile $(NBVAL) --durations 10 --ignore-glob '*/04_*' tests notebooks
	$(BIN)/pytest $(NBVAL) notebooks/04_*.ipynb
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; \
	    then $(MAKE) browser-test; \
	    else echo "No Chromium with its driver here: the drawing pad was not tried in a browser"; fi

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Draw on notebook 07's pad in a real browser: Chromium and its driver, as Debian packages them.
browser-test: .venv/ready
	$(BIN)/python -m pip install --quiet --requirement tests/browser_requirements.txt
	$(BIN)/pytest tests/browser.py

# JupyterLab on this machine only, opened on the first notebook.
lab: .venv/ready
	$(BIN)/jupyter lab --ip 127.0.0.1 $(firstword $(NOTEBOOKS))

# Climb the ladder of notebook 05 with more and longer repeats, and print its table.
bench: .venv/ready
	@REPEATS=15 NUM_STEPS=700 $(EXECUTE) --output-dir executed notebooks/05_train_faster.ipynb
	@grep -Eoh '"(rung [0-9]|floor) [^"{\]*(×|floor)' executed/05_train_faster.ipynb | cut -c2-

# Make the weights that ship: train as notebooks 03 and 06 stand, and take their checkpoints. Only
# seed 0 is needed for that; what is stored of notebook 06 is executed/06_train_better.ipynb after
# `make model SEEDS=5`.
model: export SEEDS ?= 1
model: .venv/ready
	$(EXECUTE) --output-dir executed notebooks/03_*.ipynb notebooks/06_*.ipynb
	cp checkpoints/MNIST_model.pth checkpoints/MNIST_model_augmented.pth .

# Store the notebooks as executed here, and take the README's tables and pictures from them.
# Notebooks 05 and 06 are left as they are: 05's times differ in every run, and its text speaks of
# the stored ones; 06 holds its full run.
STORED := $(filter-out notebooks/05_% notebooks/06_%,$(NOTEBOOKS))
readme: .venv/ready
	@for notebook in $(STORED); do \
	    echo "executing $$notebook in place"; \
	    $(EXECUTE) --inplace "$$notebook" || exit; \
	done
	$(COALESCE) --to notebook --inplace $(STORED)
	$(BIN)/python pictures/from_notebooks.py

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "These notebooks need Python 3.10 or later: call make with PYTHON=python3.12, say.")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@touch $@
