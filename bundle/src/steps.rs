//! The builds of a checkout whose keys are known before anything is built: the programs and the root filesystems. Images
//! are made of their results, and of files of the checkout and of Go's modules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context, Result};
use support::interrupt::side_by_side;

use crate::action::Action;
use crate::cache::Cache;
use crate::debian::{self, Debian, Lock};
use crate::images::Plan;
use crate::outputs::Outputs;
use crate::parts::{ARCHITECTURE, Builder, cargo};
use crate::sysroot::{self, Sysroot};

/// A guess of the seconds of a run of cargo: longer than those of any component.
const PROGRAMS_OF_OURS: f64 = 2000.0;

/// One entry of the cache, and the build that makes it.
#[derive(Debug, Clone)]
pub struct Step {
    /// The kind of the entry.
    pub kind: &'static str,
    /// The component, the programs of one run of cargo, or the root filesystem.
    pub name: String,
    /// The build.
    pub action: Action,
    /// The files of the entry.
    pub files: Vec<String>,
}

impl Step {
    /// The entry's path, whether the entry exists or not.
    pub fn place(&self, cache: &Cache) -> PathBuf {
        cache.place(self.kind, &self.name, &self.action)
    }

    /// The name of a file of the entry in the lock of the outputs, and its digest there if the lock has it.
    pub fn locked<'a>(&self, file: &str, lock: &'a Outputs) -> (String, Option<&'a String>) {
        let (name, digests) = match self.kind {
            "rootfs" => (self.name.clone(), &lock.rootfs),
            _ => (format!("{}/{file}", self.name), &lock.programs),
        };
        let digest = digests.get(&name);
        (name, digest)
    }

    /// Fetches what the entry is built from, if the cache does not have the entry.
    ///
    /// # Errors
    /// When something cannot be fetched, or has another hash than its lock says.
    pub fn fetch(&self, builder: &Builder<'_>) -> Result<()> {
        if self.place(builder.cache).is_dir() {
            return Ok(());
        }
        match (self.kind, builder.pins.components.get(&self.name)) {
            (sysroot::NAME, _) => fetch_sysroot(builder),
            ("rootfs", _) => debian(builder)?.fetch(builder.cache, &self.name),
            (_, Some(component)) => builder.fetch_modules(&self.name, component),
            (_, None) => builder.fetch_crates(),
        }
    }

    /// A guess of the seconds of a first build. Only the order of guesses matters.
    fn guess(&self, builder: &Builder<'_>) -> f64 {
        let Ok(sums) = fs::read_to_string(builder.workspace.components().join(&self.name).join("go.sum")) else {
            return if self.kind == "parts" { PROGRAMS_OF_OURS } else { 0.0 };
        };
        // Two lines a module: a component of many modules compiles many packages.
        f64::from(u32::try_from(sums.lines().count()).unwrap_or(u32::MAX))
    }

    /// Builds the entry if the cache does not have it.
    ///
    /// # Errors
    /// When it does not build. The error names it.
    pub fn build(&self, builder: &Builder<'_>) -> Result<()> {
        if self.kind == sysroot::NAME {
            return builder.sysroot_folder().map(drop);
        }
        if self.kind == "rootfs" {
            let plan = Plan::load(&builder.workspace.root, builder.pins)?;
            let recipe = plan.rootfs.get(&self.name).with_context(|| format!("find the recipe of {}", self.name))?;
            return debian(builder)?.rootfs(builder.cache, &self.name, recipe).map(drop);
        }
        match cargo::RUNS.iter().find(|programs| cargo::run_name(programs) == self.name) {
            Some(programs) => builder.cargo(programs).map(drop),
            None => builder.component(&self.name).map(drop),
        }
    }
}

/// The steps of a checkout: the C compiler, components, programs of the workspace, root filesystems of the locked
/// packages.
///
/// # Errors
/// When an input cannot be read, or a compiler is missing.
pub fn steps(builder: &Builder<'_>) -> Result<Vec<Step>> {
    let action = builder.sysroot()?.action()?;
    let mut steps = vec![Step { kind: sysroot::NAME, name: sysroot::NAME.to_owned(), action, files: Vec::new() }];
    for (name, component) in &builder.pins.components {
        let files = component.programs.iter().map(|program| program.name.clone()).collect();
        steps.push(Step { kind: "parts", name: name.clone(), action: builder.action(name, component)?, files });
    }
    for programs in cargo::RUNS {
        let action = builder.cargo_action(programs)?;
        let files = programs.iter().map(|program| program.binary.to_owned()).collect();
        steps.push(Step { kind: "parts", name: cargo::run_name(programs), action, files });
    }
    let debian = debian(builder)?;
    for (name, recipe) in &Plan::load(&builder.workspace.root, builder.pins)?.rootfs {
        let action = debian.action(recipe, debian.lock.of(name))?;
        steps.push(Step { kind: "rootfs", name: name.clone(), action, files: vec![debian::TAR.to_owned()] });
    }
    Ok(steps)
}

/// A build that is to come.
#[derive(Debug, Clone)]
pub struct Pending {
    /// What it makes.
    pub step: Step,
    /// The seconds that it took last time. None if that is not known.
    pub seconds: Option<f64>,
    /// The seconds that it is expected to take.
    expected: f64,
}

/// The builds that the cache lacks, those of tools excepted, the longest first.
///
/// # Errors
/// As [`steps`].
pub fn pending(builder: &Builder<'_>) -> Result<Vec<Pending>> {
    let mut pending = Vec::new();
    for step in steps(builder)? {
        let tool = builder.pins.components.get(&step.name).is_some_and(|component| component.tool);
        if tool || builder.cache.get(step.kind, &step.name, &step.action).is_some() {
            continue;
        }
        let seconds = builder.cache.last_build(step.kind, &step.name);
        let expected = seconds.unwrap_or_else(|| step.guess(builder));
        pending.push(Pending { step, seconds, expected });
    }
    pending.sort_by(|one, other| other.expected.total_cmp(&one.expected));
    Ok(pending)
}

/// What is to be built, and how long each took last time, in one line.
pub fn describe(pending: &[Pending]) -> String {
    let each = pending.iter().map(|Pending { step, seconds, .. }| match seconds {
        Some(seconds) => format!("{} ({seconds:.0} s last time)", step.name),
        None => format!("{} (not timed yet)", step.name),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Builds components and the programs of the workspace in two columns, the longest first. Each column takes the next
/// build when it is done with one, so both end at nearly the same time.
///
/// # Errors
/// When something does not build. The error names it.
pub fn build_in_columns(builder: &Builder<'_>, pending: &[Pending]) -> Result<()> {
    let queue = Mutex::new(jobs(pending, |name| builder.pins.components.contains_key(name)));
    let column = || loop {
        let job = queue.lock().ok().and_then(|mut queue| queue.pop_front());
        let Some(job) = job else { return Ok(()) };
        job.iter().try_for_each(|it| it.step.build(builder))?;
    };
    side_by_side(column, column).map(drop)
}

/// What a column builds in one piece, the longest first: a component, or all runs of cargo, which share a folder.
fn jobs(pending: &[Pending], is_component: impl Fn(&str) -> bool) -> VecDeque<Vec<&Pending>> {
    let parts = pending.iter().filter(|it| it.step.kind == "parts");
    let (go, cargo): (Vec<&Pending>, Vec<&Pending>) = parts.partition(|it| is_component(&it.step.name));
    let mut jobs: Vec<Vec<&Pending>> = go.into_iter().map(|it| vec![it]).chain([cargo]).collect();
    let expected = |job: &[&Pending]| -> f64 { job.iter().map(|it| it.expected).sum() };
    jobs.sort_by(|one, other| expected(other).total_cmp(&expected(one)));
    jobs.into()
}

/// The entries and packages in the cache that this checkout needs.
///
/// # Errors
/// As [`steps`].
pub fn needed(builder: &Builder<'_>) -> Result<BTreeSet<PathBuf>> {
    let lock = debian(builder)?.lock;
    let packages = lock.rootfs.values().flat_map(|choice| &choice.packages);
    let packages = packages.map(|package| debian::place(builder.cache, package));
    Ok(steps(builder)?.iter().map(|step| step.place(builder.cache)).chain(packages).collect())
}

/// The steps with these names, and what they are called. All of them if there are no names.
///
/// # Errors
/// When a name is of no step. The error lists the names.
pub fn select(steps: Vec<Step>, names: &[String]) -> Result<Vec<Step>> {
    let known: BTreeMap<&str, &Step> = steps.iter().map(|step| (step.name.as_str(), step)).collect();
    for name in names {
        known.get(name.as_str()).with_context(|| {
            let known: Vec<&str> = known.keys().copied().collect();
            format!("nothing is called {name} (there are {})", known.join(", "))
        })?;
    }
    Ok(steps.into_iter().filter(|step| names.is_empty() || names.contains(&step.name)).collect())
}

/// The C compiler and libraries of the locked packages.
///
/// # Errors
/// When the lock or the plan cannot be read.
pub(crate) fn locked_sysroot(builder: &Builder<'_>) -> Result<Sysroot> {
    let plan = Plan::load(&builder.workspace.root, builder.pins)?;
    let lock = Lock::load(&builder.workspace.root, &builder.pins.debian.suite, ARCHITECTURE)?;
    Ok(Sysroot::new(&plan.sysroot, lock.of(sysroot::NAME).to_vec(), Vec::new()))
}

/// Puts the packages of the C compiler and libraries into the cache.
///
/// # Errors
/// When no mirror has a package with its hash.
pub(crate) fn fetch_sysroot(builder: &Builder<'_>) -> Result<()> {
    debian(builder)?.fetch(builder.cache, sysroot::NAME)
}

fn debian(builder: &Builder<'_>) -> Result<Debian> {
    let lock = Lock::load(&builder.workspace.root, &builder.pins.debian.suite, ARCHITECTURE)?;
    let debian = Debian::of_host(lock, true, &builder.logs);
    Ok(if builder.offline { debian.offline() } else { debian })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kind: &'static str, name: &str) -> Step {
        Step { kind, name: name.into(), action: Action::new("x"), files: Vec::new() }
    }

    #[test]
    fn names_in_the_lock_are_those_of_programs_and_root_filesystems() {
        let lock = Outputs {
            programs: BTreeMap::from([("cni/ptp".into(), "sha256:aa".into())]),
            rootfs: BTreeMap::from([("node".into(), "sha256:bb".into())]),
            ..Outputs::default()
        };
        let cases = [
            ("parts", "cni", "ptp", "cni/ptp", Some("sha256:aa")),
            ("rootfs", "node", "rootfs.tar", "node", Some("sha256:bb")),
            ("parts", "kind-e2e", "kind-e2e", "kind-e2e/kind-e2e", None),
        ];
        for (kind, name, file, expected, digest) in cases {
            let (found, locked) = step(kind, name).locked(file, &lock);
            assert_eq!((found.as_str(), locked.map(String::as_str)), (expected, digest));
        }
    }

    #[test]
    fn longest_build_comes_first_and_runs_of_cargo_stay_together() {
        let pending = |kind, name: &str, expected: f64, seconds| Pending { step: step(kind, name), seconds, expected };
        let all = [
            pending("parts", "keda", 1100.0, Some(1100.0)),
            pending("parts", "worker", 900.0, Some(900.4)),
            pending("parts", "driver", 700.0, None),
            pending("parts", "cni", 40.0, None),
            pending("rootfs", "node", 9.0, None),
        ];
        let jobs = jobs(&all, |name| ["keda", "cni"].contains(&name));
        let names: Vec<String> =
            jobs.iter().map(|job| job.iter().map(|it| it.step.name.as_str()).collect::<Vec<_>>().join("+")).collect();
        assert_eq!(names, ["worker+driver", "keda", "cni"]);
        assert_eq!(describe(&all[1..3]), "worker (900 s last time), driver (not timed yet)");
    }

    #[test]
    fn unknown_name_is_refused_with_the_known_ones() {
        let all = || vec![step("parts", "cni"), step("rootfs", "node")];
        assert_eq!(select(all(), &[]).unwrap().len(), 2);
        assert_eq!(select(all(), &["node".into()]).unwrap()[0].name, "node");
        let error = select(all(), &["nodes".into()]).unwrap_err().to_string();
        assert!(error.contains("nodes") && error.contains("cni, node"), "{error}");
    }
}
