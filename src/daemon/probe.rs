//! Are we answering? One way to know: ask ourselves, over the sockets that clients use.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::announced::QUESTION;
use super::state::State;

/// How often, and for how long at most.
const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(1);
/// Asks the first of our addresses every second, for as long as it is polled, and tells `state` and the supervisor.
pub(super) async fn ask_ourselves(addresses: Vec<SocketAddr>, state: Arc<State>) {
    let Some(address) = addresses.first().map(|it| reachable(*it)) else {
        return;
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut id: u16 = 0;
    // Kept, so that a want of descriptors does not look like a want of answers.
    let mut socket = None;
    loop {
        ticks.tick().await;
        id = id.wrapping_add(1);
        let asked_at = Instant::now();
        let result = match timeout(PATIENCE, ask(&mut socket, address, id, &state)).await {
            Ok(Ok(())) => Ok(asked_at.elapsed()),
            Ok(Err(error)) => Err(format!("the query to {address} failed: {error}")),
            Err(_) => Err(format!(
                "the query to {address} was not answered within {PATIENCE:?}"
            )),
        };
        if result.is_err() {
            socket = None;
        }
        if result.is_ok() && sd_notify::watchdog_enabled().is_some() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        state.probed(result);
    }
}

async fn ask(
    kept: &mut Option<UdpSocket>,
    address: SocketAddr,
    id: u16,
    state: &State,
) -> io::Result<()> {
    let socket = match kept {
        Some(socket) => socket,
        none => none.insert(UdpSocket::bind(SocketAddr::new(address.ip(), 0)).await?),
    };
    state.expect_probe_from(socket.local_addr()?);
    socket.connect(address).await?;
    socket
        .send(&[&id.to_be_bytes()[..], QUESTION].concat())
        .await?;
    let mut reply = [0; 512];
    loop {
        let len = socket.recv(&mut reply).await?;
        if len >= 12 && reply[..2] == id.to_be_bytes() {
            return Ok(());
        }
    }
}

/// An address at which a socket bound to `0.0.0.0` or `::` is reached from here.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = if address.is_ipv4() {
        Ipv4Addr::LOCALHOST.into()
    } else {
        Ipv6Addr::LOCALHOST.into()
    };
    let ip = if address.ip().is_unspecified() {
        loopback
    } else {
        address.ip()
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everywhere_is_reached_by_loopback() {
        for (listen, dial) in [
            ("0.0.0.0:9953", "127.0.0.1:9953"),
            ("[::]:9953", "[::1]:9953"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            let listen: SocketAddr = listen.parse().expect(listen);
            assert_eq!(reachable(listen).to_string(), dial);
        }
    }
}
