//! The configuration while it is being said: defaults, then file, environment and flags over them.
//!
//! Values come in, each with its place; what comes last wins. [`Draft::finish`]
//! returns the whole, or every fault that was met on the way. No file and no
//! variable is opened here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::fault::{Error, Fault, Kind, Place, Source};
use super::file;
use super::flags::Flags;
use super::keys::{self, FORWARD, KEYS, Key};
use super::value::{Entry, Said, What, duration};
use super::{AUDIT_MAX, Config, Mode, Server};

/// Nothing is learned in less.
const AUDIT_MIN: Duration = Duration::from_secs(60);
const AUDIT_UNTIL: &str = "policy.audit_until";

/// What was said so far.
#[derive(Default)]
pub(super) struct Draft {
    config: Config,
    /// Where each key was said last, also when it was said badly.
    said: BTreeMap<&'static str, Place>,
    faults: Vec<Fault>,
}

impl Entry {
    /// The fault of a key that `section` does not have.
    pub(super) fn unknown(&self, section: &str) -> Fault {
        let help = keys::key_help(section, &self.name);
        self.place.fault("there is no such key".to_owned(), help)
    }
}

impl Draft {
    /// Takes what a file says.
    ///
    /// # Errors
    /// When it is not TOML; there is no sense in going on then.
    pub(super) fn take_file(&mut self, source: &Arc<Source>) -> Result<(), Error> {
        for table in file::parse(source)? {
            self.take_table(&table);
        }
        // The parser sorts by name; a person reads from the top.
        self.faults.sort_by_key(Fault::order);
        Ok(())
    }

    fn take_table(&mut self, table: &Entry) {
        if !keys::is_section(&table.name) {
            let message = format!("there is no table [{}]", table.name.escape_debug());
            let help = keys::section_help(&table.name);
            return self.faults.push(table.place.fault(message, help));
        }
        match &table.value.what {
            _ if table.name == FORWARD => self.take_forwards(&table.value),
            What::Table(entries) => entries
                .iter()
                .for_each(|it| self.take_entry(&table.name, it)),
            What::Text(_)
            | What::Number(_)
            | What::Switch(_)
            | What::List(_)
            | What::Word(_)
            | What::Other(_) => {
                let message = format!("{} is a table", table.name);
                let help = format!(
                    "write [{}] in single brackets, on a line of its own",
                    table.name
                );
                self.faults.push(table.place.fault(message, help));
            }
        }
    }

    fn take_entry(&mut self, section: &str, entry: &Entry) {
        let path = format!("{section}.{}", entry.name);
        match keys::key(&path) {
            Some(key) => self.take(key, &entry.value),
            None => self.faults.push(entry.unknown(section).about(&path)),
        }
    }

    fn take_forwards(&mut self, said: &Said) {
        self.said.insert(FORWARD, said.place.clone());
        match keys::forwards(said) {
            Ok(forwards) => self.config.forward = forwards,
            Err(faults) => self.faults.extend(faults),
        }
    }

    /// Takes what the environment says for each key.
    pub(super) fn take_variables(&mut self, env: &dyn Fn(&str) -> Option<String>) {
        for key in KEYS {
            let value = |name: String| env(&name).map(|text| Said::word(&name, &text));
            if let Some(said) = key.variables().find_map(value) {
                self.take(key, &said);
            }
        }
    }

    /// Takes what the flags say.
    pub(super) fn take_flags(&mut self, flags: &Flags) {
        for (path, said) in flags.said() {
            let key = keys::key(path).expect("each flag stands for a key of the table");
            self.take(key, &said);
        }
        if let Some(text) = &flags.audit_for {
            self.take_audit_for(text);
        }
    }

    /// As long as this from now: what is kept in files says when it ends.
    fn take_audit_for(&mut self, text: &str) {
        let said = Said::word("--audit-for", text);
        self.said.insert(AUDIT_UNTIL, said.place.clone());
        match duration(&said, AUDIT_MIN, AUDIT_MAX) {
            Ok(time) => self.config.policy.audit_until = Some(SystemTime::now() + time),
            Err(faults) => {
                let faults = faults.into_iter().map(|fault| fault.about(AUDIT_UNTIL));
                self.faults.extend(faults);
            }
        }
    }

    fn take(&mut self, key: &Key, said: &Said) {
        self.said.insert(key.path, said.place.clone());
        if let Err(faults) = (key.set)(&mut self.config, said) {
            self.faults
                .extend(faults.into_iter().map(|fault| fault.about(key.path)));
        }
    }

    /// The configuration, when nothing is wrong with it.
    pub(super) fn finish(mut self) -> Result<Config, Error> {
        let faults = [
            self.closed_door(),
            self.two_policies(),
            self.endless_audit(SystemTime::now()),
            self.asks_itself(),
        ];
        self.faults.extend(faults.into_iter().flatten());
        if self.faults.is_empty() {
            return Ok(self.config);
        }
        Err(Error {
            kind: Kind::Bad,
            faults: self.faults,
        })
    }

    /// Served beyond the machine, while only the machine itself is let in.
    fn closed_door(&self) -> Option<Fault> {
        let place = self.said.get("listen.addresses")?;
        let mut addresses = self.config.listen.addresses.iter();
        let open = addresses.find(|it| !it.ip().to_canonical().is_loopback())?;
        if self.said.contains_key("listen.clients") {
            return None;
        }
        let message = format!("{open} is reachable from outside, but nobody outside may ask");
        let help =
            "say who may ask, for example listen.clients = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";
        Some(place.fault(message, help).about("listen.addresses"))
    }

    fn two_policies(&self) -> Option<Fault> {
        let policy = &self.config.policy;
        if policy.id.is_empty() || policy.name.is_empty() {
            return None;
        }
        let message = "the policy is chosen by id and by name".to_owned();
        Some(
            self.said
                .get("policy.name")?
                .fault(message, "say one, and \"\" for the other"),
        )
    }

    /// An audit without an end, or with one that is too far away. One that is over is none, and no fault.
    fn endless_audit(&self, now: SystemTime) -> Option<Fault> {
        let policy = &self.config.policy;
        let place = self
            .said
            .get("policy.mode")
            .filter(|_| policy.mode == Mode::Audit)?;
        let last = now + AUDIT_MAX;
        let Some(until) = policy.audit_until else {
            // What was said badly is told already.
            let mut faults = self.faults.iter();
            let is_told = faults.any(|it| it.message().starts_with(AUDIT_UNTIL));
            let in_2h = shown(now + Duration::from_secs(2 * 3600));
            let help = format!(
                "say when it ends, within 7 days: policy.audit_until = \"{in_2h}\" (2 hours from now), or `run --audit-for 2h`"
            );
            let fault = place.fault("an audit needs an end".to_owned(), help);
            return (!is_told).then(|| fault.about("policy.mode"));
        };
        let message = format!("{} is more than 7 days away", shown(until));
        let help = format!("write a time up to \"{}\"", shown(last));
        let fault = self.said.get(AUDIT_UNTIL)?.fault(message, help);
        (until > last).then(|| fault.about(AUDIT_UNTIL))
    }

    /// A server that is ourselves: each question would come back as a new one.
    fn asks_itself(&self) -> Option<Fault> {
        let forwards = self.config.forward.iter().flat_map(|it| &it.servers);
        let forwards = forwards.map(|server| (FORWARD, server));
        let servers = self.config.upstream.servers.iter();
        let all = servers
            .map(|server| ("upstream.servers", server))
            .chain(forwards);
        let (key, _) = all.into_iter().find(|(_, server)| self.is_us(server))?;
        // No server of the defaults is an address, so one that is was said.
        let place = self.said.get(key)?;
        let message = "a server is an address that namegate itself listens on".to_owned();
        Some(
            place
                .fault(message, "name another server, or listen elsewhere")
                .about(key),
        )
    }

    fn is_us(&self, server: &Server) -> bool {
        let (Server::Udp(to) | Server::Tcp(to)) = server else {
            return false;
        };
        let here = |at: &SocketAddr| {
            let everywhere = at.ip().is_unspecified() && to.ip().is_loopback();
            at.port() == to.port() && (everywhere || at.ip() == to.ip())
        };
        self.config.listen.addresses.iter().any(here)
    }
}

/// As a file says it.
fn shown(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::{AUDIT_MAX, Draft, SystemTime, shown};
    use crate::config::{Flags, Mode, read};

    /// The text is refused; each of `parts` stands in what is said about it.
    #[track_caller]
    fn refused(text: &str, parts: &[&str]) {
        let error = read("c.toml", text).expect_err(text).to_string();
        for part in parts {
            assert!(error.contains(part), "no {part:?} in\n{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
        let text = "[listen]\nudp_paylod = 1232\n";
        let expected = "error: listen.udp_paylod: there is no such key\n \
            --> c.toml:2:1\n  |\n2 | udp_paylod = 1232\n  | ^^^^^^^^^^\n  \
            = help: did you mean \"udp_payload\"?";
        assert_eq!(read("c.toml", text).expect_err(text).to_string(), expected);
        refused(
            "[cache]\nmax-ttl = '1s'",
            &["2:1", "did you mean \"max_ttl\"?"],
        );
    }

    #[test]
    fn an_unknown_key_is_shown_its_table_or_the_keys_there_are() {
        refused(
            "[zones]\nprefetch = true",
            &["2:1", "\"prefetch\" is a key of [cache]"],
        );
        refused("[zones]\nqqqqqq = 1", &["the keys of [zones] are dir"]);
    }

    #[test]
    fn an_unknown_table_is_refused_with_the_one_that_was_meant() {
        refused(
            "[upstreams]",
            &[
                "there is no table [upstreams]",
                "1:2",
                "did you mean [upstream]?",
            ],
        );
        refused("prefetch = true", &["1:1", "write it below [cache]"]);
        refused("[qqqqqqqq]", &["the tables are [listen], [policy]"]);
    }

    #[test]
    fn a_table_is_not_a_value() {
        refused("log = 'info'", &["log is a table", "1:1", "write [log]"]);
        refused("[[log]]", &["log is a table"]);
    }

    #[test]
    fn what_is_not_toml_is_refused_at_its_place() {
        refused(
            "[listen]\nversion = \"open\n",
            &["c.toml:2:", "version = \"open", "^"],
        );
        refused(
            "[log]\nlevel = 'info'\nlevel = 'warn'",
            &["c.toml:3:1", "duplicate key"],
        );
    }

    #[test]
    fn all_faults_are_told_at_once_and_from_the_top() {
        let text = "[policy]\nsettle = '2s'\n[blocked]\nttl = 5\n[cache]\nbytes = 'x'\n[zone]\n";
        let error = read("c.toml", text).expect_err(text);
        let places: Vec<_> = error.faults.iter().map(|it| it.line_and_column()).collect();
        assert_eq!(
            places,
            [Some((2, 10)), Some((4, 7)), Some((6, 9)), Some((7, 2))]
        );
        assert_eq!(error.kind.exit_code(), 78);
    }

    #[test]
    fn a_door_to_the_outside_needs_clients() {
        let open = "[listen]\naddresses = ['127.0.0.1:53', '0.0.0.0:53']";
        refused(
            open,
            &[
                "2:13",
                "0.0.0.0:53 is reachable from outside",
                "listen.clients = [",
            ],
        );
        refused(
            "[listen]\naddresses = ['[2001:db8::1]:53']",
            &["reachable from outside"],
        );
        let said = format!("{open}\nclients = ['127.0.0.0/8', '::1']");
        assert!(read("c.toml", &said).is_ok(), "the default, but said");
        assert!(read("c.toml", "[listen]\naddresses = ['[::ffff:127.0.0.1]:53']").is_ok());
    }

    #[test]
    fn bad_clients_are_not_also_missing_clients() {
        let text = "[listen]\naddresses = ['0.0.0.0']\nclients = ['any']";
        assert_eq!(read("c.toml", text).expect_err(text).faults.len(), 1);
    }

    #[test]
    fn a_policy_is_chosen_one_way() {
        refused(
            "[policy]\nid = 'a'\nname = 'b'",
            &["3:8", "by id and by name", "say one"],
        );
    }

    #[test]
    fn an_audit_has_an_end_within_a_week() {
        let audit = |until: SystemTime| {
            format!("[policy]\nmode = 'audit'\naudit_until = '{}'", shown(until))
        };
        let now = SystemTime::now();
        let an_hour = AUDIT_MAX / (7 * 24);
        refused(
            "[policy]\nmode = 'audit'",
            &[
                "2:8",
                "policy.mode: an audit needs an end",
                "policy.audit_until = \"2",
                "--audit-for 2h",
            ],
        );
        refused(
            "[policy]\nmode = 'audit'\naudit_until = ''",
            &["needs an end"],
        );
        refused(
            &audit(now + AUDIT_MAX + an_hour),
            &[
                "3:15",
                "policy.audit_until: 2",
                "more than 7 days away",
                "a time up to \"2",
            ],
        );
        for until in [now + AUDIT_MAX - an_hour, now + an_hour, now - an_hour] {
            let config = read("c.toml", &audit(until)).expect("an end");
            assert_eq!(config.policy.mode, Mode::Audit);
        }
        let far = audit(now + 2 * AUDIT_MAX).replace("'audit'", "'enforce'");
        assert!(read("c.toml", &far).is_ok(), "there is no audit");
    }

    #[test]
    fn a_bad_end_is_not_also_a_missing_one() {
        let text = "[policy]\nmode = 'audit'\naudit_until = '2h'";
        assert_eq!(read("c.toml", text).expect_err(text).faults.len(), 1);
        refused(
            "[policy]\naudit_for = '2h'",
            &["2:1", "each restart", "policy.audit_until"],
        );
    }

    #[test]
    fn an_audit_from_now_is_a_minute_to_a_week() {
        let with = |time: &str| {
            let flags = Flags {
                mode: Some("audit".to_owned()),
                audit_for: Some(time.to_owned()),
                ..Flags::default()
            };
            let mut draft = Draft::default();
            draft.take_flags(&flags);
            draft.finish().map_err(|error| error.to_string())
        };
        for (time, told) in [
            ("59s", "from \"1m\" to \"7days\""),
            ("169h", "from \"1m\" to \"7days\""),
            ("2001-01-01T00:00:00Z", "is not a duration"),
        ] {
            let error = with(time).expect_err(time);
            assert!(
                error.contains("--> --audit-for") && error.contains(told),
                "{error}"
            );
        }
        let left = |time: &str| {
            let until = with(time).expect(time).policy.audit_until;
            until
                .expect("an end")
                .duration_since(SystemTime::now())
                .expect("to come")
        };
        assert!(left("7d") <= AUDIT_MAX && left("7d") > AUDIT_MAX / 2);
        assert!(left("1m").as_secs() >= 50);
    }

    #[test]
    fn a_server_is_never_ourselves() {
        refused(
            "[upstream]\nservers = ['udp://127.0.0.1']",
            &["2:11", "itself listens on"],
        );
        refused(
            "[[forward]]\nzone = 'x'\nservers = ['::1']",
            &["forward: ", "itself listens on"],
        );
        let everywhere = "[listen]\naddresses = ['0.0.0.0:5300']\nclients = ['::/0']\n";
        refused(
            &format!("{everywhere}[upstream]\nservers = ['127.0.0.1:5300']"),
            &["itself"],
        );
        assert!(
            read(
                "c.toml",
                "[upstream]\nservers = ['127.0.0.53', '127.0.0.1:5300']"
            )
            .is_ok()
        );
    }

    #[test]
    fn a_forward_is_a_zone_and_its_servers() {
        let good = "[[forward]]\nzone = 'cluster.local.'\nservers = ['system']\n";
        let config = read("c.toml", good).expect("a good forward");
        assert_eq!(config.forward[0].zone.to_string(), "cluster.local");
        assert!(!config.forward[0].exempt);
        refused(
            &format!("{good}{good}"),
            &["4:1", "forwarded twice", "in one [[forward]]"],
        );
        refused("[forward]\nzone = 'x'", &["two brackets"]);
        refused("forward = [1]", &["is not a table"]);
        refused(
            "[[forward]]\nzone = 'x'",
            &["1:1", "needs both zone and servers"],
        );
        refused(
            "[[forward]]\nzone = 'a..b'\nservers = []\nexmpt = 1",
            &[
                "2:8",
                "a label is empty",
                "3:11",
                "with no server",
                "4:1",
                "did you mean \"exempt\"?",
            ],
        );
        for more in ["", "exempt = true"] {
            let all = format!("[[forward]]\nzone = '.'\nservers = ['system']\n{more}");
            refused(&all, &["1:1", "every name", "upstream.servers"]);
        }
    }
}
