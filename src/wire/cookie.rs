//! DNS cookies (RFC 7873), the server's half as RFC 9018 makes it.
//!
//! A [`Cookie`] is what a client sent; [`Secrets`] make the answer to it, and know what they made. The time is an
//! argument, the secrets are handed in, nothing allocates. No question is judged or answered otherwise for its cookie:
//! it is there for the client, who can tell our replies from those of somebody who only guesses.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// Octets of the client's half (RFC 7873 §4).
const CLIENT_OCTETS: usize = 8;
/// Octets of the server's half as we make it (RFC 9018 §4).
const SERVER_OCTETS: usize = 16;
/// Octets of both halves in a reply of ours.
pub const COOKIE_OCTETS: usize = CLIENT_OCTETS + SERVER_OCTETS;
/// Version 1, then three reserved octets (RFC 9018 §4.1, §4.2).
const HEAD: [u8; 4] = [1, 0, 0, 0];
/// How long one of ours is good, and how far ahead of our clock, in seconds (RFC 9018 §4.3).
const AGE_MAX_S: i32 = 3600;
const AHEAD_MAX_S: i32 = 300;

/// The COOKIE option of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    client: [u8; CLIENT_OCTETS],
    server: Server,
}

/// The server's half in a client's option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    None,
    /// As long as ours.
    Sixteen([u8; SERVER_OCTETS]),
    /// None of ours, as its length says.
    Other,
}

impl Cookie {
    /// Of a client that has none of ours yet.
    #[cfg(test)]
    pub(crate) fn of(client: [u8; CLIENT_OCTETS]) -> Self {
        Self {
            client,
            server: Server::None,
        }
    }

    /// Reads the option's data. None: no cookie has this length (RFC 7873 §5.2.2).
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk()?;
        let server = match (server.len(), server.first_chunk()) {
            (0, _) => Server::None,
            (SERVER_OCTETS, Some(server)) => Server::Sixteen(*server),
            (8..=32, _) => Server::Other,
            _ => return None,
        };
        Some(Self {
            client: *client,
            server,
        })
    }
}

/// What server cookies are made of: the secret in use, and the one before it, whose cookies are still good.
#[derive(Clone)]
pub struct Secrets {
    current: [u8; 16],
    previous: [u8; 16],
}

impl Secrets {
    /// Of a secret that nobody can guess.
    pub fn new(secret: [u8; 16]) -> Self {
        Self {
            current: secret,
            previous: secret,
        }
    }

    /// With another secret in use, which nobody can guess either.
    #[must_use]
    pub fn renewed(&self, secret: [u8; 16]) -> Self {
        Self {
            current: secret,
            previous: self.current,
        }
    }

    /// The option that a client gets for its own: its half, and a new one of ours. `now_s` is in seconds since 1970,
    /// less what four octets do not hold.
    pub fn answer(&self, cookie: &Cookie, client: IpAddr, now_s: u32) -> [u8; COOKIE_OCTETS] {
        let mut server = [0; SERVER_OCTETS];
        server[..4].copy_from_slice(&HEAD);
        server[4..8].copy_from_slice(&now_s.to_be_bytes());
        let seal = seal(&self.current, cookie, &server, client);
        server[8..].copy_from_slice(&seal);
        let mut option = [0; COOKIE_OCTETS];
        option[..CLIENT_OCTETS].copy_from_slice(&cookie.client);
        option[CLIENT_OCTETS..].copy_from_slice(&server);
        option
    }

    /// Does it hold a server's half that we did not make for this client, or too long ago (RFC 9018 §4.3)?
    pub fn refuse(&self, cookie: &Cookie, client: IpAddr, now_s: u32) -> bool {
        let server = match cookie.server {
            Server::None => return false,
            Server::Other => return true,
            Server::Sixteen(server) => server,
        };
        let [version, _, _, _, at @ ..] = server;
        let made_at_s = u32::from_be_bytes([at[0], at[1], at[2], at[3]]);
        // RFC 1982: the difference counts, also across the end of the count.
        let age_s = now_s.wrapping_sub(made_at_s).cast_signed();
        let is_ours = |secret| seal(secret, cookie, &server, client) == server[8..];
        version != HEAD[0]
            || !(-AHEAD_MAX_S..=AGE_MAX_S).contains(&age_s)
            || !(is_ours(&self.current) || is_ours(&self.previous))
    }
}

/// RFC 9018 §4.4: the hash of the client's cookie, ours up to the hash, and the client's address.
fn seal(
    secret: &[u8; 16],
    cookie: &Cookie,
    server: &[u8; SERVER_OCTETS],
    client: IpAddr,
) -> [u8; 8] {
    let mut text = [0; CLIENT_OCTETS + 8 + 16];
    text[..8].copy_from_slice(&cookie.client);
    text[8..16].copy_from_slice(&server[..8]);
    let end = match client.to_canonical() {
        IpAddr::V4(address) => {
            text[16..20].copy_from_slice(&address.octets());
            20
        }
        IpAddr::V6(address) => {
            text[16..].copy_from_slice(&address.octets());
            32
        }
    };
    SipHasher24::new_with_key(secret)
        .hash(&text[..end])
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secrets of RFC 9018's examples: of A.1 to A.3, and of A.4 before and after the change.
    const SECRET: u128 = 0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf;
    const OLD: u128 = 0xdd3b_df93_44b6_78b1_85a6_f5cb_60fc_a715;
    const NEW: u128 = 0x4455_36bc_d251_3298_075a_5d37_9663_c962;
    const A3_OCTETS: [u8; 24] = *b"\xfc\x93\xfc\x62\x80\x7d\xdb\x86\x01\xab\xcd\xef\x5c\xf7\x8f\x71\xa3\x14\x22\x7b\x66\x79\xeb\xf5";
    const A3_CLIENT: &str = "203.0.113.203";

    fn secrets(secret: u128) -> Secrets {
        Secrets::new(secret.to_be_bytes())
    }

    fn cookie(octets: &[u8]) -> Cookie {
        Cookie::read(octets).expect("a cookie's length")
    }

    #[track_caller]
    fn made(secret: u128, client: &str, cookie_of_client: u64, now_s: u32, server: u128) {
        let sent = cookie(&cookie_of_client.to_be_bytes());
        let option = secrets(secret).answer(&sent, client.parse().expect("an address"), now_s);
        assert_eq!(option[..8], cookie_of_client.to_be_bytes());
        assert_eq!(option[8..], server.to_be_bytes(), "{option:02x?}");
    }

    #[test]
    fn server_cookies_are_those_of_the_rfc() {
        let (first, second) = (0x2464_c4ab_cf10_c957, 0xfc93_fc62_807d_db86);
        let one = |now_s, server| made(SECRET, "198.51.100.100", first, now_s, server);
        one(1_559_731_985, 0x0100_0000_5cf7_9f11_1f81_30c3_eee2_9480);
        one(1_559_734_385, 0x0100_0000_5cf7_a871_d4a5_64a1_442a_ca77);
        let server = 0x0100_0000_5cf7_a9ac_f73a_7810_aca2_381e;
        made(SECRET, A3_CLIENT, second, 1_559_734_700, server);
        made(
            NEW,
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            0x2268_1ab9_7d52_c298,
            1_559_741_961,
            0x0100_0000_5cf7_c609_a6bb_79d1_6625_507a,
        );
    }

    /// Is the cookie of A.3, whose reserved octets are set, refused this many seconds after it was made?
    fn refused_after(age_s: i32) -> bool {
        let now_s = 0x5cf7_8f71_u32.wrapping_add_signed(age_s);
        let client = A3_CLIENT.parse().expect("an address");
        secrets(SECRET).refuse(&cookie(&A3_OCTETS), client, now_s)
    }

    #[test]
    fn a_server_cookie_is_good_for_an_hour() {
        assert!(!refused_after(0) && !refused_after(3600) && refused_after(3601));
        assert!(!refused_after(-300) && refused_after(-301));
    }

    #[test]
    fn a_server_cookie_outlives_one_change_of_the_secret() {
        let client = "2001:db8:220:1:59de:d0f4:8769:82b8"
            .parse()
            .expect("an address");
        let sent = cookie(b"\x22\x68\x1a\xb9\x7d\x52\xc2\x98\x01\0\0\0\x5c\xf7\xc5\x79\x26\x55\x6b\xd0\x93\x4c\x72\xf8");
        let after_one = secrets(OLD).renewed(NEW.to_be_bytes());
        assert!(!after_one.refuse(&sent, client, 1_559_741_961));
        let after_two = after_one.renewed(SECRET.to_be_bytes());
        assert!(after_two.refuse(&sent, client, 1_559_741_961));
    }

    #[test]
    fn a_cookie_of_another_client_server_or_version_is_refused() {
        let now_s = 0x5cf7_8f71;
        let refused = |octets: &[u8], client: &str| {
            let client = client.parse().expect("an address");
            secrets(SECRET).refuse(&cookie(octets), client, now_s)
        };
        assert!(!refused(&A3_OCTETS, A3_CLIENT) && !refused(&A3_OCTETS[..8], A3_CLIENT));
        assert!(!refused(&A3_OCTETS, "::ffff:203.0.113.203"));
        assert!(refused(&A3_OCTETS, "203.0.113.204"));
        assert!(refused(&A3_OCTETS[..16], A3_CLIENT) && refused(&[7; 40], A3_CLIENT));
        for at in 0..24 {
            let mut octets = A3_OCTETS;
            octets[at] ^= 1;
            // The last bit of the time is no matter to how old it is, but to the hash it is.
            assert!(refused(&octets, A3_CLIENT), "octet {at} is another");
        }
    }

    #[test]
    fn a_cookie_has_8_or_16_to_40_octets() {
        let good: Vec<usize> = (0..64)
            .filter(|len| Cookie::read(&[1; 64][..*len]).is_some())
            .collect();
        assert_eq!(good, [&[8][..], &(16..=40).collect::<Vec<_>>()].concat());
    }
}
