# An internet of our own, in namespaces of our own: every name has the address of a web server that holds one package
# for each client, and the clients that fetch it.
#
# To be sourced by bash, behind checks.sh. Needs nsd, python3, openssl, ip. Nothing goes out; the certificates live for
# an hour and are nobody's but these processes'.
# shellcheck shell=bash
# shellcheck disable=SC2034

WEB4=192.0.2.80
CLIENT_S=90
export NPM=registry.npmjs.org PYPI=pypi.org FILES=files.pythonhosted.org
export CRATES_INDEX=index.crates.io CRATES_FILES=static.crates.io
export GO_PROXY=proxy.golang.org GO_SUM=sum.golang.org MAVEN=repo.maven.apache.org
HOSTS=("$NPM" "$PYPI" "$FILES" "$CRATES_INDEX" "$CRATES_FILES" "$GO_PROXY" "$GO_SUM" "$MAVEN"
    github.com objects.githubusercontent.com release-assets.githubusercontent.com)

# build_internet: loopback, an /etc/resolv.conf and an nsswitch.conf of our own, DNS, the web, and what is on it.
build_internet() {
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
    start_internet 127.0.0.2 53 ".=$TESTS/record/internet.zone"
    make_certificates
    publish_all
    start web "$PYTHON" "$TESTS/record/web.py" "$T/web" "$T/leaf.pem" "$WEB4"
    within 10 web_is_up || die "the web server does not answer: $(tail -n 3 "$T/web.err")"
}

web_is_up() { (exec 3<>"/dev/tcp/$WEB4/443") 2>/dev/null; }

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
