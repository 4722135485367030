# make run · test · test-all · lab · pad · lint · browser-test · bench · model · readme · lock
# The first target that you call sets up .venv. Settings of this set-up, such as make run PYTHON=python3.12:
#   PYTHON         the Python to set it up with, 3.11 or later
#   TORCH_BACKEND  which builds of PyTorch: cpu leaves out the GPU libraries (`uv pip install --help`).
#                  .venv/ready notes it, for a set-up that is made anew

PYTHON    ?= python3
ifndef TORCH_BACKEND
TORCH_BACKEND := $(shell cat .venv/ready 2>/dev/null)
endif
BIN       := .venv/bin
# uv does what pip does in a fraction of the time. The lock is a constraint and no list of its own: what
# a build of PyTorch doesn't need stays out.
INSTALL   := $(BIN)/uv pip install --python $(BIN)/python --constraint requirements.lock \
             $(TORCH_BACKEND:%=--torch-backend=%)
NOTEBOOKS := $(shell "$(PYTHON)" -E tools/suite.py)
$(if $(NOTEBOOKS),,$(error No notebooks were found by $(PYTHON) tools/suite.py))
# One nbconvert executes all, each in a kernel of its own: it takes five seconds to start. INFO names
# each notebook.
EXECUTE   := $(BIN)/jupyter nbconvert --execute --to notebook --log-level INFO \
             --KernelManager.transport_encryption=auto --ExecutePreprocessor.record_timing=False \
             --ExecutePreprocessor.store_widget_state=False
# Carriage returns of progress bars are applied after a run, so that one line stays where many stood.
COALESCE  := $(BIN)/jupyter nbconvert --log-level ERROR --CoalesceStreamsPreprocessor.enabled=True

# What a reader's own environment may hold that would change what the notebooks show, or that breaks the
# set-up. All else, such as proxies and mirrors, stays.
unexport MPLBACKEND MATPLOTLIBRC PIP_PREFIX PIP_TARGET PIP_USER PYTHONHOME PYTHONOPTIMIZE PYTHONPATH \
         PYTHONSAFEPATH PYTHONSTARTUP PYTHONWARNINGS
ifeq ($(shell test -e .venv && test ! -w .venv && echo read-only),)
export IPYTHONDIR := $(CURDIR)/.venv/ipython
export MPLCONFIGDIR := $(CURDIR)/.venv/matplotlib
endif

# On a busy machine, threads that wait for each other soon free their cores.
run lab model readme: export GOMP_SPINCOUNT ?= 10000

.PHONY: run test test-all lab pad lint browser-test bench model readme lock FORCE

# Run every notebook in order, and write the executed copies as HTML pages beside them.
run: .venv/ready
	@rm -rf executed/run
	@$(EXECUTE) --output-dir executed/run $(NOTEBOOKS)
	@$(BIN)/python tools/write_pages.py executed/run
	@echo "The executed notebooks are in executed/run/: open executed/run/index.html"

# Stored outputs are those of Linux: elsewhere sums are added up in another order, so that last digits
# differ. There the cells only have to run, and what they assert has to be true.
SYSTEM := $(shell uname -s)
ifeq ($(SYSTEM),Linux)
NBVAL  := --nbval
else
NBVAL  := --nbval-lax
endif

# What a Chromium may be called. Where BROWSER=required is set, as by the hosted workflow, there has to be
# one; anywhere else the tests do without.
CHROMIUM := $(firstword $(foreach name,chromium google-chrome chromium-browser,$(shell command -v $(name) 2>/dev/null)) chromium)

# Lint, then the unit tests and every cell of every notebook against its stored output, two files at
# a time. The notebooks come first, since they take longest. test-all adds the slow tests.
test test-all: lint
	@test "$(NBVAL)" = --nbval || echo "On $(SYSTEM) outputs are not compared: each cell has to run."
	$(BIN)/pytest -n 2 $(NBVAL) $(if $(filter test-all,$@),-m '') --durations 10 $(NOTEBOOKS) tests
	@if command -v $(CHROMIUM) >/dev/null && command -v chromedriver >/dev/null; \
	    then $(MAKE) browser-test; \
	    else echo "No Chromium with its driver here: links and pads were not tried in a browser"; \
	    test "$(BROWSER)" != required; fi

lint: .venv/ready
	$(BIN)/ruff check . $(NOTEBOOKS)
	$(BIN)/ruff format --check . $(NOTEBOOKS)

# Click each link and draw on the pads in a real browser: Chromium and its driver, as Debian packages them.
browser-test: .venv/ready
	$(BIN)/pytest -n 2 tests/browser/*.py

# In a container one is root, which JupyterLab refuses unless it is told so.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

# JupyterLab on this machine only. It serves the whole repository, so that links to the README open.
lab: .venv/ready
	$(BIN)/jupyter lab --ip 127.0.0.1 $(AS_ROOT) --LabApp.default_url=/lab/tree/$(firstword $(NOTEBOOKS))

# Write pad.html, which reads digits without Python.
pad: .venv/ready
	$(BIN)/python tools/write_pad.py

# The full run of one notebook, such as `make model NOTEBOOK=06`. It replaces what it finds in results/,
# and the weights that ship, if the notebook makes some: both come from a folder of their own, in which
# nothing is older. If it was stopped, it goes on there with what it had not found yet. CONTRIBUTING says
# how long each takes, and what depends on it.
MADE       := executed/model/$(NOTEBOOK)
SHIPPED_03 := MNIST_model.pth
SHIPPED_06 := weights/MNIST_model_augmented.pth
SHIPPED_08 := weights/MNIST_model_convolutional.pth
SHIPPED_09 := weights/MNIST_model_people.pth
SHIPPED_10 := weights/MNIST_model_pages.pth
SHIPPED    := $(SHIPPED_$(NOTEBOOK))
CHOSEN     := $(filter notebooks/$(NOTEBOOK)_%,$(NOTEBOOKS))
model: export FULL = 1
model: export MNIST_CHECKPOINTS = $(CURDIR)/$(MADE)
model: .venv/ready
	@test -n "$(CHOSEN)" || \
	    { echo "Which notebook? Give its number: make model NOTEBOOK=06"; exit 1; }
	@test ! -d $(MADE) || echo "This goes on in $(MADE), where a full run was stopped. To begin anew, remove it."
	$(EXECUTE) --output-dir executed/model $(CHOSEN)
	cp $(MADE)/*.json results
	$(if $(SHIPPED),cp $(MADE)/$(notdir $(SHIPPED)) $(SHIPPED))
	rm -r $(MADE)

# Times of a step, alone and with other processes: nothing else should run on the machine.
bench:
	$(MAKE) model NOTEBOOK=11
	$(MAKE) model NOTEBOOK=12

# Store all notebooks as executed here, and take pictures and tables of the documents, and pad.html, from them.
readme: .venv/ready
	$(EXECUTE) --inplace $(NOTEBOOKS)
	$(COALESCE) --to notebook --inplace $(NOTEBOOKS)
	$(BIN)/python tools/update_readme.py
	$(BIN)/python tools/write_pad.py

# The newest releases that go together, for all systems and each Python from 3.11 on. They are tried
# by what is called next: `make lock test`.
lock: .venv/bin/uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --annotation-style line \
	    --custom-compile-command 'make lock' --output-file requirements.lock \
	    requirements.txt requirements-test.txt

# Modules are compiled here, once. Else the first kernel that imports PyTorch waits for that, and where
# Python may not write what it has compiled (PYTHONDONTWRITEBYTECODE) every kernel does, four seconds.
# The second command lists the fonts, which else the first notebook would do, and say so.
.venv/ready: requirements.txt requirements-test.txt requirements.lock | .venv/bin/uv
	@echo 'Setting up .venv. Under Linux PyTorch brings its GPU libraries along: 3 GB to'
	@echo 'download, 6 GB on disk. On two cores and a fast line this took half a minute. Without a GPU,'
	@echo '`make run TORCH_BACKEND=cpu` does without them.'
	$(INSTALL) --compile-bytecode --requirement requirements.txt --requirement requirements-test.txt
	@$(BIN)/python -c 'import matplotlib.font_manager'
	@echo $(TORCH_BACKEND) > $@

.venv/bin/uv:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "These notebooks need Python 3.11 or later: call make with PYTHON=python3.12, say.")'
	@$(if $(STALE),echo 'The folder was moved or Python is another one now: .venv is set up anew'; rm -rf .venv)
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install uv

# A set-up names its folder and its Python in many places, so it is made anew if the clone was moved, or
# if that Python is gone or is a newer one now, which doesn't find what was installed for the old one.
MADE_AT = sed -n 's/^command = .* -m venv //p' .venv/pyvenv.cfg
STALE := $(shell test ! -e .venv/ready || { test "$$($(MADE_AT))" -ef .venv && \
             .venv/bin/python -I -c 'import pip' 2>/dev/null; } || echo yes)
ifdef STALE
.venv/ready .venv/bin/uv: FORCE
endif
FORCE:
