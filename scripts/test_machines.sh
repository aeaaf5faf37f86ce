#!/usr/bin/env bash
# The ways in which machines differ, each with the tests that feel it; before a release.
#
#   scripts/test_machines.sh            all of them
#   scripts/test_machines.sh PATTERN    those whose name has PATTERN in it, again
#   scripts/test_machines.sh --table    none; the table of docs/reliability.md from what was found
#
# Vectors, compilers and threads: the numeric part of the suite, in the environment of `make test`.
# Dependencies and Pythons: the whole suite, each in an environment of its own under build/machines,
# which is made where it is missing (gigabytes each where PyPI's torch brings CUDA along).
set -uo pipefail
cd "$(dirname "$0")/.."
PATTERN=${1:-}
ROOT=$PWD/build/machines
NUMERIC="tests/p4 tests/flows tests/coordinates tests/energies tests/statistics/test_weights.py
  tests/sampling/test_samples.py tests/training/test_losses.py tests/parallel/test_threads.py"
OPTIONS=(-o "addopts=--strict-markers -q" -m "not slow" -p no:cacheprovider -k "not bench and not compiles_whole")
mkdir -p "$ROOT/rows"
NAMES=()

row() { # name, tests, result
  printf '| %s | %s | %s |\n' "$1" "$2" "$3" | tee "$ROOT/rows/$(short "$1").md"
}

short() { # a name as one of a file
  echo "${1//[^a-zA-Z0-9]/_}"
}

chosen() { # whether a name has the pattern; remembers all names, in order
  NAMES+=("$1")
  [[ $1 == *"$PATTERN"* ]]
}

result() { # of a log: the last line of pytest, with the names of what failed
  local failed last
  last=$(tail -n 1 "$1" | sed 's/=//g; s/ in [0-9.]*s.*//; s/^ *//; s/, [0-9]* deselected//; s/, [0-9]* warnings\{0,1\}//')
  failed=$(grep -E '^(FAILED|ERROR) ' "$1" | sed 's/^[A-Z]* //; s/ - .*//' | head -n 5 | paste -sd ' ')
  echo "${last:-did not start}${failed:+: $failed}"
}

with() { # name, then VAR=value ...: the numeric part in this environment
  local name=$1 log
  shift
  chosen "$name" || return 0
  log=$ROOT/$(short "$name").log
  env "$@" .venv/bin/pytest "${OPTIONS[@]}" $NUMERIC > "$log" 2>&1
  row "$name" numeric "$(result "$log")"
}

without() { # name, reason
  ! chosen "$1" || row "$1" - "not here: $2"
}

environment() { # name, python, arguments of pip: the whole suite in an environment of its own
  local name=$1 python=$2 folder log versions
  shift 2
  chosen "$name" || return 0
  folder=$ROOT/$(short "$name")
  log=$folder.log
  if ! "$python" -c 'import sys' 2> /dev/null; then
    row "$name" - "not here: no $python"
    return 0
  fi
  if [[ ! -e $folder/.made ]]; then
    rm -rf "$folder"
    if "$python" -m venv "$folder" && "$folder/bin/pip" install --quiet "$@" > "$log" 2>&1; then
      touch "$folder/.made"
    else
      row "$name" - "not here: $(tail -n 1 "$log")"
      return 0
    fi
  fi
  PATH=$folder/bin:$PATH "$folder/bin/python" -m pytest -p no:cacheprovider > "$log" 2>&1
  versions=$("$folder/bin/python" -c 'import sys, numpy, openmm, torch; print("Python %d.%d" % sys.version_info[:2], "torch", torch.__version__, "OpenMM", openmm.__version__, "NumPy", numpy.__version__)')
  row "$name" "all, with $versions" "$(result "$log")"
}

has() { # whether this CPU has an instruction set
  grep -qw "$1" /proc/cpuinfo 2> /dev/null
}

# torch's own kernels
for level in default avx2 avx512; do
  flag=${level/avx512/avx512f}
  if [[ $level == default ]] || has "$flag"; then
    with "torch's vectors: $level" ATEN_CPU_CAPABILITY=$level
  else
    without "torch's vectors: $level" "this CPU has no $level"
  fi
done

# ours
for compiler in g++ clang++; do
  for target in x86-64-v2 x86-64-v3 x86-64-v4 native; do
    name="kernels by $compiler for $target"
    if ! command -v $compiler > /dev/null; then
      without "$name" "no $compiler"
    elif [[ $target == x86-64-v4 ]] && ! has avx512f; then
      without "$name" "this CPU has no AVX-512"
    else
      with "$name" CXX=$compiler CXXFLAGS=-march=$target
    fi
  done
done
with "no C++ compiler" CXX=none

for threads in 1 2 unset; do
  with "OMP_NUM_THREADS: $threads" TEST_THREADS=$threads
done

# what pyproject.toml allows
if [[ "oldest dependencies" == *"$PATTERN"* ]]; then
  [[ -e $ROOT/uv ]] || { python3 -m venv "$ROOT/uv" && "$ROOT/uv/bin/pip" install --quiet uv; }
  "$ROOT/uv/bin/uv" pip compile --quiet --resolution lowest-direct --python-version 3.11 \
    --extra test pyproject.toml -o "$ROOT/oldest.txt"
fi
environment "oldest dependencies" python3.11 -r "$ROOT/oldest.txt" -e .
environment "newest dependencies" python3.11 -e '.[test]'
for minor in 11 12 13; do
  environment "Python 3.$minor" python3.$minor -c constraints.txt -e '.[test]'
done

{
  printf '| %s | %s | %s |\n' "what differs" tests result --- --- ---
  for name in "${NAMES[@]}"; do
    cat "$ROOT/rows/$(short "$name").md" 2> /dev/null
  done
} > "$ROOT/table.md"
if [[ $PATTERN == --table ]]; then
  awk -v table="$ROOT/table.md" '
    /<!-- end: test_machines.sh -->/ { skipping = 0 }
    !skipping
    /<!-- begin: test_machines.sh -->/ {
      skipping = 1
      while ((getline line < table) > 0) print line
    }' docs/reliability.md > "$ROOT/reliability.md" && cp "$ROOT/reliability.md" docs/reliability.md
fi
! grep -Eq 'failed|error|did not start' "$ROOT/table.md"
