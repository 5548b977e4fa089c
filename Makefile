# Two commands for a fresh machine with Python 3.11 or newer: make demo, make test. Nothing outside this folder is touched.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: demo test check clean

demo: .venv/demo.stamp
	@.venv/bin/sterling demo

test: .venv/test.stamp check
	.venv/bin/pytest -n 2 -m "not slow" --doctest-modules src tests docs README.md --doctest-glob='*.md'

check: .venv/test.stamp
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --check --quiet .
	.venv/bin/mypy

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Sterling needs Python 3.11 or newer with venv. Name one: make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml | .venv/bin/pip
	@echo "Setting up .venv (once, about a minute)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/test.stamp: pyproject.toml | .venv/bin/pip
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/demo.stamp

clean:
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
