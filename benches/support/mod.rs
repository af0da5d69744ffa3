//! What the benches share: names without chance, and medians.

#![allow(dead_code, reason = "each bench needs some of it")]

use std::time::{Duration, Instant};

/// A sequence that is the same in every run (Marsaglia, "Xorshift RNGs", 2003).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below `end`")
    }
}

const ENDINGS: [&str; 8] = ["com", "org", "net", "io", "dev", "ai", "co.uk", "example"];
const HOSTS: [&str; 6] = ["www", "api", "cdn", "registry", "files", "auth"];

/// The `i`th pattern of a list as companies have them: one in ten a wildcard, three hosts to a domain.
pub fn pattern(i: usize) -> String {
    let domain = i / 3;
    let (host, ending) = (HOSTS[i % HOSTS.len()], ENDINGS[domain % ENDINGS.len()]);
    match i % 10 {
        0 => format!("*.service{i}.{ending}"),
        _ => format!("{host}{}.domain{domain}.{ending}", i % 3),
    }
}

/// A document that allows these names.
pub fn document(note: &str, allowed: &[String]) -> String {
    serde_json::json!({
        "id": "npl_bench",
        "name": "bench",
        "description": note,
        "egress": {
            "allow_all": false,
            "allow_devbox_to_devbox": false,
            "allowed_hostnames": allowed,
            "allow_agent_gateway": false,
            "allow_mcp_gateway": false,
        },
        "create_time_ms": 0,
        "update_time_ms": 0,
    })
    .to_string()
}

/// Nanoseconds of one call: `rounds` rounds of `calls` calls, the median round.
pub fn nanoseconds(rounds: usize, calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let mut round = || {
        let began = Instant::now();
        (0..calls).for_each(&mut call);
        began.elapsed()
    };
    round();
    let mut took: Vec<Duration> = (0..rounds).map(|_| round()).collect();
    median(&mut took).as_secs_f64() * 1e9 / calls as f64
}

/// The middle of several, which are put in order.
pub fn median(all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}
