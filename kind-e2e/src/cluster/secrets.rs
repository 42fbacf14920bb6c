//! The secrets of the cluster, and the search for them where they must not be: in logs, objects, and the files of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Fixture, control_plane};

/// Keys whose values everybody may know: names of users, certificates, and public keys.
const PUBLIC: [&str; 5] = ["AWS_ACCESS_KEY_ID", "access-key", "ca.crt", "jwks.json", "tls.crt"];
/// A shorter value is in many texts by chance. Every one that is made for a cluster is longer.
const SHORTEST: usize = 8;
/// A line of a private key in PEM that is as long differs from key to key.
const KEY_LINE: usize = 40;

/// The values of every Secret, by `namespace/name` and key. No value is ever shown.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secrets(BTreeMap<String, BTreeMap<String, String>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.keys()).finish()
    }
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// The texts that were searched.
    pub searched: usize,
    /// Where a secret is, and which; never its value.
    pub found: BTreeSet<String>,
}

impl Secrets {
    /// Reads the file that `cluster.json` names.
    ///
    /// # Errors
    /// It is missing, or no such file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading {}: make it again with `cargo xtask up`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} has no secrets of a cluster", path.display()))
    }

    /// The value of a key of a Secret, by `namespace/name`.
    ///
    /// # Errors
    /// The cluster has none.
    pub fn get(&self, name: &str, key: &str) -> Result<&str> {
        let value = self.0.get(name).and_then(|values| values.get(key));
        value.map(String::as_str).with_context(|| format!("the cluster has no key {key} of Secret {name}"))
    }

    /// What to search for: texts, and the secret that each of them tells.
    fn patterns(&self) -> (Vec<String>, Vec<String>) {
        let values = self.0.iter().flat_map(|(name, values)| values.iter().map(move |(key, value)| (name, key, value)));
        let secret = values.filter(|(_, key, value)| !PUBLIC.contains(&key.as_str()) && value.len() >= SHORTEST);
        secret
            .flat_map(|(name, key, value)| forms(value).into_iter().map(move |form| (form, format!("{key} of {name}"))))
            .unzip()
    }

    /// Each text that tells a secret and has one line, as values of passwords and the lines of keys do.
    pub fn lines(&self) -> Vec<String> {
        self.patterns().0.into_iter().filter(|text| !text.contains('\n')).collect()
    }

    /// A searcher for these secrets.
    ///
    /// # Errors
    /// They are too many.
    pub fn searcher(&self) -> Result<Searcher> {
        let (patterns, names) = self.patterns();
        let patterns = AhoCorasick::new(patterns).context("preparing the search for secrets")?;
        Ok(Searcher { patterns, names, search: Search::default() })
    }
}

/// How a value may stand in a text: as it is, as Kubernetes shows it, and a private key by its lines.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![BASE64.encode(value)];
    match value.contains("PRIVATE KEY-----") {
        true => forms.extend(value.lines().filter(|line| line.len() >= KEY_LINE).map(str::to_owned)),
        false => forms.push(value.to_owned()),
    }
    forms
}

/// Searches texts for secrets.
pub struct Searcher {
    patterns: AhoCorasick,
    names: Vec<String>,
    search: Search,
}

impl Searcher {
    /// Searches one text, whose name is told if it has a secret.
    pub fn text(&mut self, name: &str, text: &[u8]) {
        self.search.searched += 1;
        for found in self.patterns.find_iter(text) {
            self.search.found.insert(format!("{name}: {}", self.names[found.pattern().as_usize()]));
        }
    }

    /// Searches every file below a folder.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn folder(&mut self, folder: &Path) -> Result<()> {
        for path in files_below(folder)? {
            let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            self.text(&name, &bytes);
        }
        Ok(())
    }

    /// Searches the logs of every container, the audit log, and the objects that people look at.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn cluster(&mut self, fixture: &Fixture) -> Result<()> {
        self.objects::<ConfigMap>(fixture).await?;
        self.objects::<Event>(fixture).await?;
        self.objects::<Deployment>(fixture).await?;
        self.objects::<StatefulSet>(fixture).await?;
        for pod in self.objects::<Pod>(fixture).await? {
            self.logs(fixture, &pod).await?;
        }
        for (node, log) in control_plane::audit_logs(&fixture.cluster).await? {
            self.text(&format!("audit log of {node}"), log.as_bytes());
        }
        Ok(())
    }

    async fn objects<K>(&mut self, fixture: &Fixture) -> Result<Vec<K>>
    where
        K: k8s_openapi::Resource
            + kube::Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        let kind = <K as k8s_openapi::Resource>::KIND;
        let objects = Api::<K>::all(fixture.kube.clone()).list(&ListParams::default()).await;
        let objects = objects.with_context(|| format!("listing every {kind}"))?.items;
        for object in &objects {
            let meta = object.meta();
            let [namespace, name] = [&meta.namespace, &meta.name].map(|text| text.as_deref().unwrap_or_default());
            let text = serde_json::to_vec(object).with_context(|| format!("writing {kind} {namespace}/{name}"))?;
            self.text(&format!("{kind} {namespace}/{name}"), &text);
        }
        Ok(objects)
    }

    async fn logs(&mut self, fixture: &Fixture, pod: &Pod) -> Result<()> {
        let [namespace, name] =
            [&pod.metadata.namespace, &pod.metadata.name].map(|text| text.as_deref().unwrap_or_default());
        let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), namespace);
        let spec = pod.spec.iter();
        let containers = spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
        for container in containers {
            let parameters = LogParams { container: Some(container.name.clone()), ..LogParams::default() };
            // A pod that ends meanwhile, or whose container has not begun, has no log.
            if let Ok(log) = pods.logs(name, &parameters).await {
                self.text(&format!("log of {namespace}/{name} {}", container.name), log.as_bytes());
            }
        }
        Ok(())
    }

    /// What was found.
    pub fn finish(self) -> Search {
        self.search
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
        let kind = entry.file_type().with_context(|| format!("looking at {}", entry.path().display()))?;
        match kind.is_dir() {
            true => files.extend(files_below(&entry.path())?),
            false => files.push(entry.path()),
        }
    }
    Ok(files)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn secrets() -> Secrets {
        let key = format!("-----BEGIN PRIVATE KEY-----\n{}\nAA==\n-----END PRIVATE KEY-----\n", "k".repeat(64));
        let text = serde_json::json!({
            "storage/postgres": {"worker-password": "0123456789abcdef"},
            "storage/s3": {"access-key": "public-name-of-a-user", "secret-key": "fedcba9876543210"},
            "default/tls": {"tls.crt": "-----BEGIN CERTIFICATE-----", "tls.key": key},
            "default/short": {"x": "1234567"},
        });
        serde_json::from_value(text).unwrap()
    }

    fn searched(text: &str) -> Vec<String> {
        let mut searcher = secrets().searcher().unwrap();
        searcher.text("log", text.as_bytes());
        searcher.finish().found.into_iter().collect()
    }

    #[test]
    fn a_secret_is_found_in_each_form_and_named_without_its_value() {
        let key = secrets().get("default/tls", "tls.key").unwrap().to_owned();
        let table = [
            ("postgres://worker:0123456789abcdef@h/d".to_owned(), "log: worker-password of storage/postgres"),
            (BASE64.encode("fedcba9876543210"), "log: secret-key of storage/s3"),
            (serde_json::json!(key).to_string(), "log: tls.key of default/tls"),
            (BASE64.encode(&key), "log: tls.key of default/tls"),
        ];
        for (text, expected) in table {
            assert_eq!(searched(&text), [expected]);
        }
    }

    #[test]
    fn what_everybody_may_know_is_no_secret() {
        assert!(searched("public-name-of-a-user -----BEGIN CERTIFICATE----- 1234567").is_empty());
        assert_eq!(format!("{:?}", secrets()).matches("abcdef").count(), 0);
    }

    #[test]
    fn a_secret_that_is_planted_in_a_run_is_found_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cluster")).unwrap();
        std::fs::write(folder.path().join("run.json"), "{}").unwrap();
        std::fs::write(folder.path().join("cluster/log-a.txt"), "password=0123456789abcdef\n\u{0}").unwrap();
        let mut searcher = secrets().searcher().unwrap();
        searcher.folder(folder.path()).unwrap();
        let search = searcher.finish();
        assert_eq!(search.searched, 2);
        assert!(search.found.iter().eq(["cluster/log-a.txt: worker-password of storage/postgres"]), "{search:?}");
    }
}
