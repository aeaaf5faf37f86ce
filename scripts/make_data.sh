#!/usr/bin/env bash
# Every file in data/ is made here, from the bundled configs and their seeds.
# About 45 minutes on two cores. Existing files are kept: remove those that should be made anew.
set -euo pipefail
cd "$(dirname "$0")/../data"

make() { [ -e "$2" ] || bgp4 simulate --config "$1" -o "$2"; }

if [ ! -e ala2_300k.h5 ]; then
  make ala2.yaml ala2_300k_all.h5
  python ../scripts/thin.py ala2_300k_all.h5 ala2_300k.h5 6
  rm ala2_300k_all.h5
fi
make ala2_data_1000k.yaml ala2_1000k.h5
[ -e ala2_smoke.h5 ] || python ../scripts/thin.py ala2_1000k.h5 ala2_smoke.h5 60
sha256sum -- *.h5 > SHA256SUMS
