//! `cargo xtask verify`: checks a bundle, or what the cache has, or builds everything again elsewhere and compares.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, ensure};
use bundle::assemble::{self, Locking};
use bundle::outputs::Outputs;
use bundle::packages::{self, Need};
use bundle::parts::Builder;
use bundle::pins::Pins;
use bundle::rebuild::{Comparison, Elsewhere};
use bundle::steps::{Step, select, steps};
use bundle::workspace::Workspace;
use support::progress;
use support::usage::children_user_seconds;

use crate::Unusable;
use crate::bundle::{self as of_bundle, Signed};
use crate::session::Session;

/// Check every byte of a bundle, or of what the cache has for this checkout.
///
/// With a file, this is `bundle verify`. Without one, the cache is compared with bundle/outputs.lock. What is damaged is
/// removed, so that the next build makes it again. With --rebuild, nothing in the cache is trusted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle. Without it, what the cache has is checked.
    file: Option<PathBuf>,

    #[command(flatten)]
    signed: Signed,

    /// Build again from an empty cache, and compare, down to the first file or byte that differs.
    ///
    /// The build runs in a copy of the checkout with another user, home, umask, locale, time zone and number of jobs, and
    /// with settings of Go and cargo that would change every program if a build read them. Takes as long as a first build.
    #[arg(long, conflicts_with = "file")]
    rebuild: bool,

    /// Only these: components, root filesystems, or programs of the workspace such as kind-e2e.
    #[arg(long, value_name = "NAME", num_args = 1.., conflicts_with = "file")]
    only: Vec<String>,

    /// Install missing system packages without asking.
    #[arg(long, short)]
    yes: bool,

    /// Build in this copy of a checkout, as the child of a rebuild.
    #[arg(long, hide = true, conflicts_with = "file")]
    build_in: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(file) = &args.file {
        return of_bundle::verify(file, &args.signed);
    }
    let mut session = Session::begin()?;
    if let Some(root) = &args.build_in {
        session.workspace = Workspace::at(root);
        return build(&session, &session.pins()?, &args.only);
    }
    let pins = session.pins()?;
    let lock = Outputs::load(&session.workspace.root).map_err(Unusable)?;
    if args.rebuild {
        // A part of it needs less disk.
        if args.only.is_empty() {
            session.check_build(&pins)?;
        } else {
            session.check_platform(&pins)?;
        }
        packages::ensure(&[Need::Images], &session.host, args.yes).map_err(Unusable)?;
    }
    let builder = session.builder(&pins, &session.workspace.target().join("logs"));
    let steps = select(steps(&builder)?, &args.only).map_err(Unusable)?;
    if args.rebuild { rebuild(&session, &pins, &steps, &args.only, &lock) } else { check(&builder, &steps, &lock) }
}

/// Checks the entries of the cache.
fn check(builder: &Builder<'_>, steps: &[Step], lock: &Outputs) -> Result<ExitCode> {
    let mut found = Comparison::default();
    for step in steps {
        progress::step(&format!("check {}", step.name), || found.entry(step, builder.cache, lock))?;
    }
    report(&found, "are as they were built, and as the lock says", "not in the cache")
}

/// Builds elsewhere, and compares.
fn rebuild(session: &Session, pins: &Pins, steps: &[Step], only: &[String], lock: &Outputs) -> Result<ExitCode> {
    let elsewhere = Elsewhere::make(&session.workspace, session.cache.root())?;
    let workspace = elsewhere.workspace();
    let build = |names: &[String], other_user: bool| {
        let mut args = vec!["verify".to_owned(), "--build-in".to_owned(), workspace.root.display().to_string()];
        args.extend((!names.is_empty()).then(|| "--only".to_owned()).into_iter().chain(names.iter().cloned()));
        ensure!(elsewhere.run(&std::env::current_exe()?, &args, other_user)?, "the build in another place failed");
        anyhow::Ok(())
    };
    let (filesystems, programs): (Vec<&Step>, Vec<&Step>) = steps.iter().partition(|step| step.kind == "rootfs");
    let [programs, filesystems] =
        [programs, filesystems].map(|steps| steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>());
    if !programs.is_empty() {
        build(&programs, true)?;
    }
    // mmdebstrap has to be root, or to have users below this one.
    if only.is_empty() {
        build(&[], false)?;
    } else if !filesystems.is_empty() {
        build(&filesystems, false)?;
    }
    let there = Session { workspace, cache: elsewhere.cache()?, ..Session::begin()? };
    let logs = session.workspace.target().join("logs");
    let mut found = Comparison::default();
    progress::step("compare", || {
        let rebuilt = select(bundle::steps::steps(&there.builder(pins, &logs))?, only)?;
        for (ours, rebuilt) in steps.iter().zip(&rebuilt) {
            found.step((ours, &session.cache), (rebuilt, &there.cache), lock)?;
        }
        anyhow::Ok(())
    })?;
    if only.is_empty() {
        let rebuilt = there.build(pins, &Locking::Loose, &logs)?;
        found
            .differences
            .extend(lock.differences(&rebuilt.outputs).into_iter().filter(|line| line.starts_with("image")));
        if steps.iter().all(|step| step.place(&session.cache).is_dir()) {
            let ours = session.build(pins, &Locking::Loose, &logs)?;
            found.images(&ours.images, &rebuilt.images)?;
        }
    }
    report(&found, "are the same, byte for byte, when they are built in another place", "nothing to compare with")
}

fn report(found: &Comparison, same: &str, alone: &str) -> Result<ExitCode> {
    if !found.alone.is_empty() {
        progress::note(&format!("{alone}: {}", found.alone.join(", ")));
    }
    if found.differences.is_empty() {
        println!("{} files and images {same}", found.same);
        return Ok(ExitCode::SUCCESS);
    }
    Err(anyhow!("{} differ:\n  - {}", found.differences.len(), found.differences.join("\n  - ")))
}

/// Builds what is asked for, or everything. In another place, this is all that runs.
fn build(session: &Session, pins: &Pins, only: &[String]) -> Result<ExitCode> {
    let logs = session.workspace.target().join("logs");
    let builder = session.builder(pins, &logs);
    if only.is_empty() {
        assemble::assemble(&builder, &Locking::Loose)?;
    } else {
        let begin = children_user_seconds();
        for step in select(steps(&builder)?, only)? {
            let before = children_user_seconds();
            step.build(&builder)?;
            print_cost(&step.name, before);
        }
        print_cost("everything together", begin);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what a build cost. One build ran at a time, so the difference is that of this build.
fn print_cost(name: &str, before: Option<f64>) {
    if let Some((before, after)) = before.zip(children_user_seconds()) {
        progress::note(&format!("{name}: {:.1} s of user CPU time", after - before));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn each_way_to_verify_is_a_valid_command_line() {
        let parse = |line: &str| Line::try_parse_from(format!("verify {line}").split_whitespace());
        for line in ["", "--only cni", "--rebuild", "--rebuild --only cni runc", "--build-in /x --only cni"] {
            assert_eq!(parse(line).unwrap().args.file, None, "{line}");
        }
        assert_eq!(parse("x.tar --public-key k").unwrap().args.file, Some("x.tar".into()));
        for line in ["--rebuild x.tar", "--public-key k", "x.tar --signature s"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
