#!/usr/bin/env bash
# Instructions a query, counted by callgrind: the same on every machine, whatever else it does.
#
#   benches/counts.sh
#
# Runs benches/road.rs twice for each case, with some queries and with more; the difference is what a query takes, in the
# program and its libraries and without the kernel. Installs valgrind if it is missing.
set -eu -o pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=versus/install.sh
source "$HERE/versus/install.sh"

FEW=2000 MANY=12000
CASES=(blocked 'blocked below allowed' localhost special-use cached uncached)

main() {
    install_missing valgrind:valgrind
    WORK=$(mktemp -d)
    trap 'rm -rf -- "$WORK"' EXIT
    local bench
    bench=$(cd "$HERE/.." && cargo bench --locked --bench road --no-run --message-format=json 2>/dev/null |
        grep -o '"executable":"[^"]*road-[^"]*"' | cut -d'"' -f4)
    echo '| case | instructions a query |'
    echo '| --- | ---: |'
    local case few many
    for case in "${CASES[@]}"; do
        few=$(instructions "$bench" "$case" "$FEW")
        many=$(instructions "$bench" "$case" "$MANY")
        printf '| %s | %d |\n' "$case" $(((many - few) / (MANY - FEW)))
    done
}

# instructions BENCH CASE COUNT: of a whole run.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file="$WORK/out" "$1" "$2" "$3" 2>"$WORK/said" >/dev/null || {
        cat "$WORK/said" >&2
        exit 1
    }
    sed -n 's/.*Collected : //p' "$WORK/said"
}

main "$@"
