use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::net::stop::{self, Stopper};
use crate::probe::{self, Finding, ProbeSettings};

/// One task for each gateway that is asked.
pub struct Probes {
    findings: mpsc::Sender<Finding>,
    stopper: Stopper,
    tasks: JoinSet<()>,
}

impl Probes {
    /// Begins to ask.
    pub fn start(settings: &[ProbeSettings], findings: mpsc::Sender<Finding>) -> Self {
        let (stopper, stop) = stop::channel();
        let mut tasks = JoinSet::new();
        for probe in settings {
            tasks.spawn(probe::run(probe.clone(), findings.clone(), stop.clone()));
        }
        Self { findings, stopper, tasks }
    }

    /// Asks nobody until [`start_again`](Self::start_again). What has been found is with the keeper by then.
    pub async fn pause(&mut self) {
        self.stopper.stop();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Asks these from now on.
    pub fn start_again(&mut self, settings: &[ProbeSettings]) {
        *self = Self::start(settings, self.findings.clone());
    }

    /// Returns when one of them has ended though nobody has told it to; a panic is an error.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        match self.tasks.join_next().await {
            Some(ended) => ended,
            // there are none
            None => std::future::pending().await,
        }
    }

    /// Stops asking.
    pub async fn stop(mut self) {
        self.pause().await;
    }
}
