//! Those who wait for the policy file to be read and judged, each by the number of his poke.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::policy::watch::Poke;

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
    pub(super) async fn ask(&self) -> Judged {
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
