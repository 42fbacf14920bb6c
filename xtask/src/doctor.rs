//! `cargo xtask doctor`: the facts of this host, its faults, and how a run adapts to it. Changes nothing.

use std::process::ExitCode;

use anyhow::Result;
use bundle::host::{Work, gib};
use bundle::outputs::Outputs;
use bundle::packages::{self, Need};
use bundle::pins::Pins;
use bundle::rustc;
use bundle::steps::{describe, pending};

use crate::session::Session;

/// Show the facts and faults of this host, and how a run will adapt to it.
///
/// Changes nothing. The exit code is 0 if a run is possible, and 2 if it is not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the facts as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    let host = &session.host;
    let pins = if session.workspace.is_checkout() { Some(session.pins()?) } else { None };
    let pending = pins.as_ref().map(|pins| pending(&session.builder(pins, &session.workspace.target().join("logs"))));
    let (pending, unknown) = match pending.transpose() {
        Ok(pending) => (pending.unwrap_or_default(), None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    };
    let missing: Vec<String> = pending.iter().map(|it| describe(std::slice::from_ref(it))).collect();
    let work = pins.as_ref().map_or(Work::Run, |pins| Work::Build { pins, cold: missing.len() > 3 });
    let mut faults = host.faults(work);
    // On a host that is able to build, it is a fault of the checkout, such as a lock of another release.
    faults.extend(unknown.filter(|_| host.platform_faults(work).is_empty()));
    let mut needs = Vec::from_iter(pins.is_some().then_some(Need::Images));
    needs.extend(host.docker.is_none().then_some(Need::Engine));
    let packages = packages::missing(&needs);
    let installs = host.root && host.apt;
    if !packages.is_empty() && !installs {
        faults.push(format!("these system packages are missing, by their Debian names: {}", packages.join(" ")));
    }
    if args.json {
        let report = serde_json::json!({
            "host": host, "adaptations": host.adaptations(), "faults": faults, "to_build": missing,
            "to_install": packages,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&session, pins.as_ref(), (&missing, &packages), &faults)?;
    }
    Ok(ExitCode::from(if faults.is_empty() { 0 } else { crate::UNUSABLE }))
}

fn print(
    session: &Session,
    pins: Option<&Pins>,
    (missing, packages): (&[String], &[String]),
    faults: &[String],
) -> Result<()> {
    let host = &session.host;
    let known = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), gib);
    let text = |value: Option<&str>| value.unwrap_or("none").to_owned();
    println!("system      {} {}, {} cores, {} of memory", host.os, host.arch, host.cores, known(host.memory_bytes));
    println!("cache       {} ({} free)", session.cache.root().display(), known(host.disk_free_bytes));
    println!("user        {}", if host.root { "root" } else { "not root" });
    println!("cgroups     {}", text(host.cgroup));
    if let Some(pins) = pins {
        println!("go          {} (pinned: {})", text(host.go.as_deref()), pins.toolchain.go);
        let lock = Outputs::load(&session.workspace.root).ok();
        let about = rustc::difference(pins, lock.as_ref(), &session.cache)?;
        println!("rustc       {}", about.unwrap_or_else(|| pins.toolchain.rust.clone()));
    }
    println!("docker      {}", text(host.docker.as_deref()));
    println!("apt         {}", if host.apt { "yes" } else { "no" });
    let to_build = match pins {
        None => "nothing: there is no checkout, and a bundle has everything".to_owned(),
        Some(_) if missing.is_empty() => "nothing: every part is in the cache".to_owned(),
        Some(_) => missing.join(", "),
    };
    println!("to build    {to_build}");
    if !packages.is_empty() {
        println!("to install  {}", packages.join(" "));
    }
    for adaptation in host.adaptations() {
        println!("will adapt  {}, because {}", adaptation.what, adaptation.why);
    }
    for fault in faults {
        println!("FAULT       {fault}");
    }
    println!("{}", if faults.is_empty() { "a run is possible" } else { "a run is not possible" });
    Ok(())
}
