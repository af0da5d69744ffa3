#!/usr/bin/env bash
# Fuzzes the targets one after the other and prints what came of it, as the rows of a table.
#
#     fuzz/campaign.sh [SECONDS] [TARGET ...]
#
# SECONDS are per target (60), the targets all of fuzz_targets/. What the fuzzer grows goes to $FUZZ_WORK
# (fuzz/target/campaign), never into the committed corpus, which is where it begins; fuzz/minimise.sh brings back
# what is worth keeping. An input that breaks a promise, takes longer than 5 s or more than 2 GiB ends its target;
# it lies in $FUZZ_WORK/findings, and the exit code is 1. Needs cargo-fuzz and a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")"
source ./built.sh

seconds=${1:-60}
[ $# -eq 0 ] || shift
targets=("$@")
[ $# -gt 0 ] || targets=($(all_targets))

# The last number behind a word in the fuzzer's report.
last() { sed -n "s/.*$1 *\([0-9][0-9]*\).*/\1/p" "$log" | tail -n 1; }

run() {
    local target=$1 log=$work/$1.log options=() code=0
    mkdir -p "$work/$target"
    [ ! -f "dictionaries/$target" ] || options=(-dict="dictionaries/$target")
    local TIMEFORMAT=%U
    { time nice -n 19 "$built/$target" "$work/$target" "corpus/$target" "${options[@]}" \
        -max_total_time="$seconds" -max_len="$(octets_max "$target")" -timeout=5 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$work/findings/$target-" >"$log" 2>&1 || code=$?; } 2>"$work/cpu"
    local found=none
    [ $code -eq 0 ] || found="**code $code**"
    echo "| \`$target\` | $seconds | $(cut -d. -f1 "$work/cpu") | $(last units:) | $(last exec_per_sec:) |" \
        "$(last cov:) | $(last ft:) | $(last corp:) | $found |"
    return "$code"
}

build
mkdir -p "$work/findings"
echo "| target | wall, s | CPU, s | executions | a second | edges | features | inputs | findings |"
echo "|---|---|---|---|---|---|---|---|---|"
failed=0
for target in "${targets[@]}"; do
    run "$target" || failed=1
done
[ $failed -eq 0 ] || ls -l "$work/findings"
exit $failed
