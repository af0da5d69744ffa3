#!/usr/bin/env bash
# namegate, its peers from Debian and the limit of the kernel at the same job, on this machine: one table.
#
#   benches/versus/run.sh [--quick] [--only NAME,...] [--report FILE] [more flags: --help]
#
# Installs what is missing (without starting any service), builds, measures and prints. Loopback and unprivileged ports
# alone; what it starts it ends, and its files are gone afterwards. Needs two cores with nothing else to do.
set -eu -o pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd -- "$HERE/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=install.sh
source "$HERE/install.sh"

ALWAYS=(cc:gcc python3:python3 nsd:nsd)
PEERS=(unbound:unbound dnsdist:dnsdist dnsmasq:dnsmasq-base kresd:knot-resolver named:bind9 pdns_recursor:pdns-recursor)

main() {
    local words=" $* "
    if [[ $words == *' --quick '* || $words == *' -h '* || $words == *' --help '* ]]; then
        install_missing "${ALWAYS[@]}"
    else
        install_missing "${ALWAYS[@]}" "${PEERS[@]}"
    fi
    build
    python3 -B "$HERE/versus.py" --work "$WORK" --namegate "$NAMEGATE" \
        --reflector "$WORK/reflector" --generate "$WORK/generate" -- "$@" &
    await $!
}

# shellcheck source-path=SCRIPTDIR source=build.sh
source "$HERE/build.sh"
main "$@"
