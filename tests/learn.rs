//! What `suggest` proposes, from outside: what it should see, and what nobody must be able to talk it into.
//!
//! The attacks of the second part are what a program in a box can do: ask for
//! whatever it likes, as often and as fast as it likes. None of it may end in ADD.

use namegate::answer::Reason;
use namegate::config::Config;
use namegate::daemon::{Grants, compile};
use namegate::learn::{
    Class, Current, Detail, Item, Observation, Observations, Proposal, json, read_line, suggest,
    text,
};
use namegate::policy::{Pattern, Policy, Select, read};
use namegate::wire::Type;

use proptest::prelude::*;

use crate::support::document;

/// What is proposed for observations beside a policy.
struct Asked {
    seen: Observations,
    listed: Vec<&'static str>,
    accept: Vec<&'static str>,
    search: Vec<String>,
    at_ms: u64,
}

fn asked(names: &[&str]) -> Asked {
    let mut asked = Asked {
        seen: Observations::default(),
        listed: Vec::new(),
        accept: Vec::new(),
        search: Vec::new(),
        at_ms: 1_000_000,
    };
    for name in names {
        asked.query(name, Type::A, 1);
    }
    asked
}

impl Asked {
    /// A query a second after the last.
    fn query(&mut self, name: &str, kind: Type, count: u64) {
        self.query_after(1_000, name, kind, count);
    }

    fn query_after(&mut self, pause_ms: u64, name: &str, kind: Type, count: u64) {
        self.at_ms += pause_ms;
        self.seen.add(&Observation {
            name: name
                .parse()
                .unwrap_or_else(|error| panic!("{name}: {error}")),
            types: vec![kind],
            count,
            first_ms: Some(self.at_ms),
            last_ms: Some(self.at_ms),
            reason: None,
            client: "10.0.0.1".parse().ok(),
        });
    }

    fn beside(mut self, listed: &[&'static str]) -> Self {
        self.listed = listed.to_vec();
        self
    }

    fn proposal(&self) -> Proposal {
        let source = document(&self.listed);
        let policy: Policy = read("policy.json", source.as_bytes(), &Select::Only)
            .expect("a policy")
            .policy;
        let config = Config::default();
        let grants = Grants::of(&config).expect("patterns");
        let accept: Vec<Pattern> = self
            .accept
            .iter()
            .map(|it| Pattern::parse(it).expect(it))
            .collect();
        let current = Current {
            rules: &compile(&policy, &config, &grants),
            listed: &policy.allowed_hostnames,
            search: &self.search,
            accept: &accept,
        };
        let proposal = suggest(&self.seen, &current);
        assert_eq!(suggest(&self.seen, &current), proposal, "the same again");
        proposal
    }

    /// The proposal is these lines: class, name, kind.
    #[track_caller]
    fn check(&self, expected: &[&str]) {
        let proposal = self.proposal();
        let line = |it: &Item| format!("{} {} {}", it.class.word(), it.name, it.evidence.kind);
        let found: Vec<String> = proposal.items.iter().map(line).collect();
        assert_eq!(found, expected);
    }

    /// Whatever else, nothing is added.
    #[track_caller]
    fn adds_nothing(&self) {
        let added = self.proposal().additions();
        assert!(added.is_empty(), "{added:?}");
    }
}

fn noise(n: usize, len: usize) -> String {
    let mut state = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from_digit((state >> 20) as u32 % 32, 36).expect("a digit")
    };
    (0..len).map(letter).collect()
}

#[test]
fn what_tools_need_is_added_with_what_they_need_besides() {
    asked(&["pypi.org", "registry.npmjs.org"]).check(&[
        "add registry.npmjs.org bundle",
        "add pypi.org bundle",
        "add files.pythonhosted.org companion",
    ]);
    // The one that is allowed asks for the other.
    asked(&["index.crates.io"])
        .beside(&["index.crates.io"])
        .check(&["add static.crates.io companion"]);
    asked(&["static.crates.io"])
        .beside(&["*.crates.io"])
        .check(&[]);
}

#[test]
fn an_unknown_host_is_for_a_person_to_judge() {
    let mut seen = asked(&[
        "api.mycompany.com",
        "uploads.github.com",
        "login.github.com",
    ]);
    seen.check(&[
        "review api.mycompany.com unknown",
        "review login.github.com same_owner",
        "review uploads.github.com drop",
    ]);
    seen.accept = vec!["api.mycompany.com"];
    seen.check(&[
        "add api.mycompany.com unknown",
        "review login.github.com same_owner",
        "review uploads.github.com drop",
    ]);
    let mut again = asked(&["api.mycompany.com"]).beside(&["api.mycompany.com"]);
    again.accept = vec!["api.mycompany.com"];
    again.check(&[]);
    assert!(again.proposal().not_accepted.is_empty());
    seen.accept = vec!["api.mycompany.co", "*.mycompany.com"];
    assert_eq!(
        seen.proposal().not_accepted,
        ["api.mycompany.co", "*.mycompany.com"]
    );
}

#[test]
fn service_names_count_for_their_host() {
    let mut seen = asked(&[]);
    seen.query("_http._tcp.deb.debian.org", Type::SRV, 4);
    seen.query("_mongodb._tcp.cluster0.mycompany.com", Type::SRV, 1);
    seen.check(&[
        "add deb.debian.org bundle",
        "review _mongodb._tcp.cluster0.mycompany.com service",
    ]);
    let proposal = seen.proposal();
    assert_eq!(
        proposal.items[0].evidence.asked_as,
        ["SRV _http._tcp.deb.debian.org"]
    );
    assert_eq!(proposal.items[0].count, 4);
}

#[test]
fn by_products_are_hidden() {
    let mut seen = asked(&[
        "pypi.org.default.svc.cluster.local",
        "intranet",
        "1.0.0.10.in-addr.arpa",
        "a\\046b.example.net",
        "github.com.why.namegate.internal",
    ]);
    seen.query("org", Type::DS, 1);
    seen.query("python.org", Type::DNSKEY, 1);
    seen.check(&[
        "hidden python.org infrastructure",
        "hidden github.com.why.namegate.internal own_zone",
        "hidden 1.0.0.10.in-addr.arpa reverse_lookup",
        "hidden pypi.org.default.svc.cluster.local search_suffix",
        "hidden intranet single_label",
        "hidden org single_label",
        "hidden a\\046b.example.net unlistable",
    ]);
}

#[test]
fn a_search_list_is_known_by_two_names_or_by_being_told() {
    let names = ["mycompany.com", "mycompany.com.corp.example.net"];
    let mut seen = asked(&names);
    seen.check(&[
        "review mycompany.com unknown",
        "review mycompany.com.corp.example.net imitation",
    ]);
    seen.search = vec!["corp.example.net".to_owned()];
    seen.check(&[
        "review mycompany.com unknown",
        "hidden mycompany.com.corp.example.net search_suffix",
    ]);
    seen.search.clear();
    seen.query("other.com", Type::A, 1);
    seen.query("other.com.corp.example.net", Type::A, 1);
    seen.check(&[
        "review mycompany.com unknown",
        "review other.com unknown",
        "hidden mycompany.com.corp.example.net search_suffix",
        "hidden other.com.corp.example.net search_suffix",
    ]);
}

#[test]
fn the_resolvers_word_for_a_search_list_counts() {
    let mut seen = asked(&[]);
    seen.seen.add(&Observation {
        name: "api.mycompany.com.corp.example.net"
            .parse()
            .expect("a name"),
        types: vec![Type::A],
        count: 1,
        first_ms: None,
        last_ms: None,
        reason: Some(Reason::SearchSuffix),
        client: None,
    });
    seen.check(&["hidden api.mycompany.com.corp.example.net search_suffix"]);
    seen.query("api.mycompany.com.corp.example.net", Type::A, 1);
    seen.check(&["review api.mycompany.com.corp.example.net unknown"]);
}

#[test]
fn noise_stays_blocked() {
    asked(&[
        "o205451.ingest.us.sentry.io",
        "clients2.google.com",
        "debian.map.fastlydns.net",
    ])
    .check(&[
        "keep_blocked debian.map.fastlydns.net not_needed",
        "keep_blocked clients2.google.com noise",
        "keep_blocked o205451.ingest.us.sentry.io noise",
    ]);
}

#[test]
fn unused_patterns_are_told_where_the_log_would_show_their_use() {
    let listed = [
        "*.docker.io",
        "api.example.net",
        "api.example.net",
        "github.com",
    ];
    let mut seen = asked(&["github.com"]).beside(&listed);
    seen.check(&[]);
    seen.seen.add(&Observation {
        name: "github.com".parse().expect("a name"),
        types: vec![Type::A],
        count: 1,
        first_ms: None,
        last_ms: None,
        reason: Some(Reason::Exact),
        client: None,
    });
    seen.check(&["unused *.docker.io unused", "unused api.example.net unused"]);
}

#[test]
fn hosts_that_rotate_get_a_wildcard_from_three_labels_on() {
    let two = [
        "vstoken.actions.githubusercontent.com",
        "pipelines.actions.githubusercontent.com",
    ];
    asked(&two).check(&[
        "add pipelines.actions.githubusercontent.com rotating",
        "add vstoken.actions.githubusercontent.com rotating",
    ]);
    let three = [&two[..], &["run-1.actions.githubusercontent.com"]].concat();
    asked(&three).check(&["add *.actions.githubusercontent.com rotating"]);
}

#[test]
fn unknown_hosts_get_a_wildcard_for_review_alone() {
    let generated: Vec<String> = (0..3)
        .map(|n| format!("build{n}4x{n}9.ci.mycompany.com"))
        .collect();
    let generated: Vec<&str> = generated.iter().map(String::as_str).collect();
    let mut seen = asked(&generated);
    seen.check(&["review *.ci.mycompany.com unknown"]);
    assert_eq!(seen.proposal().items[0].evidence.names, generated);
    seen.accept = vec!["build04x09.ci.mycompany.com"];
    seen.check(&[
        "add build04x09.ci.mycompany.com unknown",
        "review build14x19.ci.mycompany.com unknown",
        "review build24x29.ci.mycompany.com unknown",
    ]);
    let plain = ["api", "git", "login", "www", "cdn", "docs", "ldap"]
        .map(|it| format!("{it}.mycompany.com"));
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    assert_eq!(
        asked(&plain).proposal().items.len(),
        7,
        "seven plain names stay names"
    );
    asked(&[&plain[..], &["mail.mycompany.com"]].concat())
        .check(&["review *.mycompany.com unknown"]);
}

// What follows is asked by somebody who wants to be let out.

#[test]
fn a_known_name_at_the_beginning_is_not_that_name() {
    for name in [
        "github.com.evil.example",
        "registry.npmjs.org.evil.example",
        "registry.npmjs.org.evil.com",
        "pypi.org.evil.github.io",
        "github.com.s3.amazonaws.com",
        "actions.githubusercontent.com.evil.com",
        "evilgithub.com",
        "github.com-evil.com",
        "xpypi.org",
    ] {
        for count in [1, u64::MAX] {
            let mut seen = asked(&[]);
            seen.query(name, Type::A, count);
            seen.adds_nothing();
            let class = seen.proposal().items[0].class;
            assert_eq!(class, Class::Review, "{name}");
        }
    }
}

#[test]
fn dots_and_odd_octets_inside_labels_make_no_known_name() {
    for name in [
        "registry\\.npmjs\\.org",
        "registry.npmjs\\.org",
        "registry\\046npmjs.org",
        "pypi.org\\000.evil.com",
        "pypi\\000.org",
        "pypi\\032.org",
        "github.com\\010.evil.com",
        "\\112ypi\\.org",
        "*.npmjs.org",
        "127.0.0.1",
        "evil\\034\\044\\034x.com",
    ] {
        asked(&[name]).adds_nothing();
    }
    for name in [
        "*.actions.githubusercontent.com",
        "*.github.io",
        "*.mycompany.com",
    ] {
        let mut seen = asked(&[name]);
        seen.accept = vec![name];
        seen.adds_nothing();
        assert_eq!(seen.proposal().items[0].class, Class::Hidden, "{name}");
    }
    // An escaped letter is that letter.
    asked(&["\\112ypi.org"]).check(&[
        "add pypi.org bundle",
        "add files.pythonhosted.org companion",
    ]);
}

#[test]
fn look_alikes_are_for_review() {
    for (name, kind) in [
        ("xn--gthub-n4a.com", "look_alike"),
        ("xn--80ak6aa92e.com", "look_alike"),
        ("xn--pypal-4ve.com", "look_alike"),
        ("xn--99999999.com", "look_alike"),
        ("githib.com", "typo"),
        ("api.githib.com", "typo"),
        ("registry.npmjs.co", "other_ending"),
        ("npmjs.io", "other_ending"),
    ] {
        let kind = format!("review {name} {kind}");
        let found = asked(&[name]).proposal();
        let found = &found.items[0];
        let line = format!(
            "{} {} {}",
            found.class.word(),
            found.name,
            found.evidence.kind
        );
        assert_eq!(line, kind);
    }
}

#[test]
fn decisions_of_their_own_are_never_made_here() {
    for (name, class, kind) in [
        ("metadata.google.internal", Class::Review, "metadata"),
        ("instance-data.ec2.internal", Class::Review, "metadata"),
        ("dns.google", Class::Review, "resolver"),
        ("abc123.dns.nextdns.io", Class::Review, "resolver"),
        ("one.one.one.one", Class::Review, "resolver"),
        ("chrome.cloudflare-dns.com", Class::Review, "resolver"),
        ("db.internal", Class::Review, "special_use"),
        ("printer.local", Class::Review, "special_use"),
        ("evil.github.io", Class::Review, "shared_suffix"),
        ("github.io", Class::Review, "shared_suffix"),
        (
            "kv4gacprodeus2file3.blob.core.windows.net",
            Class::Review,
            "shared_suffix",
        ),
        ("x.r2.cloudflarestorage.com", Class::Review, "shared_suffix"),
        ("mine.vercel.app", Class::Review, "shared_suffix"),
        ("storage.googleapis.com", Class::Review, "shared_suffix"),
        ("a1b2.ngrok-free.app", Class::Review, "tunnel"),
        ("x.trycloudflare.com", Class::Review, "tunnel"),
        ("x.duckdns.org", Class::Review, "dynamic"),
        ("10.0.0.1.nip.io", Class::Review, "dynamic"),
        ("hooks.slack.com", Class::Review, "drop"),
        ("gist.githubusercontent.com", Class::Review, "drop"),
        ("upload.pypi.org", Class::Review, "drop"),
        ("api.openai.com", Class::Review, "model"),
        ("x.oast.fun", Class::Danger, "collector"),
        ("webhook.site", Class::Danger, "collector"),
    ] {
        let proposal = asked(&[name]).proposal();
        let item = &proposal.items[0];
        assert_eq!((item.class, item.evidence.kind), (class, kind), "{name}");
        assert_eq!(item.name, name);
        assert!(proposal.additions().is_empty(), "{name}");
    }
}

#[test]
fn ten_thousand_names_force_no_wildcard() {
    let bases = [
        "github.io",
        "blob.core.windows.net",
        "com",
        "co.uk",
        "evil.com",
        "r2.dev",
        "githubusercontent.com",
    ];
    for (n, base) in bases.into_iter().enumerate() {
        for len in [3, 30] {
            let mut seen = asked(&[]);
            let names = if n == 0 { 10_000 } else { 400 };
            for n in 0..names {
                seen.query_after(1, &format!("{}{n}.{base}", noise(n, len)), Type::A, 1);
            }
            seen.adds_nothing();
            let proposal = seen.proposal();
            let wild = |it: &&Item| it.name.starts_with("*.") && it.class != Class::Danger;
            assert_eq!(proposal.items.iter().find(wild), None, "{base}");
        }
    }
}

#[test]
fn a_tunnel_is_a_danger_wherever_it_is_dug() {
    for parent in [
        "k.dnsm.example",
        "t.mycompany.com",
        "t.actions.githubusercontent.com",
        "cdn.pypi.org",
        "registry.npmjs.org",
        "x.evil.github.io",
    ] {
        let mut seen = asked(&[]);
        for n in 0..200 {
            seen.query_after(500, &format!("{}.{parent}", noise(n, 40)), Type::TXT, 1);
        }
        let proposal = seen.proposal();
        let danger: Vec<&str> = proposal
            .of(Class::Danger)
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(danger, [format!("*.{parent}")], "{parent}");
        seen.adds_nothing();
    }
}

#[test]
fn what_lies_below_a_tunnel_or_beside_one_is_not_added() {
    let mut seen = asked(&[
        "www.evil.com",
        "api.github.com",
        "vstoken.actions.githubusercontent.com",
    ]);
    for n in 0..200 {
        seen.query_after(500, &format!("{}.t.evil.com", noise(n, 40)), Type::A, 1);
        seen.query_after(500, &format!("{}.github.com", noise(n, 40)), Type::A, 1);
        seen.query_after(
            500,
            &format!("{}.actions.githubusercontent.com", noise(n, 40)),
            Type::A,
            1,
        );
    }
    seen.check(&[
        "review api.github.com beside_danger",
        "review www.evil.com beside_danger",
        "danger *.actions.githubusercontent.com tunnel",
        "danger *.github.com tunnel",
        "danger *.t.evil.com tunnel",
    ]);
}

#[test]
fn a_tunnel_that_the_policy_allows_is_told_all_the_same() {
    let mut seen = asked(&[]).beside(&["*.mycompany.com"]);
    for n in 0..100 {
        seen.query_after(
            500,
            &format!("{}.t.mycompany.com", noise(n, 40)),
            Type::A,
            1,
        );
    }
    let proposal = seen.proposal();
    assert_eq!(proposal.items.len(), 1, "and the pattern was used");
    assert!(
        proposal.items[0]
            .why
            .ends_with("the policy allows it by *.mycompany.com")
    );
}

#[test]
fn a_tunnel_hides_neither_behind_underscores_nor_behind_a_search_list() {
    let mut seen = asked(&[]);
    for n in 0..100 {
        seen.query_after(
            500,
            &format!("_{}._tcp.github.com", noise(n, 40)),
            Type::SRV,
            1,
        );
    }
    seen.adds_nothing();
    let danger = seen.proposal();
    assert_eq!(danger.of(Class::Danger).count(), 1);

    // Each piece is asked for by itself first, so that it seems to be a name with an ending behind it.
    let mut seen = asked(&[]);
    for n in 0..100 {
        let data = format!("{}.xy", noise(n, 40));
        seen.query_after(500, &data, Type::A, 1);
        seen.query_after(500, &format!("{data}.evil.com"), Type::A, 1);
    }
    let proposal = seen.proposal();
    let danger: Vec<&str> = proposal
        .of(Class::Danger)
        .map(|it| it.name.as_str())
        .collect();
    assert!(danger.contains(&"*.xy.evil.com"), "{danger:?}");
    assert_eq!(proposal.of(Class::Hidden).count(), 0);
}

#[test]
fn accepting_opens_no_more_than_was_up_for_review() {
    let mut seen = asked(&[
        "mycompany.com",
        "x.oast.fun",
        "clients2.google.com",
        "a.github.io",
        "b.github.io",
        "c.github.io",
    ]);
    seen.accept = vec![
        "x.oast.fun",
        "clients2.google.com",
        "*.github.io",
        "*.com",
        "evil.com",
    ];
    seen.adds_nothing();
    assert_eq!(seen.proposal().not_accepted.len(), 5);
}

/// What bundles have: exact hosts, and bases below which names change.
fn bundled(verb: &str) -> Vec<&'static str> {
    let list = include_str!("../src/learn/data/bundles.list");
    let rest = list
        .lines()
        .filter_map(|it| it.strip_prefix(verb)?.strip_prefix(' '));
    rest.filter_map(|it| it.split(' ').next()).collect()
}

proptest! {
    /// The whole promise: whatever is asked for, what is added of itself is a host of a bundle.
    #[test]
    fn what_is_added_is_a_host_of_a_bundle(
        names in prop::collection::vec(
            prop::collection::vec(
                prop::sample::select(vec![
                    "github", "com", "registry", "npmjs", "org", "pypi", "actions", "githubusercontent", "io", "evil",
                    "_http", "_tcp", "deb", "debian", "*", "a\\.b", "x1y2z3w4", "xn--pypal-4ve", "files", "pythonhosted",
                ]),
                1..7,
            ),
            1..40,
        ),
        kind in prop::sample::select(vec![Type::A, Type::SRV, Type::TXT, Type::DS]),
        count in prop::sample::select(vec![1, u64::MAX]),
    ) {
        let mut seen = asked(&[]);
        for name in &names {
            seen.query(&name.join("."), kind, count);
        }
        let (hosts, bases) = (bundled("host"), bundled("rotating"));
        for pattern in seen.proposal().additions() {
            let text = pattern.text();
            let is_based = bases.iter().any(|it| text.strip_suffix(it).is_some_and(|it| it.ends_with('.')));
            prop_assert!(hosts.contains(&text) || is_based, "{text}");
        }
    }
}

#[test]
fn counts_and_times_at_their_ends_break_nothing() {
    let mut seen = asked(&[]);
    for (name, at_ms) in [
        ("pypi.org", 0),
        ("pypi.org", u64::MAX),
        ("a.evil.com", u64::MAX),
    ] {
        seen.seen.add(&Observation {
            name: name.parse().expect(name),
            types: Vec::new(),
            count: u64::MAX,
            first_ms: Some(at_ms),
            last_ms: Some(at_ms),
            reason: None,
            client: None,
        });
    }
    let proposal = seen.proposal();
    assert_eq!(proposal.lookups, u64::MAX);
    let shown = text(&proposal, "policy x", &[], Detail::All);
    assert!(shown.contains("pypi.org"));
    let shown: serde_json::Value = serde_json::from_str(&json(&proposal, &[])).expect("JSON");
    assert_eq!(shown["items"][0]["first"], "1970-01-01T00:00:00.000Z");
    assert_eq!(shown["items"][0]["last"], serde_json::Value::Null);
}

#[test]
fn no_name_of_a_log_steers_a_terminal() {
    let record = |name: &str| format!(r#"{{"event":"dns.query","name":"{name}","type":"A"}}"#);
    let mut seen = Observations::default();
    for name in [
        "a\\u001b[2Jb.com",
        "\\u202e.evil.com",
        "a\\nADD  1 name\\n  evil.com",
        "\\u0000.com",
        "é.com",
    ] {
        if let Ok(Some(query)) = read_line(record(name).as_bytes()) {
            seen.add(&query);
        }
    }
    let asked = Asked { seen, ..asked(&[]) };
    asked.adds_nothing();
    let shown = text(&asked.proposal(), "policy x", &[], Detail::All);
    assert!(
        shown
            .chars()
            .all(|it| it == '\n' || (' '..='~').contains(&it)),
        "{shown}"
    );
    assert!(!shown.contains("\n  evil.com"), "{shown}");
}

#[test]
fn every_recorded_client_gets_what_a_careful_person_would_write() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/suggest");
    for (log, expected) in [
        ("apt", &["deb.debian.org"][..]),
        ("apt-blocked", &["deb.debian.org"]),
        ("pip", &["files.pythonhosted.org", "pypi.org"]),
        ("pip-pod", &["files.pythonhosted.org", "pypi.org"]),
        ("pip-office", &["files.pythonhosted.org", "pypi.org"]),
        ("pip-blocked", &["files.pythonhosted.org", "pypi.org"]),
        ("npm", &["registry.npmjs.org"]),
        ("cargo", &["index.crates.io", "static.crates.io"]),
        ("git", &["github.com"]),
        ("release", &["github.com", "objects.githubusercontent.com"]),
        ("go", &["proxy.golang.org", "sum.golang.org"]),
        ("maven", &["repo.maven.apache.org"]),
        ("browser", &[]),
        ("tunnel", &[]),
    ] {
        let lines = std::fs::read(format!("{directory}/{log}.jsonl")).expect(log);
        let mut seen = Observations::default();
        for line in lines.split(|it| *it == b'\n') {
            if let Some(query) = read_line(line).expect("a record") {
                seen.add(&query);
            }
        }
        let additions = Asked { seen, ..asked(&[]) }.proposal().additions();
        let texts: Vec<&str> = additions.iter().map(Pattern::text).collect();
        assert_eq!(texts, expected, "{log}");
    }
}
