//! `cargo xtask setup`: a table of what checks and tests need, how to see whether it is here, and how to get it.
//!
//! Running it again does nothing. A later component (a browser) is one more row; what the test plane is built of stands in its own
//! crate, because its tests ask for it, too.
//!
//! **Invariant:** a component counts as installed only after its probe has seen it.

use std::{
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;

use crate::{invocation::Invocation, plane, stage::Outcome, workspace::Workspace};

/// The target that proves a crate needs no operating system.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// The target whose programs need no library of their machine.
pub(crate) const MUSL: &str = "x86_64-unknown-linux-musl";

/// A probe only asks for a version, but a rustup that heals its toolchain first may take its time.
const PROBE_MAX: Duration = Duration::from_secs(120);

/// What the tests of metric sources need, and planes that scrape.
const PROMETHEUS_NAME: &str = "Prometheus";

/// Where the tests look for Prometheus, unless it is installed.
const PROMETHEUS: &str = "target/setup/prometheus/usr/bin/prometheus";

/// Fetches Debian's package and takes it apart there; nothing is installed, and nobody needs to be root. What it says does not mix with
/// figures.
const UNPACK_PROMETHEUS: &str = "exec >&2; mkdir -p target/setup/prometheus && cd target/setup/prometheus \
    && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } \
    && dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb";

/// Where the tests look for Alertmanager's tool, unless it is installed: beside Prometheus.
const AMTOOL: &str = "target/setup/prometheus/usr/bin/amtool";

/// The same for Alertmanager.
const UNPACK_ALERTMANAGER: &str = "exec >&2; mkdir -p target/setup/prometheus && cd target/setup/prometheus \
    && { apt-get download prometheus-alertmanager || { apt-get update && apt-get download prometheus-alertmanager; }; } \
    && dpkg-deb --extract prometheus-alertmanager_*.deb . && rm prometheus-alertmanager_*.deb";

const COMPONENTS: &[Component] = &[
    Component {
        name: "C compiler",
        needed_by: "the build of the bundled SQLite",
        need: Need::Always,
        probe: Probe::Runs(&["cc", "--version"]),
        source: Source::Debian(&["gcc", "libc6-dev"]),
    },
    Component {
        name: "rustfmt",
        needed_by: "the check of formatting",
        need: Need::Always,
        probe: Probe::Runs(&["cargo", "fmt", "--version"]),
        source: Source::Command(&["rustup", "component", "add", "rustfmt"]),
    },
    Component {
        name: "clippy",
        needed_by: "the check of lints",
        need: Need::Always,
        probe: Probe::Runs(&["cargo", "clippy", "--version"]),
        source: Source::Command(&["rustup", "component", "add", "clippy"]),
    },
    Component {
        name: "wasm32 target",
        needed_by: "the check that pure crates need no operating system",
        need: Need::IfPossible,
        probe: Probe::Target(WASM),
        source: Source::Command(&["rustup", "target", "add", WASM]),
    },
    Component {
        name: PROMETHEUS_NAME,
        needed_by: "the tests of metric sources",
        need: Need::Always,
        probe: Probe::RunsEither(&[&["prometheus", "--version"], &[PROMETHEUS, "--version"]]),
        source: Source::Unpacked(UNPACK_PROMETHEUS),
    },
    Component {
        name: "Alertmanager",
        needed_by: "the tests of alerts",
        need: Need::Always,
        probe: Probe::RunsEither(&[&["amtool", "--version"], &[AMTOOL, "--version"]]),
        source: Source::Unpacked(UNPACK_ALERTMANAGER),
    },
    Component {
        name: "PostgreSQL",
        needed_by: "the tests of schema changes",
        need: Need::Always,
        probe: Probe::Runs(&["sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb"]),
        source: Source::Debian(&["postgresql", "util-linux"]),
    },
    Component {
        name: "cargo-deny",
        needed_by: "the check of licenses, bans, sources and advisories",
        need: Need::OnRequest,
        probe: Probe::Runs(&["cargo", "deny", "--version"]),
        source: Source::Command(&[
            "cargo",
            "install",
            "cargo-deny",
            "--locked",
            "--version",
            "0.20.2",
        ]),
    },
];

/// What the image of Haldane is made with.
const OF_IMAGE: &[Component] = &[
    Component {
        name: "musl target",
        needed_by: "a program that needs no library of its machine",
        need: Need::Always,
        probe: Probe::Target(MUSL),
        source: Source::Command(&["rustup", "target", "add", MUSL]),
    },
    Component {
        name: "musl compiler",
        needed_by: "the build of the bundled SQLite for musl",
        need: Need::Always,
        probe: Probe::Runs(&["musl-gcc", "--version"]),
        source: Source::Debian(&["musl-tools"]),
    },
    Component {
        name: "buildah",
        needed_by: "the assembly of an image",
        need: Need::Always,
        probe: Probe::Runs(&["buildah", "--version"]),
        source: Source::Debian(&["buildah"]),
    },
];

/// What to do about what is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tell what is here and what is missing; fail when something needed is missing.
    #[arg(long, env = "HALDANE_SETUP_CHECK", conflicts_with = "all")]
    check: bool,
    /// Install what takes minutes to build, too (cargo-deny and the test plane).
    #[arg(long, env = "HALDANE_SETUP_ALL")]
    all: bool,
    /// Build the Kubernetes of the test plane, too; with `--check` tell whether it is built.
    #[arg(long, env = "HALDANE_SETUP_PLANE")]
    plane: bool,
}

/// One row of the table.
#[derive(Debug)]
struct Component {
    name: &'static str,
    needed_by: &'static str,
    need: Need,
    probe: Probe,
    source: Source,
}

/// How much we want a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Set-up fails without it.
    Always,
    /// What needs it says that it was skipped.
    IfPossible,
    /// As before, and it is installed only when asked for, because that takes long.
    OnRequest,
}

/// How to see whether a component is here.
#[derive(Debug)]
enum Probe {
    /// This command succeeds.
    Runs(&'static [&'static str]),
    /// One of these commands succeeds.
    RunsEither(&'static [&'static [&'static str]]),
    /// The standard library for this target is installed.
    Target(&'static str),
}

/// Where a component comes from.
#[derive(Debug)]
enum Source {
    /// This command, if its program is here.
    Command(&'static [&'static str]),
    /// These Debian packages, if we are root.
    Debian(&'static [&'static str]),
    /// This shell command, which fetches a Debian package and takes it apart.
    Unpacked(&'static str),
}

/// What is done about a missing component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Look,
    Install,
    InstallAll,
}

/// What became of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Present,
    Installed,
    Missing,
}

/// The machine that is set up.
trait Machine {
    /// Whether the command can be run and succeeds.
    fn probe(&self, argv: &[&str]) -> bool;
    /// Whether the standard library for `target` is here.
    fn has_target(&self, target: &str) -> bool;
    /// Whether we may install packages.
    fn is_root(&self) -> bool;
    /// Runs an installation and shows its output.
    fn install(&self, argv: &[&str]) -> bool;
}

/// Sets the machine up and returns whether everything needed is here.
pub(crate) fn run(args: &Args, workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<bool> {
    let mode = match (args.check, args.all) {
        (true, _) => Mode::Look,
        (false, false) => Mode::Install,
        (false, true) => Mode::InstallAll,
    };
    let local = Local {
        root: workspace.root.clone(),
    };
    let mut is_ready = set_up(COMPONENTS, mode, &local, out)?;
    out.flush()?;
    if args.plane || args.all {
        is_ready &= plane::set_up(workspace, mode == Mode::Look)?;
    }
    Ok(is_ready)
}

/// Fetches Prometheus, unless it is here, for what can't do without it.
pub(crate) fn prometheus(workspace: &Workspace) -> anyhow::Result<()> {
    let local = Local {
        root: workspace.root.clone(),
    };
    let wanted = COMPONENTS.iter().find(|one| one.name == PROMETHEUS_NAME);
    let wanted = wanted.context("Prometheus is no component")?;
    let mut said = Vec::new();
    let status = wanted.settle(Mode::Install, &local, &mut said)?;
    io::stderr().write_all(&said).context("writing")?;
    anyhow::ensure!(
        status != Status::Missing,
        "Prometheus is missing, {}",
        wanted.advice()
    );
    Ok(())
}

/// Installs what an image is made with, and returns whether all of it is here.
pub(crate) fn image(workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<bool> {
    let local = Local {
        root: workspace.root.clone(),
    };
    set_up(OF_IMAGE, Mode::Install, &local, out)
}

/// Sets the machine up as the first stage of the tests.
pub(crate) fn stage(workspace: &Workspace, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let local = Local {
        root: workspace.root.clone(),
    };
    let is_ready = set_up(COMPONENTS, Mode::Install, &local, out)?;
    Ok(if is_ready {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

/// Whether crates can be built for [`WASM`].
pub(crate) fn has_wasm(workspace: &Workspace) -> bool {
    Local {
        root: workspace.root.clone(),
    }
    .has_target(WASM)
}

/// Whether cargo-deny is here.
pub(crate) fn has_deny(workspace: &Workspace) -> bool {
    Local {
        root: workspace.root.clone(),
    }
    .probe(&["cargo", "deny", "--version"])
}

fn set_up(
    components: &[Component],
    mode: Mode,
    machine: &impl Machine,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut is_ready = true;
    for component in components {
        let status = component.settle(mode, machine, out)?;
        is_ready &= status != Status::Missing || component.need != Need::Always;
        match status {
            Status::Present => writeln!(out, "{}: present", component.name)?,
            Status::Installed => writeln!(out, "{}: installed", component.name)?,
            Status::Missing => {
                writeln!(out, "{}: missing; {}", component.name, component.advice())?
            }
        }
    }
    Ok(is_ready)
}

impl Component {
    fn settle(
        &self,
        mode: Mode,
        machine: &impl Machine,
        out: &mut dyn Write,
    ) -> anyhow::Result<Status> {
        if self.probe.sees(machine) {
            return Ok(Status::Present);
        }
        let is_wanted = match mode {
            Mode::Look => false,
            Mode::Install => self.need != Need::OnRequest,
            Mode::InstallAll => true,
        };
        if !is_wanted || !self.source.is_usable(machine) {
            return Ok(Status::Missing);
        }
        for argv in self.source.commands() {
            writeln!(out, "$ {}", argv.join(" "))?;
            out.flush()?;
            if !machine.install(&argv) {
                break;
            }
        }
        Ok(if self.probe.sees(machine) {
            Status::Installed
        } else {
            Status::Missing
        })
    }

    fn advice(&self) -> String {
        let commands: Vec<String> = self
            .source
            .commands()
            .iter()
            .map(|argv| argv.join(" "))
            .collect();
        format!(
            "needed by {}; to install: `{}`",
            self.needed_by,
            commands.join(" && ")
        )
    }
}

impl Probe {
    fn sees(&self, machine: &impl Machine) -> bool {
        match self {
            Self::Runs(argv) => machine.probe(argv),
            Self::RunsEither(argvs) => argvs.iter().any(|argv| machine.probe(argv)),
            Self::Target(target) => machine.has_target(target),
        }
    }
}

impl Source {
    fn is_usable(&self, machine: &impl Machine) -> bool {
        match self {
            Self::Command(argv) => argv
                .first()
                .is_some_and(|program| machine.probe(&[program, "--version"])),
            Self::Debian(_) => machine.is_root() && machine.probe(&["apt-get", "--version"]),
            Self::Unpacked(_) => {
                let tools = [["apt-get", "--version"], ["dpkg-deb", "--version"]];
                tools.iter().all(|argv| machine.probe(argv))
            }
        }
    }

    fn commands(&self) -> Vec<Vec<&'static str>> {
        match self {
            Self::Command(argv) => vec![argv.to_vec()],
            Self::Debian(packages) => {
                let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
                vec![vec!["apt-get", "update"], [&install[..], packages].concat()]
            }
            Self::Unpacked(script) => vec![vec!["sh", "-c", script]],
        }
    }
}

/// The machine we run on.
struct Local {
    root: PathBuf,
}

impl Machine for Local {
    fn probe(&self, argv: &[&str]) -> bool {
        invocation(argv).succeeds(&self.root, PROBE_MAX)
    }

    fn has_target(&self, target: &str) -> bool {
        // The path is printed whether or not anything lies there.
        let args = ["--print", "target-libdir", "--target", target];
        let directory = Invocation::new("rustc", &args).output(&self.root);
        directory.is_ok_and(|path| PathBuf::from(path.trim()).is_dir())
    }

    fn is_root(&self) -> bool {
        // A process owns its own entry.
        std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
    }

    fn install(&self, argv: &[&str]) -> bool {
        invocation(argv).run(&self.root).unwrap_or(false)
    }
}

fn invocation(argv: &[&str]) -> Invocation {
    let (program, args) = argv.split_first().unwrap_or((&"", &[]));
    Invocation::new(program, args).with_env("DEBIAN_FRONTEND", "noninteractive")
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeSet};

    use super::*;

    /// A machine on which commands succeed when they are known, and installing makes a command known.
    struct Virtual {
        known: RefCell<BTreeSet<String>>,
        installs: &'static [(&'static str, &'static str)],
        is_root: bool,
        log: RefCell<Vec<String>>,
    }

    impl Machine for Virtual {
        fn probe(&self, argv: &[&str]) -> bool {
            self.known.borrow().contains(&argv.join(" "))
        }

        fn has_target(&self, target: &str) -> bool {
            self.known.borrow().contains(target)
        }

        fn is_root(&self) -> bool {
            self.is_root
        }

        fn install(&self, argv: &[&str]) -> bool {
            let command = argv.join(" ");
            for (install, gives) in self.installs {
                if *install == command {
                    self.known.borrow_mut().insert((*gives).to_owned());
                }
            }
            self.log.borrow_mut().push(command);
            true
        }
    }

    const APT: &str = "apt-get install --yes --no-install-recommends gcc libc6-dev";

    const POSTGRES: &str = "apt-get install --yes --no-install-recommends postgresql util-linux";

    const INITDB: &str = "sh -c ls /usr/lib/postgresql/*/bin/initdb";

    const FETCHED: &str = "target/setup/prometheus/usr/bin/prometheus --version";

    /// The command by which Prometheus is fetched.
    const UNPACKED: &str = "sh -c exec >&2; mkdir -p target/setup/prometheus && cd target/setup/prometheus \
    && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } \
    && dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb";

    const FETCHED_AMTOOL: &str = "target/setup/prometheus/usr/bin/amtool --version";

    /// The command by which Alertmanager is fetched.
    const UNPACKED_ALERTMANAGER: &str = "sh -c exec >&2; mkdir -p target/setup/prometheus && cd target/setup/prometheus \
    && { apt-get download prometheus-alertmanager || { apt-get update && apt-get download prometheus-alertmanager; }; } \
    && dpkg-deb --extract prometheus-alertmanager_*.deb . && rm prometheus-alertmanager_*.deb";

    fn machine(known: &[&str]) -> Virtual {
        Virtual {
            known: RefCell::new(known.iter().map(|command| (*command).to_owned()).collect()),
            installs: &[
                (APT, "cc --version"),
                ("rustup component add rustfmt", "cargo fmt --version"),
                ("rustup component add clippy", "cargo clippy --version"),
                ("rustup target add wasm32-unknown-unknown", WASM),
                (
                    "cargo install cargo-deny --locked --version 0.20.2",
                    "cargo deny --version",
                ),
                (UNPACKED, FETCHED),
                (UNPACKED_ALERTMANAGER, FETCHED_AMTOOL),
                (POSTGRES, INITDB),
            ],
            is_root: true,
            log: RefCell::new(Vec::new()),
        }
    }

    const TOOLS: [&str; 4] = [
        "apt-get --version",
        "dpkg-deb --version",
        "rustup --version",
        "cargo --version",
    ];

    fn check(machine: &Virtual, mode: Mode, is_ready: bool, told: &[&str]) {
        let mut out = Vec::new();
        assert_eq!(
            set_up(COMPONENTS, mode, machine, &mut out).unwrap(),
            is_ready
        );
        let out = String::from_utf8(out).unwrap();
        for line in told {
            assert!(out.contains(line), "{line:?} is not in:\n{out}");
        }
    }

    #[test]
    fn what_is_missing_is_installed_once() {
        let machine = machine(&TOOLS);
        check(
            &machine,
            Mode::Install,
            true,
            &[
                "C compiler: installed",
                "wasm32 target: installed",
                "Prometheus: installed",
                "PostgreSQL: installed",
            ],
        );
        let count = machine.log.borrow().len();
        assert_eq!(count, 9);
        check(
            &machine,
            Mode::Install,
            true,
            &["C compiler: present", "rustfmt: present"],
        );
        assert_eq!(machine.log.borrow().len(), count);
    }

    #[test]
    fn what_takes_long_is_installed_on_request_only() {
        let machine = machine(&TOOLS);
        check(
            &machine,
            Mode::Install,
            true,
            &["cargo-deny: missing; needed by the check of licenses"],
        );
        check(&machine, Mode::InstallAll, true, &["cargo-deny: installed"]);
    }

    #[test]
    fn looking_installs_nothing() {
        let machine = machine(&TOOLS);
        check(
            &machine,
            Mode::Look,
            false,
            &["clippy: missing", "`rustup component add clippy`"],
        );
        assert!(machine.log.borrow().is_empty());
    }

    #[test]
    fn without_rustup_the_wasm_target_is_missing_and_set_up_goes_on() {
        let present = [
            "cc --version",
            "cargo fmt --version",
            "cargo clippy --version",
            "prometheus --version",
            "amtool --version",
            INITDB,
        ];
        check(
            &machine(&present),
            Mode::Install,
            true,
            &["wasm32 target: missing"],
        );
    }

    #[test]
    fn packages_are_only_installed_by_root() {
        let machine = Virtual {
            is_root: false,
            ..machine(&TOOLS)
        };
        check(
            &machine,
            Mode::Install,
            false,
            &["C compiler: missing", APT],
        );
    }

    #[test]
    fn an_installation_that_gives_nothing_is_not_believed() {
        let machine = Virtual {
            installs: &[],
            ..machine(&TOOLS)
        };
        check(&machine, Mode::Install, false, &["C compiler: missing"]);
    }
}
