#!/usr/bin/env bash
# Records what real clients ask a resolver: tests/data/suggest/*.jsonl, from which `namegate suggest` is tested.
#
#   tests/record.sh [RECORDING...]
#
# Runs each client in namespaces of its own (network, mounts, processes), where namegate is the only resolver, its policy
# allows all and its log records all. Behind it NSD stands for the internet's DNS (record/internet.zone) and record/web.py
# for its web servers. Nothing goes out; the machine's own files stay as they are, but for tests/data/suggest. Needs root
# or user namespaces, nsd, dig, python3, openssl, and the clients: one that is missing is told and its log left as it is.
# shellcheck disable=SC2034
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh

WEB4=192.0.2.80
CLIENT_S=90
RECORDINGS=(apt apt-blocked pip pip-pod pip-office pip-blocked npm cargo git release go maven browser tunnel)
NPM=registry.npmjs.org PYPI=pypi.org FILES=files.pythonhosted.org
CRATES_INDEX=index.crates.io CRATES_FILES=static.crates.io
GO_PROXY=proxy.golang.org GO_SUM=sum.golang.org MAVEN=repo.maven.apache.org
HOSTS=("$NPM" "$PYPI" "$FILES" "$CRATES_INDEX" "$CRATES_FILES" "$GO_PROXY" "$GO_SUM" "$MAVEN"
    github.com objects.githubusercontent.com release-assets.githubusercontent.com)

main() {
    if [[ ${1:-} == --inside ]]; then
        shift
        inside "$@"
        return
    fi
    find_program
    export NAMEGATE_BIN
    local spaces=(--net --mount --pid --fork --kill-child=TERM --mount-proc) by=(unshare)
    unshare "${spaces[@]}" -- true 2>/dev/null || by=(unshare --user --map-root-user)
    "${by[@]}" "${spaces[@]}" -- "$BASH" "$PWD/record.sh" --inside "$@" </dev/null
}

inside() {
    open_suite record
    unset "${!http_proxy@}" "${!PIP_@}" "${!npm_config_@}" "${!CARGO_@}" http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
    local tool
    for tool in ip nsd dig python3 openssl; do need "$tool" "$tool"; done
    PYTHON=$(python3 -c 'import sys; print(sys.executable)')
    { ip link set lo up && ip address add "$WEB4/32" dev lo; } || die 'no loopback in the namespace'
    : >"$T/resolv.conf"
    echo 'hosts: files dns' >"$T/nsswitch.conf"
    chmod 644 "$T/resolv.conf" "$T/nsswitch.conf"
    mount --bind "$T/resolv.conf" /etc/resolv.conf && mount --bind "$T/nsswitch.conf" /etc/nsswitch.conf ||
        die 'cannot stand over /etc'
    start_internet 127.0.0.2 53 ".=$PWD/record/internet.zone"
    make_certificates
    publish_all
    start web "$PYTHON" record/web.py "$T/web" "$T/leaf.pem" "$WEB4"
    within 10 web_is_up || die "the web server does not answer: $(tail -n 3 "$T/web.err")"
    local recordings=("$@") it
    ((${#recordings[@]} > 0)) || recordings=("${RECORDINGS[@]}")
    for it in "${recordings[@]}"; do record "$it"; done
}

web_is_up() { (exec 3<>"/dev/tcp/$WEB4/443") 2>/dev/null; }

# record NAME: one client against a fresh namegate; its log becomes the test data.
record() {
    local name=$1 client=${1%%-*}
    case $client in
    release) client=curl ;; maven) client=mvn ;; browser) client=chromium ;; tunnel) client=dig ;; apt) client=apt-get ;;
    esac
    if ! command -v "$client" >/dev/null; then
        skip "$name" "no $client here"
        return
    fi
    resolv_conf "${name#*-}"
    start_namegate "$name"
    local pid=$STARTED_PID
    HOME=$T/home-$name
    export HOME
    mkdir -p "$HOME"
    (cd "$HOME" && "run_${name//-/_}") >"$T/$name.said" 2>&1
    info "$name: the client ended with $?; $(grep -c '"dns.query"' "$T/$name.jsonl") queries so far"
    sleep 0.3
    stop "$pid"
    [[ -z ${RECORD_SAID:-} ]] || tail -n 8 "$T/$name.said"
    cp -- "$T/$name.jsonl" "data/suggest/$name.jsonl" && ok "$name: recorded"
}

# resolv_conf SITE: of a plain box, of a pod, of an office.
resolv_conf() {
    {
        echo 'nameserver 127.0.0.1'
        case $1 in
        pod) printf 'search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n' ;;
        office) printf 'search corp.example.net\noptions ndots:4\n' ;;
        esac
    } >"$T/resolv.conf"
}

# start_namegate NAME: its policy allows all, or for a recording of what is blocked, one name that no client asks.
start_namegate() {
    local allow_all=true
    [[ $1 != *-blocked ]] || allow_all=false
    policy_text recording example.com | sed "s/\"allow_all\": false/\"allow_all\": $allow_all/" >"$T/policy.json"
    printf '[log]\nqueries = "all"\nsink = "file:%s"\n[metrics]\nlisten = "off"\n' "$T/$1.jsonl" >"$T/config.toml"
    start namegate "$NAMEGATE_BIN" run --config "$T/config.toml" --policy "$T/policy.json" --zones "$T/no-zones" \
        --listen 127.0.0.1:53 --upstream udp://127.0.0.2
    within 10 grep -qs '"start"' "$T/$1.jsonl" || die "namegate does not start: $(tail -n 3 "$T/namegate.err")"
}

# make_certificates: an authority of an hour's life, and one certificate for all hosts.
make_certificates() {
    local names
    names=$(printf 'DNS:%s,' "${HOSTS[@]}")
    openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=recording -keyout "$T/ca.key" -out "$T/ca.pem" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj /CN=leaf -keyout "$T/leaf.key" -out "$T/leaf.csr" 2>/dev/null
    openssl x509 -req -in "$T/leaf.csr" -CA "$T/ca.pem" -CAkey "$T/ca.key" -CAcreateserial -days 1 \
        -extfile <(echo "subjectAltName=${names%,}") -out "$T/leaf.crt" 2>/dev/null
    cat "$T/leaf.crt" "$T/leaf.key" >"$T/leaf.pem"
    export SSL_CERT_FILE=$T/ca.pem CURL_CA_BUNDLE=$T/ca.pem GIT_SSL_CAINFO=$T/ca.pem NODE_EXTRA_CA_CERTS=$T/ca.pem
    export REQUESTS_CA_BUNDLE=$T/ca.pem PIP_CERT=$T/ca.pem CARGO_HTTP_CAINFO=$T/ca.pem npm_config_cafile=$T/ca.pem
}

# page HOST PATH: standard input, to be served there.
page() {
    mkdir -p "$(dirname "$T/web/$1/$2")"
    cat >"$T/web/$1/$2"
}

publish_all() {
    publish_deb
    publish_wheel
    publish_npm
    publish_crate
    publish_git
    publish_module
    echo https://objects.githubusercontent.com/tool |
        page github.com example-org/tool/releases/download/v1/tool.location
    echo 'a release' | page objects.githubusercontent.com tool
}

publish_deb() {
    local suite sum
    for suite in debian/dists/bookworm debian-security/dists/bookworm-security; do
        : | page deb.debian.org "$suite/main/binary-amd64/Packages"
        : | page deb.debian.org "$suite/main/binary-all/Packages"
        sum=$(sha256sum </dev/null | cut -d ' ' -f 1)
        printf 'Date: Thu, 01 Jan 2026 00:00:00 UTC\nSuite: stable\nCodename: %s\nComponents: main\nArchitectures: all amd64\nSHA256:\n %s 0 main/binary-amd64/Packages\n %s 0 main/binary-all/Packages\n' \
            "${suite##*/}" "$sum" "$sum" | page deb.debian.org "$suite/Release"
    done
    cp -r "$T/web/deb.debian.org" "$T/web/debian.map.fastlydns.net"
}

publish_wheel() {
    local wheel=stand_in-1.0-py3-none-any.whl
    "$PYTHON" - "$T/$wheel" <<'PY'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    info = "stand_in-1.0.dist-info/"
    wheel.writestr("stand_in.py", "")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "stand_in.py,,\n")
PY
    page "$FILES" "packages/$wheel" <"$T/$wheel"
    echo "<a href=\"https://$FILES/packages/$wheel\">$wheel</a>" | page "$PYPI" simple/stand-in/index.html
}

publish_npm() {
    mkdir -p "$T/package"
    echo '{"name": "stand-in", "version": "1.0.0"}' >"$T/package/package.json"
    tar -C "$T" -czf "$T/stand-in.tgz" package
    page "$NPM" stand-in/-/stand-in-1.0.0.tgz <"$T/stand-in.tgz"
}

publish_crate() {
    local crate=stand-in-1.0.0 sum
    mkdir -p "$T/$crate/src"
    printf '[package]\nname = "stand-in"\nversion = "1.0.0"\n' >"$T/$crate/Cargo.toml"
    : >"$T/$crate/src/lib.rs"
    tar -C "$T" -czf "$T/$crate.crate" "$crate"
    sum=$(sha256sum <"$T/$crate.crate" | cut -d ' ' -f 1)
    page "$CRATES_FILES" crates/stand-in/1.0.0/download <"$T/$crate.crate"
    echo "{\"dl\": \"https://$CRATES_FILES/crates\", \"api\": \"https://$CRATES_INDEX\"}" | page "$CRATES_INDEX" config.json
    echo "{\"name\":\"stand-in\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"$sum\",\"features\":{},\"yanked\":false}" |
        page "$CRATES_INDEX" st/an/stand-in
}

publish_git() {
    local repo=$T/web/github.com/example-org/tool.git commit
    git init -q --bare "$repo"
    commit=$(git -C "$repo" -c user.name=a -c user.email=a@b commit-tree -m first "$(git -C "$repo" mktree </dev/null)")
    git -C "$repo" update-ref refs/heads/main "$commit"
    git -C "$repo" symbolic-ref HEAD refs/heads/main
    git -C "$repo" update-server-info
}

publish_module() {
    local at=example.com/stand-in/@v
    echo '{"Version":"v1.0.0","Time":"2026-01-01T00:00:00Z"}' | page "$GO_PROXY" "$at/v1.0.0.info"
    printf 'module example.com/stand-in\n' | page "$GO_PROXY" "$at/v1.0.0.mod"
    "$PYTHON" - "$T/module.zip" <<'PY'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as module:
    module.writestr("example.com/stand-in@v1.0.0/go.mod", "module example.com/stand-in\n")
    module.writestr("example.com/stand-in@v1.0.0/a.go", "package standin\n")
PY
    page "$GO_PROXY" "$at/v1.0.0.zip" <"$T/module.zip"
}

# quick COMMAND...: a client that is ended when it takes too long.
quick() { timeout "$CLIENT_S" "$@" </dev/null; }

run_apt() {
    mkdir -p lists/partial cache/archives/partial
    : >status
    printf 'deb [trusted=yes] http://deb.debian.org/%s main\n' 'debian bookworm' 'debian-security bookworm-security' >sources.list
    quick apt-get update -o Dir::Etc::sourceparts=/dev/null -o "Dir::Etc::sourcelist=$PWD/sources.list" \
        -o "Dir::State::lists=$PWD/lists" -o "Dir::State::status=$PWD/status" -o "Dir::Cache=$PWD/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::http::Proxy=false
}

run_pip() { quick "$PYTHON" -m pip install --no-cache-dir --target site stand-in; }
run_pip_pod() { run_pip; }
run_pip_office() { run_pip; }
run_pip_blocked() { run_pip; }
run_apt_blocked() { run_apt; }

run_npm() {
    local url=https://$NPM/stand-in/-/stand-in-1.0.0.tgz sum
    sum=sha512-$(openssl dgst -sha512 -binary "$T/stand-in.tgz" | base64 -w 0)
    echo '{"name": "box", "version": "1.0.0", "dependencies": {"stand-in": "1.0.0"}}' >package.json
    cat >package-lock.json <<EOF
{"name": "box", "version": "1.0.0", "lockfileVersion": 3, "packages": {
  "": {"name": "box", "version": "1.0.0", "dependencies": {"stand-in": "1.0.0"}},
  "node_modules/stand-in": {"version": "1.0.0", "resolved": "$url", "integrity": "$sum"}}}
EOF
    quick npm ci
}

run_cargo() {
    mkdir -p src
    printf '[package]\nname = "box"\nversion = "1.0.0"\n[dependencies]\nstand-in = "1"\n' >Cargo.toml
    echo 'fn main() {}' >src/main.rs
    CARGO_HOME=$PWD/.cargo RUSTUP_HOME=${RUSTUP_HOME:-/root/.rustup} quick cargo build
}

run_git() { quick git clone https://github.com/example-org/tool.git; }
run_release() { quick curl -fsSLO https://github.com/example-org/tool/releases/download/v1/tool; }

run_go() {
    printf 'module box\ngo 1.19\nrequire example.com/stand-in v1.0.0\n' >go.mod
    printf 'package main\nimport _ "example.com/stand-in"\nfunc main() {}\n' >main.go
    GOFLAGS=-mod=mod quick go build ./...
}

run_maven() {
    cat >pom.xml <<'EOF'
<project><modelVersion>4.0.0</modelVersion><groupId>box</groupId><artifactId>box</artifactId><version>1</version></project>
EOF
    quick mvn -B -Dmaven.repo.local="$PWD/m2" package
}

run_browser() {
    CLIENT_S=45 quick chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$PWD/profile" --dump-dom http://example.com/
    CLIENT_S=30 quick chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$PWD/profile" \
        --virtual-time-budget=20000 --remote-debugging-port=0 http://example.com/
}

# run_tunnel: a file that leaves in names, 30 octets a label, two labels a name, as tunnelling programs send it; asked by dig.
run_tunnel() {
    head -c 9000 /dev/urandom | base32 -w 48 | tr -d = | tr A-Z a-z |
        awk 'NR % 2 { first = $1; next } { printf "%s.%s.%d.k.dnsm.example TXT\n", first, $1, NR / 2 }' >names
    quick dig +tries=1 +time=2 +noall -f names
    quick dig +noall www.dnsm.example A
}

main "$@"
