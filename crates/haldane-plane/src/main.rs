//! The program behind `cargo xtask plane`; it is also what runs inside a plane.

use std::process::ExitCode;

fn main() -> ExitCode {
    haldane_plane::main()
}
