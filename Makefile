# Rollcall: `make run` starts it, `make test` tests it. Both make what they need.
# `make run GPU=1` and `make run OPENVINO=1` run the models elsewhere than on ONNX Runtime's CPU kernels.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCKS  := config/locks

RUNTIME := $(if $(GPU),gpu,$(if $(OPENVINO),openvino,cpu))
LOCK    := $(LOCKS)/requirements$(if $(filter cpu,$(RUNTIME)),,-$(RUNTIME)).txt
CONFIG  := $(if $(GPU),--config config/one-gpu.yaml)
OTHERS  := $(filter-out $(patsubst onnxruntime-cpu,onnxruntime,onnxruntime-$(RUNTIME)),\
	onnxruntime onnxruntime-gpu onnxruntime-openvino)

PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: image-check docker-check compose-check machines-check manifests run test lint types unit agreement bench load chaos client docs site lock audit sbom fuzz clean help

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.run-ready-$(RUNTIME) ## Start the service on this machine
	@$(if $(OPENVINO),ROLLCALL_PACK__PROVIDERS='["openvino"]') $(BIN)/rollcall serve $(CONFIG) $(ARGS)

test: lint types unit ## Lint, check types, run all tests

lint: $(VENV)/.dev-ready ## Style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev-ready ## Types
	@$(BIN)/mypy

# Modules that start services of their own; they wait much, so they run beside all that ask the one service.
OWN_SERVICE := tests/graph/test_stages.py tests/chaos/test_sample.py \
	$(patsubst %,tests/http/test_%.py,autoscaling durability deploy two_packs)

unit: $(VENV)/.dev-ready ## All tests, on real models, a real Ray and a real gallery
	@$(BIN)/rollcall packs prepare
	@set -e; log=$$(mktemp); trap 'kill $$own 2>/dev/null || true; rm -f $$log' EXIT; status=0; \
		$(BIN)/pytest tests/unit --numprocesses 3 $(ARGS) || status=$$?; \
		$(BIN)/pytest $(OWN_SERVICE) $(ARGS) >$$log 2>&1 & own=$$!; \
		$(BIN)/pytest tests/http tests/browser $(OWN_SERVICE:%=--ignore=%) $(ARGS) || status=$$?; \
		wait $$own || status=$$?; cat $$log; exit $$status

agreement: $(VENV)/.dev-ready ## On every LFW picture at hand: the service against the pack in process, and InsightFace's accuracy
	@$(BIN)/rollcall packs prepare
	@ROLLCALL_TEST_ALL_PICTURES=1 $(BIN)/pytest tests/unit/packs/test_packs_buffalo.py tests/http/test_agreement.py $(ARGS)

bench: $(VENV)/.dev-ready ## Every target of docs/performance.md, measured; ARGS=--quick for some four minutes
	@$(BIN)/rollcall packs prepare
	@$(BIN)/python -m loadtest.bench $(ARGS)

load: $(VENV)/.dev-ready ## A load test of a minute against a fresh local service; see docs/load-testing.md
	@$(BIN)/rollcall packs prepare
	@$(BIN)/python -m loadtest.local $(ARGS)

chaos: $(VENV)/.dev-ready ## Every failure of docs/reliability.md under load, and the table of what each cost
	@$(BIN)/rollcall packs prepare
	@rm -rf chaos-results/*.json
	@$(BIN)/pytest tests/chaos $(ARGS); status=$$?; $(BIN)/python -m tests.chaos.results; exit $$status

image-check: $(VENV)/.dev-ready ## Build the image and run it, without a container engine; needs root, debootstrap, buildah
	@$(BIN)/python -m tests.shipping.image_check $(ARGS)

docker-check: $(VENV)/.dev-ready ## Follow docs/compose.md on a Docker engine: image, compose, failures, backup and restore
	@$(BIN)/rollcall packs prepare
	@$(BIN)/python -m tests.shipping.docker_check

compose-check: $(VENV)/.dev-ready ## What docker-compose.yml starts, by hand: enrol and recognise through the TLS proxy
	@$(BIN)/rollcall packs prepare
	@$(BIN)/python -m tests.shipping.compose_check

machines-check: $(VENV)/.dev-ready ## Follow docs/machines.md on machines that are namespaces of this one; needs root
	@$(BIN)/rollcall packs prepare
	@$(BIN)/python -m tests.shipping.machines_check $(ARGS)

manifests: $(VENV)/.dev-ready ## Write the serve configs that follow from serve_config.yaml
	@$(BIN)/python -m tests.shipping.derived_configs

client: $(VENV)/.dev-ready ## Write the parts of the Python client that follow from docs/openapi.json
	@$(BIN)/python -m client_generator

docs: $(VENV)/.dev-ready ## Write the pages that are made from code
	@$(BIN)/python docs/generate.py

site: $(VENV)/site/.ready ## The documentation as a site, into dist/site; every link is followed
	@rm -rf dist/site dist/site-source && mkdir -p dist/site-source/docs
	@cp docs/*.md docs/*.json docs/*.svg docs/*.png dist/site-source/docs/ && cp config/site/zensical.toml dist/site-source/
	@$(VENV)/site/bin/python docs/diagrams.py put dist/site-source/docs
	@cd dist/site-source && $(CURDIR)/$(VENV)/site/bin/zensical build --clean --strict
	@mv dist/site-source/built dist/site && rm -rf dist/site-source
	@$(VENV)/site/bin/python docs/site_links.py dist/site

COMPILE := uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	--upgrade --extra build

lock: ## Resolve the dependencies anew into config/locks (needs uv)
	$(COMPILE) --python-version 3.10 --extra cpu pyproject.toml -o $(LOCKS)/requirements.txt
	$(COMPILE) --python-version 3.10 --extra cpu --extra dev -c $(LOCKS)/requirements.txt pyproject.toml \
		-o $(LOCKS)/requirements-dev.txt
	for runtime in gpu openvino; do \
		$(COMPILE) --python-version 3.11 --extra $$runtime -c $(LOCKS)/requirements.txt pyproject.toml \
			-o $(LOCKS)/requirements-$$runtime.txt || exit 1; \
	done

	for tools in audit fuzz site; do \
		$(filter-out --extra build,$(COMPILE)) --python-version 3.11 $(LOCKS)/requirements-$$tools.in \
			-o $(LOCKS)/requirements-$$tools.txt || exit 1; \
	done

AUDITED := requirements requirements-gpu requirements-openvino

audit: $(VENV)/audit/.ready $(VENV)/.dev-ready ## Look up known vulnerabilities of every locked dependency
	@$(BIN)/python -m supply_chain.audit $(VENV)/audit/bin/pip-audit $(AUDITED:%=$(LOCKS)/%.txt) $(ARGS)

sbom: $(VENV)/audit/.ready ## A CycloneDX bill of materials of each lock file, validated, into dist/
	@mkdir -p dist
	@for lock in $(AUDITED); do \
		PYTHONWARNINGS=ignore $(VENV)/audit/bin/cyclonedx-py requirements $(LOCKS)/$$lock.txt --pyproject pyproject.toml --of JSON \
			--output-reproducible --validate -o dist/rollcall-$$lock.cdx.json || exit 1; \
		echo "dist/rollcall-$$lock.cdx.json"; \
	done

fuzz: $(VENV)/fuzz/.ready ## Fuzz every parser of what strangers send, FUZZ_S=60 seconds each
	@PYTHONPATH=$(VENV)/fuzz $(BIN)/python -m tests.fuzz.campaign --seconds $(or $(FUZZ_S),60) $(ARGS)

clean: ## Remove the environment and what tests wrote; data stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache bench-results chaos-results

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Rollcall needs Python 3.10 or newer; say which: make run PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready-$(RUNTIME): $(LOCK) pyproject.toml client/pyproject.toml | $(BIN)/python
	@$(BIN)/python -c 'import sys; sys.exit("$(RUNTIME)" != "cpu" and sys.version_info < (3, 11))' \
		|| { echo "Its ONNX Runtime needs Python 3.11 or newer: make clean, then add PYTHON=python3.11"; exit 1; }
	@echo "Installing the locked dependencies (once; a minute or two)"
	@rm -f $(VENV)/.*-ready*
	@$(PIP) uninstall --quiet --yes $(OTHERS) 2>/dev/null
	@$(PIP) install --quiet --require-hashes -r $(LOCK)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable . --editable client
	@touch $@

$(VENV)/.dev-ready: $(LOCKS)/requirements-dev.txt pyproject.toml client/pyproject.toml | $(BIN)/python
	@echo "Installing the locked dependencies, those for tests too (once; a minute or two)"
	@rm -f $(VENV)/.*-ready*
	@$(PIP) uninstall --quiet --yes onnxruntime-gpu onnxruntime-openvino 2>/dev/null
	@$(PIP) install --quiet --require-hashes -r $(LOCKS)/requirements-dev.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable . --editable client
	@touch $@ $(VENV)/.run-ready-cpu

$(VENV)/audit/.ready: $(LOCKS)/requirements-audit.txt | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@

$(VENV)/site/.ready: $(LOCKS)/requirements-site.txt | $(BIN)/python
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "The site's builder needs Python 3.11 or newer: make clean, then add PYTHON=python3.11"; exit 1; }
	@$(BIN)/python -m venv $(VENV)/site
	@$(VENV)/site/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@

$(VENV)/fuzz/.ready: $(LOCKS)/requirements-fuzz.txt | $(VENV)/.dev-ready
	@$(PIP) install --quiet --require-hashes --no-deps --upgrade --target $(VENV)/fuzz -r $<
	@touch $@
