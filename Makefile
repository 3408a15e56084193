# Every target sets up what it needs, by package name and idempotently; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
PYTEST_PARALLEL := $(PYTEST) --numprocesses 2 --dist loadfile --no-loadscope-reorder
# Downloads outlive the checkout, so that the next one is quick.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/graft
export UV_CACHE_DIR ?= $(CACHE)/uv
INSTALL := apt-get install --yes --no-install-recommends

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Use

.PHONY: setup
setup: .venv/ready ## Make .venv with everything of requirements/dev.txt and the command `graft`.

# A GRAFT_ variable of yours wins over these, and DATA wins over the variable.
run: export GRAFT_NAME ?= $(if $(DATA),model,photographs)
run: export GRAFT_BACKBONE_NAME ?= EfficientNetLite0
run: export GRAFT_BACKBONE_WEIGHTS ?= imagenet
run: export GRAFT_DATASET_URI ?= file://$(CACHE)/photographs
run: export GRAFT_OUTPUT_URI ?= file://$(CURDIR)/run/bucket
run: export GRAFT_RESULT_PATH ?= $(CURDIR)/run/result.json
run: export GRAFT_CACHE_DIR ?= $(CACHE)/job
run: export KERAS_HOME ?= $(CACHE)/keras
.PHONY: run
run: .venv/ready photographs ## Train on real photographs with ImageNet weights; DATA=folder takes yours.
	@mkdir -p run
	@$(BIN)/graft run "$${DATA:-}"

# BASE is any image with Python, or `debian` for one made of packages; WEIGHTS is a folder in the checkout.
.PHONY: image
image: VARIANT ?= gpu
image: ## Build the image and list what is in it: VARIANT=cpu or launcher, BASE=…, WEIGHTS=…, TAG=…, SOURCE=….
	@$(PYTHON) -m tools.image.build --variant '$(VARIANT)' --base '$(BASE)' \
	  --weights '$(WEIGHTS)' --tag '$(TAG)' --source '$(SOURCE)'

# VARIANT may name several. What is pushed is listed in build/published.json.
.PHONY: publish bundle
publish bundle: VARIANT ?= gpu cpu launcher
publish: .venv/ready ## Push images, chart, SBOM, provenance: REGISTRY=host:port/path, KEY=cosign.key, TAG=….
	@$(PUBLISH) --registry '$(REGISTRY)' $(if $(PLAIN_HTTP),--plain-http)

bundle: BUNDLE ?= build/graft.tar
bundle: .venv/ready ## Pack the same in one file, for a cluster without any way out: WEIGHTS=…, BUNDLE=….
	@$(PUBLISH) --registry '$(REGISTRY)' --bundle '$(BUNDLE)'

PUBLISH = $(BIN)/python -m tools.image.publish --variants '$(VARIANT)' --base '$(BASE)' \
  --weights '$(WEIGHTS)' --tag '$(TAG)' --source '$(SOURCE)' --key '$(KEY)'

.PHONY: bench
bench: .venv/ready photographs ## Measure the job beside its rivals into docs/results.md; ARGS=--quick takes minutes.
	$(BIN)/python -m tools.bench.bench $(ARGS)

.PHONY: suite
suite: .venv/ready photographs ## Compare the automatic choice with fixed ones on nine tasks: 1 to 3 hours; ARGS='--seeds 0'.
	$(BIN)/python -m tools.suite.runner $(ARGS)
	$(BIN)/python -m tools.suite.regret

##@ Check

.PHONY: check
check: format lint types imports fresh rendered ## Check format, lint, types, imports and generated files.

.PHONY: format lint types imports fresh rendered
format: .venv/ready
	$(BIN)/ruff format --check .
lint: .venv/ready
	$(BIN)/ruff check .
types: .venv/ready
	$(BIN)/mypy
imports: .venv/ready
	$(BIN)/lint-imports --no-cache
fresh: .venv/ready .venv/catalogue
	$(BIN)/python -m tools.generate_settings --check
	$(BIN)/python -m tools.generate_locks --check
	$(BIN)/python -m tools.generate_operations --check
rendered: helm
	$(BIN)/python -m tools.chart.generate --check

# It builds every backbone of Keras in a minute or two: again only when its inputs have changed.
.venv/catalogue: job/catalogue.json tools/generate_catalogue.py .venv/locked | .venv/ready
	$(BIN)/python -m tools.generate_catalogue --check
	@touch $@

.PHONY: test
test: .venv/ready photographs chromium ## Run the tests.
	$(PYTEST_PARALLEL) --durations 12 $(ARGS)

.PHONY: coverage
coverage: .venv/ready photographs chromium ## Run the same tests with the coverage of job/, which takes longer.
	$(PYTEST_PARALLEL) --cov --cov-report term $(ARGS)

.PHONY: slow
slow: .venv/ready photographs chromium ## Run the tests that take minutes each: every backbone, every format.
	$(PYTEST_PARALLEL) -m slow $(ARGS)

.PHONY: test-runs
test-runs: .venv/ready photographs ## Test whole runs: interrupted, by two workers, night after night, with a chosen backbone.
	$(PYTEST_PARALLEL) -m runs $(ARGS)

# Faults at each operation of one run, then an hour of seeds, then the mutants: about an hour and a half.
.PHONY: torture
torture: .venv/ready ## Simulate an hour of runs with faults, and plant faults in the code; ARGS='--seconds 60'.
	@for store in bucket folder; do for fault in kill sigterm lost enospc eio; do \
	  $(BIN)/python -m tools.torture --sweep $$fault --store $$store --worlds 100000; done; done
	$(BIN)/python -m tools.torture --worlds 1000000 --seconds 3600 $(ARGS)
	$(BIN)/python -m tools.torture.mutants
	$(BIN)/python -m tools.torture.real --kills 100

.PHONY: test-exports
test-exports: .venv/ready ## Export one backbone of each family in all four formats: a quarter of an hour.
	$(PYTEST_PARALLEL) -m exports tests/export $(ARGS)

.PHONY: test-chart
test-chart: helm checkers ## Test the chart under Helm 3 and 4, and the examples by their own tools.
	$(PYTEST_PARALLEL) -m chart tests/chart tests/manifests $(ARGS)

.PHONY: test-image
test-image: VARIANT ?= cpu
test-image: .venv/ready ## Build the image on Debian packages and test it; VARIANT=gpu takes 20 GB. Root.
	GRAFT_TEST_VARIANT=$(VARIANT) $(PYTEST) -m image tests/image $(ARGS)

##@ Test on a cluster

# GRAFT_TEST_KUBECONFIG takes another cluster: it needs neither these packages nor our archive.
ifndef GRAFT_TEST_KUBECONFIG
cluster-up: node-packages
test-cluster: image-archive
endif

# The node's programs are built from their Go modules, once a machine.
.PHONY: cluster-up
cluster-up: .venv/ready ## Start a one-node Kubernetes with an S3 server beside it; needs root and Go.
	@$(BIN)/python -m tools.cluster up

.PHONY: test-cluster
test-cluster: cluster-up helm photographs ## Test chart, image and launcher in it; TIER=smoke is the short way.
	$(PYTEST) -m 'cluster$(if $(TIER), and $(TIER))' tests/cluster tests/launcher $(ARGS)

.PHONY: cluster-down
cluster-down: .venv/ready ## End that cluster and remove what it left.
	@$(BIN)/python -m tools.cluster down

.PHONY: image-archive
image-archive: .venv/ready ## Build the CPU image on Debian packages, as an archive for that cluster.
	@$(BIN)/python -m tools.image.build --archive

##@ Write

.PHONY: generate
generate: helm ## Write the generated files: catalogue, settings, the chart's schema and README, manifests.
	$(BIN)/python -m tools.generate_catalogue
	$(BIN)/python -m tools.generate_settings
	$(BIN)/python -m tools.generate_operations
	$(BIN)/python -m tools.chart.generate

.PHONY: lock
lock: .venv/ready ## Lock the dependencies after a change to pyproject.toml; UPGRADE=1 takes the newest.
	$(BIN)/python -m tools.generate_locks $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## Remove what was made here; the cache outside the checkout stays.
	rm -rf .venv build run *.egg-info .coverage* .*_cache .hypothesis
	find job tests tools -name __pycache__ -prune -exec rm -rf {} +

# What the targets above need.

# A changed lock makes a new .venv, so that a half-made or hand-changed one never lasts. uv is five times
# as fast as pip and comes through pip by the lock's own hash. Pip is the fallback where only pip knows
# which registry to use. Both write byte code: without it, and with PYTHONDONTWRITEBYTECODE, which is usual
# in containers, each process would compile TensorFlow anew.
.venv/locked: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Graft needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.x …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt,python3-venv)
	@echo "Setting up .venv: a minute or two the first time."
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes \
	  --requirement <(awk '/^[a-z]/ { on = /^uv==/ } on' $<)
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python $< \
	  || $(BIN)/python -m pip install --quiet --require-hashes --requirement $<
	@touch $@

.venv/ready: .venv/locked pyproject.toml
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# $(call apt,package): install a Debian package as root, or say what a person with the right should do.
apt = { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    || { echo "Please install $(1):  sudo $(INSTALL) $(1)" >&2; exit 1; }; \
	  $(INSTALL) $(1) >/dev/null || { apt-get update && $(INSTALL) $(1); }; \
	}

.PHONY: photographs helm checkers chromium node-packages
photographs: .venv/ready
	@$(BIN)/python -m tools.photographs $(or $(filter EfficientNetLite%,$(GRAFT_BACKBONE_NAME)),weights) \
	  $(if $(DATA),,photographs) >/dev/null
helm: .venv/ready
	@$(BIN)/python -m tools.helm >/dev/null
checkers: .venv/ready
	@$(BIN)/python -m tools.checkers >/dev/null
	@$(BIN)/python -m tools.environments >/dev/null
chromium:
	@command -v chromium >/dev/null || $(call apt,chromium)
NODE := containerd runc containernetworking-plugins iptables conntrack iproute2 openssl busybox-static catatonit
node-packages:
	@dpkg --status $(NODE) >/dev/null 2>&1 || $(call apt,$(NODE))
