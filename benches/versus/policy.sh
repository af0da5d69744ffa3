#!/usr/bin/env bash
# What namegate's policy costs by its size: memory, time to start, time to take effect, queries lost meanwhile.
#
#   benches/versus/policy.sh [--sizes N,...] [--rounds N] [--seconds S] [--report FILE]
#
# Installs NSD if it is missing (without starting it), builds, measures and prints. Loopback and unprivileged ports;
# what it starts it ends, and its files are gone afterwards. Needs two cores with nothing else to do.
set -eu -o pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd -- "$HERE/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=install.sh
source "$HERE/install.sh"
# shellcheck source-path=SCRIPTDIR source=build.sh
source "$HERE/build.sh"

main() {
    install_missing cc:gcc python3:python3 nsd:nsd
    build
    python3 -B "$HERE/policy.py" --work "$WORK" --namegate "$NAMEGATE" --generate "$WORK/generate" -- "$@" &
    await $!
}

main "$@"
