use std::time::Duration;

use tokio::sync::watch;

use crate::fleet::View;
use crate::probe::ProbeSettings;

/// What the keeper publishes, for those who wait for it.
#[derive(Clone)]
pub struct Farm {
    /// The newest snapshot.
    pub view: View,
    /// Changes with every snapshot.
    pub published: watch::Receiver<u64>,
}

impl Farm {
    /// Returns when every gateway has been asked once, or when every one of them should have answered.
    pub async fn first_round(&mut self, probes: &[ProbeSettings]) {
        let longest = probes.iter().map(|probe| probe.timeout).max().unwrap_or_default();
        let all_asked = async {
            while !self.view.load().gateways.iter().all(|gateway| gateway.was_asked())
                && self.published.changed().await.is_ok()
            {}
        };
        let _ = tokio::time::timeout((longest + MARGIN).min(LONGEST), all_asked).await;
    }
}

const MARGIN: Duration = Duration::from_millis(200);
/// Nobody waits longer for one gateway that hangs.
const LONGEST: Duration = Duration::from_secs(3);
