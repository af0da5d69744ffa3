#!/usr/bin/env bash
# The page at `/` of metrics.listen in a real browser: light and dark, wide and narrow, with names that try to be markup.
#
#   tests/page.sh [DIRECTORY]
#
# Needs Chromium (package chromium), which is large, so that nothing installs it; where it is missing, it says SKIPPED.
# DIRECTORY keeps the pictures, for a person to look at. Traffic stays on loopback: the browser is told to look nowhere
# else. Needs dig, python3.
set -u -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source-path=SCRIPTDIR source=lib/checks.sh
source lib/checks.sh

# A browser that has not come to its end by then never will.
BROWSER_S=60
EVIL='<script>document.title="run"</script>.example'

main() {
    KEPT=${1:-}
    [[ -z $KEPT || $KEPT == /* ]] || KEPT=$OLDPWD/$KEPT
    open_suite page
    find_program
    need dig bind9-dnsutils
    need python3 python3
    BROWSER=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
        skip 'the page in a browser' 'no chromium: install the package chromium'
        return
    }
    serve
    structure
    pictures
}

# serve: a resolver that has blocked a few names, one of which would be markup if it were let.
serve() {
    local ports
    read -ra ports < <(free_ports 2)
    PORT=${ports[0]} PAGE=http://127.0.0.1:${ports[1]}/
    write_policy "$T/policy.json" ci github.com '*.npmjs.org'
    NAMEGATE_BLOCKED_FILE='' start namegate "$NAMEGATE_BIN" run --policy "$T/policy.json" \
        --listen "127.0.0.1:$PORT" --metrics "127.0.0.1:${ports[1]}" --upstream udp://127.0.0.9 --zones "$T/none"
    within 10 grep -q answers "$T/namegate.err" || die 'namegate does not answer'
    local name
    for name in npmjs.org evil.example "$EVIL"; do
        dig +time=2 +tries=1 @127.0.0.1 -p "$PORT" "$name" >/dev/null
    done
}

# browse ARGUMENT...: the browser, once, without a window, a profile of its own and the internet.
browse() {
    local sandbox=()
    # As root it refuses to run in one.
    ((EUID != 0)) || sandbox=(--no-sandbox)
    timeout "$BROWSER_S" "$BROWSER" --headless "${sandbox[@]}" --disable-gpu --hide-scrollbars --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync --disable-extensions \
        --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' --user-data-dir="$T/profile" "$@" "$PAGE" 2>>"$T/browser.err"
}

# structure: what the browser made of it.
structure() {
    local dom
    dom=$(browse --dump-dom)
    holds 'the page names the policy' "$dom" '<strong>ci</strong> \(npl_ci\), generation 1'
    holds 'the page names what was blocked' "$dom" '<td class="name">npmjs\.org</td>'
    holds 'and the nearest pattern' "$dom" '<td class="near">\*\.npmjs\.org</td>'
    holds 'a name that would be markup is text' "$dom" '\\060script\\062'
    same 'there is no script' '' "$(grep -io '<script[^>]*>' <<<"$dom")"
    same 'no script has run' '<title>namegate</title>' "$(grep -o '<title>.*</title>' <<<"$dom")"
}

# pictures: it is drawn, light for those who want it light and dark for those who want it dark.
pictures() {
    local size colour
    for size in 1200,900 500,1100; do
        for colour in light dark; do picture "$size" "$colour"; done
    done
}

# picture WIDTH,HEIGHT light|dark: a screenshot, whose first pixel is the paper.
picture() {
    local file=$T/${2}-${1%,*}.png scheme=1
    [[ $2 == light ]] || scheme=0
    browse --blink-settings=preferredColorScheme=$scheme --window-size="$1" --screenshot="$file" >/dev/null
    same "the page is drawn $2 at ${1%,*}" "${1/,/x} $2" "$(python3 page/picture.py "$file")"
    [[ -z $KEPT ]] || cp -- "$file" "$KEPT/"
}

main "$@"
