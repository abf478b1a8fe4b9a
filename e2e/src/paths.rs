//! Where things are in the repository.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the repository.
///
/// # Errors
/// Fails only when the crate was moved out of the repository.
pub fn repository() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the crate e2e is not inside the repository")
}

/// The folder of cargo's output: `CARGO_TARGET_DIR`, by default `target`.
///
/// # Errors
/// As [`repository`].
pub fn target() -> Result<PathBuf> {
    Ok(match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => repository()?.join("target"),
    })
}

/// `target/e2e/<test>`, made if it does not exist: what a test leaves behind
/// for the person who looks why it failed.
///
/// # Errors
/// When the folder cannot be made.
pub fn output(test: &str) -> Result<PathBuf> {
    let dir = target()?.join("e2e").join(test.replace("::", "-"));
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    Ok(dir)
}
