//! The plane's own network: a loopback device on which every address of a pod is local.

use std::{fs, net::Ipv4Addr};

use anyhow::Context as _;
use tokio::process::Command;

/// The addresses of pods, as KWOK gives them out: eight millions, so that none is given twice.
pub(super) const PODS: &str = "10.128.0.0/9";

/// The addresses of nodes: among the last of the pods'.
pub(super) const NODE: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 1);

/// Ports that the kernel must not give to an outgoing connection before the one who needs them listens there.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// What outgoing connections use: nothing of what listens here, and nothing of what the kernel gives to a listener outside, so that the
/// same port is free here.
const EPHEMERAL: (&str, &str) = ("/proc/sys/net/ipv4/ip_local_port_range", "20000 32767");

/// Sets the network up.
pub(super) async fn set_up(reserved: &[u16]) -> anyhow::Result<()> {
    ip(&["link", "set", "lo", "up"]).await?;
    ip(&["route", "add", "local", PODS, "dev", "lo"]).await?;
    let (file, range) = EPHEMERAL;
    fs::write(file, range).with_context(|| format!("writing {file}"))?;
    let ports: Vec<String> = reserved.iter().map(ToString::to_string).collect();
    fs::write(RESERVED, ports.join(",")).with_context(|| format!("writing {RESERVED}"))
}

async fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(args).output().await;
    let output = output.context("running `ip` (Debian's package iproute2)")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "`ip {}`: {}",
        args.join(" "),
        reason.trim()
    );
    Ok(())
}
