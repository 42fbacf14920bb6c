//! Where packages are fetched from: the host's mirrors, then Debian's archive, then its snapshot service.
//!
//! The host's apt sources are used for the base URLs of mirrors and for nothing else. Their passwords stay out of URLs,
//! so that no message, log or command line has one.

use std::fmt;
use std::fs;
use std::path::Path;

use super::Lock;

/// An archive of Debian. A package's path in the pool says in which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// The releases and their updates.
    Main,
    /// The security updates.
    Security,
}

impl Archive {
    /// All archives.
    pub(super) const ALL: [Self; 2] = [Self::Main, Self::Security];

    /// The archive that has this path.
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with("pool/updates/") { Self::Security } else { Self::Main }
    }

    /// The archive of a suite of `release`. None if the suite belongs to something else.
    fn of_suite(suite: &str, release: &str) -> Option<Self> {
        match suite.strip_prefix(release)? {
            "" | "-updates" => Some(Self::Main),
            "-security" | "/updates" => Some(Self::Security),
            _ => None,
        }
    }

    /// The suites of `release` in this archive.
    pub(super) fn suites(self, release: &str) -> Vec<String> {
        match self {
            Self::Main => vec![release.to_owned(), format!("{release}-updates")],
            Self::Security => vec![format!("{release}-security")],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Main => "debian",
            Self::Security => "debian-security",
        }
    }
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

/// A place with the packages of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The archive.
    pub archive: Archive,
    /// The URL of its root, without user, password and a slash at the end.
    pub base: String,
    login: Option<Login>,
    /// Whether it has an index of current packages, and not only the packages.
    pub(super) has_index: bool,
}

impl Mirror {
    /// A mirror at a URL, which may have a user and a password.
    pub fn new(archive: Archive, url: &str) -> Self {
        let (base, login) = split_login(url);
        Self { archive, base: base.trim_end_matches('/').to_owned(), login, has_index: true }
    }

    /// The same mirror without an index of current packages.
    pub(super) fn without_index(self) -> Self {
        Self { has_index: false, ..self }
    }

    /// The URL of a file.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// A line of apt's auth.conf that gives apt the password. Empty if there is none.
    pub(super) fn auth(&self) -> String {
        self.login.as_ref().map_or_else(String::new, |Login { user, password }| {
            format!("machine {} login {user} password {password}\n", self.base)
        })
    }
}

/// The mirrors for a lock, in the order in which they are asked: those in the apt sources below `etc`, Debian's
/// archive, its snapshot service.
pub(super) fn of_host(etc: &Path, lock: &Lock) -> Vec<Mirror> {
    let mut mirrors = configured(etc, &lock.suite);
    for archive in Archive::ALL {
        mirrors.push(Mirror::new(archive, &format!("https://deb.debian.org/{}", archive.name())));
    }
    for archive in Archive::ALL.into_iter().filter(|_| !lock.snapshot.is_empty()) {
        let url = format!("https://snapshot.debian.org/archive/{}/{}", archive.name(), lock.snapshot);
        mirrors.push(Mirror::new(archive, &url).without_index());
    }
    let mut unique: Vec<Mirror> = Vec::new();
    for mirror in mirrors {
        if !unique.iter().any(|known| (known.archive, &known.base) == (mirror.archive, &mirror.base)) {
            unique.push(mirror);
        }
    }
    unique
}

/// The mirrors of a release in the host's apt sources.
fn configured(etc: &Path, release: &str) -> Vec<Mirror> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(more) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(more.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    let mut mirrors = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let entries = match file.extension().and_then(|end| end.to_str()) {
            Some("list") => one_line_entries(&text),
            Some("sources") => deb822_entries(&text),
            _ => continue, // apt does not read it
        };
        for (url, suite) in entries {
            let fetchable = url.starts_with("http://") || url.starts_with("https://");
            if let Some(archive) = Archive::of_suite(&suite, release).filter(|_| fetchable) {
                mirrors.push(Mirror::new(archive, &url));
            }
        }
    }
    mirrors
}

/// URL and suite of each line `deb [options] url suite components` of a file.
fn one_line_entries(text: &str) -> Vec<(String, String)> {
    let entry = |line: &str| {
        let rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
        let mut words = rest.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// URL and suite of each stanza of a file in deb822 format.
fn deb822_entries(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut entries = Vec::new();
    for stanza in lines.join("\n").split("\n\n") {
        let words = |name: &str| -> Vec<&str> { field(stanza, name).split_whitespace().collect() };
        let enabled = !matches!(field(stanza, "Enabled").trim(), "no" | "false" | "0");
        if !enabled || !words("Types").contains(&"deb") {
            continue;
        }
        for url in words("URIs") {
            entries.extend(words("Suites").into_iter().map(|suite| (url.to_owned(), suite.to_owned())));
        }
    }
    entries
}

/// The value of a field in a stanza, over all its lines. Empty if there is none. Names have no case.
pub(super) fn field<'a>(stanza: &'a str, name: &str) -> &'a str {
    let mut at = 0;
    for line in stanza.split_inclusive('\n') {
        let value = at + name.len() + 1;
        let named = line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        if named && line.as_bytes().get(name.len()) == Some(&b':') {
            let more = stanza[at + line.len()..].split_inclusive('\n');
            let length: usize = more.take_while(|line| line.starts_with([' ', '\t'])).map(str::len).sum();
            return stanza[value..at + line.len() + length].trim();
        }
        at += line.len();
    }
    ""
}

/// A URL without its user and password, and these two.
fn split_login(url: &str) -> (String, Option<Login>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((login, host)) = host.rsplit_once('@') else {
        return (url.to_owned(), None);
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let login = Login { user: decode(user), password: decode(password) };
    (format!("{scheme}://{host}{path}"), Some(login))
}

/// A text with its percent-encoded bytes decoded.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(code.unwrap_or(*byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(etc: &Path) -> Vec<String> {
        configured(etc, "bookworm").iter().map(|mirror| format!("{:?} {}", mirror.archive, mirror.base)).collect()
    }

    #[test]
    fn mirrors_of_both_formats_are_read_and_what_is_not_debian_is_not() {
        let etc = tempfile::tempdir().unwrap();
        assert!(bases(etc.path()).is_empty(), "a host without apt");
        let parts = etc.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        fs::write(
            etc.path().join("sources.list"),
            "# deb http://off.example/debian bookworm main\n\
             deb [ trusted=yes arch=amd64 ] http://one.example/debian/ bookworm main\n\
             deb-src http://src.example/debian bookworm main\n\
             deb https://vendor.example/apt bookworm-vendor main\n\
             deb cdrom:[Debian]/ bookworm main\n",
        )
        .unwrap();
        fs::write(
            parts.join("a.sources"),
            "# http://old.example/debian\nTypes: deb deb-src\nURIs:\n http://two.example/debian\n\
             Suites: bookworm bookworm-security\n\nTypes: deb\nURIs: http://three.example\nSuites: trixie\n\n\
             Types: deb\nEnabled: no\nURIs: http://four.example\nSuites: bookworm\n",
        )
        .unwrap();
        fs::write(parts.join("b.list.disabled"), "deb http://five.example bookworm main\n").unwrap();
        let expected =
            ["Main http://one.example/debian", "Main http://two.example/debian", "Security http://two.example/debian"];
        assert_eq!(bases(etc.path()), expected);
    }

    #[test]
    fn the_archive_and_the_snapshot_come_last_and_once() {
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("sources.list"), "deb https://deb.debian.org/debian/ bookworm main\n").unwrap();
        let lock = Lock { suite: "bookworm".into(), snapshot: "20261127T080000Z".into(), ..Lock::default() };
        let found: Vec<String> = of_host(etc.path(), &lock).into_iter().map(|mirror| mirror.base).collect();
        let expected = [
            "https://deb.debian.org/debian",
            "https://deb.debian.org/debian-security",
            "https://snapshot.debian.org/archive/debian/20261127T080000Z",
            "https://snapshot.debian.org/archive/debian-security/20261127T080000Z",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn password_is_only_in_apts_own_file() {
        let mirror = Mirror::new(Archive::Main, "https://anna:p%40ss@mirror.example:8443/debian/");
        assert_eq!(mirror.url("pool/x.deb"), "https://mirror.example:8443/debian/pool/x.deb");
        assert_eq!(mirror.auth(), "machine https://mirror.example:8443/debian login anna password p@ss\n");
        let shown = format!("{mirror:?}");
        assert!(!shown.contains("p@ss") && !shown.contains("p%40ss") && !shown.contains("anna"), "{shown}");
        assert_eq!(Mirror::new(Archive::Main, "http://mirror.example/debian").auth(), "");
    }

    #[test]
    fn security_updates_are_in_their_own_archive() {
        assert_eq!(Archive::of("pool/updates/main/o/openssl/libssl3_3_amd64.deb"), Archive::Security);
        assert_eq!(Archive::of("pool/main/b/bash/bash_5_amd64.deb"), Archive::Main);
    }

    #[test]
    fn fields_go_over_several_lines() {
        let stanza = "Package: x\nDepends: a,\n b (>= 1)\nDescription: long\n text: no field\n";
        assert_eq!(field(stanza, "depends"), "a,\n b (>= 1)");
        assert_eq!(field(stanza, "Description"), "long\n text: no field");
        assert_eq!(field(stanza, "text"), "");
    }
}
