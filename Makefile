.PHONY: search test check

# What transformers' TrainingArguments begin with, to be better than.
BASELINE = learning_rate=5e-5,batch_size=8,divergence_weight=0

search: .venv/.installed
	.venv/bin/python -m hpopt search --trials 12 --baseline $(BASELINE) $(ARGS)

test: .venv/.installed
	.venv/bin/python -m pytest $(ARGS)

check: .venv/.installed
	scripts/check $(ARGS)

.venv/.installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install -c constraints.txt torch
	.venv/bin/pip install -c constraints.txt -e .[dev]
	touch $@
