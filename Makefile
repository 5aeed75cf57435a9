# The commands of the template itself. They install their tools into .venv only.

.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/ready ## Generate a service into build/ and start it, in Docker if that is running
	cookiecutter . --no-input --overwrite-if-exists --output-dir build project_name=Demo
	@if docker info >/dev/null 2>&1; then \
		echo "To use another port than 8080: HTTP_PORT=8090 make demo"; make -C build/demo up; \
	else \
		echo "To use another port than 8000: PORT=8090 make demo"; make -C build/demo run; \
	fi

.PHONY: test
test: .venv/ready ## Run the tests, one case of each kind; without a Docker engine, skip those that need one
	pytest --numprocesses=3 --verbose -rs --durations=10

.PHONY: test-faults
test-faults: .venv/ready ## Run each case of the tests that break or attack a stack, and the weekly ones
	DEPLOYMENTS=$(or $(DEPLOYMENTS),20) pytest -m "faults or weekly" -rs

.PHONY: clean
clean: .venv/ready ## Delete the demo, and what tests that were killed have left in Docker
	@if [ -d build/demo ]; then make -C build/demo down; fi
	rm -rf build
	PYTHONPATH=tests/shared python tests/shared/leftovers.py

.PHONY: lint
lint: .venv/ready ## Check the style of the Python code of the template
	ruff check benchmarks docs hooks tests tools
	ruff format --check benchmarks docs hooks tests tools

.PHONY: mutants
mutants: .venv/ready ## Print the changes of a module that its tests do not notice: make mutants module=core/security.py
	@test -n "$(module)" || { echo "name a module: make mutants module=core/security.py" >&2; exit 1; }
	cookiecutter . --no-input --overwrite-if-exists --output-dir build/mutants frontend=htmx \
		use_worker=true use_metrics=true use_openapi=true use_accounts=true
	python tools/mutate.py build/mutants/my_service $(module) $(line)

.PHONY: bench
bench: .venv/ready ## Measure a generated service in Docker, and write docs/performance.md
	python benchmarks/run.py

.PHONY: bench-quick
bench-quick: .venv/ready ## Measure in fewer and shorter rounds, and print the table only
	python benchmarks/run.py --quick

.PHONY: soak
soak: .venv/ready ## Send a million requests to a full stack, or fewer: make soak requests=20000
	PYTHONPATH=tests/shared python benchmarks/soak.py \
		$(if $(requests),--requests=$(requests)) $(if $(rate),--rate=$(rate))

.PHONY: sizes
sizes: .venv/ready ## Print the lines of generated projects, by kind of file
	python tools/sizes.py

.PHONY: additions
additions: .venv/ready ## Measure what each option adds, in Docker, and print the table of docs/options.md
	PYTHONPATH=tests/shared python tools/additions.py

.PHONY: picture
picture: .venv/ready ## Draw the pictures in docs/, with Docker and Chromium
	python tools/picture.py
	DEPLOYMENTS=1 PICTURES=docs/frontend pytest tests/options/test_frontend.py -k "telephone and not nginx"

.venv/ready: pyproject.toml
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/.*"\(uv==[^"]*\)".*/\1/p' pyproject.toml)"
	.venv/bin/uv pip install --quiet --python .venv/bin/python --group dev
	touch $@
