//! What is thought of one name.
//!
//! A name and what is known of its queries come in, a class and the reason go
//! out. The rungs stand in order of caution: what is nobody's need, what is a
//! danger or a decision of its own, and only then what a known tool needs. A
//! name that is on no list is never added, however often it was asked for.

use std::collections::HashMap;

use super::alike::{Known, Likeness};
use super::catalogue::{CATALOGUE, Entry, Manner};
use super::fold::{Asked, Suffixed, host};
use super::proposal::Class;
use crate::policy::Pattern;
use crate::policy::domains::{
    international, is_at_or_below, is_below, public_resolver, registrable, shared_suffix,
    special_domain, strange_script,
};
use crate::wire::Type;

/// What a client asks for that wants to connect.
const ADDRESS_TYPES: [Type; 7] = [
    Type::A,
    Type::AAAA,
    Type::CNAME,
    Type::SRV,
    Type::SVCB,
    Type::HTTPS,
    Type::ANY,
];
/// What is asked for on behalf of DNS itself.
const INFRASTRUCTURE: [Type; 4] = [Type::NS, Type::SOA, Type::DS, Type::DNSKEY];
/// Our own zone: the box asking why.
const OWN_ZONE: &str = "namegate.internal";

/// A class, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opinion {
    pub(super) class: Class,
    /// The rule, in one word.
    pub(super) kind: &'static str,
    pub(super) why: String,
    pub(super) group: Option<&'static str>,
    pub(super) near: Option<String>,
}

impl Opinion {
    fn new(class: Class, kind: &'static str, why: impl Into<String>) -> Self {
        Self {
            class,
            kind,
            why: why.into(),
            group: None,
            near: None,
        }
    }

    fn review(kind: &'static str, why: impl Into<String>) -> Self {
        Self::new(Class::Review, kind, why)
    }

    fn hidden(kind: &'static str, why: &str) -> Self {
        Self::new(Class::Hidden, kind, why)
    }

    fn near(self, near: impl Into<String>) -> Self {
        let near = Some(near.into());
        Self { near, ..self }
    }

    fn of(self, entry: Entry) -> Self {
        let group = Some(entry.group);
        Self { group, ..self }
    }
}

/// What opinions are formed with.
pub(super) struct Context<'a> {
    pub(super) known: Known<'a>,
    /// Names that one witness alone says to be made by a search list.
    pub(super) suffixed: HashMap<String, Suffixed>,
    /// Parents below which names look like data.
    pub(super) tunnels: Vec<String>,
}

/// What needs no look at who owns the name: by-products of looking names up.
pub(super) fn by_form(text: &str) -> Option<Opinion> {
    if !text.contains('.') || text == "." {
        return Some(Opinion::hidden("single_label", "a single label"));
    }
    let reverse = ["in-addr.arpa", "ip6.arpa"];
    if reverse.iter().any(|it| is_at_or_below(text, it)) {
        return Some(Opinion::hidden("reverse_lookup", "a reverse lookup"));
    }
    if is_at_or_below(text, OWN_ZONE) {
        return Some(Opinion::hidden("own_zone", "namegate's own zone"));
    }
    None
}

/// A name that a search list made, by its looks or as the resolver said that was asked.
pub(super) fn by_search(suffixed: Option<&Suffixed>) -> Opinion {
    let Some(Suffixed { meant, suffix, .. }) = suffixed else {
        return Opinion::hidden("search_suffix", "a name with a search list's ending");
    };
    let why = format!("{meant} with the search suffix {suffix}");
    Opinion::new(Class::Hidden, "search_suffix", why).near(suffix.as_str())
}

impl Context<'_> {
    /// What is thought of a name that the policy does not allow.
    pub(super) fn opinion(&self, text: &str, asked: &Asked) -> Opinion {
        by_use(text, asked)
            .or_else(|| by_danger(text))
            .or_else(|| self.beside_a_tunnel(text))
            .or_else(|| by_list(text, asked))
            .or_else(|| by_owner(text))
            .or_else(|| self.by_likeness(text))
            .unwrap_or_else(|| self.unknown(text))
    }

    /// Whoever has a tunnel's parent has these names, too.
    fn beside_a_tunnel(&self, text: &str) -> Option<Opinion> {
        let owner = registrable(text)?;
        let covers = |it: &&String| is_below(text, it);
        let sibling = |it: &&String| is_at_or_below(it, owner);
        let listed = CATALOGUE.host(text).is_some();
        let mut tunnels = self.tunnels.iter();
        let tunnel = tunnels.find(|it| covers(it) || (!listed && sibling(it)))?;
        let why = format!(
            "the names below {tunnel}, of the same owner, look like data leaving through DNS"
        );
        Some(Opinion::review("beside_danger", why).near(format!("*.{tunnel}")))
    }

    fn by_likeness(&self, text: &str) -> Option<Opinion> {
        if let Some(Suffixed { meant, suffix, .. }) = self.suffixed.get(text) {
            let why =
                format!("{meant} with a search suffix, or a name of {suffix} made to look like it");
            return Some(Opinion::review("imitation", why).near(meant.as_str()));
        }
        Some(match self.known.likeness(text)? {
            Likeness::Imitation { of, owner } => {
                let why = format!("begins like {of}, but belongs to {owner}");
                Opinion::review("imitation", why).near(of)
            }
            Likeness::Typo { of } => Opinion::review("typo", format!("typo of {of}?")).near(of),
            Likeness::OtherEnding { of } => {
                let why = format!("{of} under another ending?");
                Opinion::review("other_ending", why).near(of)
            }
        })
    }

    fn unknown(&self, text: &str) -> Opinion {
        if text.starts_with('_') {
            let about = host(text).unwrap_or(text);
            let why = format!("a service record of {about}: its clients need this very name");
            return Opinion::review("service", why).near(about);
        }
        if let Some(shown) = international(text) {
            let why = format!("an international name, shown as {shown}");
            return Opinion::review("look_alike", why);
        }
        match self.known.owner(text) {
            Some(owner) => {
                let why = format!("belongs to {owner}, but is not a host that a known tool needs");
                Opinion::review("same_owner", why).near(owner)
            }
            None => Opinion::review("unknown", "not a host of any known tool"),
        }
    }
}

/// By what it was asked for, and whether a policy could list it.
fn by_use(text: &str, asked: &Asked) -> Option<Opinion> {
    let types = &asked.seen.types;
    // A star that was asked for is a label like any other, and would read as a wildcard.
    if !asked.name.is_plain() || Pattern::parse(text).is_err() {
        return Some(Opinion::hidden("unlistable", "no policy can list it"));
    }
    if !asked.seen.needs_policy {
        return Some(Opinion::hidden(
            "answered_here",
            "answered here, whatever the policy says",
        ));
    }
    let is_plumbing = !types.is_empty() && types.iter().all(|it| INFRASTRUCTURE.contains(it));
    is_plumbing.then(|| Opinion::hidden("infrastructure", "asked for by resolvers, not to connect"))
}

fn by_danger(text: &str) -> Option<Opinion> {
    let entry = CATALOGUE
        .find(text)
        .filter(|it| it.manner == Manner::Danger)?;
    Some(Opinion::new(Class::Danger, entry.group, entry.title).of(entry))
}

/// By the lists of noise, of services, and of what tools need.
fn by_list(text: &str, asked: &Asked) -> Option<Opinion> {
    if let Some(instead) = CATALOGUE.instead(text) {
        let opinion = Opinion::new(Class::KeepBlocked, "not_needed", instead.why);
        return Some(opinion.near(instead.needed));
    }
    let Some(entry) = CATALOGUE.find(text) else {
        let (base, entry) = CATALOGUE.rotating(text)?;
        let opinion = Opinion::new(Class::Add, "rotating", entry_text(entry));
        return Some(opinion.of(entry).near(base));
    };
    let opinion = match entry.manner {
        Manner::Noise => Opinion::new(Class::KeepBlocked, "noise", entry_text(entry)),
        Manner::Review => Opinion::review(entry.group, entry.title),
        Manner::Danger => Opinion::new(Class::Danger, entry.group, entry.title),
        Manner::Host | Manner::Rotating if wants_address(asked) => {
            Opinion::new(Class::Add, "bundle", entry_text(entry))
        }
        Manner::Host | Manner::Rotating => {
            let why = format!("{}, but no address was asked for", entry_text(entry));
            Opinion::review("no_address", why)
        }
    };
    Some(opinion.of(entry))
}

fn entry_text(entry: Entry) -> String {
    format!("{}: {}", entry.group, entry.what)
}

/// Nothing is known of the types of some observations; they may have been for an address.
fn wants_address(asked: &Asked) -> bool {
    let types = &asked.seen.types;
    types.is_empty() || types.iter().any(|it| ADDRESS_TYPES.contains(it))
}

/// By whose domain it is.
fn by_owner(text: &str) -> Option<Opinion> {
    if let Some(domain) = special_domain(text) {
        let why = format!(
            "{domain} is set aside and not in public DNS; serve it from a zone or a [[forward]]"
        );
        return Some(Opinion::review("special_use", why));
    }
    if public_resolver(text).is_some() {
        let why = "a public resolver: programs could look up names past this filter";
        return Some(Opinion::review("resolver", why));
    }
    if let Some(suffix) = shared_suffix(text) {
        let why = if suffix == text {
            "a shared suffix itself: anyone can own a name there".to_owned()
        } else {
            format!("*.{suffix} is a shared suffix: anyone can own a name there")
        };
        return Some(Opinion::review("shared_suffix", why).near(suffix));
    }
    let strange = strange_script(text)?;
    Some(Opinion::review("look_alike", strange))
}
