//! `reload`: has the running resolver read its policy again now, and tells what came of it.

use serde_json::Value;

use super::args::{Format, ReloadArgs};
use super::client::{self, Client};
use super::{counted, exit, say, talk};

pub(super) fn reload(args: &ReloadArgs) -> u8 {
    asked(args).unwrap_or_else(|code| code)
}

fn asked(args: &ReloadArgs) -> Result<u8, u8> {
    let client = Client::by(&args.link)?;
    let reply = client.ask("POST", "/v1/reload");
    let reply = reply.map_err(|error| client.fail(&error))?;
    let judged: Value =
        serde_json::from_str(&reply.body).map_err(|error| client.fail(&error.into()))?;
    match args.format {
        Format::Json => say(&format!("{judged}\n")),
        Format::Text => tell(&judged),
    }
    Ok(exit_code(&judged))
}

fn exit_code(judged: &Value) -> u8 {
    match judged["result"].as_str() {
        Some("applied" | "unchanged") => exit::OK,
        Some("rejected") => exit::BAD_POLICY,
        Some("missing" | "unreadable") => exit::MISSING,
        _ => exit::UNAVAILABLE,
    }
}

fn tell(judged: &Value) {
    let word = |key: &str| client::word(&judged[key], "?");
    let kept = in_force(&judged["policy"]);
    match judged["result"].as_str() {
        Some("applied") => say(&format!("applied: {kept}\n")),
        Some("unchanged") => say(&format!("unchanged: {kept}\n")),
        Some("rejected") => {
            // Whatever stood in the file was made harmless when it was drawn.
            let drawn = judged["rendered"].as_str().unwrap_or_default();
            talk(drawn.trim_end());
            talk(&format!(
                "\nnamegate: {} is refused; in force stays: {kept}",
                word("file")
            ));
        }
        Some("missing") => talk(&format!(
            "namegate: {} is not there; in force stays: {kept}",
            word("file")
        )),
        Some("unreadable") => talk(&format!(
            "namegate: {} cannot be read: {}; in force stays: {kept}",
            word("file"),
            word("message")
        )),
        _ => talk("namegate: the resolver ended before it had read the file"),
    }
}

/// `policy ci (npl_1) gen 42, 12 names`
fn in_force(policy: &Value) -> String {
    let word = |key: &str| client::word(&policy[key], "?");
    let Some(generation) = policy["generation"].as_u64() else {
        return "no policy, every name is denied".to_owned();
    };
    let count = |kind: &str| client::number(&policy["patterns"][kind]);
    let names = match (
        policy["allow_all"].as_bool(),
        count("exact") + count("wildcard"),
    ) {
        (Some(true), _) => "allow_all".to_owned(),
        (_, names) => counted(names, "name"),
    };
    format!(
        "policy {} ({}) gen {generation}, {names}",
        word("name"),
        word("id")
    )
}
