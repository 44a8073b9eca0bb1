PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.10 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# A notice of mkdocs-material, not of this project.
export NO_MKDOCS_2_WARNING := 1

.PHONY: demo test test-slow browser lint bench bench-gpu rehearse clean

demo: $(INSTALLED)
	$(BIN)/frex demo

# Processes of one thread each: torch's threads would fight over the cores.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Exports, full-size networks, trainings that are killed: some minutes.
test-slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow

# gradio asks for a Pillow older than the tested one, and runs with that one too.
browser: $(INSTALLED)
	$(BIN)/pip install --quiet $$(grep -E '^(gradio|playwright)==' constraints.txt)
	$(BIN)/pip install --quiet --constraint constraints.txt pillow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser

bench: $(INSTALLED)
	$(BIN)/python benchmarks/networks.py -o benchmarks/results/networks_cpu.json --device cpu --onnx
	$(BIN)/python benchmarks/networks.py -o benchmarks/results/networks_cpu_kept.json --device cpu --keep_memory --compile
	$(BIN)/python benchmarks/training.py -o benchmarks/results/training_tiny_cpu.json
	$(BIN)/python benchmarks/scaling.py -o benchmarks/results/scaling_cpu
	$(BIN)/python benchmarks/thread_waits.py -o benchmarks/results/thread_waits_cpu.json

bench-gpu: $(INSTALLED)
	$(BIN)/python benchmarks/networks.py -o benchmarks/results/networks_gpu.json --device cuda --batch_size 16 --compile
	$(BIN)/python benchmarks/training.py -opt options/train_frex.yml --rounds 100 -o benchmarks/results/training_gpu.json

# What a step would cost on a GPU, and whether it would run there, on a machine without one.
rehearse: $(INSTALLED)
	$(BIN)/python -W ignore benchmarks/rehearsal.py -o benchmarks/results/rehearsal.json

# With --quiet, --strict would see no warnings.
lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mkdocs build --strict

# basicsr has no wheel, and its setup.py would build in an environment with a torch of its own: so torch comes first,
# and the rest without isolation, for which FREx's own build needs hatchling.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13) and "FREx needs Python 3.10 to 3.12: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --upgrade pip setuptools hatchling torch torchvision
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build site *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find frex frex_arch tests -name __pycache__ -exec rm -rf {} +
