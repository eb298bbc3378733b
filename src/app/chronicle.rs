use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::admin::events::{Kind, News};
use crate::admin::recorder::Recorder;
use crate::admin::scene::Scene;
use crate::admin::status::VERSION;
use crate::net::stop::Stop;
use crate::peer::Told;
use crate::vrrp::Report;

/// Who keeps the past for the status: looks at the present whenever something has changed, and once a second.
pub struct Chronicle {
    /// The present.
    pub scene: Scene,
    /// Where the past is kept.
    pub recorder: Recorder,
    /// Tells of each new snapshot.
    pub published: watch::Receiver<u64>,
    /// Tells of the virtual addresses.
    pub reports: watch::Receiver<Arc<[Report]>>,
    /// Tells of the other front doors.
    pub told: watch::Receiver<Told>,
}

impl Chronicle {
    /// Works until told to stop.
    pub async fn keep(self, mut stop: Stop) {
        let Self { scene, recorder, mut published, mut reports, mut told } = self;
        let started = News::good(Kind::Process, format!("{} {VERSION} has started", scene.node.name));
        recorder.tell(started, SystemTime::now());
        let mut seconds = interval(SECOND);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            recorder.compare(scene.status());
            tokio::select! {
                () = stop.stopped() => return,
                // each gateway's round makes a snapshot: together they are looked at a few times a second
                () = sleep(BREATH) => {}
            }
            tokio::select! {
                () = stop.stopped() => return,
                _ = seconds.tick() => recorder.measure(&(scene.listeners)(), Instant::now()),
                Ok(()) = published.changed() => {}
                Ok(()) = reports.changed() => {}
                Ok(()) = told.changed() => {}
            }
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const BREATH: Duration = Duration::from_millis(100);
