//! `haldane generate ci`: pipelines that deliver a service.

use std::io::Write;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use haldane_kit::{
    pipelines::{Pipeline, System, text},
    words::{BaseName, FilePath, Image, Label},
};

use crate::cli::{
    exit::{Exit, UsageError},
    globals::Globals,
};

/// The namespace of the examples.
const NAMESPACE: &str = "default";

/// What is to be delivered, and by whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who runs the pipeline, or a part of one
    #[arg(value_name = "SYSTEM", value_parser = system())]
    system: System,
    /// The service
    #[arg(long, value_name = "NAME", default_value = "auth-service")]
    service: BaseName,
    /// The image that is built; its tag is the commit
    #[arg(
        long,
        value_name = "IMAGE",
        default_value = "ghcr.io/example/auth-service"
    )]
    image: Image,
    /// The file in the repository that has the manifests, with the Release; by default deploy/NAME.yaml
    #[arg(long, value_name = "FILE")]
    manifest: Option<FilePath>,
}

/// Runs the command.
pub(super) fn run(args: &Args, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let usage = |error: &dyn std::fmt::Display| UsageError(error.to_string());
    let access = globals.access.as_ref();
    let namespace = access.and_then(|access| access.namespace.as_deref());
    let namespace = namespace.unwrap_or(NAMESPACE);
    let namespace: Label = namespace.parse().map_err(|error| usage(&error))?;
    let manifest = match &args.manifest {
        Some(manifest) => manifest.clone(),
        None => {
            let path = format!("deploy/{}.yaml", args.service);
            path.parse().map_err(|error| usage(&error))?
        }
    };
    let pipeline = Pipeline {
        service: args.service.clone(),
        namespace,
        image: args.image.clone(),
        manifest,
    };
    out.write_all(text(&pipeline, args.system).as_bytes())?;
    Ok(Exit::Done)
}

fn system() -> impl clap::builder::TypedValueParser<Value = System> {
    let names = PossibleValuesParser::new(System::ALL.map(System::as_str));
    names.try_map(|name| name.parse::<System>())
}

#[cfg(test)]
mod tests;
