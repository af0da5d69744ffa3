//! `policy new`: a complete document to begin with.

use std::time::SystemTime;

use serde_json::json;

use super::args::NewArgs;
use super::{exit, say, talk};
use crate::policy::{self, Select};

pub(super) fn new(args: &NewArgs, color: clap::ColorChoice) -> u8 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let document = json!({
        "id": format!("local_{}", args.name),
        "name": args.name,
        "egress": {
            "allow_all": false,
            "allow_devbox_to_devbox": false,
            "allowed_hostnames": args.allow,
            "allow_agent_gateway": false,
            "allow_mcp_gateway": false,
        },
        "create_time_ms": now_ms,
        "update_time_ms": now_ms,
    });
    let text = format!("{document:#}\n");
    // What we print is what we would take.
    match policy::read("policy.json", text.as_bytes(), &Select::Only) {
        Ok(_) => {
            say(&text);
            exit::OK
        }
        Err(diagnostics) => {
            talk(
                diagnostics
                    .render(super::colored(color, &std::io::stderr()))
                    .trim_end(),
            );
            exit::BAD_POLICY
        }
    }
}
