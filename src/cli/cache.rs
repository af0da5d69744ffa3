//! `cache flush`: has the running resolver forget what upstream has said.

use serde_json::Value;

use super::args::CacheCommand;
use super::client::Client;
use super::{counted, exit, say, talk};

pub(super) fn run(command: &CacheCommand) -> u8 {
    let CacheCommand::Flush(link) = command;
    let flushed = Client::by(link).and_then(|client| flush(&client));
    flushed.unwrap_or_else(|code| code)
}

fn flush(client: &Client) -> Result<u8, u8> {
    let reply = client.ask("POST", "/v1/cache/flush");
    let reply = reply.map_err(|error| client.fail(&error))?;
    let said: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    match said["flushed"].as_u64() {
        Some(answers) => say(&format!("flushed: {}\n", counted(answers, "answer"))),
        None => {
            talk(&format!("namegate: the resolver answers {}", reply.status));
            return Err(exit::UNAVAILABLE);
        }
    }
    Ok(exit::OK)
}
