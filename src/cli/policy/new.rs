//! `policy new`: a complete document to begin with.

use std::time::SystemTime;

use serde_json::json;

use super::super::{exit, say, talk_of};
use super::args::NewArgs;
use crate::policy::{self, Select};

pub(super) fn new(args: &NewArgs, color: clap::ColorChoice) -> u8 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let text = document(args, now_ms);
    // What we print is what we would take.
    match policy::read("policy.json", text.as_bytes(), &Select::Only) {
        Ok(_) => {
            say(&text);
            exit::OK
        }
        Err(diagnostics) => {
            talk_of(&diagnostics, color);
            exit::BAD_POLICY
        }
    }
}

/// The fields in the order of the published schema, which is that of a reader's questions.
pub(in crate::cli) fn document(args: &NewArgs, now_ms: u64) -> String {
    let quoted = |text: &String| json!(text).to_string();
    let hostnames: Vec<String> = args.allow.iter().map(quoted).collect();
    let hostnames = match hostnames.as_slice() {
        [] => String::new(),
        some => format!("\n      {}\n    ", some.join(",\n      ")),
    };
    let (id, name) = (json!(format!("local_{}", args.name)), json!(args.name));
    format!(
        r#"{{
  "id": {id},
  "name": {name},
  "egress": {{
    "allow_all": false,
    "allow_devbox_to_devbox": false,
    "allowed_hostnames": [{hostnames}],
    "allow_agent_gateway": false,
    "allow_mcp_gateway": false
  }},
  "create_time_ms": {now_ms},
  "update_time_ms": {now_ms}
}}
"#
    )
}
