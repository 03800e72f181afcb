# Two commands: `make book` and `make test`. Both set up .venv first, and again only when the lock
# has changed. Other Pythons: make book PYTHON=python3.12. Other builds of torch:
# make book TORCH_INDEX=https://download.pytorch.org/whl/cpu (no CUDA packages, some GB less).

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready
TORCH := $(shell grep '^torch==' requirements.lock)
PAGE := _build/html/index.html

.PHONY: book pdf serve test portable notebooks publish-url lint links lock clean

book: $(READY)
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo "The book is built: open $(PAGE), or run make serve"

# The whole book on paper; a Chromium or Chrome prints it.
pdf: book
	$(BIN)/python -m book.pdf

serve: book
	@echo "The book is at http://localhost:$(PORT) (Ctrl-C stops it)"
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

test: $(READY)
	$(BIN)/python -m pytest --nbval

# The tests on every machine that this one can play: an hour or so.
portable: $(READY)
	$(BIN)/python -m book.machines all $(BIN)/python -m pytest --nbval -q

notebooks: $(READY)
	$(BIN)/python -m book.notebooks

publish-url: $(READY)
	@test -n "$(URL)" || { echo "usage: make publish-url URL=https://github.com/NAME/REPOSITORY"; exit 2; }
	$(BIN)/python -m book.publish "$(URL)"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python

# Every link that leads out of the book, asked for over the network.
links: $(READY)
	$(BIN)/jupyter-book build . --builder linkcheck --keep-going --quiet

lock: $(READY)
	$(BIN)/python -m book.lock

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "gptlib needs Python 3.11, 3.12 or 3.13; found $$($(PYTHON) --version 2>&1). Name another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	$(PIP) install --quiet -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@
