//! A build as one value: the command, its environment, and every input by its hash. The hash of the value is the key of
//! what is built. So a build that changes in any way has another key, and nobody has to remember to change one.
//!
//! The process of a build inherits nothing but the variables of [`HOST`] and [`COMPILER`], and has no use for a
//! network: everything was fetched before. Folders of this machine are written as `{name}` in the value, so that every
//! checkout has the same keys. What Rust code makes has that code as an input ([`Action::code`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use support::command::Cmd;

use crate::cache::{files_below, sha256_file};

/// The variables of the host that a build gets. They say where programs are and how many of them run at once.
const HOST: [&str; 6] = ["PATH", "TMPDIR", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "GOMAXPROCS", "CARGO_BUILD_JOBS"];
/// How the variables begin with which a C compiler of Nix finds headers and libraries. The host's compiler links build
/// scripts and procedural macros, which run here. What ships is compiled and linked by that of the sysroot.
const COMPILER: [&str; 5] = ["NIX_BINTOOLS", "NIX_CC", "NIX_CFLAGS", "NIX_HARDENING", "NIX_LDFLAGS"];
/// The environment of every build. The home is a file, so that nothing is read from it or written to it.
const ALWAYS: [(&str, &str); 3] = [("HOME", "/dev/null"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
/// The start of the tests in a file of Rust code.
const TESTS: &str = "\n#[cfg(test)]\n";

/// A build, before it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    inputs: BTreeMap<String, String>,
    #[serde(skip)]
    places: BTreeMap<String, OsString>,
    #[serde(skip)]
    local: Vec<(String, OsString)>,
}

impl Action {
    /// A build with this program, or with this part of the crate.
    pub fn new(program: &str) -> Self {
        let env = ALWAYS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { argv: vec![program.to_owned()], env, ..Self::default() }
    }

    /// Adds one argument. In it, `{name}` stands for a place.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// Adds arguments in order.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable that decides about the result. In its value, `{name}` stands for a place.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a variable that has no part in the result, such as the folder of a compiler's cache.
    #[must_use]
    pub fn local(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.local.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Says what `{name}` stands for on this machine.
    #[must_use]
    pub fn place(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.places.insert(format!("{{{name}}}"), value.as_ref().to_owned());
        self
    }

    /// Adds an input that is short or is already a hash.
    #[must_use]
    pub fn input(mut self, name: &str, value: impl Into<String>) -> Self {
        self.inputs.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a file by its hash.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn file(self, name: &str, path: &Path) -> Result<Self> {
        Ok(self.input(name, sha256_file(path)?))
    }

    /// Adds every file below a folder by its path and its hash.
    ///
    /// # Errors
    /// When a file or folder cannot be read.
    pub fn tree(mut self, name: &str, root: &Path) -> Result<Self> {
        for path in files_below(root)? {
            let below = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            self = self.file(&format!("{name}/{below}"), &path)?;
        }
        Ok(self)
    }

    /// Adds the Rust code that makes the result, without its tests.
    #[must_use]
    pub fn code(self, sources: &[&str]) -> Self {
        self.code_of("code", sources)
    }

    /// Adds further Rust code under a name.
    #[must_use]
    pub fn code_of(self, name: &str, sources: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for source in sources {
            hash.update(source.rsplit_once(TESTS).map_or(*source, |(code, _)| code));
        }
        self.input(name, hex::encode(hash.finalize()))
    }

    /// The hash of the value.
    pub fn key(&self) -> String {
        // Maps of strings always have a JSON form.
        hex::encode(Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }

    /// What differs between two builds: arguments, variables and inputs, by name.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.argv != other.argv {
            found.push("the command".to_owned());
        }
        for (what, one, two) in [("variable", &self.env, &other.env), ("input", &self.inputs, &other.inputs)] {
            let names: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            found.extend(names.iter().filter(|it| one.get(**it) != two.get(**it)).map(|it| format!("{what} {it}")));
        }
        found
    }

    /// The command, with the environment of a build. It runs in the folder `/`.
    pub fn command(&self) -> Cmd {
        let argv: Vec<OsString> = self.argv.iter().map(|arg| self.placed(arg)).collect();
        let mut command = Cmd::new(&argv[0]).args(&argv[1..]).env_clear().cwd("/");
        for (name, value) in host_variables() {
            command = command.env(name, value);
        }
        for (name, value) in &self.env {
            command = command.env(name, self.placed(value));
        }
        self.local.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// A text with places put in.
    fn placed(&self, text: &str) -> OsString {
        let mut placed = OsString::new();
        let mut rest = text;
        while let Some((at, name)) =
            self.places.keys().filter_map(|name| Some((rest.find(name.as_str())?, name))).min_by_key(|(at, _)| *at)
        {
            placed.push(&rest[..at]);
            placed.push(&self.places[name]);
            rest = &rest[at + name.len()..];
        }
        placed.push(rest);
        placed
    }
}

/// The variables of [`HOST`] and [`COMPILER`] that are set. rustup's folder is named: it is in the home by default.
fn host_variables() -> Vec<(OsString, OsString)> {
    let rustup = || Some(Path::new(&std::env::var_os("HOME")?).join(".rustup")).filter(|folder| folder.is_dir());
    let value = |name| match name {
        "RUSTUP_HOME" => std::env::var_os(name).or_else(|| rustup().map(PathBuf::into_os_string)),
        _ => std::env::var_os(name),
    };
    let compiler = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        COMPILER.iter().any(|start| name.starts_with(start))
    });
    HOST.into_iter().filter_map(|name| Some((name.into(), value(name)?))).chain(compiler).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action() -> Action {
        Action::new("sh").args(["-c", "env"]).env("GOAMD64", "v1").input("go.mod", "aa").place("out", "/one")
    }

    #[test]
    fn everything_that_decides_changes_the_key_and_places_do_not() {
        let same = action().place("out", "/two").local("GOCACHE", "/three");
        assert_eq!(same.key(), action().key());
        let cases = [
            (action().arg("-x"), "the command"),
            (action().env("GOAMD64", "v3"), "variable GOAMD64"),
            (action().input("go.mod", "bb"), "input go.mod"),
            (action().input("go.sum", ""), "input go.sum"),
            (action().code(&["fn x() {}"]), "input code"),
        ];
        for (other, difference) in cases {
            assert_ne!(other.key(), action().key(), "{difference}");
            assert_eq!(action().differences(&other), [difference]);
        }
    }

    #[test]
    fn build_inherits_only_what_says_where_things_are() {
        let env =
            action().local("GOCACHE", "/cache").env("FLAGS", "-L{out}/lib:{out}:{gone}").command().read().unwrap();
        let shells_own = ["PWD", "OLDPWD", "SHLVL", "_"];
        for line in env.lines() {
            let (name, value) = line.split_once('=').unwrap();
            match name {
                "GOCACHE" => assert_eq!(value, "/cache"),
                "FLAGS" => assert_eq!(value, "-L/one/lib:/one:{gone}"),
                "GOAMD64" => assert_eq!(value, "v1"),
                _ => assert!(
                    ALWAYS.contains(&(name, value)) || HOST.contains(&name) || shells_own.contains(&name),
                    "{line} was inherited"
                ),
            }
        }
        assert!(env.contains("\nHOME=/dev/null") || env.starts_with("HOME=/dev/null"), "{env}");
    }

    #[test]
    fn tests_are_no_part_of_the_code() {
        let with = |source: &str| Action::new("x").code(&[source]).key();
        assert_eq!(with("fn a() {}\n#[cfg(test)]\nmod tests { 1 }"), with("fn a() {}\n#[cfg(test)]\nmod tests { 2 }"));
        assert_ne!(with("fn a() {}\n#[cfg(test)]\nmod tests {}"), with("fn b() {}\n#[cfg(test)]\nmod tests {}"));
    }

    #[test]
    fn files_of_a_tree_are_inputs_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        let tree = |text: &str| {
            std::fs::write(dir.path().join("src/main.rs"), text).unwrap();
            Action::new("cargo").tree("worker", dir.path()).unwrap()
        };
        assert_eq!(tree("one").differences(&tree("two")), ["input worker/src/main.rs"]);
    }
}
