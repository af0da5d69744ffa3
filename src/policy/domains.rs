//! Whose a name is: public and shared suffixes, special-use domains, public resolvers, look-alikes.
//!
//! A name comes in as text, lower-case and without its final dot; what is known
//! of it goes out. Nothing here judges: `check` remarks on it, `suggest` advises by it.

use super::diagnose::shown;

/// Suffixes under which anyone can get a name although the public suffix list does not have them.
pub(super) const SHARED: [&str; 14] = [
    "amazonaws.com",
    "backblazeb2.com",
    "core.windows.net",
    "digitaloceanspaces.com",
    "googleusercontent.com",
    "ingest.de.sentry.io",
    "ingest.sentry.io",
    "ingest.us.sentry.io",
    "r2.cloudflarestorage.com",
    "sharepoint.com",
    "storage.googleapis.com",
    "tunnel.runloop.ai",
    "wasabisys.com",
    "windows.net",
];

/// Top-level domains, and the like, that no public DNS server has (RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476).
pub(super) const SPECIAL: [&str; 9] = [
    "alt",
    "example",
    "home.arpa",
    "internal",
    "invalid",
    "local",
    "localhost",
    "onion",
    "test",
];

/// Resolvers that answer over HTTPS to whoever asks.
pub(super) const DOH_PROVIDERS: [&str; 24] = [
    "base.dns.mullvad.net",
    "chrome.cloudflare-dns.com",
    "cloudflare-dns.com",
    "dns.adguard-dns.com",
    "dns.alidns.com",
    "dns.controld.com",
    "dns.google",
    "dns.mullvad.net",
    "dns.nextdns.io",
    "dns.quad9.net",
    "dns.switch.ch",
    "dns0.eu",
    "dns64.dns.google",
    "doh.cleanbrowsing.org",
    "doh.dns.sb",
    "doh.familyshield.opendns.com",
    "doh.libredns.gr",
    "doh.opendns.com",
    "doh.pub",
    "family.cloudflare-dns.com",
    "freedns.controld.com",
    "mozilla.cloudflare-dns.com",
    "one.one.one.one",
    "security.cloudflare-dns.com",
];

/// Letters of other scripts that look like a Latin one.
const LOOK_ALIKES: [(char, char); 30] = [
    ('а', 'a'),
    ('с', 'c'),
    ('ԁ', 'd'),
    ('е', 'e'),
    ('һ', 'h'),
    ('і', 'i'),
    ('ј', 'j'),
    ('к', 'k'),
    ('ӏ', 'l'),
    ('м', 'm'),
    ('п', 'n'),
    ('о', 'o'),
    ('р', 'p'),
    ('ԛ', 'q'),
    ('г', 'r'),
    ('ѕ', 's'),
    ('т', 't'),
    ('у', 'y'),
    ('ԝ', 'w'),
    ('х', 'x'),
    ('α', 'a'),
    ('ε', 'e'),
    ('ι', 'i'),
    ('κ', 'k'),
    ('ν', 'v'),
    ('ο', 'o'),
    ('ρ', 'p'),
    ('τ', 't'),
    ('υ', 'u'),
    ('ո', 'n'),
];

/// The domain that an owner registered, directly under a public or a shared suffix of the public suffix list, that `name` is or lies in.
pub fn registrable(name: &str) -> Option<&str> {
    let domain = psl::domain(name.as_bytes())?;
    str::from_utf8(domain.as_bytes()).ok()
}

/// The longest suffix that `name` is or lies under and under which anybody can get names: hosting, storage, tunnels.
pub fn shared_suffix(name: &str) -> Option<&str> {
    let own = SHARED.into_iter().find(|it| is_at_or_below(name, it));
    let listed = psl::suffix(name.as_bytes())
        .filter(|it| it.is_known() && it.typ() == Some(psl::Type::Private))
        .and_then(|it| str::from_utf8(it.as_bytes()).ok());
    own.into_iter().chain(listed).max_by_key(|it| it.len())
}

/// Does everything below `base` belong to one owner, as far as the lists know? Not a top-level domain, not a public
/// or shared suffix, not one above a shared suffix of ours, and no special-use domain.
pub fn has_one_owner(base: &str) -> bool {
    base.contains('.')
        && !is_public_suffix(base)
        && special_domain(base).is_none()
        && !SHARED.into_iter().any(|it| is_at_or_below(it, base))
}

/// The public resolver whose name this is, or which lies above it: it answers DNS over HTTPS or TLS to whoever asks.
pub fn public_resolver(name: &str) -> Option<&'static str> {
    DOH_PROVIDERS
        .into_iter()
        .find(|it| is_at_or_below(name, it))
}

/// What is odd about an international name, in a few words; none where nothing is.
pub fn strange_script(name: &str) -> Option<String> {
    let label = |it: &str| match oddity(it)? {
        Oddity::Undecodable => Some(format!("`{it}` cannot be decoded")),
        Oddity::Mixed(text) => Some(format!("`{it}` mixes scripts: {}", shown(&text))),
        Oddity::LooksLike(text) => Some(format!("`{it}` looks like {}", shown(&text))),
    };
    let mut labels = name.split('.').filter(|it| it.starts_with("xn--"));
    labels.find_map(label)
}

/// How a name with an `xn--` label is shown; none without one.
pub fn international(name: &str) -> Option<String> {
    let is_coded = name.split('.').any(|it| it.starts_with("xn--"));
    is_coded.then(|| shown(&idna::domain_to_unicode(name).0))
}

/// The names above, the nearest first.
pub fn above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(at, _)| &name[at + 1..])
}

/// Is `name` below `apex`, label for label?
pub fn is_below(name: &str, apex: &str) -> bool {
    name.strip_suffix(apex).is_some_and(|it| it.ends_with('.'))
}

/// Is `name` `apex` itself, or below it?
pub fn is_at_or_below(name: &str, apex: &str) -> bool {
    name == apex || is_below(name, apex)
}

/// Is it a domain that its owner bought, directly under a suffix that a registry runs? A site under a shared suffix is not.
pub(super) fn is_registered(name: &str) -> bool {
    psl::domain(name.as_bytes()).is_some_and(|it| {
        let is_icann = it.suffix().typ() == Some(psl::Type::Icann);
        it.as_bytes() == name.as_bytes() && is_icann && !is_set_apart(name)
    })
}

/// Has other remarks than that of an owner's domain.
fn is_set_apart(name: &str) -> bool {
    SHARED.contains(&name) || DOH_PROVIDERS.contains(&name) || special_domain(name).is_some()
}

/// The special-use domain that a name is or lies in.
pub fn special_domain(name: &str) -> Option<&'static str> {
    SPECIAL.into_iter().find(|it| is_at_or_below(name, it))
}

/// Is it a suffix of the public suffix list, a registry's or a shared one?
pub fn is_public_suffix(name: &str) -> bool {
    psl::suffix(name.as_bytes()).is_some_and(|it| it.as_bytes() == name.as_bytes() && it.is_known())
}

/// Is this label a top-level domain of the internet?
pub fn is_top_level(label: &[u8]) -> bool {
    psl::suffix(label).is_some_and(|it| it.is_known())
}

/// What is odd about an `xn--` label.
pub(super) enum Oddity {
    Undecodable,
    Mixed(String),
    LooksLike(String),
}

pub(super) fn oddity(label: &str) -> Option<Oddity> {
    let (text, decoded) = idna::domain_to_unicode(label);
    if decoded.is_err() {
        return Some(Oddity::Undecodable);
    }
    if is_mixed(&text) {
        return Some(Oddity::Mixed(text));
    }
    latin_twin(&text).map(Oddity::LooksLike)
}

/// Letters of more than one of the alphabets that resemble each other. East Asian names mix scripts by nature.
fn is_mixed(text: &str) -> bool {
    let mut scripts = text.chars().filter_map(alphabet);
    scripts
        .next()
        .is_some_and(|first| scripts.any(|it| it != first))
}

#[derive(PartialEq, Eq)]
enum Alphabet {
    Latin,
    Greek,
    Cyrillic,
    Armenian,
    Hebrew,
    Arabic,
    Cherokee,
}

fn alphabet(character: char) -> Option<Alphabet> {
    match character {
        'a'..='z' | '\u{df}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Some(Alphabet::Latin),
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Some(Alphabet::Greek),
        '\u{400}'..='\u{52f}' => Some(Alphabet::Cyrillic),
        '\u{530}'..='\u{58f}' => Some(Alphabet::Armenian),
        '\u{590}'..='\u{5ff}' => Some(Alphabet::Hebrew),
        '\u{600}'..='\u{6ff}' => Some(Alphabet::Arabic),
        '\u{13a0}'..='\u{13ff}' | '\u{ab70}'..='\u{abbf}' => Some(Alphabet::Cherokee),
        _ => None,
    }
}

/// The ASCII text that a text of another alphabet cannot be told from.
fn latin_twin(text: &str) -> Option<String> {
    let twin = |it: char| match it.is_ascii() {
        true => Some(it),
        false => LOOK_ALIKES
            .iter()
            .find(|(odd, _)| *odd == it)
            .map(|(_, latin)| *latin),
    };
    text.chars().map(twin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_found_under_public_and_shared_suffixes() {
        for (name, owner) in [
            ("registry.npmjs.org", Some("npmjs.org")),
            ("a.b.example.co.uk", Some("example.co.uk")),
            ("x.evil.github.io", Some("evil.github.io")),
            ("github.io", None),
            ("com", None),
        ] {
            assert_eq!(registrable(name), owner, "{name}");
        }
    }

    #[test]
    fn the_longest_shared_suffix_counts() {
        for (name, suffix) in [
            ("a.blob.core.windows.net", Some("blob.core.windows.net")),
            (
                "x.r2.cloudflarestorage.com",
                Some("r2.cloudflarestorage.com"),
            ),
            ("o1.ingest.us.sentry.io", Some("ingest.us.sentry.io")),
            ("github.io", Some("github.io")),
            ("github.com", None),
            ("notgithub.io.example", None),
        ] {
            assert_eq!(shared_suffix(name), suffix, "{name}");
        }
    }

    #[test]
    fn a_wildcard_stands_on_one_owner_alone() {
        for base in ["npmjs.org", "actions.githubusercontent.com"] {
            assert!(has_one_owner(base), "{base}");
        }
        for base in [
            "com",
            "co.uk",
            "github.io",
            "windows.net",
            "sentry.io",
            "googleapis.com",
            "cluster.local",
            "dnsm.example",
        ] {
            assert!(!has_one_owner(base), "{base}");
        }
    }

    #[test]
    fn strange_scripts_are_told() {
        let said = strange_script("www.xn--pypal-4ve.com").expect("mixed");
        assert!(said.starts_with("`xn--pypal-4ve` mixes scripts"), "{said}");
        assert_eq!(strange_script("xn--bcher-kva.example"), None);
    }
}
