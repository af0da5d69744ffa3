//! What an operator gets at the admin socket: why, and whether the policy file was taken.

use std::sync::Arc;

use super::explain::{Present, consult};
use super::judge::Judge;
use super::state::State;
use super::waiting::Judged;
use crate::telemetry::Telemetry;
use crate::telemetry::http::admin::{Admin, Explained, Question};
use crate::wire::{Name, Type};

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
