//! `cargo xtask bundle`: saves everything as one file, and verifies such a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, ensure};
use bundle::file::{self, Commit};
use bundle::packages::{self, Need};
use support::progress;

use crate::Unusable;
use crate::session::{BuildArgs, Session};

/// Save every image, the manifests, kind and kubectl as one file, or verify such a file.
///
/// The file is a tar and an OCI image layout. It has checksums, an SBOM of each image, and provenance. docs/bundle.md
/// describes it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Save(SaveArgs),
    Verify(VerifyArgs),
}

/// Build what is missing, and write the bundle of this commit.
///
/// The same commit, compilers and Debian packages give the same bytes. An older file of this name is replaced when the
/// new one is complete.
#[derive(Debug, clap::Args)]
struct SaveArgs {
    /// The file to write.
    file: PathBuf,

    /// Save a checkout with changes that its commit does not have. The bundle says so.
    #[arg(long)]
    allow_dirty: bool,

    #[command(flatten)]
    build: BuildArgs,
}

/// Check every byte of a bundle, without a network and without Docker.
#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The file to check.
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.action {
        Action::Save(args) => save(args),
        Action::Verify(args) => verify(&args.file),
    }
}

fn save(args: &SaveArgs) -> Result<ExitCode> {
    let session = Session::of(&args.build)?;
    let file = &args.file;
    file::check_target(file).map_err(Unusable)?;
    let commit = Commit::of(&session.workspace.root).map_err(Unusable)?;
    if commit.modified && !args.allow_dirty {
        let error = anyhow!(
            "the checkout has changes that commit {} does not have: commit them, or use --allow-dirty",
            commit.id
        );
        return Err(Unusable(error).into());
    }
    session.check_host()?;
    let locking = args.build.locking(true);
    session.check_locks(&locking)?;
    packages::ensure(&[Need::Images], &session.pins, &session.host, args.build.yes).map_err(Unusable)?;
    let logs = session.workspace.target().join("logs");
    let built = session.build(&locking, &logs)?;
    let builder = session.builder(&logs);
    let bundle =
        progress::step("collect manifests, SBOMs and provenance", || file::collect(&builder, &built, &commit))?;
    // What the bundle says of its origin is true only if the checkout did not change meanwhile.
    ensure!(Commit::of(&session.workspace.root)? == commit, "the checkout changed meanwhile: run the command again");
    let saved = progress::step(&format!("write {}", file.display()), || file::save(&bundle, file))?;
    progress::note(&format!("{} bytes, of commit {}", saved.bytes, commit.id));
    println!("{}  {}", saved.sha256, file.display());
    Ok(ExitCode::SUCCESS)
}

fn verify(file: &Path) -> Result<ExitCode> {
    if let Err(error) = std::fs::File::open(file) {
        return Err(Unusable(anyhow!("open {}: {error}", file.display())).into());
    }
    if !file.is_file() {
        return Err(Unusable(anyhow!("{} is not a file", file.display())).into());
    }
    let verified = progress::step(&format!("verify {}", file.display()), || file::verify(file))?;
    let about = &verified.about;
    let width = about.images.iter().map(|image| image.name.len()).max().unwrap_or(0);
    for image in &about.images {
        println!("{:width$}  {}", image.name, image.digest);
    }
    let modified = if about.modified { ", with changes that it does not have" } else { "" };
    println!("commit {}{modified}", about.commit);
    println!("format {}, version {}, linux/{}", about.format, about.version, about.architecture);
    println!("{} members, {} bytes: every one is as its checksum says", verified.members, verified.bytes);
    println!("{}  {}", verified.sha256, file.display());
    Ok(ExitCode::SUCCESS)
}
