//! The stories: what a client sees, told in `tests/script/*.dns` and run on the real corridor.
//!
//! Each file is a test of its own. `tests/script/README.md` says how they are
//! written. A story that fails prints what was expected beside what was got.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::stage;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/script");

macro_rules! stories {
    ($($story:ident,)*) => {
        const STORIES: &[&str] = &[$(stringify!($story)),*];
        $(
            #[test]
            fn $story() {
                stage::run(&Path::new(DIR).join(concat!(stringify!($story), ".dns")));
            }
        )*
    };
}

stories! {
    allow_all,
    ancestors_nodata,
    ancestors_nxdomain,
    audit_answers_everything,
    audit_changes_nothing_else,
    audit_ends_by_itself,
    audit_of_a_query_on_its_way,
    blocked_flags_are_copied,
    blocked_for_every_type,
    blocked_is_nxdomain,
    blocked_keeps_case,
    blocked_over_tcp,
    blocked_serial_is_generation,
    blocked_soa_owner,
    blocked_text_is_short_ascii,
    blocked_ttl_and_contact,
    blocked_without_edns,
    cache_key,
    cache_negative,
    cache_off,
    cache_one_ttl_a_set,
    cache_signature_ttls,
    cache_ttl_counts_down,
    cache_ttl_is_capped,
    cache_ttl_zero,
    cache_under_the_question_alone,
    chain_across_a_forward,
    chain_any_order,
    chain_dname,
    chain_dname_cname,
    chain_dname_too_long,
    chain_ends_with_nothing,
    chain_loop,
    chain_of_eight,
    chain_split,
    chain_split_loop,
    chain_target_is_not_allowed,
    chain_to_a_special_name,
    chain_unrelated_records,
    chain_whole,
    clients_outside,
    clients_rate,
    clients_share,
    deny_all,
    dnssec_ancestors_off,
    dnssec_ancestors_on,
    exfiltration_by_name,
    exfiltration_by_timing,
    forward_exempt,
    forward_judged,
    guard_behind_an_alias,
    guard_broken_record,
    guard_embedded_addresses,
    guard_exemptions,
    guard_https_hints,
    guard_mixed_set,
    guard_pass,
    guard_pass_for_allow_all,
    guard_private_addresses,
    guard_under_allow_all,
    hostile_chains,
    hostile_codes,
    hostile_flapping,
    hostile_many_records,
    hostile_nonsense,
    hostile_private,
    hostile_tcp,
    hostile_tcp_second_server,
    hostile_ttls,
    match_case_folds_ascii_alone,
    match_labels_whole,
    match_octets_not_text,
    match_wildcard,
    musl_pair,
    policy_allows_at_once,
    policy_one_query_one_policy,
    policy_revokes_at_once,
    prefetch,
    prefetch_failure_changes_nothing,
    prefetch_off,
    query_is_built_new,
    rd_is_no_matter,
    report_channel_goes_nowhere,
    search_list,
    search_suffix,
    service_flags,
    special_any,
    special_beats_policy,
    special_canaries,
    special_home_arpa,
    special_ipv4only,
    special_localhost,
    special_nxdomain,
    special_private_reverse,
    special_resolver_arpa,
    special_taken_by_forward,
    special_taken_by_zone,
    stale_has_an_end,
    stale_in_overload,
    stale_is_judged,
    stale_nxdomain,
    stale_off,
    stale_when_upstream_fails,
    stale_when_upstream_is_silent,
    tcp_and_udp_agree,
    upstream_all_fail,
    upstream_coalesced,
    upstream_dead_port,
    upstream_flags,
    upstream_folds_case,
    upstream_folds_case_without_tcp,
    upstream_forgeries_are_ignored,
    upstream_lost_packet,
    upstream_malformed_records,
    upstream_negative,
    upstream_negative_is_final,
    upstream_only_forgeries,
    upstream_overload,
    upstream_second_server,
    upstream_signatures,
    upstream_silent,
    upstream_silent_server_rests,
    upstream_slow,
    upstream_tcp_alone,
    upstream_tcp_reply_to_another,
    upstream_truncated,
    upstream_truncated_without_tcp,
    upstream_wildcard_proof,
    upstream_without_edns,
    upstream_wrong_case,
    why_last,
    why_many_at_once,
    why_name,
    why_never_forwarded,
    why_off,
    why_other_types,
    why_policy,
    why_search_list,
    why_size,
    wire_any,
    wire_bad_opt,
    wire_broken_names,
    wire_chaos,
    wire_classes,
    wire_cookie_alone,
    wire_cookies,
    wire_cookies_off,
    wire_edns_sizes,
    wire_edns_unknown_is_ignored,
    wire_edns_version,
    wire_every_type_passes,
    wire_header_z,
    wire_keepalive,
    wire_long_target,
    wire_meta_types,
    wire_nsid,
    wire_nsid_gives_way,
    wire_opcodes,
    wire_question_count,
    wire_short_and_responses,
    wire_stray_records,
    wire_trailing_octets,
    wire_transfers,
    wire_truncation,
    wire_two_opts,
    wire_types_all,
    wire_types_listed,
    wire_types_not_served,
    zone_alias_into_another,
    zone_answers,
    zone_any,
    zone_beats_forward_and_policy,
    zone_big_answer,
    zone_changes,
    zone_cname,
    zone_same_octets_as_any,
    zone_wildcard,
    zone_wildcard_closest,
}

#[test]
fn every_story_is_told() {
    let files = fs::read_dir(DIR)
        .expect("the stories")
        .map(|entry| entry.expect("a file").path());
    let names = files.filter(|path| path.extension().is_some_and(|it| it == "dns"));
    let names: BTreeSet<String> = names
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let told: BTreeSet<String> = STORIES.iter().map(|story| (*story).to_owned()).collect();
    assert_eq!(
        names, told,
        "the list in tests/script.rs and the files differ"
    );
}
