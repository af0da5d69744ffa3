//! A proposal for people and for programs.
//!
//! Names come in [`Name`](crate::wire::Name)'s spelling and so cannot steer a
//! terminal; nothing else of a log is repeated.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::proposal::{Class, Item, Proposal};
use crate::wire::Type;

/// Lines that a class has, unless all is asked for.
const LINES_MAX: usize = 40;
/// Names that are shown where only how many there are counts.
const NAMES_MAX: usize = 4;
/// Longer names push their line to the right; the others stay in columns.
const NAME_WIDTH_MAX: usize = 44;

/// How much the text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What a person has to read.
    Brief,
    /// Every item.
    All,
}

/// The proposal as text. `policy` names the policy that it is for; `next` are commands to go on with.
pub fn text(proposal: &Proposal, policy: &str, next: &[String], detail: Detail) -> String {
    let mut text = heading(proposal, policy);
    for class in Class::ALL {
        let items: Vec<&Item> = proposal.of(class).collect();
        if items.is_empty() {
            continue;
        }
        text += &match (class, detail) {
            (Class::Unused, _) => unused(&items, detail),
            (Class::Hidden, Detail::Brief) => hidden(&items),
            (Class::KeepBlocked, Detail::Brief) => noise(&items),
            (Class::Add, _) | (_, Detail::All) => list(class, &items, usize::MAX),
            (Class::Review | Class::Danger, Detail::Brief) => list(class, &items, LINES_MAX),
        };
    }
    if proposal.items.is_empty() {
        text += "Nothing to add.\n";
    }
    for (n, command) in next.iter().enumerate() {
        let lead = if n == 0 { "\nnext:  " } else { "       " };
        text += &format!("{lead}{command}\n");
    }
    text
}

fn heading(proposal: &Proposal, policy: &str) -> String {
    let span = proposal.span_ms.map_or(String::new(), |(first, last)| {
        format!(" {}", minutes(last.saturating_sub(first)))
    });
    let mut text = format!(
        "Observed{span}: {}, {}; {} already allowed. Proposal for {policy}:\n\n",
        counted(proposal.lookups, "lookup"),
        counted(proposal.names as u64, "name"),
        proposal.allowed,
    );
    if proposal.left_out > 0 {
        let more = counted(proposal.left_out, "lookup");
        text += &format!(
            "There are too many different names: {more} of later ones were not looked at.\n\n"
        );
    }
    text
}

/// Whole minutes, rounded up.
fn minutes(ms: u64) -> String {
    let minutes = ms.div_ceil(60_000).max(1);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn counted(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

fn list(class: Class, items: &[&Item], lines_max: usize) -> String {
    let shown = &items[..items.len().min(lines_max)];
    let lengths = shown.iter().map(|it| it.name.len());
    let width = lengths
        .filter(|it| *it <= NAME_WIDTH_MAX)
        .max()
        .unwrap_or(0);
    let digits = shown.iter().map(|it| it.count.to_string().len()).max();
    let digits = digits.unwrap_or(1);
    let names = counted(items.len() as u64, "name");
    let mut text = format!("{}  {names}\n", class.title());
    for item in shown {
        text += &format!(
            "  {:<width$}  {:>digits$}  {}\n",
            item.name, item.count, item.why
        );
    }
    if let more @ 1.. = items.len() - shown.len() {
        text += &format!("  and {more} more          --all shows them\n");
    }
    text
}

/// A line for each group, and one for each name that has a reason of its own.
fn noise(items: &[&Item]) -> String {
    let mut text = format!(
        "{}  {}\n",
        Class::KeepBlocked.title(),
        counted(items.len() as u64, "name")
    );
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for item in items {
        match item.evidence.group {
            Some(group) => groups.entry(group).or_default().push(&item.name),
            None => text += &format!("  {}  {}\n", item.name, item.why),
        }
    }
    for (group, names) in groups {
        text += &format!("  {}  {group} ({})\n", some_of(&names), names.len());
    }
    text
}

fn some_of(names: &[&str]) -> String {
    let shown = &names[..names.len().min(NAMES_MAX)];
    let rest = if shown.len() < names.len() {
        " ..."
    } else {
        ""
    };
    format!("{}{rest}", shown.join(", "))
}

/// How many there are of each kind.
fn hidden(items: &[&Item]) -> String {
    let mut kinds: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
    for item in items {
        kinds.entry(item.evidence.kind).or_default().push(item);
    }
    let parts: Vec<String> = kinds
        .iter()
        .map(|(kind, items)| hidden_kind(kind, items))
        .collect();
    format!(
        "{}  {}\n  {}          --all shows them\n",
        Class::Hidden.title(),
        items.len(),
        parts.join(", ")
    )
}

fn hidden_kind(kind: &str, items: &[&Item]) -> String {
    let count = items.len() as u64;
    match kind {
        "search_suffix" => {
            let mut endings: Vec<&str> = items
                .iter()
                .filter_map(|it| it.evidence.near.as_deref())
                .collect();
            endings.sort_by_key(|it| (it.len(), *it));
            let ending = endings.first();
            let ending = ending.map_or(String::new(), |it| format!(" (... .{it})"));
            format!("{count} search-suffix{ending}")
        }
        "reverse_lookup" => counted(count, "reverse lookup"),
        "single_label" => format!("{count} single-label"),
        "answered_here" => format!("{count} answered here"),
        "own_zone" => format!("{count} of namegate's own zone"),
        "infrastructure" => format!("{count} of DNS itself"),
        _ => format!("{count} that no policy can list"),
    }
}

fn unused(items: &[&Item], detail: Detail) -> String {
    let names: Vec<&str> = items.iter().map(|it| it.name.as_str()).collect();
    let shown = match detail {
        Detail::Brief => some_of(&names),
        Detail::All => names.join(", "),
    };
    let patterns = counted(names.len() as u64, "allowed pattern");
    format!(
        "{}  {patterns} had no lookup: {shown}\n",
        Class::Unused.title()
    )
}

/// The proposal as one JSON object, an item a line. `more` are further members of the object.
pub fn json(proposal: &Proposal, more: &[(&str, Value)]) -> String {
    let span = proposal.span_ms;
    let observed = json!({
        "lookups": proposal.lookups,
        "names": proposal.names,
        "allowed": proposal.allowed,
        "left_out": proposal.left_out,
        "first": span.map(|(first, _)| time(first)),
        "last": span.map(|(_, last)| time(last)),
    });
    let items: Vec<String> = proposal
        .items
        .iter()
        .map(|it| item(it).to_string())
        .collect();
    let items = match items.as_slice() {
        [] => "[]".to_owned(),
        some => format!("[\n{}\n]", some.join(",\n")),
    };
    let mut members = vec![("v", "1".to_owned()), ("observed", observed.to_string())];
    members.extend(more.iter().map(|(key, value)| (*key, value.to_string())));
    members.push(("items", items));
    let members: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    format!("{{{}}}\n", members.join(",\n"))
}

fn item(item: &Item) -> Value {
    let evidence = &item.evidence;
    json!({
        "name": item.name,
        "class": item.class.word(),
        "count": item.count,
        "first": item.first_ms.map(time),
        "last": item.last_ms.map(time),
        "types": item.types.iter().map(Type::to_string).collect::<Vec<_>>(),
        "why": item.why,
        "evidence": {
            "kind": evidence.kind,
            "group": evidence.group,
            "near": evidence.near,
            "asked_as": evidence.asked_as,
            "names": evidence.names,
            "names_total": evidence.names_total,
            "clients": evidence.clients,
        },
    })
}

fn time(ms: u64) -> Value {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    // The formatter ends at the year 9999, and panics behind it.
    let at = at.filter(|_| ms < 253_402_300_800_000);
    at.map_or(Value::Null, |it| {
        humantime::format_rfc3339_millis(it).to_string().into()
    })
}
