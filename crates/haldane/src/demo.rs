//! `haldane demo`: the whole main job in one command.
//!
//! A sample shop in two versions runs as real processes behind the real daemon in a temporary directory, real open-loop load goes
//! through the proxy, and the second version is rolled out. Only the shop's process knows what is wrong with it: daemon, judge and
//! driver get the same arguments whatever `--canary` says.

mod chance;
pub(crate) mod load;
pub(crate) mod plain;
pub(crate) mod run;
pub(crate) mod shop;
pub(crate) mod story;

use self::shop::{Behavior, Share};

/// Options of `haldane demo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// What is wrong with the new version: `good`, `errors`, `errors=SHARE`, `slow` or `crash`
    #[arg(long, value_name = "KIND", default_value = "good")]
    pub canary: Behavior,
    /// What is wrong with the old version
    #[arg(long, value_name = "KIND", default_value = "good", hide = true)]
    pub stable: Behavior,
    /// The share of requests that fail in both versions, as in `0.1%` or `0.001`
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub base: Share,
    /// Requests per second
    #[arg(long, value_name = "N", default_value_t = 100.0)]
    pub rps: f64,
    /// Plain lines instead of the live view
    #[arg(long)]
    pub plain: bool,
}

impl DemoArgs {
    /// Whether a good end is a promotion.
    pub(crate) fn expects_promotion(&self) -> bool {
        self.canary == Behavior::Good
    }
}
