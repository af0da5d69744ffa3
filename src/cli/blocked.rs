//! `blocked`: the names that were blocked lately, as the file in the box tells them.

use super::args::{BlockedArgs, Format};
use super::client::Client;
use super::{exit, say};

pub(super) fn blocked(args: &BlockedArgs) -> u8 {
    told(args).unwrap_or_else(|code| code)
}

fn told(args: &BlockedArgs) -> Result<u8, u8> {
    let client = Client::by(&args.link)?;
    let since = args
        .since
        .map_or(String::new(), |it| format!("&since={}s", it.as_secs()));
    let asked = format!("/v1/blocked?all={}{since}", u8::from(args.all));
    match args.format {
        Format::Text => say(&client.get(&format!("{asked}&format=text"))?),
        Format::Json => say(&format!("{}\n", client.document(&asked)?)),
    }
    Ok(exit::OK)
}
