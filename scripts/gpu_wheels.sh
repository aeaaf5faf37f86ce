#!/usr/bin/env bash
# Collect what scripts/gpu_check.sh needs beyond Python 3.12, torch, Triton and numpy, for a machine
# that can not install packages: one archive of at most 60 MB, by default .gpu/site.tar.xz.
#   scripts/gpu_wheels.sh [ARCHIVE] [PYTHON_VERSION]
set -euo pipefail
cd "$(dirname "$0")/.."
archive=${1:-.gpu/site.tar.xz}
version=${2:-3.12}
most_bytes=60000000

# openmmtools is left out: numba, which it imports, is as large as all of this
packages=(
  openmm mdtraj tables numexpr blosc2 ndindex msgpack h5py safetensors scipy pyparsing pymbar
  networkx pyyaml jinja2 markupsafe py-cpuinfo
  pydantic pydantic-core annotated-types typing-inspection typing-extensions
  typer annotated-doc shellingham click rich markdown-it-py mdurl pygments tqdm packaging
)
platforms=()
for glibc in 2_17 2_24 2_27 2_28 2_34; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --no-deps --only-binary :all: --python-version "$version" \
  "${platforms[@]}" --platform manylinux2014_x86_64 --target "$work/site" "${packages[@]}"
python3 -m pip wheel --quiet --no-deps --wheel-dir "$work" nflows # it has a source distribution alone
python3 -m pip install --quiet --no-deps --target "$work/site" "$work"/nflows-*.whl

# Tests (but for those that PyTables imports), headers, OpenMM's plugins for other devices, and what
# is compiled again anyway
find "$work/site" -depth -type d ! -path '*/tables/*' \
  \( -name tests -o -name include -o -name __pycache__ -o -name bin \) -exec rm -rf {} +
find "$work/site" \( -name 'libOpenMM*CUDA*' -o -name 'libOpenMM*OpenCL*' -o -name 'libOpenMM*HIP*' \
  -o -name '*.pyx' -o -name '*.pxd' \) -delete

mkdir -p "$(dirname "$archive")"
tar --create --directory "$work" site | xz -6 --threads 0 >"$archive"
size=$(stat --format %s "$archive")
if ((size > most_bytes)); then
  echo "$archive: $size bytes, expected at most $most_bytes; leave packages out" >&2
  exit 1
fi
echo "wrote $archive ($size bytes)"
