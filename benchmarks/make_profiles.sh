#!/bin/sh
# Makes the latency profiles of all cores anew, and the outputs that docs/profiling.md refers to. host-x86 is timed: best on a machine at rest.
#   sh benchmarks/make_profiles.sh [CORE ...]     PYTHON (default: python) and SHARED (default: ../shared/data) come from the environment
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python}"
shared="${SHARED:-../shared/data}"
[ $# -gt 0 ] || set -- cortex-m0plus cortex-m3 cortex-m4 cortex-m7 cortex-m33 cortex-m55 rv32imc host-x86
for core in "$@"; do
    "$python" -m edgecompress profile --target "$core" --overwrite
    "$python" benchmarks/latency_prediction.py --target "$core" > "benchmarks/output/latency_prediction_$core.txt"
    if [ -d "$shared" ] && [ "$core" != host-x86 ]; then
        "$python" benchmarks/latency_prediction.py --target "$core" --third-party "$shared" --layers > "benchmarks/output/third_party_prediction_$core.txt"
    fi
done
if command -v llvm-mca > /dev/null; then
    "$python" benchmarks/cycle_model.py > benchmarks/output/cycle_model.txt
fi
