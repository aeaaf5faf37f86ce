#!/usr/bin/env bash
# Everything that is to be known of a GPU, in a quarter of an hour: right or wrong first, then speeds,
# then whole trainings. Needs Python 3.12, torch, Triton and numpy; scripts/gpu_wheels.sh collects the
# rest, which is unpacked where it is not installed.
#   scripts/gpu_check.sh [--out FOLDER] [--device cuda|cpu] [--budget SECONDS] [--quick] [STAGE ...]
# Writes FOLDER/gpu_check.json after each stage, and FOLDER/gpu_check.md, a table, which it prints.
# --device cpu --quick is a rehearsal with tiny sizes, for machines without a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import openmm, mdtraj, nflows, h5py, safetensors, pydantic, typer' 2>/dev/null; then
  mkdir -p .gpu
  [[ -d .gpu/site ]] || tar --extract --file .gpu/site.tar.xz --directory .gpu
  export PYTHONPATH=$PWD/.gpu/site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
exec "$python" scripts/gpu_check.py "$@"
