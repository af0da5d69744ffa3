//! `policy new`: a complete document to begin with.

use std::time::SystemTime;

use serde_json::json;

use super::super::{accept_as, exit, milliseconds, say};
use super::args::NewArgs;
use crate::policy::Select;

pub(super) fn new(args: &NewArgs, color: clap::ColorChoice) -> Result<u8, u8> {
    let mut allowed = args.allow.clone();
    let bundled = args.bundles.patterns().into_iter();
    allowed.extend(bundled.filter(|it| !args.allow.contains(it)));
    let text = document(&args.name, &allowed, milliseconds(SystemTime::now()));
    // What we print is what we would take.
    accept_as("policy.json", text.as_bytes(), &Select::Only, color)?;
    say(&text);
    Ok(exit::OK)
}

/// The fields in the order of the published schema, which is that of a reader's questions.
pub(in crate::cli) fn document(name: &str, allowed: &[String], now_ms: u64) -> String {
    let quoted = |text: &String| json!(text).to_string();
    let hostnames: Vec<String> = allowed.iter().map(quoted).collect();
    let hostnames = match hostnames.as_slice() {
        [] => String::new(),
        some => format!("\n      {}\n    ", some.join(",\n      ")),
    };
    let (id, name) = (json!(format!("local_{name}")), json!(name));
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
