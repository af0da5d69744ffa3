#!/usr/bin/env bash
# Brings what a campaign has grown into the committed corpora, as few inputs as reach all that the whole reaches.
#
#     fuzz/minimise.sh [TARGET ...]
#
# The seeds with names stay. Of the inputs found-… and of those in $FUZZ_WORK (fuzz/target/campaign) a smallest
# set is kept that reaches, beside the seeds, every edge; how often an edge is taken does not count here, for the
# corpora are replayed by every `cargo test`. Prints a row for each target. What fuzz/campaign.sh has built is there.
set -euo pipefail
cd "$(dirname "$0")"
source ./built.sh

targets=("$@")
[ $# -gt 0 ] || targets=($(all_targets))

minimise() {
    local target=$1 corpus=corpus/$1 kept
    kept=$(mktemp -d)
    find "$corpus" -type f ! -name 'found-*' -exec cp {} "$kept" \;
    mkdir -p "$work/$target"
    nice -n 19 "$built/$target" "$kept" "$corpus" "$work/$target" -set_cover_merge=1 -use_counters=0 \
        -max_len="$(octets_max "$target")" -timeout=5 -rss_limit_mb=2048 >"$work/$target.merge" 2>&1
    find "$corpus" -type f -name 'found-*' -delete
    find "$kept" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' | while read -r input; do
        local hash=${input##*/}
        mv "$input" "$corpus/found-${hash:0:12}"
    done
    rm -r "$kept"
    echo "| \`$target\` | $(ls "$corpus" | wc -l) | $(cat "$corpus"/* | wc -c) |"
}

echo "| target | inputs | octets |"
echo "|---|---|---|"
for target in "${targets[@]}"; do
    minimise "$target"
done
