//! What Argo CD must be told about releases and groups: how healthy one is, and the commands that it offers. The scripts are those under
//! `deploy/argocd`; Argo CD runs them without Lua's libraries but `table` and a small `os`.

macro_rules! script {
    ($path:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../deploy/argocd/haldane.dev/Release/",
            $path
        ))
    };
}

const HEALTH: &str = script!("health.lua");
const DISCOVERY: &str = script!("actions/discovery.lua");
const ACTIONS: [(&str, &str); 8] = [
    ("promote", script!("actions/promote/action.lua")),
    ("promote-full", script!("actions/promote-full/action.lua")),
    ("pause", script!("actions/pause/action.lua")),
    ("resume", script!("actions/resume/action.lua")),
    ("abort", script!("actions/abort/action.lua")),
    ("restart", script!("actions/restart/action.lua")),
    ("retry", script!("actions/retry/action.lua")),
    ("undo", script!("actions/undo/action.lua")),
];

/// Returns the part of Argo CD's ConfigMap `argocd-cm` that is about releases, as YAML for `kubectl patch`.
#[must_use]
pub fn config_map() -> String {
    let definitions: String = ACTIONS
        .iter()
        .map(|(name, script)| {
            let script = indented(script, 10);
            format!("      - name: {name}\n        action.lua: |\n{script}")
        })
        .collect();
    let (health, discovery) = (indented(HEALTH, 4), indented(DISCOVERY, 6));
    format!(
        "data:\n  resource.customizations.health.haldane.dev_Release: |\n{health}  \
         resource.customizations.health.haldane.dev_ReleaseGroup: |\n{health}  \
         resource.customizations.actions.haldane.dev_Release: |\n    discovery.lua: |\n{discovery}    definitions:\n{definitions}"
    )
}

/// Returns a text as what stands below a key that ends with `|`.
fn indented(text: &str, spaces: usize) -> String {
    let line = |line: &str| {
        if line.is_empty() {
            "\n".to_owned()
        } else {
            format!("{:spaces$}{line}\n", "")
        }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests;
