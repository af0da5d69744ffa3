//! The secret behind server cookies, and the clock that they are dated by.
//!
//! A client's cookie and address come in, the option for the reply goes out. The secret is drawn at start, renewed
//! every day and never written down: a restart costs a client nothing, for no query is refused for its cookie.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::time::sleep;

use crate::answer::upstream::unguessable;
use crate::wire::{COOKIE_OCTETS, Cookie, Secrets};

/// RFC 7873 §7.1: a day is the usual life of a secret, and more than 36 of them may not be.
const RENEWED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What server cookies are made with.
pub(super) struct Cookies(ArcSwap<Secrets>);

impl Cookies {
    pub(super) fn new() -> Self {
        Self(ArcSwap::from_pointee(Secrets::new(unguessable())))
    }

    /// What a client gets for its cookie. Nothing allocates.
    pub(super) fn answer(&self, sent: &Cookie, client: SocketAddr) -> [u8; COOKIE_OCTETS] {
        self.0.load().answer(sent, client.ip(), now_s())
    }

    /// Does it hold a server's half that is not ours, or no longer?
    pub(super) fn refuse(&self, sent: &Cookie, client: SocketAddr) -> bool {
        self.0.load().refuse(sent, client.ip(), now_s())
    }

    fn renew(&self) {
        let renewed = self.0.load().renewed(unguessable());
        self.0.store(Arc::new(renewed));
    }

    /// Renews the secret every day, for as long as it is polled.
    pub(super) async fn renew_daily(&self) {
        loop {
            sleep(RENEWED_EVERY).await;
            self.renew();
        }
    }
}

/// Seconds since 1970, less what four octets do not hold (RFC 9018 §4.3).
#[expect(clippy::cast_possible_truncation, reason = "the count begins anew")]
fn now_s() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |it| it.as_secs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_secret_is_renewed_every_day() {
        let cookies = Cookies::new();
        let sent = Cookie::of(*b"abcdefgh");
        let client = SocketAddr::from(([127, 0, 0, 1], 40_000));
        // Of the same second each time: what differs is the secret's.
        let made = || cookies.0.load().answer(&sent, client.ip(), 7);
        let (first, mut days) = (made(), Box::pin(cookies.renew_daily()));
        let mut pass = async |time| {
            let _ = tokio::time::timeout(time, &mut days).await;
            made()
        };
        let almost_a_day = RENEWED_EVERY - Duration::from_secs(1);
        assert_eq!(pass(almost_a_day).await, first);
        let second = pass(Duration::from_secs(2)).await;
        assert_ne!(second, first);
        assert_ne!(pass(RENEWED_EVERY).await, second);
    }
}
