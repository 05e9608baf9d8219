//! `cargo xtask image`: the container image, with a static program in it, and the proof that the program runs.

use std::{fs, io::Write, path::Path};

use anyhow::Context;

use crate::{
    invocation::Invocation,
    setup::{self, MUSL},
    workspace::Workspace,
};

/// What is copied into the image, seen from the root.
const CONTENT: &str = "target/image";

/// The certificates of authorities, as Debian keeps them.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Runs the program in the image, where nothing else is.
const PROOF: &str = "container=$(buildah from \"$1\") \
    && buildah run --isolation chroot \"$container\" -- /haldane --version; code=$?; \
    buildah rm \"$container\" > /dev/null; exit $code";

/// What the image is called.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name and tag.
    #[arg(long, env = "HALDANE_IMAGE_TAG", default_value = "haldane")]
    tag: String,
}

/// Builds the image and returns whether its program runs.
pub(crate) fn run(args: &Args, workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<bool> {
    let root = &workspace.root;
    if !setup::image(workspace, out)? {
        return Ok(false);
    }
    let directory = Path::new(CONTENT);
    let target = format!("{CONTENT}/build");
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "haldane",
        "--target",
        MUSL,
        "--target-dir",
        &target,
    ];
    if !shown(&Invocation::cargo(&build), root, out)? {
        return Ok(false);
    }
    let content = root.join(directory).join("content");
    fs::create_dir_all(&content).context("making the image's directory")?;
    let program = root.join(&target).join(MUSL).join("release/haldane");
    for (from, name) in [
        (program.as_path(), "haldane"),
        (Path::new(AUTHORITIES), "ca-certificates.crt"),
    ] {
        let copy = fs::copy(from, content.join(name));
        copy.with_context(|| format!("copying {}", from.display()))?;
    }
    let content = format!("{CONTENT}/content");
    let assemble = [
        "build",
        "--isolation",
        "chroot",
        "--file",
        "deploy/Containerfile",
        "--tag",
        &args.tag,
        &content,
    ];
    let proof = ["-c", PROOF, "sh", &args.tag];
    Ok(shown(&Invocation::new("buildah", &assemble), root, out)?
        && Invocation::new("sh", &proof).run(root)?)
}

fn shown(step: &Invocation, root: &Path, out: &mut dyn Write) -> anyhow::Result<bool> {
    writeln!(out, "$ {step}")?;
    out.flush()?;
    step.run(root)
}
