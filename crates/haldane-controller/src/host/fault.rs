//! What goes on while what a person wants can't be carried out: what was carried out last is looked after, and no more.

use haldane_core::rollout::Phase;

use super::{
    act::{Act, Setting},
    record::{Record, Stable},
    release,
    site::Blocked,
    version::Version,
};
use crate::turn::Write;

impl Act<'_> {
    /// Returns why the rollout that goes on stands still: nobody knows what is wanted of it, so it hears commands and ends by them, and
    /// its weight rises no more.
    pub(super) fn frozen(&self) -> Option<Blocked> {
        let live = self.record.live()?;
        let is_ending = matches!(live.state.phase, Phase::RollingBack(_));
        self.release.fault.clone().filter(|_| !is_ending)
    }

    /// Returns what lets a release go whose record can't be read, once stable has all traffic: nobody knows which template was judged,
    /// so none is let loose.
    pub(super) fn leave_unread(&self, setting: &Setting<'_>) -> Vec<Write> {
        let unknown = Stable {
            version: Version::of(&[], None),
            pods: String::new(),
            beside: None,
            since: self.view.now,
        };
        let record = Record {
            stable: Some(unknown),
            ..Record::new()
        };
        let cleared = setting.routes.cleared(&self.view);
        let mut writes = cleared.unwrap_or_default();
        writes.extend(setting.site.leave(&self.view, &record).unwrap_or_default());
        writes.extend(self.released());
        writes
    }

    /// Keeps what the spec says is changed, so that it can be put back whatever becomes of the spec.
    pub(super) fn keep(&mut self, setting: &Setting<'_>) {
        if self.release.fault.is_none() && self.record.stable.is_some() {
            self.record.kept = release::to_keep(setting.spec);
        }
    }
}
