# What fuzz/campaign.sh and fuzz/minimise.sh share: where the targets are built, and what each is given.
# To be sourced in this folder.

work=${FUZZ_WORK:-$PWD/target/campaign}
folder=${CARGO_TARGET_DIR:-$PWD/target}
built=$folder/$(rustc +nightly -vV | sed -n 's/^host: //p')/release

# Optimised, and with the assertions of a debug build.
build() { nice -n 19 cargo +nightly fuzz build --fuzz-dir . -O -a --target-dir "$folder" 2>&1 | tail -n 1 >&2; }

all_targets() { (cd fuzz_targets && ls | sed 's/\.rs$//'); }

# As long as the longest seeds, and little more: what is longer only costs time.
octets_max() {
    case $1 in
        message) echo 1500 ;;
        judge | params) echo 1024 ;;
        *) echo 4096 ;;
    esac
}
