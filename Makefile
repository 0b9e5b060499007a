STUDY ?= quick
PYTHON ?= python3
RUN := .venv/bin/python -m

.PHONY: report test bench lab codec reference

report: .venv/installed		# all notebooks in order, then figures/$(STUDY)/report.html
	$(RUN) lib.run --study $(STUDY)

test: .venv/installed-dev
	$(RUN) pytest

bench: .venv/installed-dev	# time it beside its peers; leave the machine alone meanwhile
	$(RUN) lib.measuring.bench

lab: .venv/installed
	$(RUN) jupyterlab notebooks

codec: .venv/installed		# train the embedded codec again
	$(RUN) lib.training.codec

reference: .venv/installed	# copy a finished study to figures/reference/
	$(RUN) lib.report.reference --study $(STUDY)

.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	$(RUN) pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(RUN) pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
