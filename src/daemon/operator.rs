//! What an operator gets at the admin socket: why, and whether the policy file was taken.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::explain::{Present, consult};
use super::judge::Judge;
use super::state::State;
use crate::policy::watch::Poke;
use crate::telemetry::Telemetry;
use crate::telemetry::http::admin::{Admin, Explained, Question};
use crate::wire::{Name, Type};

/// What became of a look at the policy file: Ok where the policy in force is the file's.
pub(super) type Judged = Result<Value, Value>;

/// Those who wait for the policy file to be read and judged.
#[derive(Clone)]
pub(super) struct Waiting {
    poke: Poke,
    askers: Arc<Mutex<Vec<Asker>>>,
}

/// The number of his poke, and where he waits.
type Asker = (u64, oneshot::Sender<Judged>);

impl Waiting {
    pub(super) fn new(poke: Poke) -> Self {
        Self {
            poke,
            askers: Arc::default(),
        }
    }

    /// Has the file looked at, and waits for nothing.
    pub(super) fn poke(&self) {
        self.poke.poke();
    }

    /// Has the file looked at, and waits for what comes of that.
    async fn ask(&self) -> Judged {
        let (sender, judged) = oneshot::channel();
        {
            // His poke cannot be answered before he is among those who wait.
            let mut askers = self.askers.lock().expect("nobody panics with it");
            askers.push((self.poke.poke(), sender));
        }
        let stopped = |_| Err(json!({ "v": 1, "result": "stopped" }));
        judged.await.unwrap_or_else(stopped)
    }

    /// Tells those whose pokes, up to this one, were answered.
    pub(super) fn tell(&self, answered: u64, judged: &Judged) {
        let mut askers = self.askers.lock().expect("nobody panics with it");
        for (_, asker) in askers.extract_if(.., |(poke, _)| *poke <= answered) {
            // He may have gone.
            drop(asker.send(judged.clone()));
        }
    }
}

impl Admin for State {
    fn telemetry(&self) -> Arc<Telemetry> {
        self.telemetry.clone()
    }

    fn contact(&self) -> &str {
        &self.config.blocked.contact
    }

    async fn explain(&self, question: Question) -> Result<Explained, String> {
        let Question {
            name: typed,
            kind,
            resolve,
        } = question;
        let name: Name = typed
            .parse()
            .map_err(|error| format!("{typed:?} is not a name: {error}"))?;
        let kind = kind.parse::<Type>().ok();
        let kind = kind.filter(|it| *it == Type::ANY || !it.is_meta());
        let kind = kind.ok_or("that is not a type of records")?;
        let _turn = self.desk.lock().await;
        let live = self.road.live();
        let zones: Vec<Name> = self.road.zones().apexes().copied().collect();
        let (road, telemetry) = (self.road.clone(), self.telemetry.clone());
        let (config, judged_by) = (self.config.clone(), live.clone());
        let thought = tokio::task::spawn_blocking(move || {
            let judge = Judge::of_live(&config, &judged_by, zones);
            let opinion = judge.opinion(&name, &typed, kind);
            let present = Present::of(&name, kind, judged_by, &road, &telemetry);
            (judge, opinion, present)
        });
        let (judge, opinion, mut present) = thought.await.expect("a thought does not panic");
        if resolve {
            present.upstream = consult(&self.road, &live, &opinion).await;
        }
        Ok(Explained {
            text: judge.text_with(&opinion, Some(&present)),
            json: judge.json_with(&opinion, Some(&present)),
        })
    }

    async fn reload(&self) -> Judged {
        self.zones_poke.notify_one();
        self.telemetry.reopen();
        self.waiting.ask().await
    }

    fn flush_cache(&self) -> usize {
        let flushed = self.road.cache().clear();
        tracing::info!(flushed, "the cache was emptied by the operator");
        flushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_waits_for_the_answer_to_his_own_poke() {
        let waiting = Waiting::new(Poke::default());
        let (mut first, mut second) = (Box::pin(waiting.ask()), Box::pin(waiting.ask()));
        let is_pending = |judged: Option<Judged>| assert_eq!(judged, None);
        is_pending(by_now(&mut first).await);
        is_pending(by_now(&mut second).await);
        waiting.tell(1, &Ok(json!("one")));
        assert_eq!(by_now(&mut first).await, Some(Ok(json!("one"))));
        is_pending(by_now(&mut second).await);
        waiting.tell(2, &Err(json!("two")));
        assert_eq!(by_now(&mut second).await, Some(Err(json!("two"))));
    }

    /// What a future has come to by now.
    async fn by_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }
}
