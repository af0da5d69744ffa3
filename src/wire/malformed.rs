//! The ways a message can be wrong, and what each of them is told.

use super::codes::Rcode;
use super::query::Edns;

/// One way in which a message is not a question that we answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer octets than a header.
    TooShort,
    /// QR is set.
    IsResponse,
    /// The opcode is not QUERY.
    OtherOpcode,
    /// QDCOUNT is 0.
    NoQuestion,
    /// QDCOUNT is 0, but a cookie is there: the sender wants ours (RFC 7873 §5.4).
    CookieAlone,
    /// The same with a server cookie that is none of ours, or too old.
    BadCookie,
    /// QDCOUNT is 2 or more.
    ManyQuestions,
    /// A count promises more than the message holds, or a name or record is cut off.
    Truncated,
    /// A name of more than 255 octets.
    NameTooLong,
    /// A label of type 01 or 10.
    BadLabelType,
    /// A compression pointer where none can be, or one that does not lead backwards.
    BadPointer,
    /// Octets behind the last record.
    TrailingOctets,
    /// A record in a query's answer or authority section, or an additional one that is not an OPT.
    StrayRecord,
    /// A second OPT.
    ManyOpts,
    /// An OPT whose owner is not the root, or whose options do not fill it exactly.
    BadOpt,
    /// An option of a length that it cannot have.
    BadOption,
    /// An EDNS version above 0.
    OtherEdnsVersion,
    /// A TSIG, whose key we cannot know.
    Signed,
    /// A class other than IN.
    OtherClass,
    /// AXFR or IXFR.
    Transfer,
    /// A type that no record has.
    MetaType,
    /// NXNAME, which stands in NSEC records alone.
    NxnameAsked,
    /// A record whose data does not have the shape its type asks for.
    BadData,
}

impl Malformed {
    /// What the sender is told; none is silence.
    pub fn rcode(self) -> Option<Rcode> {
        match self {
            // RFC 1035 §4.1.1: fewer than twelve octets hold no id to answer to.
            Self::TooShort => None,
            // Answering a response would let two servers talk for ever.
            Self::IsResponse => None,
            // RFC 1035 §4.1.1; RFC 8906 §3: and yet every query gets a reply.
            Self::OtherOpcode => Some(Rcode::NOTIMP),
            // RFC 9619 §4.
            Self::NoQuestion | Self::ManyQuestions => Some(Rcode::FORMERR),
            // RFC 7873 §5.4.
            Self::CookieAlone => Some(Rcode::NOERROR),
            Self::BadCookie => Some(Rcode::BADCOOKIE),
            // RFC 1035 §4.1, RFC 9267 §2 to §6.
            Self::Truncated
            | Self::NameTooLong
            | Self::BadLabelType
            | Self::BadPointer
            | Self::TrailingOctets
            | Self::StrayRecord
            | Self::BadData => Some(Rcode::FORMERR),
            // RFC 6891 §6.1.1 and §6.1.2.
            Self::ManyOpts | Self::BadOpt => Some(Rcode::FORMERR),
            // RFC 7873 §5.2.2, RFC 7828 §3.2.1.
            Self::BadOption => Some(Rcode::FORMERR),
            // RFC 6891 §6.1.3.
            Self::OtherEdnsVersion => Some(Rcode::BADVERS),
            // RFC 8945 §5.2: a key that is not known is NOTAUTH.
            Self::Signed => Some(Rcode::NOTAUTH),
            Self::OtherClass => Some(Rcode::REFUSED),
            // RFC 5936 §2.2.1: we are nobody's primary.
            Self::Transfer => Some(Rcode::REFUSED),
            // RFC 6895 §3.1.
            Self::MetaType => Some(Rcode::REFUSED),
            // RFC 9824 §3.5.
            Self::NxnameAsked => Some(Rcode::FORMERR),
        }
    }
}

/// A client's message that is not judged: why, and how much of it could be
/// read, for a reply that echoes it.
#[derive(Clone, Copy, Debug)]
pub struct Unreadable {
    /// What is wrong with it.
    pub why: Malformed,
    /// Where its question ends; 12 when it has none that could be read.
    pub(super) question_end: usize,
    /// Its OPT, where there is one that could be read.
    pub(super) edns: Option<Edns>,
}

impl Unreadable {
    /// Its OPT, where there is one that could be read.
    pub fn edns(&self) -> Option<&Edns> {
        self.edns.as_ref()
    }
}
