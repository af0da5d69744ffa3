#!/usr/bin/env bash
# The structures that threads share, under many interleavings of their steps (docs/PROOF.md, "Interleavings").
#
#   tests/interleave.sh [TIMES]
#
# TIMES multiplies the number of schedules of each scene that draws lots; 1 takes half a minute of one processor with the build.
# It prints how many schedules each scene was played under; one that fails prints the schedule, which shuttle's `replay`
# plays again. CARGO_TARGET_DIR counts as everywhere. Files under TMPDIR, no traffic. The last line is the sum.
set -eu -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

REPORT=$(mktemp "${TMPDIR:-/tmp}/namegate-interleave.XXXXXX")
trap 'rm -f -- "$REPORT"' EXIT

NAMEGATE_SCHEDULES=${1:-1} cargo test --quiet --locked --manifest-path tests/interleave/Cargo.toml \
    --target-dir "${CARGO_TARGET_DIR:-target}" -- --nocapture | tee "$REPORT"
awk '/ schedules/ { sub(/.*: /, ""); sum += $1; scenes++ } END { print sum + 0 " schedules of " scenes + 0 " scenes" }' "$REPORT"
