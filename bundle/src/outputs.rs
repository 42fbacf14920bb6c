//! The lock of the outputs: the digest of every program, root filesystem and image that comes from the pins alone, and
//! the tools that they were built with. Compares what was built with it.
//!
//! This workspace's own programs, their images and the node image are not in it: they change with every commit. A
//! bundle's provenance has their digests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use support::command::Cmd;

use crate::cache::Cache;
use crate::debian::Rootfs;
use crate::images::{BuiltImage, ImageSet, Plan};
use crate::oci::Layer;
use crate::parts::Parts;
use crate::pins::Pins;
use crate::rustc;
use crate::sysroot::Sysroot;

/// The file that holds the lock.
pub const OUTPUTS_FILE: &str = "bundle/outputs.lock";
/// The tool, beside its files, that only this workspace's own programs depend on.
const RUSTC: &str = "rustc";
/// Debian packages of the sysroot that the programs with C code depend on.
const LINKED: [&str; 3] = ["gcc-12", "libc6-dev", "libseccomp-dev"];

/// Digests by name, and the tools behind them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    /// The versions of the tools, by name.
    pub tools: BTreeMap<String, String>,
    /// The programs, as `component/program`.
    pub programs: BTreeMap<String, String>,
    /// The root filesystems.
    pub rootfs: BTreeMap<String, String>,
    /// The images, by their full references.
    pub images: BTreeMap<String, String>,
}

impl Outputs {
    /// Takes the digests of what was built.
    ///
    /// # Errors
    /// When a program or a root filesystem cannot be read.
    pub fn of(
        pins: &Pins,
        parts: &Parts,
        rootfs: &BTreeMap<String, Rootfs>,
        images: &[BuiltImage],
        (cache, sysroot): (&Cache, &Sysroot),
    ) -> Result<Self> {
        // A layer of a tar is the file as it is, and the cache remembers its digest.
        let digest = |name: &str, file: &Path| anyhow::Ok(Layer::of_tar(cache, name, file)?.digest().to_owned());
        let mut programs = BTreeMap::new();
        for (name, component) in pins.built() {
            for program in &component.programs {
                let file = parts.program(name, &program.name)?;
                programs
                    .insert(format!("{name}/{}", program.name), digest(&format!("program-{}", program.name), &file)?);
            }
        }
        let rootfs = rootfs.iter().map(|(name, it)| Ok((name.clone(), digest(&format!("rootfs-{name}"), &it.tar)?)));
        let images = images.iter().filter(|image| image.set != ImageSet::Worker);
        Ok(Self {
            tools: tools(pins, sysroot, cache)?,
            programs,
            rootfs: rootfs.collect::<Result<_>>()?,
            images: images.map(|image| (image.name.clone(), image.digest.clone())).collect(),
        })
    }

    /// Reads the lock of a checkout.
    ///
    /// # Errors
    /// When the file is missing or is not a valid lock.
    pub fn load(root: &Path) -> Result<Self> {
        let path = root.join(OUTPUTS_FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text)
    }

    /// Parses a lock.
    ///
    /// # Errors
    /// When the text is not a valid lock.
    pub fn parse(text: &str) -> Result<Self> {
        let lock: Self = toml::from_str(text).with_context(|| format!("parse {OUTPUTS_FILE}"))?;
        // Rust and TOML escape other characters differently.
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        for text in lock.parts().into_iter().flat_map(|(_, values)| values).flat_map(|(name, value)| [name, value]) {
            ensure!(printable(text), "parse {OUTPUTS_FILE}: {text:?} has a character that is not printable ASCII");
        }
        Ok(lock)
    }

    fn parts(&self) -> [(&'static str, &BTreeMap<String, String>); 4] {
        [("tools", &self.tools), ("programs", &self.programs), ("rootfs", &self.rootfs), ("images", &self.images)]
    }

    /// The programs and images that the pins have and this lock lacks, and the other way round. Known before a build.
    ///
    /// # Errors
    /// When the plan does not fit the pins.
    pub fn names_that_differ(&self, plan: &Plan, pins: &Pins) -> Result<Vec<String>> {
        let programs = pins.built().flat_map(|(name, component)| {
            component.programs.iter().map(move |program| format!("{name}/{}", program.name))
        });
        let images = plan.images.iter().filter(|image| image.set != ImageSet::Worker);
        let images = images.map(|image| image.reference(pins)).collect::<Result<Vec<_>>>()?;
        let wanted: BTreeSet<String> = programs.chain(images).collect();
        let locked: BTreeSet<String> = self.programs.keys().chain(self.images.keys()).cloned().collect();
        let added = wanted.difference(&locked).map(|name| format!("+{name}"));
        Ok(added.chain(locked.difference(&wanted).map(|name| format!("-{name}"))).collect())
    }

    /// The text of the lock file. The same lock gives the same text.
    pub fn render(&self) -> String {
        let mut text = String::from(
            "# The digest of every program, root filesystem and image that comes from the pins alone, and the tools\n\
             # behind them. Written by `cargo xtask images --update-lock`; not edited by hand.\n",
        );
        for (name, values) in self.parts() {
            text.push_str(&format!("\n[{name}]\n"));
            let values = values.iter().map(|(name, value)| format!("{name:?} = {value:?}\n"));
            text.extend(values);
        }
        text
    }

    /// How `built` differs from this lock, one line for each output.
    pub fn differences(&self, built: &Self) -> Vec<String> {
        let parts = [
            ("program", &self.programs, &built.programs),
            ("root filesystem", &self.rootfs, &built.rootfs),
            ("image", &self.images, &built.images),
        ];
        let mut lines = Vec::new();
        for (kind, locked, built) in parts {
            for (name, digest) in built {
                match locked.get(name) {
                    Some(locked) if locked == digest => {}
                    Some(locked) => lines.push(format!("{kind} {name} is {digest}, and {OUTPUTS_FILE} has {locked}")),
                    None => lines.push(format!("{kind} {name} is {digest}, and {OUTPUTS_FILE} does not have it")),
                }
            }
            let gone = locked.keys().filter(|name| !built.contains_key(*name));
            lines.extend(gone.map(|name| format!("{kind} {name} of {OUTPUTS_FILE} was not built")));
        }
        lines
    }

    /// The tools of this host that differ from those of the lock, and so explain differences. None if all are the same.
    pub fn explanation(&self, built: &Self) -> Option<String> {
        let differ = built.tools.iter().filter(|(name, version)| {
            ![RUSTC, rustc::FILES].contains(&name.as_str())
                && self.tools.get(*name).is_some_and(|locked| locked != *version)
        });
        let differ: Vec<String> =
            differ.map(|(name, version)| format!("{name} {version:?} instead of {:?}", self.tools[name])).collect();
        (!differ.is_empty()).then(|| format!("this host's tools differ, which explains it: {}", differ.join(", ")))
    }
}

/// The versions of the tools and libraries that decide about bytes.
fn tools(pins: &Pins, sysroot: &Sysroot, cache: &Cache) -> Result<BTreeMap<String, String>> {
    let version = |program: &str| -> Result<String> {
        let said = Cmd::new(program).arg("--version").quiet().read();
        let said = said.with_context(|| format!("find the version of {program}"))?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    };
    let mut tools = BTreeMap::from([("go".to_owned(), pins.toolchain.go.clone())]);
    for program in [RUSTC, "mmdebstrap"] {
        tools.insert(program.to_owned(), version(program)?);
    }
    tools.extend(rustc::files(cache)?.map(|files| (rustc::FILES.to_owned(), files)));
    let linked = sysroot.packages.iter().filter(|package| LINKED.contains(&package.name.as_str()));
    tools.extend(linked.map(|package| (package.name.clone(), package.version.clone())));
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn outputs() -> Outputs {
        Outputs {
            tools: map(&[("go", "1.26.8"), ("cc", "cc 12"), (RUSTC, "rustc 1.95.0")]),
            programs: map(&[("kind/kind", "sha256:aa")]),
            rootfs: map(&[("node", "sha256:bb")]),
            images: map(&[("x.example/y:v1", "sha256:cc")]),
        }
    }

    #[test]
    fn lock_survives_writing_and_reading() {
        assert_eq!(Outputs::parse(&outputs().render()).unwrap(), outputs());
        let error = format!("{:#}", Outputs::parse("[tool]\n").unwrap_err());
        assert!(error.contains(OUTPUTS_FILE), "{error}");
    }

    #[test]
    fn each_difference_is_named_with_both_digests() {
        let (locked, mut built) = (outputs(), outputs());
        assert_eq!(locked.differences(&built), Vec::<String>::new());
        built.programs.insert("kind/kind".into(), "sha256:dd".into());
        built.images = map(&[("x.example/y:v2", "sha256:cc")]);
        let expected = [
            "program kind/kind is sha256:dd, and bundle/outputs.lock has sha256:aa",
            "image x.example/y:v2 is sha256:cc, and bundle/outputs.lock does not have it",
            "image x.example/y:v1 of bundle/outputs.lock was not built",
        ];
        assert_eq!(locked.differences(&built), expected);
    }

    #[test]
    fn lock_with_a_character_that_it_cannot_write_is_refused() {
        let valid = outputs().render();
        let error = Outputs::parse(&valid.replace("1.26.8", "1.26\\u007f8")).unwrap_err().to_string();
        assert!(error.contains("1.26\\u{7f}8") && error.contains(OUTPUTS_FILE), "{error}");
    }

    #[test]
    fn other_tools_explain_differences_and_another_rustc_does_not() {
        let (locked, mut built) = (outputs(), outputs());
        assert_eq!(locked.explanation(&built), None);
        built.tools.insert(RUSTC.into(), "rustc 1.96.0".into());
        assert_eq!(locked.explanation(&built), None);
        built.tools.insert("go".into(), "1.27.0".into());
        let text = locked.explanation(&built).unwrap();
        assert!(text.contains("go \"1.27.0\" instead of \"1.26.8\"") && !text.contains("rustc"), "{text}");
    }
}
