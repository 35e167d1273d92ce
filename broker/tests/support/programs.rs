//! Programs of this workspace that are not the broker.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the same build as the broker; built here when only the broker's tests were asked for.
pub fn built(package: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_corelane")).parent().unwrap();
    let mut build = Command::new(std::env::var_os("CARGO").expect("run by cargo"));
    build.args(["build", "--quiet", "--locked", "-p", package, "--target-dir"]);
    build.arg(folder.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "{package} does not build");
    folder.join(package)
}
