//! `haldane schema`: the JSON Schema of the release file, for editors. Needs no daemon.

use std::io::Write;

use haldane_api::schema::schema;

use super::{
    exit::Exit,
    globals::{Format, Globals},
    result,
};

/// Runs the command; a schema is JSON, unless YAML was asked for.
pub(crate) fn run(globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let format = match globals.format {
        Format::Table | Format::Json => Format::Json,
        Format::Yaml => Format::Yaml,
    };
    let globals = Globals {
        format,
        ..globals.clone()
    };
    result::write(&globals, out, &schema(), |_| Ok(()))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use crate::cli::testing::Daemon;

    #[tokio::test]
    async fn the_schema_is_json() {
        let (_, out) = Daemon::start([]).run("schema").await;
        let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(schema["title"], "haldane.yaml");
    }
}
