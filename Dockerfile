# FREx with everything that restoring, training and evaluating need.
#   docker build -t frex .                          for CPUs
#   docker build -t frex --build-arg DEVICE=cuda .  for GPUs of NVIDIA
#   docker run --rm -v "$PWD":/work -v frex-weights:/weights frex restore -i photos -o results
# On GPUs add `--gpus all`, and for training `--ipc=host`, since the workers of data loaders share memory.
FROM python:3.11-slim-bookworm

ARG DEVICE=cpu

# Libraries that opencv-python loads.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# basicsr has no wheel and is built without isolation, so torch, setuptools and hatchling come first: see docs/install.md.
# The usual torch for Linux brings CUDA.
RUN if [ "$DEVICE" = cpu ]; then index="--index-url https://download.pytorch.org/whl/cpu"; fi \
    && pip install --no-cache-dir torch torchvision ${index:-} \
    && pip install --no-cache-dir "setuptools>=77,<82" hatchling

COPY . /frex
RUN pip install --no-cache-dir --no-build-isolation "/frex[train,evaluate]"

# Downloaded weights are kept here. The container may run as any user.
ENV FREX_HOME=/weights HOME=/tmp
RUN mkdir --mode=777 /weights
VOLUME /weights
WORKDIR /work
ENTRYPOINT ["frex"]
CMD ["--help"]
