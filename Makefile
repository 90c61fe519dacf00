# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help venv tools k8s-check locks images image-steps release demo triton serve up soak proto proto-check stack demo-weights london report remote retrain promote ui test test-slow check lint types imports format benchmarks clean

help:  ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mien needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11 …" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

venv: $(STAMP)  ## Create .venv with everything in it

demo: $(STAMP) $(if $(FROM_SCRATCH),demo-weights)  ## From nothing to a decided ratio, in minutes; FROM_SCRATCH=1 trains its GANs
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro
	@echo "report: $(CURDIR)/report/index.html"

stack: $(STAMP) $(if $(FROM_SCRATCH),demo-weights)  ## Judge the demo's GANs and ask the question of their faces
	$(BIN)/mien --params params/stack.yaml --root runs/stack run

TRAINED := identities expressions

demo-weights: $(STAMP)  ## Train the demo's GANs and keep their weights in weights/
	$(BIN)/mien --params params/stack.yaml --root runs/weights \
	  $(foreach name,$(TRAINED),--set train_generator.$(name).weights=null) train-generator
	for name in $(TRAINED); do rm -rf weights/$$name && \
	  cp -r runs/weights/data/train_generator/$$name/generator weights/$$name || exit 1; done

london: $(STAMP)  ## The same question on 102 real people (needs MIEN_ASSETS)
	$(BIN)/python -m benchmarks.london

remote: $(STAMP)  ## Keep the data of this project at URL (a folder, or s3://bucket/prefix)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mien remote "$(URL)"

# What is asked comes by RETRAIN_* variables, read by mien and never by a shell; see docs/howto/retrain.md.
retrain: $(STAMP)  ## Retrain this branch: data, pipeline, gate, push, commit, report, challenger
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mien retrain

promote: $(STAMP)  ## Make PROMOTE_MODEL (expression/<version>) the champion, through the gate
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mien pull
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mien promote "$${PROMOTE_MODEL:-expression@challenger}"

ui: $(STAMP)  ## Look at the runs in MLflow
	$(BIN)/mien ui

TRITON := .triton
TRITON_STAMP := $(TRITON)/.installed
TRITON_WHEEL := nvidia-pytriton==0.7.0

$(TRITON_STAMP): services/serving/triton-requirements.txt $(STAMP)
	rm -rf $(TRITON) && mkdir $(TRITON)
	$(PYTHON) -m venv $(TRITON)/venv
	$(TRITON)/venv/bin/pip install --quiet --requirement services/serving/triton-requirements.txt
	$(BIN)/pip install --quiet --no-deps --target $(TRITON)/dist $(TRITON_WHEEL)
	server=$(TRITON)/dist/pytriton/tritonserver; \
	version=$$($(TRITON)/venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	install -m 755 $$server/python_backend_stubs/$$version/triton_python_backend_stub $$server/backends/python/
	@touch $@

triton: $(TRITON_STAMP)  ## Install Triton from its wheel into .triton (Linux x86-64, 320 MB)

serve: $(STAMP) $(TRITON_STAMP)  ## Serve the champion: Triton and the serving service
	$(BIN)/python -m services.serving

up: $(STAMP)  ## Start registry, generation, training, serving, MLflow, Prometheus; Ctrl-C ends all
	$(BIN)/python -m services.up

# A file's tests stay in one process, which shares what is dear to set up.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

test: $(STAMP)  ## Run the fast tests
	$(BIN)/python -m pytest $(PARALLEL)

test-slow: $(STAMP)  ## Run the slow tests as well
	$(BIN)/python -m pytest $(PARALLEL) -m 'not gpu'

soak: $(STAMP)  ## Malformed messages and faults in great numbers; hours
	FUZZ=10000 $(BIN)/python -m pytest tests/fuzz
	KILLS=50 $(BIN)/python -m pytest tests/integration/registry/test_kills.py
	KILLS=50 $(BIN)/python -m pytest tests/integration/generation/test_jobs_killed.py
	$(BIN)/python -m pytest -m slow tests/integration/training tests/unit/adapters/test_job_runner.py
	$(BIN)/python -m tests.integration.serving.chaos --count 200
	KILLS=20 $(BIN)/python -m pytest -m slow tests/integration/retrain
	$(BIN)/python -m tests.integration.serving.rollout_chaos --count 50

check: lint proto-check types imports  ## Style, types, import directions

# A tool that could not be installed is skipped aloud; CHECK_STRICT=1 makes that fail.
define with
	@if [ -x $(BIN)/$(1) ]; then set -x; $(BIN)/$(2); \
	else echo "SKIPPED $(1): it is not in $(VENV); see constraints.txt"; [ -z "$(CHECK_STRICT)" ]; fi
endef

lint: $(STAMP)
	$(call with,ruff,ruff check src services k8s tests benchmarks examples)
	$(call with,ruff,ruff format --check src services k8s tests benchmarks examples)
	$(call with,yamllint,yamllint -s .github k8s dvc.yaml params.yaml params)

types: $(STAMP)
	$(call with,mypy,mypy src services k8s tests benchmarks examples)

imports: $(STAMP)
	$(call with,lint-imports,lint-imports)

STUBS = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=$(1) \
  --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $$(find proto -name '*.proto' | sort) \
  && find $(1)/mien/api -type d -exec touch {}/__init__.py \;

proto: $(STAMP)  ## Generate the stubs of the wire anew
	rm -rf src/mien/api && mkdir -p src/mien/api && $(call STUBS,src)

# The committed stubs are those of proto/; its style; nothing that a client of main relies on is gone.
proto-check: $(STAMP)  ## Check proto/ and its stubs
	@made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && $(call STUBS,"$$made") && \
	  diff -r --exclude=__pycache__ "$$made/mien/api" src/mien/api || \
	  { echo "the stubs are not those of proto/; run: make proto" >&2; exit 1; }
	@PROTO_MAIN="$(PROTO_MAIN)" CHECK_STRICT="$(CHECK_STRICT)" bash proto/check.sh

# checkov, hadolint and uv want libraries of their own: they live apart.
TOOLS := .tools
$(TOOLS)/.installed: k8s/check/requirements.txt
	rm -rf $(TOOLS) && $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --require-hashes --requirement k8s/check/requirements.txt
	@touch $@

tools: $(TOOLS)/.installed  ## Install checkov, hadolint and uv into .tools (290 MB)

k8s-check: $(STAMP)  ## Render and check the manifests; a tool that cannot be had is SKIPPED
	@timeout 600 $(MAKE) --no-print-directory tools || { rm -rf $(TOOLS); echo "SKIPPED tools: they could not be installed"; }
	$(BIN)/python -m k8s.check

locks: $(STAMP)  ## Write the hash-pinned locks of the images anew
	@$(MAKE) --no-print-directory tools
	bash services/image/lock.sh

# Names of arguments alone pass on what the environment says: where pip shall look.
DOCKER_BUILD = docker build --build-arg REVISION=$$(git rev-parse HEAD) --build-arg PIP_INDEX_URL \
  --build-arg PIP_EXTRA_INDEX_URL
TORCH ?= cpu

images:  ## Build mien-services (TORCH=cpu|cuda) and mien-mlflow with Docker
	@docker info >/dev/null 2>&1 || \
	  { echo "no container engine answers; make image-steps does the same steps without one" >&2; exit 2; }
	$(DOCKER_BUILD) --build-arg TORCH=$(TORCH) --file services/Dockerfile --tag mien-services .
	$(DOCKER_BUILD) --file mlflow/Dockerfile --tag mien-mlflow .

image-steps: $(STAMP)  ## Do what the images' builds do in a clean folder, start each service, stop it
	$(BIN)/python -m pytest -m 'not gpu' -rs tests/images

release: $(STAMP)  ## Put pushed images into k8s/: make release IMAGES="mien-services=where@sha256:…"
	$(BIN)/python -m k8s.check.release $(IMAGES)

format: $(STAMP)  ## Format the code
	$(BIN)/ruff format src services k8s tests benchmarks examples
	$(BIN)/ruff check --fix src services k8s tests benchmarks examples

benchmarks: $(STAMP)  ## Run every benchmark and print its table
	for file in benchmarks/*.py; do name=$$(basename $$file .py); echo "== $$name"; \
	  $(BIN)/python -m benchmarks.$$name || exit $$?; done

clean:  ## Remove what the pipeline made (the trial cache stays)
	rm -rf data report runs mlflow.db mlartifacts spool
