//! `explain`: would this name resolve, and why. It asks the function that the server asks.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{ExplainArgs, Format};
use super::client::{Client, encoded, is_absent};
use super::{accept, configuration, exit, fail, read_policy, say, talk, usage};
use crate::config::Config;
use crate::daemon::Judge;
use crate::policy::{Accepted, Code};
use crate::wire::{Name, Type};

pub(super) fn explain(args: &ExplainArgs, color: clap::ColorChoice) -> u8 {
    match explained(args, color) {
        Ok(all_allowed) => {
            if all_allowed {
                exit::OK
            } else {
                exit::FOUND
            }
        }
        Err(code) => code,
    }
}

fn explained(args: &ExplainArgs, color: clap::ColorChoice) -> Result<bool, u8> {
    let (codes, typed): (Vec<&String>, _) = args.names.iter().partition(|it| is_code(it));
    explain_codes(&codes, args.format)?;
    if typed.is_empty() {
        return Ok(true);
    }
    let kind = kind_of(&args.kind)?;
    let names = typed.iter().map(|name| name_of(name));
    let names: Vec<Name> = names.collect::<Result<_, _>>()?;
    let config = configuration(&args.flags())?;
    let mut gap = if codes.is_empty() { "" } else { "\n" };
    let mut tell = |text: &str| {
        match args.format {
            Format::Text => say(&format!("{gap}{text}")),
            Format::Json => say(text),
        }
        gap = "\n";
    };
    if let Some(client) = running(args, &config)? {
        return by_resolver(&client, args, &typed, &mut tell);
    }
    let (judge, _) = open(config, color)?;
    let mut all_allowed = true;
    for (name, typed) in names.iter().zip(typed) {
        let opinion = judge.opinion(name, typed, kind);
        all_allowed &= opinion.allowed;
        tell(&match args.format {
            Format::Text => judge.text(&opinion),
            Format::Json => format!("{}\n", judge.json(&opinion)),
        });
    }
    Ok(all_allowed)
}

/// The running resolver, unless a file was named. Where none answers, the file is judged, and that is said.
fn running(args: &ExplainArgs, config: &Config) -> Result<Option<Client>, u8> {
    let must = args.socket.is_some() || args.resolve;
    if args.names_file() || (config.admin.socket.is_none() && !must) {
        return Ok(None);
    }
    let client = Client::of(config)?;
    let error = match client.ask("HEAD", "/livez") {
        Ok(_) => return Ok(Some(client)),
        Err(error) if must => return Err(client.fail(&error)),
        Err(error) => error,
    };
    let why = match is_absent(&error) {
        true => "no resolver answers".to_owned(),
        false => format!("the resolver cannot be asked ({error})"),
    };
    let (socket, file) = (client.socket().display(), config.policy.file.display());
    talk(&format!(
        "note: {why} at {socket}; this is of the file {file}"
    ));
    Ok(None)
}

/// What the running resolver says to each.
fn by_resolver(
    client: &Client,
    args: &ExplainArgs,
    typed: &[&String],
    tell: &mut dyn FnMut(&str),
) -> Result<bool, u8> {
    let mut all_allowed = true;
    for name in typed {
        let resolve = u8::from(args.resolve);
        let (name, kind) = (encoded(name), encoded(&args.kind));
        let asked = format!("/v1/explain?name={name}&type={kind}&resolve={resolve}");
        all_allowed &= match args.format {
            Format::Text => {
                let text = client.get(&format!("{asked}&format=text"))?;
                tell(&text);
                text.starts_with("ALLOWED")
            }
            Format::Json => {
                let explained = client.document(&asked)?;
                tell(&format!("{explained}\n"));
                explained["verdict"] == "allowed"
            }
        };
    }
    Ok(all_allowed)
}

/// `NP012` is no name that a policy could list, so it is the code of a diagnostic.
fn is_code(text: &str) -> bool {
    let digits = text.get(..2).filter(|it| it.eq_ignore_ascii_case("NP"));
    digits.is_some() && text.len() == 5 && text[2..].bytes().all(|it| it.is_ascii_digit())
}

/// Tells what codes mean; a policy is not read for that.
fn explain_codes(names: &[&String], format: Format) -> Result<(), u8> {
    for (i, name) in names.iter().enumerate() {
        let unknown = || usage(&format!("there is no code {name}; docs/codes.md has all"));
        let code = Code::find(name).ok_or_else(unknown)?;
        let gap = if i > 0 { "\n" } else { "" };
        match format {
            Format::Text => say(&format!("{gap}{}", code.text())),
            Format::Json => say(&format!("{}\n", code_json(code))),
        }
    }
    Ok(())
}

fn code_json(code: &Code) -> Value {
    json!({
        "v": 1,
        "code": code.code,
        "severity": code.severity.word(),
        "title": code.title,
        "meaning": code.meaning,
        "example": code.example,
        "remedy": code.remedy,
    })
}

/// ANY has an answer; the other types that no record has are refused or malformed, whatever the name.
fn kind_of(text: &str) -> Result<Type, u8> {
    match text.parse::<Type>() {
        Ok(kind) if kind == Type::ANY || !kind.is_meta() => Ok(kind),
        _ => Err(usage(&format!("{text:?} is not a type of records"))),
    }
}

fn name_of(text: &str) -> Result<Name, u8> {
    text.parse()
        .map_err(|error| usage(&format!("{text:?} is not a name: {error}")))
}

/// The judge by the policy of the configuration's file, and what stands there; tells what is wrong with it and
/// returns the exit code when there is none.
pub(super) fn open(config: Config, color: clap::ColorChoice) -> Result<(Judge, Arc<Accepted>), u8> {
    let source = read_policy(&config)?;
    let accepted = Arc::new(accept(&config, &source, color)?);
    let judge = Judge::of_file(config, &source, accepted.clone()).map_err(|error| fail(&error))?;
    Ok((judge, accepted))
}
