//! What may keep Haldane from working in a cluster.

use haldane_controller::client::{Access, Check, Health};

use super::{Finding, Status};
use crate::cli::home::{HomeError, Kubernetes, Scope};

/// Looks at the cluster, and at the releases of one namespace or of all.
pub(super) async fn findings(
    access: &Access,
    all_namespaces: bool,
) -> Result<Vec<Finding>, HomeError> {
    let home = Kubernetes::connect(access).await?;
    let scope = if all_namespaces {
        Scope::Everywhere
    } else {
        Scope::Here
    };
    let checks = home.cluster.doctor(home.namespace(scope)).await;
    Ok(checks.into_iter().map(finding).collect())
}

fn finding(check: Check) -> Finding {
    let status = match check.health {
        Health::Good => Status::Ok,
        Health::Doubtful => Status::Warn,
        Health::Bad => Status::Fail,
    };
    Finding::new(status, check.what, check.text)
}
