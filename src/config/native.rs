//! From what stands in a front door's file on native clients to the settings.

use std::sync::Arc;

use super::files::Files;
use super::front_file::FrontFile;
use super::native_file::DveTable;
use crate::dve::DveSettings;
use crate::ike::IkeSettings;

/// What answers over DVE; `None` if a key is not in order.
pub fn dve(table: &DveTable, files: &Files<'_>) -> Option<DveSettings> {
    // those after the first are looked at as well: they will be the first one some day
    let keys: Vec<_> = table.keys.iter().map(|named| files.signing_key(named)).collect();
    let key = keys.into_iter().collect::<Option<Vec<_>>>()?.into_iter().next()?;
    Some(DveSettings {
        listen: table.listen.iter().map(|address| *address.get_ref()).collect(),
        key: Arc::new(key),
        ttl: u16::try_from(table.ttl.as_secs()).unwrap_or(u16::MAX),
        answers_per_second_per_source: table.answers_per_second_per_source,
    })
}

/// What redirects IKEv2 clients.
pub fn ike(file: &FrontFile) -> Option<IkeSettings> {
    let table = file.ikev2.as_ref()?;
    Some(IkeSettings {
        listen: table.listen.iter().map(|address| *address.get_ref()).collect(),
        vrrp_id: table.vrrp_id.as_ref().map(|id| *id.get_ref()),
    })
}
