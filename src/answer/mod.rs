//! Chooses which desk answers, and says what it did as a value.

pub mod blocked;
pub mod cache;
pub mod guard;
pub mod special;
pub mod upstream;
pub mod why;
pub mod zone;

use std::fmt;

use crate::wire::Rcode;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Desk {
    /// The front: the message was not a question that is judged.
    Front,
    /// Names that are never anyone's.
    Special,
    /// Names that we are the authority for.
    Zone,
    /// The policy's no.
    Blocked,
    /// What upstream said before.
    Cache,
    /// What upstream says now.
    Upstream,
}

impl Desk {
    /// Every desk, for tables over them.
    pub const ALL: [Self; 6] = [
        Self::Front,
        Self::Special,
        Self::Zone,
        Self::Blocked,
        Self::Cache,
        Self::Upstream,
    ];

    /// The `source` of logs and metrics: where the time went.
    pub fn word(self) -> &'static str {
        match self {
            Self::Front | Self::Blocked => "policy",
            Self::Special | Self::Zone => "local",
            Self::Cache => "cache",
            Self::Upstream => "upstream",
        }
    }
}

/// Yes, no, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Ruling {
    Allowed,
    Blocked,
    WouldBlock,
    Error,
    Refused,
}

impl Ruling {
    /// Every ruling, for tables over them.
    pub const ALL: [Self; 5] = [
        Self::Allowed,
        Self::Blocked,
        Self::WouldBlock,
        Self::Error,
        Self::Refused,
    ];

    /// The `verdict` of logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
            Self::WouldBlock => "would_block",
            Self::Error => "error",
            Self::Refused => "refused",
        }
    }
}

/// Why a query got the answer it got: one table for logs, metrics, commands and pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A pattern without a wildcard.
    Exact,
    /// A pattern with one.
    Wildcard,
    /// The policy allows everything.
    AllowAll,
    /// `allow_agent_gateway`.
    GatewayAgent,
    /// `allow_mcp_gateway`.
    GatewayMcp,
    /// `allow_devbox_to_devbox`.
    Devbox,
    /// `allow_runloop_mirrors`.
    Mirrors,
    /// `blocked.dnssec_ancestors`.
    DnssecAncestor,
    /// A local zone.
    Local,
    /// A `[[forward]]` with `exempt`.
    ForwardExempt,
    /// No pattern matches.
    NotListed,
    /// The policy allows nothing.
    DenyAll,
    /// A label with an octet outside `[A-Za-z0-9_-]`.
    BadLabel,
    /// A search list's ending behind a name that stands for itself.
    SearchSuffix,
    /// No address was left after the private ones were removed.
    PrivateAddress,
    /// A special-use name.
    SpecialUse,
    /// A type that is not forwarded.
    Qtype,
    /// ANY, which is answered without asking (RFC 8482).
    Any,
    /// No server answered in time.
    UpstreamTimeout,
    /// Every server failed, or the answer could not be used.
    UpstreamServfail,
    /// No server could be reached.
    UpstreamUnreachable,
    /// Not a well-formed question.
    Malformed,
    /// A class, type or opcode that is not served.
    NotServed,
    /// Too many queries in flight.
    Overload,
    /// A client outside `listen.clients`.
    ClientAcl,
    /// A client over `listen.rate_per_client`.
    Rate,
}

impl Reason {
    /// Every reason, for tables over them.
    pub const ALL: [Self; 26] = [
        Self::Exact,
        Self::Wildcard,
        Self::AllowAll,
        Self::GatewayAgent,
        Self::GatewayMcp,
        Self::Devbox,
        Self::Mirrors,
        Self::DnssecAncestor,
        Self::Local,
        Self::ForwardExempt,
        Self::NotListed,
        Self::DenyAll,
        Self::BadLabel,
        Self::SearchSuffix,
        Self::PrivateAddress,
        Self::SpecialUse,
        Self::Qtype,
        Self::Any,
        Self::UpstreamTimeout,
        Self::UpstreamServfail,
        Self::UpstreamUnreachable,
        Self::Malformed,
        Self::NotServed,
        Self::Overload,
        Self::ClientAcl,
        Self::Rate,
    ];

    /// The word for it, and which ruling it stands for.
    fn row(self) -> (Ruling, &'static str) {
        match self {
            Self::Exact => (Ruling::Allowed, "exact"),
            Self::Wildcard => (Ruling::Allowed, "wildcard"),
            Self::AllowAll => (Ruling::Allowed, "allow_all"),
            Self::GatewayAgent => (Ruling::Allowed, "gateway_agent"),
            Self::GatewayMcp => (Ruling::Allowed, "gateway_mcp"),
            Self::Devbox => (Ruling::Allowed, "devbox"),
            Self::Mirrors => (Ruling::Allowed, "mirrors"),
            Self::DnssecAncestor => (Ruling::Allowed, "dnssec_ancestor"),
            Self::Local => (Ruling::Allowed, "local"),
            Self::ForwardExempt => (Ruling::Allowed, "forward_exempt"),
            Self::NotListed => (Ruling::Blocked, "not_listed"),
            Self::DenyAll => (Ruling::Blocked, "deny_all"),
            Self::BadLabel => (Ruling::Blocked, "bad_label"),
            Self::SearchSuffix => (Ruling::Blocked, "search_suffix"),
            Self::PrivateAddress => (Ruling::Blocked, "private_address"),
            Self::SpecialUse => (Ruling::Allowed, "special_use"),
            Self::Qtype => (Ruling::Blocked, "qtype"),
            Self::Any => (Ruling::Allowed, "any"),
            Self::UpstreamTimeout => (Ruling::Error, "upstream_timeout"),
            Self::UpstreamServfail => (Ruling::Error, "upstream_servfail"),
            Self::UpstreamUnreachable => (Ruling::Error, "upstream_unreachable"),
            Self::Malformed => (Ruling::Error, "malformed"),
            Self::NotServed => (Ruling::Refused, "not_served"),
            Self::Overload => (Ruling::Error, "overload"),
            Self::ClientAcl => (Ruling::Refused, "client_acl"),
            Self::Rate => (Ruling::Refused, "rate"),
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        self.row().1
    }

    /// Is it that no pattern matches, so that one more would help?
    pub fn is_unlisted(self) -> bool {
        matches!(self, Self::NotListed | Self::DenyAll)
    }

    /// Which ruling it stands for, outside an audit.
    pub fn ruling(self) -> Ruling {
        self.row().0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What became of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Who answered.
    pub desk: Desk,
    /// Why so.
    pub reason: Reason,
    /// The code of the reply; none: silence.
    pub rcode: Option<Rcode>,
    /// The extended error's code, where one was due.
    pub ede: Option<u16>,
}

impl Outcome {
    /// Which ruling that was. A denial that another desk than the one for denials has answered is one that an audit
    /// has only counted.
    pub fn ruling(self) -> Ruling {
        let ruling = self.reason.ruling();
        if ruling == Ruling::Blocked && self.desk != Desk::Blocked {
            return Ruling::WouldBlock;
        }
        ruling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_that_was_answered_all_the_same_would_have_been_one() {
        let ruling = |desk, reason| {
            let outcome = Outcome {
                desk,
                reason,
                rcode: None,
                ede: None,
            };
            outcome.ruling()
        };
        for desk in Desk::ALL {
            let expected = match desk {
                Desk::Blocked => Ruling::Blocked,
                Desk::Front | Desk::Special | Desk::Zone | Desk::Cache | Desk::Upstream => {
                    Ruling::WouldBlock
                }
            };
            assert_eq!(ruling(desk, Reason::NotListed), expected, "{desk:?}");
            assert_eq!(ruling(desk, Reason::Exact), Ruling::Allowed, "{desk:?}");
            assert_eq!(ruling(desk, Reason::Rate), Ruling::Refused, "{desk:?}");
        }
    }
}
