//! The system packages that the commands need: finds the missing ones, asks once, and installs them with apt-get.

use std::io::{BufRead as _, Write as _};

use anyhow::{Context, Result, bail};
use support::command::Cmd;
use support::progress;

use crate::host::{Host, find_program};

/// What a command needs from the system.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// Build the images: mmdebstrap, and a C compiler for what runs during a build.
    Images,
    /// Run a private Docker engine.
    Engine,
    /// Evaluate the flake.
    Nix,
    /// Test the worker and the scaler: the servers that are not built from the pins, and Python.
    Servers,
}

/// Installs the packages that `needs` requires and that are missing.
///
/// Asks the user once if there is a terminal and `yes` is not set.
///
/// # Errors
/// When the user declines, or packages are missing and this is not root or there is no apt. The error names them.
pub fn ensure(needs: &[Need], host: &Host, yes: bool) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !host.root || !host.apt {
        let why = if host.apt { "this is not root" } else { "there is no apt-get" };
        bail!("these system packages are missing and {why}: install them, by their Debian names: {names}");
    }
    if !yes && crate::host::is_interactive() && !agreed(&names)? {
        bail!("not installed: {names}; install them yourself, or run again with --yes");
    }
    progress::step(&format!("install {names}"), || {
        // In runlevel 1 a package does not start its service. Only the programs of the servers are needed.
        let apt = || Cmd::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        apt().args(["update", "-q"]).run().context("refresh apt's package lists")?;
        apt()
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&missing)
            .run()
            .with_context(|| format!("install {names}"))?;
        Ok(())
    })
}

/// The Debian packages that `needs` requires and this host lacks.
pub fn missing(needs: &[Need]) -> Vec<String> {
    wanted(needs).into_iter().filter(|package| !present(package)).collect()
}

fn wanted(needs: &[Need]) -> Vec<String> {
    let mut wanted: Vec<String> = Vec::new();
    for need in needs {
        match need {
            Need::Images => {
                let needed = ["apt", "dpkg", "gcc", "git", "libc6-dev", "mmdebstrap"];
                wanted.extend(needed.map(str::to_owned));
            }
            Need::Engine => wanted.extend(["docker.io", "iptables"].map(str::to_owned)),
            Need::Nix => wanted.push("nix-bin".to_owned()),
            Need::Servers => {
                wanted.extend(["pgbouncer", "postgresql", "python3-pip", "redis-server"].map(str::to_owned));
            }
        }
    }
    wanted.sort();
    wanted.dedup();
    wanted
}

/// Whether a package, or what it provides, is installed. A Nix shell has the programs and headers without the packages.
fn present(package: &str) -> bool {
    let program = |name: &str| find_program(name).is_some();
    let succeeds = |command: Cmd| command.quiet().run_any().is_ok_and(|ended| ended.status.success());
    let provided = match package {
        "apt" => program("apt-get"),
        "dpkg" => program("dpkg-deb"),
        "gcc" => program("cc"),
        "git" | "mmdebstrap" => program(package),
        "docker.io" => program("dockerd"),
        "iptables" => program("iptables"),
        "nix-bin" => program("nix"),
        "postgresql" => program("initdb") || in_debian_postgres("initdb"),
        "redis-server" => program("redis-server"),
        "pgbouncer" => program("pgbouncer"),
        "python3-pip" => succeeds(Cmd::new("python3").args(["-m", "pip", "--version"])),
        "libc6-dev" => succeeds(Cmd::new("cc").args(["-E", "-x", "c", "-include", "stdio.h", "/dev/null"])),
        _ => false,
    };
    provided || installed(package)
}

/// Whether Debian's Postgres, in any version, has this program. Its folders are not on PATH.
fn in_debian_postgres(program: &str) -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin").join(program)).any(|found| found.is_file())
}

fn installed(package: &str) -> bool {
    Cmd::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .quiet()
        .read()
        .is_ok_and(|status| status == "installed")
}

fn agreed(names: &str) -> Result<bool> {
    eprint!("These system packages are needed: {names}\nInstall them with apt-get now? [Y/n] ");
    std::io::stderr().flush().context("ask")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_need_names_its_packages_once() {
        let names = wanted(&[Need::Images, Need::Engine, Need::Images]);
        let expected = ["apt", "docker.io", "dpkg", "gcc", "git", "iptables", "libc6-dev", "mmdebstrap"];
        assert_eq!(names, expected);
    }

    #[test]
    fn without_root_the_error_names_what_to_install() {
        let mut host = Host::look(std::path::Path::new("/"));
        host.root = false;
        // The host of the test may have the packages or not: an error must come exactly when one is missing.
        let missing = missing(&[Need::Nix]);
        let result = ensure(&[Need::Nix], &host, true);
        assert_eq!(result.is_err(), !missing.is_empty());
    }
}
