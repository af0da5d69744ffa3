//! The reader of policies beside the published JSON schema.
//!
//! Valid documents are generated, mutated, and shown to both. They must agree,
//! but for the differences that [`Difference`] lists.

use namegate::policy::{Select, read};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

const SCHEMA: &str = include_str!("data/network-policy.schema.json");

/// Where the reader differs from the schema on purpose.
#[derive(Clone, Copy, Debug)]
enum Difference {
    /// The API sends `"description": null`, which `"nullable": true` was to allow.
    NullDescription,
    /// The API sends `egress.allow_runloop_mirrors`.
    Mirrors,
    /// The API sends `egress.allowed_cidrs`.
    Cidrs,
    /// The schema says `"format": "int64"`, which validators take as a remark; the reader holds to it.
    HugeInteger,
    /// A file may also be the API's list of policies.
    List,
    /// A duplicate key is lost before a validator sees it; the reader refuses it.
    DuplicateKey,
    /// A hostname is any string to the schema.
    BadHostname,
}

const DIFFERENCES: [(Difference, bool); 7] = [
    // Does the reader take it?
    (Difference::NullDescription, true),
    (Difference::Mirrors, true),
    (Difference::Cidrs, true),
    (Difference::HugeInteger, false),
    (Difference::List, true),
    (Difference::DuplicateKey, false),
    (Difference::BadHostname, false),
];

fn valid() -> Value {
    json!({
        "id": "npol_1",
        "name": "ci",
        "description": "what it is for",
        "egress": {
            "allow_all": false,
            "allow_devbox_to_devbox": false,
            "allowed_hostnames": ["github.com", "*.npmjs.org"],
            "allow_agent_gateway": true,
            "allow_mcp_gateway": false,
        },
        "create_time_ms": 1,
        "update_time_ms": 2,
    })
}

/// A document that shows the difference.
fn showing(difference: Difference) -> String {
    let mut document = valid();
    match difference {
        Difference::NullDescription => document["description"] = Value::Null,
        Difference::Mirrors => document["egress"]["allow_runloop_mirrors"] = json!(true),
        Difference::Cidrs => document["egress"]["allowed_cidrs"] = json!([{"cidr": "10.0.0.0/8"}]),
        Difference::HugeInteger => document["create_time_ms"] = json!(u64::MAX),
        Difference::List => document = json!({"network_policies": [document], "has_more": false}),
        Difference::BadHostname => {
            document["egress"]["allowed_hostnames"] = json!(["https://github.com"]);
        }
        Difference::DuplicateKey => {
            return document
                .to_string()
                .replacen('{', "{\"id\": \"npol_2\", ", 1);
        }
    }
    document.to_string()
}

fn is_read(document: &str) -> bool {
    read("policy.json", document.as_bytes(), &Select::Only).is_ok()
}

fn validator() -> jsonschema::Validator {
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

fn is_valid(validator: &jsonschema::Validator, document: &str) -> bool {
    serde_json::from_str(document).is_ok_and(|document| validator.is_valid(&document))
}

#[test]
fn the_differences_are_these() {
    let validator = validator();
    assert!(is_read(&valid().to_string()) && is_valid(&validator, &valid().to_string()));
    for (difference, expected) in DIFFERENCES {
        let document = showing(difference);
        assert_eq!(is_read(&document), expected, "{difference:?}");
        assert_eq!(is_valid(&validator, &document), !expected, "{difference:?}");
    }
}

/// One change to a document; the number chooses the place.
#[derive(Clone, Debug)]
enum Mutation {
    Drop(usize),
    Rename(usize, &'static str),
    Add(usize, &'static str, Value),
    Replace(usize, Value),
    Append(Value),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let mutation = prop_oneof![
        any::<usize>().prop_map(Mutation::Drop),
        (any::<usize>(), names()).prop_map(|(at, name)| Mutation::Rename(at, name)),
        (any::<usize>(), names(), values())
            .prop_map(|(at, name, value)| Mutation::Add(at, name, value)),
        (any::<usize>(), values()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        values().prop_map(Mutation::Append),
    ];
    prop::collection::vec(mutation, 0..3)
}

/// Fields of the schema, in the wrong places too, and slips of them.
fn names() -> impl Strategy<Value = &'static str> {
    select(vec![
        "id",
        "name",
        "description",
        "egress",
        "create_time_ms",
        "update_time_ms",
        "allow_all",
        "allow_devbox_to_devbox",
        "allowed_hostnames",
        "allow_agent_gateway",
        "allow_mcp_gateway",
        "ID",
        "naem",
        "",
        "has_more",
        "allowed_hostname",
        "$schema",
    ])
}

fn values() -> impl Strategy<Value = Value> {
    select(vec![
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(-7),
        json!(1.0),
        json!(1.5),
        json!(1e3),
        json!(i64::MAX),
        json!("x"),
        json!(""),
        json!("true"),
        json!("registry.npmjs.org"),
        json!("*.example.com"),
        json!([]),
        json!(["github.com"]),
        json!([1]),
        json!([["github.com"]]),
        json!({}),
        json!({"allow_all": true}),
        valid()["egress"].clone(),
        valid(),
    ])
}

/// The objects of a document that have fields to be changed.
fn with_object(document: &mut Value, at: usize, change: impl FnOnce(&mut Map<String, Value>)) {
    let is_inner = at.is_multiple_of(2) && document["egress"].is_object();
    let object = if is_inner {
        &mut document["egress"]
    } else {
        document
    };
    change(object.as_object_mut().expect("a document stays an object"));
}

fn key(object: &Map<String, Value>, at: usize) -> Option<String> {
    object.keys().nth(at / 2 % object.len().max(1)).cloned()
}

fn mutate(document: &mut Value, mutation: Mutation) {
    match mutation {
        Mutation::Drop(at) => with_object(document, at, |object| {
            key(object, at).and_then(|key| object.remove(&key));
        }),
        Mutation::Rename(at, name) => with_object(document, at, |object| {
            let value = key(object, at).and_then(|key| object.remove(&key));
            object.extend(value.map(|value| (name.to_owned(), value)));
        }),
        Mutation::Add(at, name, value) => with_object(document, at, |object| {
            object.insert(name.to_owned(), value);
        }),
        Mutation::Replace(at, value) => with_object(document, at, |object| {
            object.extend(key(object, at).map(|key| (key, value)));
        }),
        Mutation::Append(value) => {
            let list = document.pointer_mut("/egress/allowed_hostnames");
            if let Some(list) = list.and_then(Value::as_array_mut) {
                list.push(value);
            }
        }
    }
}

/// Would one of the listed differences decide? Then the reader and the schema cannot be compared.
fn is_different(document: &Value) -> bool {
    let hostnames = document
        .pointer("/egress/allowed_hostnames")
        .and_then(Value::as_array);
    let is_bad_name = |it: &Value| {
        it.as_str()
            .is_some_and(|it| namegate::policy::Pattern::parse(it).is_err())
    };
    document.get("description").is_some_and(Value::is_null)
        || hostnames.is_some_and(|list| list.iter().any(is_bad_name))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_reader_agrees_with_the_schema(mutations in mutations()) {
        thread_local!(static VALIDATOR: jsonschema::Validator = validator());
        let mut document = valid();
        for mutation in mutations {
            mutate(&mut document, mutation);
        }
        if !is_different(&document) {
            let text = document.to_string();
            let expected = VALIDATOR.with(|it| is_valid(it, &text));
            prop_assert_eq!(is_read(&text), expected, "{}", text);
        }
    }

    #[test]
    fn a_document_cut_anywhere_is_refused(cut in 0..400_usize) {
        let text = valid().to_string();
        if cut < text.len() {
            prop_assert!(!is_read(&text[..cut]));
        }
    }

    #[test]
    fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..60), at in any::<usize>()) {
        let mut text = valid().to_string().into_bytes();
        let at = at % text.len();
        let end = text.len().min(at + octets.len());
        text.splice(at..end, octets);
        if let Err(diagnostics) = read("policy.json", &text, &Select::Only) {
            prop_assert!(diagnostics.has_errors() && !diagnostics.render(true).is_empty());
        }
    }
}
