.PHONY: search test check

search: .venv/.installed
	.venv/bin/python -m hpopt search $(ARGS)

test: .venv/.installed
	.venv/bin/python -m pytest $(ARGS)

check: .venv/.installed
	scripts/check $(ARGS)

.venv/.installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install -c constraints.txt torch
	.venv/bin/pip install -c constraints.txt -e .[dev]
	touch $@
