//! Keeps what was told of each finished query and each policy.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Finding, Live, Refusal, Watch};
use crate::answer::Outcome;
use crate::matcher::Rule;
use crate::wire::{Name, Type};

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A connection.
    Tcp,
}

impl Transport {
    /// Its name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// A finished query, as in `src/telemetry/mod.rs`, on the clock of the models.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// What was asked for.
    pub name: Option<&'a Name>,
    /// The type asked for.
    pub kind: Type,
    /// How it came.
    pub transport: Transport,
    /// Who asked.
    pub client: SocketAddr,
    /// What became of it.
    pub outcome: Outcome,
    /// What granted it.
    pub rule: Option<Rule>,
    /// The number of the policy that judged it.
    pub generation: u64,
    /// When it came.
    pub began: Instant,
    /// From then to the reply.
    pub took: Duration,
    /// The smallest TTL in the reply.
    pub ttl_s: Option<u32>,
}

/// What is kept of one.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Who asked.
    pub client: SocketAddr,
    /// The number of the policy that judged it.
    pub generation: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// The room's one value.
#[derive(Default)]
pub struct Telemetry {
    counted: Mutex<Vec<Counted>>,
    live: Mutex<Vec<u64>>,
}

impl Telemetry {
    /// What was counted so far.
    pub fn counted(&self) -> Vec<Counted> {
        self.counted.lock().expect("nobody panics with it").clone()
    }

    /// The policies that went live, by their numbers.
    pub fn generations(&self) -> Vec<u64> {
        self.live.lock().expect("nobody panics with it").clone()
    }

    /// Keeps a finished query.
    pub fn done(&self, done: &Done<'_>) {
        let counted = Counted {
            client: done.client,
            generation: done.generation,
            outcome: done.outcome,
        };
        self.counted
            .lock()
            .expect("nobody panics with it")
            .push(counted);
    }

    /// Keeps a policy's number.
    pub fn policy_live(&self, live: Live) {
        self.live
            .lock()
            .expect("nobody panics with it")
            .push(live.generation);
    }

    /// The number of the policy that went live last.
    pub fn policy(&self) -> Value {
        json!({ "generation": self.generations().last() })
    }

    /// Nobody was refused.
    pub fn refused_to(&self, _: IpAddr, _: usize) -> Vec<Refusal> {
        Vec::new()
    }

    /// Nothing is kept of it.
    pub fn policy_unchanged(&self) {}

    /// Nothing is kept of it.
    pub fn policy_rejected(&self, _: impl ExactSizeIterator<Item = Finding>) {}

    /// Nothing is kept of it.
    pub fn watch(&self, _: Watch, _: bool) {}

    /// Nothing is behind.
    pub fn catch_up(&self) {}
}
