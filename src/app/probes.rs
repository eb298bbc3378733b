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

    /// Asks these from now on.
    pub async fn replace(&mut self, settings: &[ProbeSettings]) {
        let new = Self::start(settings, self.findings.clone());
        std::mem::replace(self, new).stop().await;
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
        self.stopper.stop();
        while self.tasks.join_next().await.is_some() {}
    }
}
