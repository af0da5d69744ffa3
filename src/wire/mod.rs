//! The words the rooms speak: [`Name`], [`Query`], [`Malformed`], [`Message`],
//! [`Sections`] and the one [`reply`] that carries them out.
//!
//! Octets come in and words go out, and back again. Nothing here knows a
//! socket, a policy or a clock, and nothing on a query's way to an immediate
//! answer allocates.

mod codes;
mod cookie;
mod hickory;
mod malformed;
mod message;
mod name;
mod query;
mod reply;
mod sections;

pub use codes::{ANY_HINFO, Ede, Rcode, Type};
pub use cookie::{COOKIE_OCTETS, Cookie, Secrets};
pub use hickory::data_octets;
pub use malformed::{Malformed, Unreadable};
pub use message::{Message, Record, Section};
pub use name::{Name, NameError};
pub use query::{Asked, CLASS_CH, CLASS_IN, Edns, Keepalive, Query, Wants, udp_limit};
pub use reply::{Head, Options, Reply, Room, reply, reply_unreadable};
pub use sections::{Age, Sections, SectionsBuilder};

/// Octets of a message header (RFC 1035 §4.1.1).
pub const HEADER_OCTETS: usize = 12;
/// The largest message either transport can carry (RFC 1035 §4.2.2).
pub const MESSAGE_OCTETS_MAX: usize = 65_535;
/// What a client that sends no OPT can take over UDP (RFC 1035 §4.2.1).
pub const PLAIN_UDP_OCTETS: u16 = 512;
/// Octets of a UDP message that cross the internet unfragmented (RFC 9715 §3.1).
pub const UDP_OCTETS: u16 = 1232;

/// What a block of so many octets takes of the heap: the C library keeps the length in front, gives 16 octets at a time,
/// and no less than 32. Nothing takes nothing.
pub const fn block_octets(octets: usize) -> usize {
    let whole = (octets + 8).next_multiple_of(16);
    match octets {
        0 => 0,
        _ if whole < 32 => 32,
        _ => whole,
    }
}

/// Two octets at `at`, in network order.
fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]))
}
