//! What is known of a service: how it runs, how its rollouts ended, and what was written of the next one.

use haldane_api::{
    file::{self, Notify},
    http::{RolloutHistory, ServiceView},
    manifest,
};
use haldane_core::plan::Plan;

use super::Args;
use crate::cli::{
    globals::Globals,
    home::{Home, Kubernetes},
    plan,
    source::Source,
};

/// How many rollouts are looked back at.
pub(super) const HISTORY: u32 = 20;

/// What is known of a service.
#[derive(Debug)]
pub(super) struct Facts {
    /// How it runs.
    pub service: ServiceView,
    /// Its rollouts, latest first.
    pub history: Vec<RolloutHistory>,
    /// Its plan, where that is known.
    pub plan: Option<Plan>,
    /// How many are told of its rollouts, where that is known.
    pub told: Option<usize>,
    /// Whether it lives in a cluster.
    pub is_in_cluster: bool,
}

impl Facts {
    /// Asks where the service lives, and reads the file if one is named.
    pub(super) async fn gather(args: &Args, globals: &Globals) -> anyhow::Result<Self> {
        let name = args.name.name.as_str();
        let source = args.file.as_deref().map(Source::read).transpose()?;
        let of_file = source
            .as_ref()
            .map(|source| plan::of_file(name, source))
            .transpose()?;
        let told = source.as_ref().and_then(told);
        let Some(access) = &globals.access else {
            let client = globals.client();
            return Ok(Self {
                service: client.service(&args.name).await?,
                history: client.history(&args.name, HISTORY).await?,
                plan: of_file,
                told,
                is_in_cluster: false,
            });
        };
        let home = Kubernetes::connect(access).await?;
        let namespace = args.name.namespace.as_deref();
        let namespace = namespace.unwrap_or_else(|| home.cluster.namespace());
        let release = home.cluster.release(namespace, &args.name.name).await?;
        Ok(Self {
            service: home.service(&args.name).await?,
            history: home.history(&args.name, HISTORY).await?,
            // What can't be read is told by lint; here it is a plan that is not known.
            plan: of_file.or_else(|| release.spec.to_plan().ok()),
            told,
            is_in_cluster: true,
        })
    }
}

/// Returns how many a release file names who are told; a manifest names none.
fn told(source: &Source) -> Option<usize> {
    if manifest::is_manifest(&source.text) {
        return None;
    }
    let file = file::parse(&source.text).ok()?;
    let notify: &[Notify] = &file.notify;
    Some(notify.len())
}
