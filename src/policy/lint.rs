//! Remarks about a policy that is valid but may not say what was meant.
//!
//! An [`Accepted`] policy and its source come in; findings below the severity
//! error go out. Only `check` asks for them: serving a policy never does, and
//! no remark changes what a policy allows.

use std::collections::HashMap;

use super::diagnose::{Findings, shown};
use super::domains::{
    DOH_PROVIDERS, Oddity, SHARED, SPECIAL, above, is_below, is_public_suffix, is_registered,
    oddity, special_domain,
};
use super::json::{self, Raw};
use super::schema::places;
use super::{Accepted, Diagnostic, Diagnostics, Pattern, Select, Severity};

/// Looks at an accepted policy for what may not be meant. `file`, `source` and `select` are those that it was read with.
///
/// An apex without a wildcard is remarked once a file, at the first: most such names are meant as they stand. A wildcard without
/// its apex is remarked at each, if the apex is a domain that someone registered.
pub fn lint(file: &str, source: &[u8], accepted: &Accepted, select: &Select) -> Diagnostics {
    let Ok(source) = str::from_utf8(source) else {
        return Diagnostics::default();
    };
    let Some(places) = places(source, select) else {
        return Diagnostics::default();
    };
    let patterns: Vec<Pattern> = accepted.policy.allowed_hostnames.iter().collect();
    let mut linter = Linter {
        source,
        patterns: &patterns,
        lines: &accepted.lines,
        path: format!("{}/allowed_hostnames", places.egress_path),
        first_of: first_of(&patterns),
        findings: Findings::new(),
    };
    if accepted.policy.allow_all {
        linter.dead_names(places.allow_all, &places.egress_path);
    } else if patterns.is_empty() {
        linter.empty_list(places.allowed_hostnames);
    } else {
        linter.names(places.allowed_hostnames);
    }
    linter.findings.place(file, source)
}

/// Where each pattern stands first.
fn first_of(patterns: &[Pattern]) -> HashMap<&str, usize> {
    let mut first = HashMap::with_capacity(patterns.len());
    for (index, pattern) in patterns.iter().enumerate() {
        first.entry(pattern.text()).or_insert(index);
    }
    first
}

struct Linter<'a> {
    source: &'a str,
    patterns: &'a [Pattern],
    lines: &'a [u32],
    /// The JSON pointer of the list.
    path: String,
    first_of: HashMap<&'a str, usize>,
    findings: Findings,
}

/// One entry: what it means and how it is written.
struct Entry<'a> {
    index: usize,
    pattern: &'a Pattern,
    raw: &'a Raw,
}

impl<'a> Linter<'a> {
    fn dead_names(&mut self, allow_all: &Raw, egress_path: &str) {
        let count = self.patterns.len();
        if count == 0 {
            return;
        }
        let span = json::span(self.source, allow_all);
        let message = format!("every name is allowed, so the list of {count} has no effect");
        let finding = Diagnostic::new(Severity::Warning, "NP030", span, message);
        let help = "write false to allow the listed names alone".to_owned();
        let finding = finding.label("allows every name").help(help);
        self.findings
            .add(finding.path(format!("{egress_path}/allow_all")));
    }

    fn empty_list(&mut self, list: &Raw) {
        let span = json::span(self.source, list);
        let finding = Diagnostic::new(Severity::Info, "NP032", span, "no hostname is allowed");
        let help = "the services that the `allow_...` fields switch on still resolve".to_owned();
        let finding = finding.label("an empty list denies every name").help(help);
        self.findings.add(finding.path(self.path.as_str()));
    }

    fn names(&mut self, list: &'a Raw) {
        let patterns = self.patterns;
        let mut lone_apexes = LoneApexes::of(patterns);
        let mut patterns = patterns.iter().enumerate();
        json::each_element(list, |raw| {
            let Some((index, pattern)) = patterns.next() else {
                return;
            };
            let entry = Entry {
                index,
                pattern,
                raw,
            };
            self.entry(&entry);
            lone_apexes.consider(entry);
        });
        self.lone_apexes(&lone_apexes);
    }

    fn entry(&mut self, entry: &Entry<'a>) {
        self.normalised(entry);
        if self.doubled(entry) || self.covered(entry) {
            return;
        }
        self.apex_missing(entry);
        self.shared_suffix(entry);
        self.special(entry);
        self.doh_provider(entry);
        self.look_alike(entry);
    }

    fn add(
        &mut self,
        entry: &Entry<'_>,
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        let span = json::span(self.source, entry.raw);
        let finding = Diagnostic::new(severity, code, span, message);
        let finding = finding.label(label).help(help.into());
        self.findings
            .add(finding.path(format!("{}/{}", self.path, entry.index)));
    }

    fn line(&self, index: usize) -> u32 {
        self.lines[index]
    }

    fn normalised(&mut self, entry: &Entry<'_>) {
        let written = json::text(entry.raw).unwrap_or_default();
        if written == entry.pattern.text() {
            return;
        }
        let label = if written.ends_with('.') {
            "the final dot is dropped"
        } else {
            "letter case does not count"
        };
        let help = format!("it is read as `{}`", entry.pattern);
        self.add(
            entry,
            Severity::Info,
            "NP022",
            "the entry is normalised",
            label,
            help,
        );
    }

    fn doubled(&mut self, entry: &Entry<'_>) -> bool {
        let first = self.first_of[entry.pattern.text()];
        if first == entry.index {
            return false;
        }
        let label = format!("already on line {}", self.line(first));
        self.add(
            entry,
            Severity::Warning,
            "NP020",
            "the entry stands twice",
            label,
            "remove one of them",
        );
        true
    }

    fn covered(&mut self, entry: &Entry<'_>) -> bool {
        let Some((wildcard, index)) = self.wildcard_above(entry.pattern) else {
            return false;
        };
        let label = format!("`{wildcard}` on line {} covers it", self.line(index));
        let help = "remove it, or remove the wildcard to allow less";
        self.add(
            entry,
            Severity::Warning,
            "NP020",
            "the entry is covered by a wildcard",
            label,
            help,
        );
        true
    }

    fn wildcard_above(&self, pattern: &Pattern) -> Option<(String, usize)> {
        above(pattern.base()).find_map(|suffix| {
            let wildcard = format!("*.{suffix}");
            let index = *self.first_of.get(wildcard.as_str())?;
            Some((wildcard, index))
        })
    }

    fn apex_missing(&mut self, entry: &Entry<'_>) {
        let base = entry.pattern.base();
        let is_covered = self.first_of.contains_key(base) || self.is_below_a_wildcard(base);
        if !entry.pattern.is_wildcard() || is_covered || !is_registered(base) {
            return;
        }
        let message = "the wildcard is listed without its apex";
        let label = format!("does not cover `{base}` itself");
        let help = format!("add `{base}` if it is meant too");
        self.add(entry, Severity::Info, "NP021", message, label, help);
    }

    fn is_below_a_wildcard(&self, apex: &str) -> bool {
        above(apex).any(|suffix| self.first_of.contains_key(format!("*.{suffix}").as_str()))
    }

    /// One remark for all of them.
    fn lone_apexes(&mut self, lone: &LoneApexes<'_>) {
        let Some(first) = &lone.first else { return };
        let name = first.pattern.base();
        let message = match lone.count {
            1 => "a domain is listed without the names below it".to_owned(),
            count => format!(
                "{count} domains are listed without the names below them; this is the first"
            ),
        };
        let label = format!("does not cover `www.{name}`");
        let help = format!("add `*.{name}` if they are meant too");
        self.add(first, Severity::Info, "NP021", message, label, help);
    }

    fn shared_suffix(&mut self, entry: &Entry<'_>) {
        let base = entry.pattern.base();
        if !entry.pattern.is_wildcard() {
            return;
        }
        if !base.contains('.') && !SPECIAL.contains(&base) {
            let label = format!("every name in `{base}`");
            let help = "list the domains that are meant";
            self.add(
                entry,
                Severity::Warning,
                "NP031",
                "wildcard over a top-level domain",
                label,
                help,
            );
        } else if is_public_suffix(base) || SHARED.contains(&base) {
            let label = format!("anyone can publish under {base}");
            let help = format!("list the exact site, for example `myorg.{base}`");
            self.add(
                entry,
                Severity::Warning,
                "NP031",
                "wildcard over a shared suffix",
                label,
                help,
            );
        }
    }

    fn special(&mut self, entry: &Entry<'_>) {
        let base = entry.pattern.base();
        let Some(domain) = special_domain(base) else {
            return;
        };
        let label = format!("`{domain}` is set aside");
        let help = "such names are not in public DNS; serve them from a zone or a `[[forward]]` of the configuration";
        self.add(
            entry,
            Severity::Warning,
            "NP033",
            "a name in a special-use domain",
            label,
            help,
        );
    }

    fn doh_provider(&mut self, entry: &Entry<'_>) {
        let pattern = entry.pattern;
        let is_meant = |host: &&&str| match pattern.is_wildcard() {
            // A wildcard over a whole top-level domain has its own remark.
            true => pattern.base().contains('.') && is_below(host, pattern.base()),
            false => **host == pattern.base(),
        };
        let Some(host) = DOH_PROVIDERS.iter().find(is_meant) else {
            return;
        };
        let label = format!("`{host}` answers DNS over HTTPS");
        let help = "remove it unless programs may look up names past this filter";
        self.add(
            entry,
            Severity::Warning,
            "NP034",
            "a public resolver is allowed",
            label,
            help,
        );
    }

    fn look_alike(&mut self, entry: &Entry<'_>) {
        let labels = entry.pattern.base().split('.');
        let Some((label, oddity)) = labels
            .filter(|it| it.starts_with("xn--"))
            .find_map(|it| Some((it, oddity(it)?)))
        else {
            return;
        };
        let (message, label) = match oddity {
            Oddity::Undecodable => (
                "an `xn--` label stands for nothing",
                format!("`{label}` cannot be decoded"),
            ),
            Oddity::Mixed(text) => (
                "an international name mixes scripts",
                format!("shown as `{}`", shown(&text)),
            ),
            Oddity::LooksLike(text) => (
                "an international name looks like another",
                format!("looks like `{}`", shown(&text)),
            ),
        };
        self.add(
            entry,
            Severity::Warning,
            "NP023",
            message,
            label,
            "make sure that it is the name you mean",
        );
    }
}

/// Registered domains of which nothing else is listed.
struct LoneApexes<'a> {
    /// Every name that has a listed name below it.
    parents: std::collections::HashSet<&'a str>,
    first: Option<Entry<'a>>,
    count: usize,
}

impl<'a> LoneApexes<'a> {
    fn of(patterns: &'a [Pattern]) -> Self {
        let parents = patterns.iter().flat_map(|it| {
            let own = it.is_wildcard().then(|| it.base());
            own.into_iter().chain(above(it.base()))
        });
        Self {
            parents: parents.collect(),
            first: None,
            count: 0,
        }
    }

    fn consider(&mut self, entry: Entry<'a>) {
        let base = entry.pattern.base();
        if entry.pattern.is_wildcard() || self.parents.contains(base) || !is_registered(base) {
            return;
        }
        self.count += 1;
        self.first.get_or_insert(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::read;

    fn document(allow_all: bool, list: &str) -> String {
        format!(
            r#"{{"id": "i", "name": "n", "create_time_ms": 1, "update_time_ms": 1, "egress": {{"allow_all": {allow_all},
"allow_devbox_to_devbox": false, "allow_agent_gateway": false, "allow_mcp_gateway": false, "allowed_hostnames":
{list}}}}}"#
        )
    }

    fn remarks(allow_all: bool, list: &str) -> Diagnostics {
        let source = document(allow_all, list);
        let accepted = read("policy.json", source.as_bytes(), &Select::Only).expect(list);
        let found = lint("policy.json", source.as_bytes(), &accepted, &Select::Only);
        assert!(!found.has_errors());
        found
    }

    /// Each remark as `code column label`.
    #[track_caller]
    fn check(list: &[&str], expected: &[&str]) {
        let list = serde_json::to_string(list).expect("strings");
        let found = remarks(false, &list);
        let line = |it: &Diagnostic| format!("{} {} {}", it.code, it.column, it.label);
        let found: Vec<String> = found.findings.iter().map(line).collect();
        assert_eq!(found, expected, "{list}");
    }

    #[test]
    fn a_plain_list_has_no_remarks() {
        check(&["github.com", "*.github.com", "api.openai.com"], &[]);
    }

    #[test]
    fn doubled_and_covered_entries_are_remarked() {
        check(
            &["api.a.com", "API.a.com"],
            &[
                "NP022 14 letter case does not count",
                "NP020 14 already on line 3",
            ],
        );
        check(
            &["a.com", "*.a.com", "b.c.a.com", "*.d.a.com"],
            &[
                "NP020 20 `*.a.com` on line 3 covers it",
                "NP020 32 `*.a.com` on line 3 covers it",
            ],
        );
    }

    #[test]
    fn a_wildcard_without_its_apex_is_remarked() {
        check(
            &["*.npmjs.org"],
            &["NP021 2 does not cover `npmjs.org` itself"],
        );
        check(&["*.cdn.npmjs.org"], &[]);
        check(&["*.npmjs.org", "npmjs.org"], &[]);
    }

    #[test]
    fn lone_apexes_are_remarked_once() {
        check(
            &["x.a.com", "a.com", "b.com", "c.com"],
            &["NP021 20 does not cover `www.b.com`"],
        );
        let found = remarks(false, r#"["b.com", "c.com"]"#);
        assert!(
            found.findings[0]
                .message
                .starts_with("2 domains are listed")
        );
    }

    #[test]
    fn what_is_normalised_is_remarked() {
        check(
            &["api.GitHub.com", "api.github.io."],
            &[
                "NP022 2 letter case does not count",
                "NP022 19 the final dot is dropped",
            ],
        );
    }

    #[test]
    fn look_alikes_are_remarked() {
        // "bücher", Chinese, and Japanese of three scripts are as they should be.
        check(
            &[
                "www.xn--bcher-kva.com",
                "www.xn--fiqs8s.com",
                "www.xn--eckwd4c7c.com",
            ],
            &[],
        );
        check(&["www.xn--pple-43d.com"], &["NP023 2 shown as `аpple`"]);
        check(&["www.xn--80ak6aa92e.com"], &["NP023 2 looks like `apple`"]);
        check(&["www.xn--0.com"], &["NP023 2 `xn--0` cannot be decoded"]);
    }

    #[test]
    fn a_list_under_allow_all_is_dead() {
        let found = remarks(true, r#"["*.com", "dns.google"]"#);
        assert_eq!(found.findings.len(), 1);
        let finding = &found.findings[0];
        assert_eq!(
            (finding.code, finding.line, finding.column),
            ("NP030", 1, 92)
        );
        assert_eq!(finding.path, "/egress/allow_all");
        assert!(remarks(true, "[]").is_empty());
    }

    #[test]
    fn shared_suffixes_are_remarked() {
        check(&["*.com"], &["NP031 2 every name in `com`"]);
        check(
            &["*.amazonaws.com"],
            &["NP031 2 anyone can publish under amazonaws.com"],
        );
        check(&["*.co.uk"], &["NP031 2 anyone can publish under co.uk"]);
        check(
            &["*.github.io"],
            &["NP031 2 anyone can publish under github.io"],
        );
        check(
            &["*.r2.cloudflarestorage.com"],
            &["NP031 2 anyone can publish under r2.cloudflarestorage.com"],
        );
        check(
            &[
                "me.github.io",
                "*.me.github.io",
                "*.me.r2.cloudflarestorage.com",
            ],
            &[],
        );
    }

    #[test]
    fn an_empty_list_is_remarked() {
        check(&[], &["NP032 1 an empty list denies every name"]);
    }

    #[test]
    fn special_use_domains_are_remarked() {
        check(&["nas.local"], &["NP033 2 `local` is set aside"]);
        check(&["*.test"], &["NP033 2 `test` is set aside"]);
        check(&["router.home.arpa"], &["NP033 2 `home.arpa` is set aside"]);
        check(&["www.local.com"], &[]);
    }

    #[test]
    fn public_resolvers_are_remarked() {
        check(
            &["dns.google"],
            &["NP034 2 `dns.google` answers DNS over HTTPS"],
        );
        check(
            &["quad9.net", "*.quad9.net"],
            &["NP034 14 `dns.quad9.net` answers DNS over HTTPS"],
        );
        check(&["www.google.com"], &[]);
    }

    #[test]
    fn a_remark_is_drawn_at_its_place() {
        let found = remarks(false, "[\n  \"*.github.io\"\n]");
        let expected = "\
warning[NP031]: wildcard over a shared suffix
 --> policy.json:4:3
  |
4 |   \"*.github.io\"
  |   ^^^^^^^^^^^^^ anyone can publish under github.io
  |
  = help: list the exact site, for example `myorg.github.io`

";
        assert_eq!(found.render(false), expected);
        assert_eq!(found.findings[0].path, "/egress/allowed_hostnames/0");
    }

    #[test]
    fn the_chosen_policy_of_a_list_is_looked_at() {
        let one = document(false, "[]");
        let two = document(false, r#"["nas.local"]"#).replace("\"i\"", "\"j\"");
        let source = format!(r#"{{"has_more": false, "network_policies": [{one}, {two}]}}"#);
        let select = Select::Id("j".into());
        let accepted = read("policy.json", source.as_bytes(), &select).expect("valid");
        let found = lint("policy.json", source.as_bytes(), &accepted, &select);
        assert_eq!(found.findings.len(), 1);
        assert_eq!(
            found.findings[0].path,
            "/network_policies/1/egress/allowed_hostnames/0"
        );
    }
}
