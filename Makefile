# Everything that is needed is made on first use: .venv, its packages, the compiled core.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CORE := $(shell find ext -name '*.p[yx][xd]' -o -name '*.h') $(wildcard tests/doubles/*.p[yx]?)
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
# Whatever the environment says: tests start hundreds of programs, and each would compile all of its modules again.
export PYTHONDONTWRITEBYTECODE :=
# Most tests wait for a process or a socket, not for the CPU. WORKERS=0 runs all in one process: for --pdb, or to see prints.
WORKERS ?= 3
QUICK := tests/unit tests/property tests/fuzz $(addprefix tests/conformance/test_vectors,.py _client.py _feed.py)

.DEFAULT_GOAL := help
.PHONY: help build demo test test-quick conformance truth candles alerts webhooks attack maps-faults chaos chaos-topics soak mixes rolling million deploy-check fuzz audit test-debug test-all check lint format types imports spelling stubs raise-tools bench bench-parts bench-service bench-peers scaling client-typescript web test-page test-operator page-load clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.packages: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mdstream needs Python 3.11 or later, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --group build
	@touch $@

$(INSTALLED): $(VENV)/.packages setup.py $(CORE)
	$(BIN)/python -m pip install --quiet --no-compile --no-build-isolation --editable '.[dev]'
	$(BIN)/python tests/doubles/setup.py --quiet build_ext --inplace
	@touch $@

build: $(INSTALLED)  ## Make .venv: the packages, and mdstream with its core compiled

demo: $(INSTALLED)  ## Live books from a simulated market, everything embedded (ARGS="--for 10s" ends by itself)
	@$(BIN)/python tools/build_web.py --if-needed --try
	@$(BIN)/mdstream demo $(ARGS)

test-page: web  ## The trading page in Chromium: all its tests, and pictures of each state and size (reports/page; some minutes)
	$(BIN)/python -m pip install --quiet --group page
	$(PYTEST) tests/e2e/test_page.py tests/e2e/test_page_faults.py tests/e2e/test_page_views.py tests/e2e/test_page_pictures.py -m 'complete or not complete' $(ARGS)

PAGE_LOAD_S ?= 300
page-load: web  ## The trading page with 50 instruments and 20,000 level changes a second: books, script, heap, latency (PAGE_LOAD_S=300; reports/page/load.json)
	$(BIN)/python -m pip install --quiet --group page
	PAGE_LOAD_S=$(PAGE_LOAD_S) $(PYTEST) tests/e2e/test_page_load.py -m complete $(ARGS)

web: $(INSTALLED)  ## The trading page, built into mdstream/web (Node comes from PyPI, the rest from npm)
	$(BIN)/python tools/build_web.py

# A file is run by one process, so what its tests share is made once, and tests of what came of others see it. The long files come first.
test: $(INSTALLED)  ## All tests on this Python, three at a time (ARGS is passed to pytest)
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-quick: $(INSTALLED)  ## The tests that need no process and no socket, with fewer examples, in less than a minute
	$(PYTEST) $(QUICK) --quick -p no:benchmark -n 2 --dist worksteal $(ARGS)

conformance: $(INSTALLED)  ## All Autobahn cases, those of compression too, and more of the load test (many minutes)
	$(PYTEST) tests/conformance tests/e2e/test_bench.py -m 'complete or not complete' $(ARGS)

truth: $(INSTALLED)  ## Whether `live` means true: every fault on three servers, recorded markets with faults (many minutes; reports/truth.json)
	$(PYTEST) tests/truth tests/integration/gateway/test_gateway_overload.py tests/e2e/test_stepped_clock.py tests/e2e/test_slow_client.py -m complete $(ARGS)

candles: $(INSTALLED)  ## Candles of recorded trades, and of writers that are killed again and again (two minutes)
	$(PYTEST) tests/integration/test_candles_writers.py tests/integration/test_candles_recorded.py -m complete $(ARGS)

alerts: $(INSTALLED)  ## Price alerts, their watchers killed at each step, and again and again while a market crosses prices, and nodes of a cluster (three minutes)
	$(PYTEST) tests/integration/test_alerts.py tests/integration/test_alerts_killed.py -m complete $(ARGS)

maps-faults: $(INSTALLED)  ## Maps and presence while gateways and NATS are killed again and again (four minutes)
	$(PYTEST) tests/integration/test_maps_faults.py -m complete $(ARGS)

test-operator: $(INSTALLED)  ## The operator's page in Chromium: all its tests, and screenshots of each state and size (reports/operator)
	$(BIN)/python -m pip install --quiet --group page
	PICTURES=1 $(PYTEST) tests/e2e/test_operator_page.py -m 'complete or not complete' $(ARGS)

webhooks: $(INSTALLED)  ## Webhooks, their sender killed again and again while events come (a minute)
	$(PYTEST) tests/integration/test_webhooks.py -m complete $(ARGS)

attack: $(INSTALLED)  ## Every attack that we know, at ten times its size, next to honest clients (some 20 minutes; reports/attack.json)
	$(PYTEST) tests/attack -m 'complete or not complete' $(ARGS)

# The old version is checked out and compiled beside this one, once.
OLD ?= 9c89217
mixes: export MDSTREAM_OLD_TREE ?= $(CURDIR)/build/old-$(OLD)
mixes: $(INSTALLED)  ## Old and new version of gateway, client and feed handler in every mix (OLD=a commit or tag; some minutes)
	@test -d $(MDSTREAM_OLD_TREE) || git worktree add --detach $(MDSTREAM_OLD_TREE) $(OLD)
	@ls $(MDSTREAM_OLD_TREE)/mdstream/_core/net/*.so >/dev/null 2>&1 || \
		(cd $(MDSTREAM_OLD_TREE) && PYTHONPATH=$(MDSTREAM_OLD_TREE) $(abspath $(BIN))/python setup.py --quiet build_ext --inplace)
	$(PYTEST) tests/deploy/test_mixes.py -m complete $(ARGS)

rolling: $(INSTALLED)  ## How long clients hear nothing while gateways, or workers, are restarted one by one; four that open a thousand books (two minutes)
	$(PYTEST) tests/deploy/test_rolling.py tests/deploy/test_openings.py -m complete $(ARGS)

CONNECTIONS ?= 1000000
million: $(INSTALLED)  ## So many idle connections on this machine, 10,000 of them receiving (CONNECTIONS=100000; four minutes; reports/million.json)
	@mkdir -p reports
	$(BIN)/python benchmarks/million.py --connections $(CONNECTIONS) --json reports/million.json $(ARGS)

deploy-check: $(INSTALLED)  ## What is in deploy/: run, or read by the programs that it is for (as far as they are there)
	$(BIN)/python -m pip install --quiet --group deploy
	PATH=$(abspath $(BIN)):$$PATH $(PYTEST) tests/deploy $(ARGS)

CHAOS ?= --seed 1 --minutes 10
chaos: $(INSTALLED)  ## Ten minutes of faults on all parts, 500 clients that verify (CHAOS="--seed 7 --minutes 5"; reports/chaos.html)
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m chaos.run $(CHAOS)

TOPICS ?= --seed 1 --minutes 10
chaos-topics: $(INSTALLED)  ## Ten minutes of faults on events, maps and presence, three users on two devices (TOPICS="--seed 7"; reports/chaos-topics.html)
	$(PYTEST) tests/chaos/test_topics_short.py -m complete
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m chaos.topic_run $(TOPICS)

HOURS ?= 2
soak: $(INSTALLED)  ## The same for hours, with a fault a minute: whether memory and open files stay (HOURS=8; reports/soak.html)
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m chaos.run --hours $(HOURS) --every 60 --report reports/soak $(ARGS)

CHECKED_TESTS = tests/unit/_core tests/unit/_bench tests/property tests/fuzz tests/conformance
test-debug:  ## The tests of the core on a build with bounds checks and assertions

test-asan: CHECKED_TESTS = tests/unit/_core tests/unit/_bench tests/property tests/fuzz tests/integration/test_session*.py \
	tests/integration/gateway/test_gateway_hostile.py tests/attack
test-asan: SANITIZE = ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)"
test-asan:  ## The same and hostile clients with AddressSanitizer and UndefinedBehaviorSanitizer (needs gcc)

# Each of these builds lives in a copy of the tree, build/debug or build/asan, so that the release build here stays as it is.
# --capture=sys: pytest must not hide what the process prints when it aborts.
checked_python = PYTHONPATH=$(CURDIR)/build/$(1):$(CURDIR)/build/$(1)/tests MDSTREAM_BUILD=$(1) $(abspath $(BIN))/python
define checked_build
	mkdir -p build/$(1)
	tar -c --exclude='./.?*' --exclude=./build --exclude='*.so' --exclude='ext/*.c' --exclude='tests/doubles/*.c' . | tar -x -C build/$(1)
	cd build/$(1) && find ext tests -name '*.p[yx]*' -exec sh -c 'test -e $(CURDIR)/$$0 || rm $$0' {} \;
	cd build/$(1) && $(call checked_python,$(1)) setup.py --quiet build_ext --inplace
	cd build/$(1) && $(call checked_python,$(1)) tests/doubles/setup.py --quiet build_ext --inplace
endef
test-debug test-asan: test-%: $(INSTALLED)
	$(call checked_build,$*)
	cd build/$* && $(SANITIZE) $(call checked_python,$*) -m pytest -n $(WORKERS) --capture=sys $(CHECKED_TESTS) $(ARGS)

# A small quarantine: what an execution frees is used by itself or never, and memory that comes back late is cold.
RUNS ?= 10000000
fuzz: GUIDED = ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0:quarantine_size_mb=16 \
	LD_PRELOAD="$(CURDIR)/build/fuzz/coverage.so $$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)"
fuzz: $(INSTALLED)  ## Every decoder under libFuzzer with sanitizers, RUNS executions each (hours; RUNS=100000 ARGS="frames"; reports/fuzz.json)
	$(BIN)/python -m pip install --quiet --group fuzz
	$(call checked_build,fuzz)
	$(CC) -O2 -shared -fPIC -o build/fuzz/coverage.so tests/fuzz/coverage.c
	cd build/fuzz && $(GUIDED) $(call checked_python,fuzz) -m fuzz.run --runs $(RUNS) --release $(CURDIR) --report $(CURDIR)/reports/fuzz.json $(ARGS)

audit: $(INSTALLED)  ## Known weaknesses of what we depend on, and a bill of materials (CycloneDX), into reports/
	$(BIN)/python -m pip install --quiet --group audit
	$(BIN)/python tools/audit.py

test-all:  ## All tests on each of Python 3.11, 3.12 and 3.13 that this machine has
	./tools/test-all.sh

check: lint types imports spelling stubs  ## Everything that can be said without running the project

lint: export PATH := $(abspath $(BIN)):$(PATH)
lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint ext/mdstream

format: $(INSTALLED)  ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED)
	$(BIN)/mypy

imports: $(INSTALLED)
	$(BIN)/lint-imports

spelling: $(INSTALLED)
	$(BIN)/codespell

stubs: $(INSTALLED)
	$(BIN)/python -m mypy.stubtest mdstream._core mdstream._bench --concise --ignore-disjoint-bases --ignore-unused-allowlist --mypy-config-file pyproject.toml --allowlist tests/stubtest-allowlist.txt

raise-tools: $(INSTALLED)  ## Move the pinned development tools to their newest releases
	$(BIN)/python tools/raise_tools.py

bench: bench-parts bench-service  ## Benchmarks of the parts, then of the whole service, into reports/; never part of the tests

bench-parts: $(INSTALLED)  ## Benchmarks of the parts (pytest-benchmark; ARGS="-k delta")
	@mkdir -p reports
	$(PYTEST) benchmarks --benchmark-only --benchmark-json=reports/parts.json $(ARGS)

bench-service: $(INSTALLED)  ## The load test of the whole service (BENCH="--profile fan-out --repeat 5")
	@mkdir -p reports
	$(BIN)/mdstream bench --json reports/service.json --report reports/service.html $(BENCH)

bench-peers: $(INSTALLED)  ## Events beside Centrifugo, Socket.IO and NATS's own WebSocket, which it installs into build/peers (four minutes; PEERS="--rounds 5"; reports/peers.json)
	sh benchmarks/peers/setup.sh
	$(BIN)/python benchmarks/bench_peers.py --json reports/peers.json $(PEERS)

scaling: $(INSTALLED)  ## Two workers against one, each as loaded as the other, and the model of up to 16 (three minutes; reports/scaling.json)
	@mkdir -p reports
	$(BIN)/mdstream bench scaling --json reports/scaling.json $(ARGS)

.PHONY: examples
examples: $(INSTALLED)  ## The pages of examples/ that use events, maps and presence, in Chromium, and the client in Node while its gateway dies; after `make client-typescript`
	$(BIN)/python -m pip install --quiet --group page
	$(PYTEST) tests/e2e/test_example_topics.py tests/e2e/test_typescript_topics.py -m 'complete or not complete' $(ARGS)

client-typescript:  ## The TypeScript client: install its packages (npm), check types, lint, test, build, measure its size; the page's types, lint and tests
	cd clients/typescript && npm ci --no-audit --no-fund && npm run check
	cd web && npm ci --no-audit --no-fund && npm run types && npm run lint && npm test

clean:  ## Remove what was built; the sources stay
	rm -rf clients/typescript/dist clients/typescript/docs clients/typescript/node_modules
	rm -rf mdstream/web web/node_modules
	rm -rf .venv .venv-* build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .benchmarks
	find mdstream feeds tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
	find mdstream tests/doubles -name '*.so' -delete
	find ext tests/doubles -name '*.c' -delete
