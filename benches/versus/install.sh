# Sourced: installs Debian packages without starting what they bring, now or at the next boot.
#
# In: pairs `program:package`; out: nothing, or an exit with the command to type. NAMEGATE_NO_INSTALL=1 forbids it.
# Never touches resolv.conf, port 53 or a service that was there before.
# shellcheck shell=bash

# install_missing PROGRAM:PACKAGE...: makes sure of every program, once.
install_missing() {
    local pair missing=()
    PATH=$PATH:/usr/sbin:/sbin
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    ((${#missing[@]} > 0)) || return 0
    local get="apt-get install -y --no-install-recommends ${missing[*]}"
    if [[ ${NAMEGATE_NO_INSTALL:-0} != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]}. Type: apt-get update && $get" >&2
        exit 69
    fi
    echo "installing ${missing[*]}" >&2
    install_quietly "${missing[*]}" >&2 || { echo "they cannot be installed by: $get" >&2; exit 69; }
}

# install_quietly PACKAGES: a policy-rc.d keeps services from starting; one that was there before is put back.
# Services that are new here are not started by the next boot either.
# shellcheck disable=SC2016
install_quietly() {
    local root=()
    ((EUID == 0)) || root=(sudo)
    "${root[@]}" sh -eu -c '
        policy=/usr/sbin/policy-rc.d
        put_back() {
            rm -f "$policy"
            [ ! -e "$policy.versus" ] || mv "$policy.versus" "$policy"
        }
        trap put_back EXIT
        trap "exit 1" INT TERM
        [ ! -e "$policy" ] || [ -e "$policy.versus" ] || mv "$policy" "$policy.versus"
        printf "#!/bin/sh\nexit 101\n" >"$policy"
        chmod 755 "$policy"
        export DEBIAN_FRONTEND=noninteractive
        started="/etc/init.d /etc/systemd/system/multi-user.target.wants"
        before=$(ls $started)
        apt-get -q -o DPkg::Lock::Timeout=120 update
        apt-get -q -o DPkg::Lock::Timeout=120 install -y --no-install-recommends $1
        for service in $(ls $started); do
            ! echo "$before" | grep -qxF "$service" || continue
            [ ! -e "/etc/init.d/$service" ] || update-rc.d "$service" disable
            ! command -v systemctl >/dev/null || systemctl disable "$service" || true
        done
    ' sh "$1"
}
