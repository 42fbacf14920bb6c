//! The secrets of a cluster: passwords, keys and certificates that are made for it, and are in no manifest.
//!
//! The cluster keeps them as Secrets of Kubernetes, which the manifests only name. What is there already is kept: that
//! of an earlier `up`, and that which users brought. The tests read a copy, a file for this user alone.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::authority::{Authority, Identity, Usage};
use super::tokens::{FOR_NOW, OF_A_PROGRAM, Signer};
use super::{NAMESPACE, Record, kubectl};

/// The label of every Secret that was made here, with the value `true`. One without it was brought by somebody.
const MADE: &str = "slipway.local/generated";
/// Who owns the fields that are applied.
const MANAGER: &str = "slipway-secrets";
/// Random bytes of a password: as many as of the keys of AES-256.
const PASSWORD_BYTES: usize = 32;
/// Random bytes of an access key of S3. It is a name, and not secret.
const NAME_BYTES: usize = 10;

/// Namespace and name.
type Name = (&'static str, &'static str);

/// The passwords of the database's roles.
const POSTGRES: Name = ("storage", "postgres");
/// The keys of the object store's own user, and the list of the others: the worker.
const S3: Name = ("storage", "s3");
/// The password of the cache's user, and the server's list of users.
const REDIS: Name = ("storage", "redis");
/// The password of Temporal's role, in the namespace of Temporal.
const TEMPORAL: Name = ("temporal", "temporal-database");
/// The key that signs the tokens for Temporal. No pod uses it.
const SIGNER: Name = ("kube-system", "slipway-token-key");
/// What Temporal checks tokens with, and the token of its own probes.
const TEMPORAL_KEYS: Name = ("temporal", "temporal-keys");
const TEMPORAL_PROBE: Name = ("temporal", "temporal-probe");
/// The certificate of Prometheus, and that of KEDA for it.
const PROMETHEUS_TLS: Name = ("monitoring", "prometheus-tls");
const KEDA_TLS: Name = (NAMESPACE, "keda-prometheus-tls");
/// What people and tests need to use Temporal and Prometheus.
const CLIENT: Name = ("temporal", "temporal-client");
/// What temporal-scaler needs.
const SCALER: Name = (NAMESPACE, "temporal-scaler");
const SCALER_TLS: Name = (NAMESPACE, "temporal-scaler-tls");
/// The certificate of its answer, and that of KEDA for it.
const SCALE_TLS: Name = (NAMESPACE, "temporal-scaler-server-tls");
const KEDA_SCALE_TLS: Name = (NAMESPACE, "keda-temporal-scaler-tls");
/// What a migration needs: the role that owns the tables.
const MIGRATION: Name = (NAMESPACE, "temporal-worker-migration");
/// What the worker needs.
const WORKER: Name = (NAMESPACE, "temporal-worker");
/// The authority that signs the certificates of the cluster. No pod uses it.
const AUTHORITY: Name = ("kube-system", "slipway-authority");
/// The certificates, each with its key and the authority's certificate.
const POSTGRES_TLS: Name = ("storage", "postgres-tls");
const REDIS_TLS: Name = ("storage", "redis-tls");
const S3_TLS: Name = ("storage", "s3-tls");
const TEMPORAL_TLS: Name = ("temporal", "temporal-tls");
const WORKER_TLS: Name = (NAMESPACE, "temporal-worker-tls");
/// Every Secret that is made if it is missing. The manifests name all but the first two.
const ALL: [Name; 22] = [
    AUTHORITY,
    SIGNER,
    POSTGRES,
    POSTGRES_TLS,
    REDIS,
    REDIS_TLS,
    S3,
    S3_TLS,
    TEMPORAL,
    TEMPORAL_TLS,
    TEMPORAL_KEYS,
    TEMPORAL_PROBE,
    CLIENT,
    PROMETHEUS_TLS,
    KEDA_TLS,
    SCALER,
    SCALER_TLS,
    SCALE_TLS,
    KEDA_SCALE_TLS,
    MIGRATION,
    WORKER,
    WORKER_TLS,
];
/// The access key of the worker. `manifests/services/s3/policy.json` names it.
const WORKER_OF_S3: &str = "temporal-worker";
/// The role in Temporal's namespace of those who start and execute workflows, of those who only look, and of those who
/// manage the server or look at all of it.
const WRITES: &str = "default:write";
const READS: &str = "default:read";
const MANAGES_ALL: &str = "temporal-system:admin";
const READS_ALL: &str = "temporal-system:read";
/// The key of a token, as the SDKs call it.
const TOKEN: &str = "TEMPORAL_API_KEY";
/// The keys of a certificate, of its private key, and of the certificate of its authority.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const TRUSTED: &str = "ca.crt";

/// The values of every Secret, by namespace and name, and by key.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Secrets {
    values: BTreeMap<Name, BTreeMap<String, String>>,
    /// Those that somebody brought. They are not changed.
    brought: Vec<Name>,
}

/// No value is shown.
impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.values.keys()).finish()
    }
}

impl Secrets {
    /// Reads what the cluster has, makes what is missing, and writes it to the cluster and to the file for the tests.
    /// `label` is put on what is made. The namespaces have to exist.
    pub(super) fn ensure(record: &Record, label: impl Fn(&mut Value)) -> Result<()> {
        let mut secrets = Self::read(record)?;
        secrets.complete(&record.endpoints.hosts(), random)?;
        let mut objects = secrets.objects();
        objects.iter_mut().for_each(label);
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let apply = kubectl(record).args(["apply", "--server-side", "--force-conflicts", "--field-manager", MANAGER]);
        apply.args(["--filename", "-"]).stdin(list).run()?;
        secrets.write(&record.secrets)
    }

    fn read(record: &Record) -> Result<Self> {
        let asked = ALL.map(|(namespace, name)| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}})
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": asked}).to_string();
        let get = kubectl(record).args(["get", "--ignore-not-found", "-o", "json", "--filename", "-"]).stdin(list);
        let text = get.quiet().read().context("read the secrets of the cluster")?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Self::of(&serde_json::from_str(&text).context("parse the output of kubectl")?)
    }

    /// The Secrets among kubectl's objects: a list of them, or one.
    fn of(found: &Value) -> Result<Self> {
        let one = [found.clone()];
        let mut secrets = Self::default();
        for object in found["items"].as_array().map_or(&one[..], Vec::as_slice) {
            let is = |(namespace, name): &&Name| {
                object["metadata"]["namespace"] == *namespace && object["metadata"]["name"] == *name
            };
            let Some(name) = ALL.iter().find(is) else { continue };
            if object["metadata"]["labels"][MADE] != "true" {
                secrets.brought.push(*name);
            }
            let data = object["data"].as_object().into_iter().flatten();
            let decoded = data.map(|(key, value)| {
                let bytes = BASE64.decode(value.as_str().unwrap_or_default());
                let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let text = text.with_context(|| format!("the key {key} of Secret {}/{} is no text", name.0, name.1))?;
                Ok((key.clone(), text))
            });
            secrets.values.insert(*name, decoded.collect::<Result<_>>()?);
        }
        Ok(secrets)
    }

    /// Makes the values that are missing. Where two Secrets have the same password, the later follows the earlier.
    /// `hosts` are the addresses at which the services are reached from outside.
    fn complete(&mut self, hosts: &[String], random: impl Fn(usize) -> Result<String>) -> Result<()> {
        self.certify(hosts)?;
        self.authorize()?;
        let owner = self.get_or(POSTGRES, "documents-password", || random(PASSWORD_BYTES))?;
        let documents = self.get_or(POSTGRES, "worker-password", || random(PASSWORD_BYTES))?;
        self.get_or(POSTGRES, "reader-password", || random(PASSWORD_BYTES))?;
        self.get_or(MIGRATION, "DATABASE_URL", || Ok(url_of_postgres("documents", &owner)))?;
        let temporal = self.get_or(POSTGRES, "temporal-password", || random(PASSWORD_BYTES))?;
        self.get_or(TEMPORAL, "password", || Ok(temporal))?;
        self.get_or(S3, "access-key", || random(NAME_BYTES))?;
        self.get_or(S3, "secret-key", || random(PASSWORD_BYTES))?;
        let secret_key = self.get_or(S3, "worker-secret-key", || random(PASSWORD_BYTES))?;
        self.get_or(S3, "users.json", || Ok(users_of_s3(&secret_key)))?;
        let cache = self.get_or(REDIS, "password", || random(PASSWORD_BYTES))?;
        self.get_or(REDIS, "users.acl", || Ok(users_of_redis(&cache)))?;
        if self.brought.contains(&WORKER) {
            return Ok(());
        }
        self.get_or(WORKER, "DATABASE_URL", || Ok(url_of_postgres("worker", &documents)))?;
        let url = format!("rediss://worker:{}@redis.storage.svc:6379", escaped(&cache));
        self.get_or(WORKER, "REDIS_URL", || Ok(url))?;
        self.get_or(WORKER, "AWS_ACCESS_KEY_ID", || Ok(WORKER_OF_S3.to_owned()))?;
        self.get_or(WORKER, "AWS_SECRET_ACCESS_KEY", || Ok(secret_key))?;
        Ok(())
    }

    /// Issues the certificates that are missing.
    fn certify(&mut self, hosts: &[String]) -> Result<()> {
        if !self.has(AUTHORITY, &[CERTIFICATE, KEY])? {
            let made = Authority::make()?;
            self.set(AUTHORITY, [(CERTIFICATE, &made.certificate), (KEY, &made.key)]);
        }
        let values = &self.values[&AUTHORITY];
        let identity = Identity { certificate: values[CERTIFICATE].clone(), key: values[KEY].clone() };
        let authority = Authority::of(&identity)?;
        // The workers call the first name, and the proxy behind it and the tests the second.
        let mut store = [service("s3", "storage", hosts), service("versitygw", "storage", hosts)].concat();
        store.sort_unstable();
        store.dedup();
        let certificates = [
            (POSTGRES_TLS, service("postgres", "storage", hosts), Usage::Server),
            (REDIS_TLS, service("redis", "storage", hosts), Usage::Server),
            (S3_TLS, store, Usage::Server),
            (TEMPORAL_TLS, service("temporal-frontend", "temporal", hosts), Usage::Both),
            // It reads its own metrics, too.
            (PROMETHEUS_TLS, service("prometheus", "monitoring", hosts), Usage::Both),
            (KEDA_TLS, Vec::new(), Usage::Client),
            (SCALE_TLS, service("temporal-scaler", NAMESPACE, hosts), Usage::Server),
            (KEDA_SCALE_TLS, Vec::new(), Usage::Client),
            (CLIENT, Vec::new(), Usage::Client),
            (SCALER_TLS, Vec::new(), Usage::Client),
            (WORKER_TLS, Vec::new(), Usage::Client),
        ];
        for (name, names, usage) in certificates {
            if !self.has(name, &[CERTIFICATE, KEY, TRUSTED])? {
                let made = authority.issue(name.1.trim_end_matches("-tls"), &names, usage)?;
                let trusted = &identity.certificate;
                self.set(name, [(CERTIFICATE, &made.certificate), (KEY, &made.key), (TRUSTED, trusted)]);
            }
        }
        Ok(())
    }

    /// Signs the tokens that are missing.
    fn authorize(&mut self) -> Result<()> {
        let signer = Signer::of(&self.get_or(SIGNER, "key", Signer::make)?)?;
        self.get_or(TEMPORAL_KEYS, "jwks.json", || Ok(signer.key_set()))?;
        let token = |subject: &str, permission: &str| signer.token(subject, &[permission], OF_A_PROGRAM);
        // A line of an HTTP request, which curl reads from a file: an argument would be seen by others.
        self.get_or(TEMPORAL_PROBE, "header", || Ok(header(&token("probe", READS_ALL)?)))?;
        self.get_or(CLIENT, TOKEN, || token("client", WRITES))?;
        self.get_or(SCALER, TOKEN, || token("temporal-scaler", READS))?;
        if !self.brought.contains(&WORKER) {
            self.get_or(WORKER, TOKEN, || token("temporal-worker", WRITES))?;
        }
        Ok(())
    }

    /// The header of a request to Temporal by somebody who may do everything there, for now.
    pub(super) fn administrator(record: &Record) -> Result<String> {
        let secrets = Self::read(record)?;
        let key = secrets.values.get(&SIGNER).and_then(|values| values.get("key"));
        let signer = Signer::of(key.context("the cluster has no key for Temporal's tokens")?)?;
        Ok(header(&signer.token("administrator", &[MANAGES_ALL], FOR_NOW)?))
    }

    /// Whether a Secret has all of these keys. One that somebody brought has to have them.
    fn has(&self, name: Name, keys: &[&str]) -> Result<bool> {
        let has = |key: &&&str| self.values.get(&name).is_some_and(|values| values.contains_key(**key));
        match keys.iter().find(|key| !has(key)) {
            Some(key) if self.brought.contains(&name) => Err(lacks(name, key)),
            missing => Ok(missing.is_none()),
        }
    }

    fn set<const N: usize>(&mut self, name: Name, values: [(&str, &str); N]) {
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.values.entry(name).or_default().extend(values);
    }

    fn get_or(&mut self, name: Name, key: &str, make: impl FnOnce() -> Result<String>) -> Result<String> {
        let values = self.values.entry(name).or_default();
        if let Some(value) = values.get(key) {
            return Ok(value.clone());
        }
        if self.brought.contains(&name) {
            return Err(lacks(name, key));
        }
        let value = make()?;
        values.insert(key.to_owned(), value.clone());
        Ok(value)
    }

    /// The Secrets that are made here.
    fn objects(&self) -> Vec<Value> {
        let made = self.values.iter().filter(|(name, _)| !self.brought.contains(name));
        made.map(|((namespace, name), values)| {
            let labels = json!({MADE: "true"});
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {"namespace": namespace, "name": name, "labels": labels},
                "data": values.iter().map(|(key, value)| (key.clone(), json!(BASE64.encode(value))))
                    .collect::<serde_json::Map<_, _>>(),
            })
        })
        .collect()
    }

    /// Every value as `namespace/name` → key → value.
    fn write(&self, path: &Path) -> Result<()> {
        let named =
            self.values.iter().map(|((namespace, name), values)| (format!("{namespace}/{name}"), json!(values)));
        let text = serde_json::to_string_pretty(&named.collect::<serde_json::Map<_, _>>())?;
        write_private(path, &text).with_context(|| format!("write {}", path.display()))
    }
}

/// The error for a Secret of somebody else that is not complete.
fn lacks((namespace, name): Name, key: &str) -> anyhow::Error {
    anyhow!("Secret {namespace}/{name} has no key {key}: add it, or delete the Secret to have one made")
}

/// The users of versitygw beside its own: the worker. The bucket's policy says what it may do.
fn users_of_s3(secret_key: &str) -> String {
    let worker = json!({
        "access": WORKER_OF_S3, "secret": secret_key, "role": "user", "userID": 0, "groupID": 0, "projectID": 0,
    });
    json!({"accessAccounts": {WORKER_OF_S3: worker}}).to_string()
}

/// The address of the documents for a role. Its certificate is verified.
fn url_of_postgres(role: &str, password: &str) -> String {
    let password = escaped(password);
    format!("postgres://{role}:{password}@postgres.storage.svc:5432/documents?sslmode=verify-full")
}

/// A text as a part of a URL. A password that somebody brought may have any character.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// The line of an HTTP request that shows a token.
fn header(token: &str) -> String {
    format!("Authorization: Bearer {token}\n")
}

/// The users of Redis: the worker, which may read and write the entries of its cache, and nobody else.
fn users_of_redis(password: &str) -> String {
    let hash = hex::encode(Sha256::digest(password));
    format!("user default off\nuser worker on #{hash} ~slipway:* resetchannels -@all +getrange +set\n")
}

/// The names by which a Service is called, in the cluster and from outside.
fn service(name: &str, namespace: &str, hosts: &[String]) -> Vec<String> {
    let inside = ["", ".svc", ".svc.cluster.local"].map(|end| format!("{name}.{namespace}{end}"));
    let local = [name, "127.0.0.1", "localhost"].map(str::to_owned);
    let mut names: Vec<String> = inside.into_iter().chain(local).chain(hosts.iter().cloned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Random bytes of the operating system, as hexadecimal digits: they need no escape in a URL, in SQL or in YAML.
fn random(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    let mut source = File::open("/dev/urandom").context("open /dev/urandom")?;
    source.read_exact(&mut buffer).context("read /dev/urandom")?;
    Ok(hex::encode(buffer))
}

/// Writes a file that only this user can read: it has passwords or keys.
pub(super) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    // The file may be an older one, with other rights.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::bail;

    use super::*;

    fn hosts() -> Vec<String> {
        vec!["127.0.0.1".to_owned(), "10.0.0.1".to_owned()]
    }

    /// Values that differ from one another.
    fn counter() -> impl Fn(usize) -> Result<String> {
        let made = Cell::new(0);
        move |bytes| {
            made.set(made.get() + 1);
            Ok(format!("{:0width$}", made.get(), width = 2 * bytes))
        }
    }

    /// What kubectl would answer.
    fn listed(objects: &[Value]) -> Value {
        json!({"kind": "List", "items": objects})
    }

    #[test]
    fn passwords_are_random_and_of_32_bytes() {
        let (one, other) = (random(PASSWORD_BYTES).unwrap(), random(PASSWORD_BYTES).unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
    }

    #[test]
    fn every_secret_is_made_and_the_worker_has_the_passwords_of_the_services() {
        let mut made = Secrets::default();
        made.complete(&hosts(), counter()).unwrap();
        assert!(made.values.keys().eq(&{
            let mut all = ALL;
            all.sort_unstable();
            all
        }));
        let worker = &made.values[&WORKER];
        assert!(worker["DATABASE_URL"].contains(&made.values[&POSTGRES]["worker-password"]));
        assert_eq!(worker["AWS_SECRET_ACCESS_KEY"], made.values[&S3]["worker-secret-key"]);
        assert_ne!(worker["AWS_SECRET_ACCESS_KEY"], made.values[&S3]["secret-key"]);
        assert_eq!(made.values[&TEMPORAL]["password"], made.values[&POSTGRES]["temporal-password"]);
        assert_ne!(made.values[&POSTGRES]["worker-password"], made.values[&POSTGRES]["temporal-password"]);
    }

    #[test]
    fn what_a_cluster_has_is_kept_and_only_a_missing_key_is_made() {
        let mut made = Secrets::default();
        made.complete(&hosts(), random).unwrap();
        let mut again = Secrets::of(&listed(&made.objects())).unwrap();
        again.complete(&hosts(), |_| bail!("nothing is missing")).unwrap();
        assert_eq!(again, made);

        let mut objects = made.objects();
        let postgres = objects.iter_mut().find(|object| object["metadata"]["name"] == "postgres").unwrap();
        postgres["data"].as_object_mut().unwrap().remove("temporal-password");
        let mut again = Secrets::of(&listed(&objects)).unwrap();
        again.complete(&hosts(), random).unwrap();
        assert_eq!(again.values[&POSTGRES]["worker-password"], made.values[&POSTGRES]["worker-password"]);
        assert_ne!(again.values[&POSTGRES]["temporal-password"], made.values[&POSTGRES]["temporal-password"]);
    }

    #[test]
    fn a_secret_that_somebody_brought_is_used_and_not_changed() {
        let brought = |(namespace, name): Name, data: Value| json!({"kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "data": data});
        let keys = json!(
            ["documents", "worker", "reader", "temporal"]
                .map(|role| (format!("{role}-password"), BASE64.encode(format!("mine/{role}"))))
                .into_iter()
                .collect::<BTreeMap<_, _>>()
        );
        // kubectl answers with the object alone where there is one.
        let mut secrets = Secrets::of(&brought(POSTGRES, keys)).unwrap();
        secrets.complete(&hosts(), counter()).unwrap();
        assert!(secrets.values[&WORKER]["DATABASE_URL"].contains("worker:mine%2Fworker@"));
        assert!(secrets.objects().iter().all(|object| object["metadata"]["name"] != "postgres"));

        let role = brought(WORKER, json!({"DATABASE_URL": BASE64.encode("postgres://x")}));
        let mut secrets = Secrets::of(&listed(&[role])).unwrap();
        secrets.complete(&hosts(), counter()).unwrap();
        assert!(!secrets.values[&WORKER].contains_key("AWS_ACCESS_KEY_ID"));

        let mut secrets = Secrets::of(&brought(POSTGRES, json!({}))).unwrap();
        let error = secrets.complete(&hosts(), counter()).unwrap_err().to_string();
        assert!(error.contains("Secret storage/postgres has no key documents-password"), "{error}");
    }

    #[test]
    fn every_certificate_is_of_the_authority_and_a_missing_one_alone_is_issued() {
        let mut made = Secrets::default();
        made.complete(&hosts(), counter()).unwrap();
        let authority = &made.values[&AUTHORITY][CERTIFICATE];
        for name in [POSTGRES_TLS, REDIS_TLS, S3_TLS, TEMPORAL_TLS, CLIENT, SCALER_TLS, WORKER_TLS] {
            assert_eq!(&made.values[&name][TRUSTED], authority);
        }
        let before = made.clone();
        made.values.remove(&WORKER_TLS);
        made.complete(&hosts(), counter()).unwrap();
        assert_ne!(made.values[&WORKER_TLS][KEY], before.values[&WORKER_TLS][KEY]);
        assert_eq!(made.values[&POSTGRES_TLS], before.values[&POSTGRES_TLS]);
        let names = service("postgres", "storage", &hosts());
        assert!(
            ["postgres.storage.svc", "127.0.0.1", "10.0.0.1"].iter().all(|name| names.contains(&(*name).to_owned()))
        );
    }

    #[test]
    fn values_are_not_shown_and_the_file_is_for_this_user_alone() {
        let mut made = Secrets::default();
        made.complete(&hosts(), random).unwrap();
        assert!(!format!("{made:?}").contains(&made.values[&S3]["secret-key"]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.json");
        fs::write(&path, "an older and longer file".repeat(1000)).unwrap();
        made.write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read["storage/s3"]["secret-key"], made.values[&S3]["secret-key"].as_str());
    }
}
