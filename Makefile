STUDY ?= quick
PYTHON ?= python3
TORCH ?=			# cpu: PyTorch's build without CUDA, from its own index
RUN := .venv/bin/python -m
PIP := $(RUN) pip install --disable-pip-version-check

.PHONY: report test test-all lint bench lab codec reference

report: .venv/installed		# all notebooks in order, then figures/$(STUDY)/report.html
	$(RUN) lib.run --study $(STUDY)

test: .venv/installed-dev		# every module, a test file a processor
	$(RUN) pytest -m "not long" -n auto --dist loadfile

test-all: test				# and whole studies through papermill, kills, the report in a browser
	$(RUN) pytest -m long

lint: .venv/installed-dev
	$(RUN) ruff check lib tests notebooks

bench: .venv/installed-dev	# time it beside its peers; leave the machine alone meanwhile
	$(RUN) lib.measuring.bench

lab: .venv/installed		# opens notebooks/, and beside it what runs wrote to figures/
	JUPYTER_PREFER_ENV_PATH=1 $(RUN) jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks \
		$(if $(filter 0,$(shell id -u)),--allow-root)

codec: .venv/installed		# train the embedded codec again
	$(RUN) lib.training.codec

reference: .venv/installed	# copy a finished study to figures/reference/
	$(RUN) lib.report.reference --study $(STUDY)

.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	@echo "Installing into .venv: about 3.0 GB to download and 5.5 GB on disk, or 0.4 and 1.8 GB with TORCH=cpu"
ifeq ($(strip $(TORCH)),cpu)
	$(PIP) --no-deps --index-url https://download.pytorch.org/whl/cpu $$(grep -E '^torch(audio)?==' requirements.txt)
endif
	$(PIP) -r requirements.txt -e .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	@touch $@
