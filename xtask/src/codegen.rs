//! `cargo xtask codegen`: files that are generated from the code and committed, so that a reader sees them and a review shows
//! when they change.
//!
//! **Invariant:** an empty output is never written, nor taken for up to date: it means that the generator is broken.

use std::{fs, io::Write, path::Path};

use anyhow::Context;

use crate::{invocation::Invocation, stage::Outcome, workspace::Workspace};

const GENERATED: &[Generated] = &[
    Generated {
        path: "docs/haldane.schema.json",
        argv: &["schema"],
    },
    Generated {
        path: "docs/cli.md",
        argv: &["help-markdown"],
    },
    Generated {
        path: "docs/lint.md",
        argv: &["lint", "--rules", "--format", "markdown"],
    },
    Generated {
        path: "deploy/crds/haldane.dev_releases.yaml",
        argv: &["generate", "crds", "release"],
    },
    Generated {
        path: "deploy/crds/haldane.dev_releasegroups.yaml",
        argv: &["generate", "crds", "release-group"],
    },
    // A chart can't take a file from outside of its directory.
    Generated {
        path: "deploy/helm/haldane/files/haldane.dev_releases.yaml",
        argv: &["generate", "crds", "release"],
    },
    Generated {
        path: "deploy/helm/haldane/files/haldane.dev_releasegroups.yaml",
        argv: &["generate", "crds", "release-group"],
    },
    Generated {
        path: "deploy/argocd/argocd-cm.yaml",
        argv: &["generate", "argocd"],
    },
    Generated {
        path: "examples/manifests/auth-service-istio.yaml",
        argv: &[
            "generate",
            "manifests",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth:v1",
            "--namespace",
            "orion",
            "--mesh",
            "istio",
        ],
    },
    Generated {
        path: "examples/manifests/auth-service-linkerd.yaml",
        argv: &[
            "generate",
            "manifests",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth:v1",
            "--namespace",
            "orion",
            "--mesh",
            "linkerd",
        ],
    },
    Generated {
        path: "examples/manifests/auth-service-nginx.yaml",
        argv: &[
            "generate",
            "manifests",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth:v1",
            "--namespace",
            "orion",
            "--mesh",
            "nginx",
        ],
    },
    Generated {
        path: "examples/manifests/auth-service-gateway-api.yaml",
        argv: &[
            "generate",
            "manifests",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth:v1",
            "--namespace",
            "orion",
            "--mesh",
            "gateway-api",
        ],
    },
    Generated {
        path: "examples/manifests/auth-service-contour.yaml",
        argv: &[
            "generate",
            "manifests",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth:v1",
            "--namespace",
            "orion",
            "--mesh",
            "contour",
        ],
    },
    Generated {
        path: "examples/manifests/auth-service-traefik.yaml",
        argv: &[
            "generate",
            "manifests",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth:v1",
            "--namespace",
            "orion",
            "--mesh",
            "traefik",
        ],
    },
    Generated {
        path: "examples/manifests/auth-service-none.yaml",
        argv: &[
            "generate",
            "manifests",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth:v1",
            "--namespace",
            "orion",
            "--mesh",
            "none",
        ],
    },
    Generated {
        path: "examples/ci/github.yaml",
        argv: &[
            "generate",
            "ci",
            "github",
            "--service",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth",
            "--namespace",
            "orion",
        ],
    },
    Generated {
        path: "examples/ci/Jenkinsfile",
        argv: &[
            "generate",
            "ci",
            "jenkins",
            "--service",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth",
            "--namespace",
            "orion",
        ],
    },
    Generated {
        path: "examples/ci/gitlab-ci.yaml",
        argv: &[
            "generate",
            "ci",
            "gitlab",
            "--service",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth",
            "--namespace",
            "orion",
        ],
    },
    Generated {
        path: "examples/ci/tekton.yaml",
        argv: &[
            "generate",
            "ci",
            "tekton",
            "--service",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth",
            "--namespace",
            "orion",
        ],
    },
    Generated {
        path: "examples/ci/argocd.md",
        argv: &[
            "generate",
            "ci",
            "argocd",
            "--service",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth",
            "--namespace",
            "orion",
        ],
    },
    Generated {
        path: "examples/ci/flux.md",
        argv: &[
            "generate",
            "ci",
            "flux",
            "--service",
            "auth-service",
            "--image",
            "ghcr.io/orion/auth",
            "--namespace",
            "orion",
        ],
    },
    Generated {
        path: "deploy/ci/github/action.yml",
        argv: &["generate", "ci", "github-action"],
    },
    Generated {
        path: "deploy/ci/github-setup/action.yml",
        argv: &["generate", "ci", "github-setup"],
    },
    Generated {
        path: "deploy/ci/jenkins/vars/haldaneDeploy.groovy",
        argv: &["generate", "ci", "jenkins-library"],
    },
    Generated {
        path: "examples/alerts/istio.yaml",
        argv: &[
            "generate",
            "alerts",
            "auth-service",
            "-n",
            "orion",
            "--mesh",
            "istio",
        ],
    },
    Generated {
        path: "examples/alerts/linkerd.yaml",
        argv: &[
            "generate",
            "alerts",
            "auth-service",
            "-n",
            "orion",
            "--mesh",
            "linkerd",
        ],
    },
    Generated {
        path: "examples/alerts/nginx.yaml",
        argv: &[
            "generate",
            "alerts",
            "auth-service",
            "-n",
            "orion",
            "--mesh",
            "nginx",
        ],
    },
    Generated {
        path: "examples/alerts/contour.yaml",
        argv: &[
            "generate",
            "alerts",
            "auth-service",
            "-n",
            "orion",
            "--mesh",
            "contour",
        ],
    },
    Generated {
        path: "examples/alerts/traefik.yaml",
        argv: &[
            "generate",
            "alerts",
            "auth-service",
            "-n",
            "orion",
            "--mesh",
            "traefik",
        ],
    },
    Generated {
        path: "examples/alerts/http.rules.yaml",
        argv: &[
            "generate",
            "alerts",
            "auth-service",
            "-n",
            "orion",
            "--mesh",
            "http",
            "--plain",
            "--flagger",
            "--conversions",
            "orders_total{version=\"canary\"}",
            "--visitors",
            "visitors_total{version=\"canary\"}",
        ],
    },
    Generated {
        path: "examples/alerts/alertmanager-slack.yaml",
        argv: &[
            "generate",
            "alerts",
            "auth-service",
            "-n",
            "orion",
            "--alertmanager",
            "slack",
        ],
    },
    Generated {
        path: "examples/alerts/alertmanager-pagerduty.yaml",
        argv: &[
            "generate",
            "alerts",
            "auth-service",
            "-n",
            "orion",
            "--alertmanager",
            "pagerduty",
        ],
    },
    Generated {
        path: "examples/alerts/alertmanager-email.yaml",
        argv: &[
            "generate",
            "alerts",
            "auth-service",
            "-n",
            "orion",
            "--alertmanager",
            "email",
            "--email-to",
            "ops@example.com",
            "--email-from",
            "alerts@example.com",
            "--smarthost",
            "smtp.example.com:587",
        ],
    },
    Generated {
        path: "examples/dashboards/overview.json",
        argv: &["generate", "dashboard", "overview"],
    },
    Generated {
        path: "examples/dashboards/rollouts.json",
        argv: &["generate", "dashboard", "rollouts"],
    },
    Generated {
        path: "examples/dashboards/service.json",
        argv: &[
            "generate",
            "dashboard",
            "service",
            "--service",
            "auth-service",
            "-n",
            "orion",
        ],
    },
    Generated {
        path: "examples/dashboards/traffic.json",
        argv: &[
            "generate",
            "dashboard",
            "traffic",
            "--service",
            "auth-service",
            "-n",
            "orion",
        ],
    },
    Generated {
        path: "examples/dashboards/errors.json",
        argv: &[
            "generate",
            "dashboard",
            "errors",
            "--service",
            "auth-service",
            "-n",
            "orion",
        ],
    },
    Generated {
        path: "examples/dashboards/latency.json",
        argv: &[
            "generate",
            "dashboard",
            "latency",
            "--service",
            "auth-service",
            "-n",
            "orion",
        ],
    },
];

/// What to do with stale files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail when a file is stale.
    #[arg(long, env = "HALDANE_CODEGEN_CHECK")]
    check: bool,
}

/// One row of the table: a file, and the arguments of `haldane` that print it.
#[derive(Debug)]
struct Generated {
    path: &'static str,
    argv: &'static [&'static str],
}

/// Whether a file is as generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Stale,
    Missing,
}

/// Writes the stale files, or tells which are stale; returns whether all is well.
pub(crate) fn run(args: &Args, workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<bool> {
    if args.check {
        return compare(GENERATED, &workspace.root, generate, out);
    }
    write(GENERATED, &workspace.root, generate, out).map(|()| true)
}

/// Compares the generated files as one of the checks.
pub(crate) fn stage(workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let is_ok = compare(GENERATED, &workspace.root, generate, out)?;
    Ok(if is_ok {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

fn write(
    rows: &[Generated],
    root: &Path,
    generate: impl Fn(&Generated, &Path) -> anyhow::Result<String>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for row in rows {
        let (path, text) = (root.join(row.path), text_of(row, &generate(row, root)?)?);
        match state(&path, &text) {
            State::Fresh => writeln!(out, "{}: up to date", row.path)?,
            State::Stale | State::Missing => {
                save(&path, &text)?;
                writeln!(out, "{}: written", row.path)?;
            }
        }
    }
    Ok(())
}

fn compare(
    rows: &[Generated],
    root: &Path,
    generate: impl Fn(&Generated, &Path) -> anyhow::Result<String>,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut is_ok = true;
    for row in rows {
        let text = text_of(row, &generate(row, root)?)?;
        match state(&root.join(row.path), &text) {
            State::Fresh => continue,
            State::Stale => writeln!(out, "{}: stale; run `cargo xtask codegen`", row.path)?,
            State::Missing => writeln!(out, "{}: missing; run `cargo xtask codegen`", row.path)?,
        }
        is_ok = false;
    }
    Ok(is_ok)
}

fn generate(row: &Generated, root: &Path) -> anyhow::Result<String> {
    let cargo = ["run", "--quiet", "-p", "haldane", "--"];
    let text = Invocation::cargo(&[&cargo[..], row.argv].concat()).output(root);
    text.with_context(|| format!("generating {}", row.path))
}

/// A text file ends with one line break, whatever printed it.
fn text_of(row: &Generated, output: &str) -> anyhow::Result<String> {
    let text = output.trim_end();
    let command = row.argv.join(" ");
    anyhow::ensure!(
        !text.is_empty(),
        "`haldane {command}` printed nothing for {}",
        row.path
    );
    Ok(format!("{text}\n"))
}

fn state(path: &Path, text: &str) -> State {
    match fs::read_to_string(path) {
        Ok(old) if old == text => State::Fresh,
        Ok(_) => State::Stale,
        Err(_) => State::Missing,
    }
}

fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        let made = fs::create_dir_all(directory);
        made.with_context(|| format!("making {}", directory.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[Generated] = &[Generated {
        path: "docs/cli.md",
        argv: &["help-markdown"],
    }];

    fn compared(root: &Path, now: &str) -> (bool, String) {
        let mut out = Vec::new();
        let is_ok = compare(ROWS, root, |_, _| Ok(now.to_owned()), &mut out).unwrap();
        (is_ok, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_missing_or_changed_file_is_refused_until_it_is_written() {
        let root = tempfile::tempdir().unwrap();
        let write = |now: &str| {
            write(
                ROWS,
                root.path(),
                |_, _| Ok(now.to_owned()),
                &mut Vec::new(),
            )
            .unwrap();
        };
        let missing = "docs/cli.md: missing; run `cargo xtask codegen`\n".to_owned();
        assert_eq!(compared(root.path(), "old"), (false, missing));
        write("old");
        assert_eq!(compared(root.path(), "old"), (true, String::new()));
        let stale = "docs/cli.md: stale; run `cargo xtask codegen`\n".to_owned();
        assert_eq!(compared(root.path(), "new"), (false, stale));
        write("new");
        assert_eq!(compared(root.path(), "new\n\n"), (true, String::new()));
    }

    #[test]
    fn a_generator_that_prints_nothing_is_broken() {
        let root = tempfile::tempdir().unwrap();
        let written = write(
            ROWS,
            root.path(),
            |_, _| Ok(" \n".to_owned()),
            &mut Vec::new(),
        );
        let expected = "`haldane help-markdown` printed nothing for docs/cli.md";
        assert_eq!(written.unwrap_err().to_string(), expected);
        assert!(!root.path().join("docs/cli.md").exists());
    }
}
