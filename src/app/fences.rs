use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

use super::farm::Farm;
use crate::fence::{self, FenceSettings, Inputs, News};
use crate::fleet::Standing;
use crate::net::stop::{self, Stopper};

/// The one who fences.
pub struct Fences {
    settings: watch::Sender<Arc<FenceSettings>>,
    stopper: Stopper,
    task: JoinHandle<()>,
}

impl Fences {
    /// Begins to fence.
    pub fn start(
        settings: &FenceSettings,
        farm: &Farm,
        standing: Standing,
        news: mpsc::Sender<News>,
    ) -> Self {
        let (sender, receiver) = watch::channel(Arc::new(settings.clone()));
        let (view, published) = (farm.view.clone(), farm.published.clone());
        let inputs = Inputs { settings: receiver, view, published, standing };
        let (stopper, stop) = stop::channel();
        let task = tokio::spawn(fence::run(inputs, news, stop));
        Self { settings: sender, stopper, task }
    }

    /// Goes over to other settings; what is held and still wanted is held on.
    pub fn change(&self, settings: &FenceSettings) {
        self.settings.send_replace(Arc::new(settings.clone()));
    }

    /// Returns when it has ended though nobody has told it to; a panic is an error.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.task).await
    }

    /// Stops in order.
    pub async fn stop(self) {
        self.stopper.stop();
        let _ = self.task.await;
    }
}
