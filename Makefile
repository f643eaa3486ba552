# Two commands need nothing but Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# Two test processes of one thread each: small models gain nothing from more threads, and the last bits stay put.
WORKERS ?= 2
# An environment that forbids to keep compiled files would compile every module for each process anew.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test check format soak mutants fuzz bench screenshots docs dist sbom clean

demo: $(READY)
	$(BIN)/steersman quickstart --out demo

# A file's tests stay in one process, for what they share is expensive to make; docs/tests.md has what they cost.
SPREAD := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Ends with what was skipped and why, the 40 slowest tests, and a line for the table of docs/tests.md.
test: $(READY)
	STEERSMAN_PROCESSOR_TIME=$(VENV)/processor_time.jsonl $(PYTEST) $(SPREAD) -m "not soak" -rs --durations=40

check: $(READY)
	$(BIN)/ruff format --check src tests bench release
	$(BIN)/ruff check src tests bench release
	@# types and tests at once: neither keeps two cores busy by itself
	@$(BIN)/pyright > $(VENV)/pyright.log & types=$$!; \
	$(PYTEST) -q $(SPREAD) -m "not soak and not slow"; tested=$$?; \
	wait $$types; typed=$$?; cat $(VENV)/pyright.log; exit $$((tested + typed))

format: $(READY)
	$(BIN)/ruff format src tests bench release
	$(BIN)/ruff check --fix src tests bench release

# The full counts: many kills, many seeds. Its dated result stands in docs/soak.md.
soak: $(READY)
	STEERSMAN_CHECK_EVERY_CALL=1 $(PYTEST) -m soak -o timeout=7200 -s

# Small faults planted one by one, and whether the quick tests find them. Its dated result stands in docs/tests.md.
mutants: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python bench/mutants.py $(if $(SEED),--seed $(SEED)) --sample $(or $(SAMPLE),200) --write

# Mutated rows, files, recipes, settings and options for every command. Its dated result stands in docs/tests.md.
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python bench/fuzz.py --seed $(or $(SEED),1) --cases $(or $(CASES),10000) --write

bench: $(READY)
	$(BIN)/python bench/run.py --write

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	# The CPU build first: torch from the index would bring gigabytes of CUDA libraries.
	$(BIN)/python -m pip install -q -c constraints.txt torch || $(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test,dev,studio,serve,export,docs]"
	touch $(READY)

# Pictures of the studio's pages at three widths, light and dark, in screenshots/.
screenshots: $(READY)
	PYTHONPATH=src:tests/helpers $(BIN)/python tests/helpers/screenshots.py

# The documentation site, in site/. A warning, such as a link that leads nowhere, is an error.
docs: $(READY)
	PYTHONPATH=src NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Wheel and source distribution in dist/, checked: metadata, contents, and the wheel installed in an empty environment.
dist: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python release/check.py dist

# What the installed environment consists of, with versions and licences, as CycloneDX.
sbom: $(READY)
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --of JSON --output-file dist/steersman.cdx.json $(BIN)/python

clean:
	rm -rf $(VENV) dist build demo runs screenshots site
