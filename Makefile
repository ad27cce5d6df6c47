$(if $(filter-out 1,$(words $(CURDIR))),$(error the folder '$(CURDIR)' has a blank in its path, which neither make nor Snakemake can work with: move the clone))
# The commands people type. `make demo` and `make test` create what they need.
PYTHON ?= python3.11
CORES ?= 2
BIN := .venv/bin
# At the end of a command: of all that Snakemake prints, results and errors and how far the run is.
QUIET := --quiet host rules

.PHONY: demo resume status test test-clusters test-slurm lint format docs report train-standin clean

demo: .venv/installed ## install, then run the whole pipeline on the shipped model
	$(BIN)/snakemake --cores $(CORES) $(QUIET)
	@echo "Look first at results/figures/standin/overview.png. Tables: results/tables. All of it on one page: make report"

resume: .venv/installed ## go on with a run that was stopped or killed; ARGS="--configfile my-study.yaml"
	$(BIN)/snakemake --cores $(CORES) $(ARGS) $(QUIET)

status: .venv/installed ## what is done, what would run and why, time left; ARGS="--configfile my-study.yaml"
	$(BIN)/python -m pidflow.status $(ARGS)

test: .venv/installed lint ## install, then linters and tests
	$(BIN)/pytest -q -n $(CORES) --dist loadfile

test-clusters: .venv/installed ## installs plug-ins; results in S3, jobs in queues like PBS and LSF, pods as far as they go here
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --no-build-isolation -e ".[test-clusters]"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -q tests/config/test_profiles.py tests/workflow/test_storage.py tests/workflow/test_batch_queues.py

test-slurm: .venv/installed ## as root on Debian: installs SLURM and plug-in, starts a node of it, runs the tiny study through it
	command -v slurmctld munged srun >/dev/null || (apt-get update -q && apt-get install -q -y --no-install-recommends slurm-wlm munge)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --no-build-isolation -e ".[slurm]"
	$(BIN)/pytest -q -m slurm tests/workflow/test_slurm.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

docs: .venv/installed ## the site of these pages, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

report: .venv/installed ## results/report.html, everything of a run on one page
	$(BIN)/snakemake report --cores $(CORES) $(QUIET)
	@echo "Open results/report.html in a browser"

train-standin: .venv/installed ## about two hours on one core
	$(BIN)/snakemake --cores 1 results/standins/standin

clean: ## removes results, keeps the installation
	rm -rf results/* .snakemake

.venv/installed: requirements.lock pyproject.toml
	@echo "Installing the packages of requirements.lock into .venv: some minutes without a word"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/torchvision torchvision==0.28.0 # tests/with_torchvision.py
	touch $@
