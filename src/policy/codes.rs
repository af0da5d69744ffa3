//! What each code of a diagnostic means: one table for `explain` and for `docs/codes.md`.
//!
//! Nothing comes in. An example stands for a member of a policy's `egress` object that gets the code; where
//! the code is about the file as a whole, it says so in words.

use std::fmt::Write as _;

use super::Severity;

/// A code and what there is to say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// `NP012`.
    pub code: &'static str,
    /// How much a finding of this code matters.
    pub severity: Severity,
    /// A few words.
    pub title: &'static str,
    /// What is found, and why it matters.
    pub meaning: &'static str,
    /// What gets it.
    pub example: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Code {
    /// The code of this name, in any letter case.
    pub fn find(name: &str) -> Option<&'static Self> {
        CODES.iter().find(|it| it.code.eq_ignore_ascii_case(name))
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        format!(
            "{}  {}: {}\n\n  {}\n\n  example   {}\n  remedy    {}\n",
            self.code,
            self.severity.word(),
            self.title,
            self.meaning,
            self.example,
            self.remedy
        )
    }

    /// The page of all codes, in Markdown.
    pub fn page() -> String {
        let mut page = PREFACE.to_owned();
        for it in &CODES {
            let word = it.severity.word();
            let _ = write!(
                page,
                "\n## {}: {}\n\n**{word}** {}\n\n```text\n{}\n```\n\n{}\n",
                it.code, it.title, it.meaning, it.example, it.remedy
            );
        }
        page
    }
}

const PREFACE: &str = "\
# Codes of diagnostics

What `namegate check`, a refused reload and the log say about a policy file, code by code; `namegate explain NP012` prints the same.
An *error* refuses the whole document, a *warning* fails `check --strict`, an *info* is only worth knowing. This page is written by a test from the table in
`src/policy/codes.rs`.
";

const fn code(
    code: &'static str,
    severity: Severity,
    title: &'static str,
    [meaning, example, remedy]: [&'static str; 3],
) -> Code {
    Code {
        code,
        severity,
        title,
        meaning,
        example,
        remedy,
    }
}

use Severity::{Error, Info, Warning};

/// Every code, in order.
pub const CODES: [Code; 24] = [
    code(
        "NP001",
        Error,
        "not JSON",
        [
            "The file is empty, or not one JSON value: a comma too many or too few, a comment, single quotes, a file that was cut off. \
             An empty file is never taken for a policy that denies everything.",
            r#""allowed_hostnames": ["github.com",]"#,
            "Mend the syntax at the place that is shown. Programs that write the file should write a new one and rename it into place.",
        ],
    ),
    code(
        "NP002",
        Error,
        "a field is missing, or no policy is chosen",
        [
            "A field that every policy has is not there; or the file is the body of a create or update request; or it is a list response \
             and it does not say which of its policies is meant.",
            r#""allow_agent_gateway" is left out"#,
            "Add the field. Choose from a list with --policy-id or --policy-name. Save what the API answers, not what it is sent.",
        ],
    ),
    code(
        "NP003",
        Error,
        "unknown field",
        [
            "A field that no policy has, often a slip. It is refused because a restriction that is misspelt would otherwise be none.",
            r#""allowed_hostname": []"#,
            "Write the field that is suggested, or remove it.",
        ],
    ),
    code(
        "NP004",
        Error,
        "wrong type or value",
        [
            "A value is of another kind than the field takes, or is outside its range.",
            r#""allow_all": "no""#,
            "Write what is expected there: true and false without quotes, a list also of one name.",
        ],
    ),
    code(
        "NP005",
        Error,
        "duplicate key",
        [
            "A key stands twice in one object. Programs differ in which of the two they take, so two readers would see two policies.",
            r#""allow_all": false, "allow_all": true"#,
            "Keep one of them.",
        ],
    ),
    code(
        "NP006",
        Error,
        "the file is too large",
        [
            "A policy file has at most 64 MiB, which is more than a million names take.",
            "a file of 65 MiB",
            "Use wildcards for domains that are meant whole, or look for what the file holds besides a policy.",
        ],
    ),
    code(
        "NP007",
        Error,
        "not UTF-8",
        [
            "The file is UTF-16, begins with a byte order mark, or holds octets that are no UTF-8.",
            "a file that begins with EF BB BF",
            "Save it as UTF-8 without a byte order mark.",
        ],
    ),
    code(
        "NP010",
        Error,
        "an empty string",
        [
            "An entry of the list is empty. Often a variable that was not set when the file was made.",
            r#""allowed_hostnames": [""]"#,
            "Remove the entry.",
        ],
    ),
    code(
        "NP011",
        Error,
        "not a hostname",
        [
            "A label or the name is too long or empty, holds a character other than letters, digits, hyphen and underscore, or stands alone without a dot.",
            r#""allowed_hostnames": ["git hub.com", "github"]"#,
            "Write the whole name, as in github.com.",
        ],
    ),
    code(
        "NP012",
        Error,
        "a URL, a port, a path or a user",
        [
            "DNS knows names alone: a policy can neither allow one port of a host nor one path.",
            r#""allowed_hostnames": ["https://registry.npmjs.org/", "github.com:443"]"#,
            "Write the name alone, as in registry.npmjs.org.",
        ],
    ),
    code(
        "NP013",
        Error,
        "an IP address",
        [
            "Addresses are not looked up, so a name filter can neither allow nor deny them, in whatever spelling.",
            r#""allowed_hostnames": ["10.0.0.1"]"#,
            "List the name of the service. Addresses belong into `allowed_cidrs`, which a packet filter enforces.",
        ],
    ),
    code(
        "NP014",
        Error,
        "a wildcard in the wrong place",
        [
            "`*` stands only as the whole first label, once. `*.npmjs.org` is every name below npmjs.org, at any depth.",
            r#""allowed_hostnames": ["registry*.npmjs.org", "a.*.org"]"#,
            "List the names one by one, or the wildcard over all of them.",
        ],
    ),
    code(
        "NP015",
        Error,
        "a bare wildcard",
        [
            "`*` alone would be every name. There is one way to say that, so that it cannot be overlooked.",
            r#""allowed_hostnames": ["*"]"#,
            "Remove it; or, if every name is meant, write \"allow_all\": true.",
        ],
    ),
    code(
        "NP016",
        Error,
        "a name that is not ASCII",
        [
            "An international name is looked up in its `xn--` form, and two names that look the same may differ in it.",
            r#""allowed_hostnames": ["bücher.example.com"]"#,
            "Write the `xn--` form that is suggested, after a look at whether it is the one that is meant.",
        ],
    ),
    code(
        "NP020",
        Warning,
        "an entry without effect",
        [
            "The entry stands twice, or a wildcard of the list covers it. Whoever removes one of them changes nothing, and may believe he did.",
            r#""allowed_hostnames": ["*.npmjs.org", "registry.npmjs.org"]"#,
            "Remove the entry; or, to allow less, the wildcard.",
        ],
    ),
    code(
        "NP021",
        Info,
        "an apex without its wildcard, or the reverse",
        [
            "`npmjs.org` is that name alone and `*.npmjs.org` does not cover it. Some other programs see that differently.",
            r#""allowed_hostnames": ["*.npmjs.org"]"#,
            "Add the other one if it is meant, too.",
        ],
    ),
    code(
        "NP022",
        Info,
        "an entry is normalised",
        [
            "Upper case and a final dot make no difference in DNS; the entry is read without them.",
            r#""allowed_hostnames": ["GitHub.com."]"#,
            "Nothing needs to be done.",
        ],
    ),
    code(
        "NP023",
        Warning,
        "a name that may look like another",
        [
            "An `xn--` name mixes scripts, is spelt in letters that look like Latin ones, or cannot be decoded at all.",
            r#""allowed_hostnames": ["xn--pypi-4ve.org"]"#,
            "Compare it with the name that was meant; remove it if nobody can say who owns it.",
        ],
    ),
    code(
        "NP030",
        Warning,
        "a list that has no effect",
        [
            "`allow_all` is true, so every name resolves, listed or not.",
            r#""allow_all": true, "allowed_hostnames": ["github.com"]"#,
            "Write \"allow_all\": false to allow the listed names alone.",
        ],
    ),
    code(
        "NP031",
        Warning,
        "a wildcard over a shared suffix",
        [
            "Anybody can publish below it: code in the box can then send data to, and fetch code from, whoever registers a name there.",
            r#""allowed_hostnames": ["*.github.io", "*.com"]"#,
            "List the exact sites, for example myorg.github.io.",
        ],
    ),
    code(
        "NP032",
        Info,
        "an empty list",
        [
            "No hostname is allowed. The services that the `allow_...` flags switch on still resolve.",
            r#""allowed_hostnames": []"#,
            "Nothing needs to be done if that is meant.",
        ],
    ),
    code(
        "NP033",
        Warning,
        "a special-use name",
        [
            "No public DNS server has names below .local, .test, .onion, .internal and their like.",
            r#""allowed_hostnames": ["printer.local"]"#,
            "Serve such names from a zone file or a `[[forward]]` of the configuration.",
        ],
    ),
    code(
        "NP034",
        Warning,
        "a public resolver",
        [
            "The host answers DNS over HTTPS. A program that reaches it can look up every name past this filter.",
            r#""allowed_hostnames": ["dns.google"]"#,
            "Remove it unless exactly that is meant.",
        ],
    ),
    code(
        "NP040",
        Warning,
        "anybody may write the file",
        [
            "The file's mode lets every user of the machine change the policy.",
            "-rw-rw-rw- policy.json",
            "chmod o-w FILE",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::super::{Select, lint, read};
    use super::*;

    /// Codes whose example is no text of a policy.
    const IN_WORDS: [&str; 4] = ["NP002", "NP006", "NP007", "NP040"];

    /// A policy with these members in place of its own.
    fn document(members: &str) -> String {
        let own = [
            r#""allow_all": false"#,
            r#""allow_devbox_to_devbox": false"#,
            r#""allowed_hostnames": ["github.com"]"#,
            r#""allow_agent_gateway": false"#,
            r#""allow_mcp_gateway": false"#,
        ];
        let key = |member: &str| member.split(':').next().unwrap_or_default().to_owned();
        let kept = own.iter().filter(|it| !members.contains(&key(it)));
        let all: Vec<&str> = kept.copied().chain([members]).collect();
        format!(
            r#"{{"id": "a", "name": "a", "egress": {{{}}}, "create_time_ms": 1, "update_time_ms": 1}}"#,
            all.join(", ")
        )
    }

    #[test]
    fn every_example_gets_its_code() {
        for code in CODES.iter().filter(|it| !IN_WORDS.contains(&it.code)) {
            let source = document(code.example);
            let found = match read("p", source.as_bytes(), &Select::Only) {
                Err(findings) => findings,
                Ok(accepted) => lint("p", source.as_bytes(), &accepted, &Select::Only),
            };
            let about = |it: &&super::super::Diagnostic| it.code == code.code;
            let severity = found.findings.iter().find(about).map(|it| it.severity);
            let drawn = found.render(false);
            assert_eq!(severity, Some(code.severity), "{}\n{drawn}", code.code);
        }
    }

    #[test]
    fn codes_are_in_order_and_found_in_any_case() {
        assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert_eq!(Code::find("np012").map(|it| it.code), Some("NP012"));
        assert_eq!(Code::find("NP999"), None);
    }
}
