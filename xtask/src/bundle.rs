//! `cargo xtask bundle`: saves everything as one file, verifies such a file, and moves it to a registry and back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, ensure};
use bundle::file::{self, Commit};
use bundle::outputs::Outputs;
use bundle::packages::{self, Need};
use bundle::parts::Builder;
use bundle::shared;
use bundle::steps::steps;
use support::progress;

use crate::Unusable;
use crate::session::{BuildArgs, Session, crane};

/// Save every image, the manifests and the programs for a host as one file, verify it, or move it to a registry.
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
    Push(PushArgs),
    Pull(PullArgs),
    Render(RenderArgs),
    Share(ShareArgs),
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
///
/// With a public key, also check who made it. docs/bundle.md says how to sign a bundle with minisign.
#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The file to check.
    file: PathBuf,

    #[command(flatten)]
    signed: Signed,
}

/// Who must have signed a bundle.
#[derive(Debug, clap::Args)]
pub(crate) struct Signed {
    /// minisign's public key of whoever must have signed the bundle, or a file with it.
    #[arg(long, value_name = "KEY", requires = "file")]
    public_key: Option<String>,

    /// The signature. [default: the file's name with .minisig]
    #[arg(long, value_name = "FILE", requires = "public_key")]
    signature: Option<PathBuf>,
}

/// Send a bundle to a registry, and print the reference to pull it by.
///
/// Only what the registry does not have is sent. After a failure, run it again: what was sent stays there. User and
/// password are those of `docker login`.
#[derive(Debug, clap::Args)]
struct PushArgs {
    /// The bundle.
    file: PathBuf,

    /// The repository, as registry.example.com/slipway. It may have a tag. The default is the version and the commit.
    #[arg(value_name = "REGISTRY/NAME")]
    repository: String,
}

/// Fetch a bundle from a registry, and write it to a file with the same bytes as the one that was sent.
///
/// After a failure, run it again: what was fetched is not fetched again.
#[derive(Debug, clap::Args)]
struct PullArgs {
    /// The bundle in the registry, as registry.example.com/slipway@sha256:… or with a tag.
    #[arg(value_name = "REGISTRY/NAME")]
    reference: String,

    /// The file to write.
    file: PathBuf,
}

/// Print the worker's manifests for a cluster that pulls from a registry: each image by its digest there.
///
/// With --output, write them as a folder for `kubectl apply -k`, kustomize and Helm, and print the files' names.
#[derive(Debug, clap::Args)]
struct RenderArgs {
    /// The bundle.
    file: PathBuf,

    /// The repository that the bundle was sent to, as registry.example.com/slipway.
    #[arg(long, value_name = "REGISTRY/NAME")]
    registry: String,

    /// The folder to write. It must be empty or not exist.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Send what this checkout has built to a registry, so that others take it with --from instead of building it.
///
/// These are the programs and root filesystems of bundle/outputs.lock that the cache has. Only what the registry does
/// not have is sent.
#[derive(Debug, clap::Args)]
struct ShareArgs {
    /// The repository, as registry.example.com/slipway.
    #[arg(value_name = "REGISTRY/NAME")]
    repository: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.action {
        Action::Save(args) => save(args),
        Action::Verify(VerifyArgs { file, signed }) => verify(file, signed),
        Action::Push(args) => push(args),
        Action::Pull(args) => pull(args),
        Action::Share(args) => share(args),
        Action::Render(args) => render(args),
    }
}

fn save(args: &SaveArgs) -> Result<ExitCode> {
    let session = Session::of(&args.build)?;
    let pins = session.pins()?;
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
    session.check_build(&pins)?;
    let locking = args.build.locking(true);
    session.check_locks(&pins, &locking)?;
    packages::ensure(&[Need::Images], &session.host, args.build.yes).map_err(Unusable)?;
    let logs = session.workspace.target().join("logs");
    let built = session.build(&pins, &locking, &logs)?;
    let builder = Builder { sysroot: Some(built.sysroot.clone()), ..session.builder(&pins, &logs) };
    let bundle =
        progress::step("collect manifests, SBOMs and provenance", || file::collect(&builder, &built, &commit))?;
    // What the bundle says of its origin is true only if the checkout did not change meanwhile.
    ensure!(Commit::of(&session.workspace.root)? == commit, "the checkout changed meanwhile: run the command again");
    let saved = progress::step(&format!("write {}", file.display()), || file::save(&bundle, file))?;
    progress::note(&format!("{} bytes, of commit {}", saved.bytes, commit.id));
    println!("{}  {}", saved.sha256, file.display());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn verify(file: &Path, Signed { public_key, signature }: &Signed) -> Result<ExitCode> {
    if let Err(error) = std::fs::File::open(file) {
        return Err(Unusable(anyhow!("open {}: {error}", file.display())).into());
    }
    if !file.is_file() {
        return Err(Unusable(anyhow!("{} is not a file", file.display())).into());
    }
    let signature = signature.clone().unwrap_or_else(|| file::signature_file(file));
    let signed = public_key.as_deref().map(|key| file::check_signature(file, key, &signature)).transpose()?;
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
    if let Some(comment) = signed {
        println!("signed by the owner of the public key: {comment}");
    }
    println!("{}  {}", verified.sha256, file.display());
    Ok(ExitCode::SUCCESS)
}

fn push(PushArgs { file, repository }: &PushArgs) -> Result<ExitCode> {
    let session = Session::begin()?;
    let pushed = file::push(&crane(&session)?, &session.cache, file, repository)?;
    println!("{pushed}");
    Ok(ExitCode::SUCCESS)
}

fn pull(PullArgs { reference, file }: &PullArgs) -> Result<ExitCode> {
    let session = Session::begin()?;
    file::check_target(file).map_err(Unusable)?;
    let saved = file::pull(&crane(&session)?, &session.cache, reference, file)?;
    println!("{}  {}", saved.sha256, file.display());
    Ok(ExitCode::SUCCESS)
}

fn render(RenderArgs { file, registry, output }: &RenderArgs) -> Result<ExitCode> {
    if let Some(folder) = output {
        file::check_folder(folder).map_err(Unusable)?;
        for path in file::folder_for_registry(file, registry, folder)? {
            println!("{}", path.display());
        }
    } else {
        print!("{}", file::for_registry(file, registry)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn share(ShareArgs { repository }: &ShareArgs) -> Result<ExitCode> {
    let session = Session::begin()?;
    let pins = session.pins()?;
    let steps = steps(&session.builder(&pins, &session.workspace.target().join("logs")))?;
    let lock = Outputs::load(&session.workspace.root).map_err(Unusable)?;
    let sent = shared::publish(&crane(&session)?, &session.cache, &steps, &lock, repository)?;
    ensure!(!sent.is_empty(), "the cache has nothing that bundle/outputs.lock has: run `cargo xtask images` first");
    println!("{}", sent.join("\n"));
    Ok(ExitCode::SUCCESS)
}
