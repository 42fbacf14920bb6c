//! The control plane and the kubelets of a kind cluster as they run: flags of processes, configurations, files, and the
//! audit log. It only reads, and keeps no value of a Secret.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use kube::config::AuthInfo;
use serde_json::Value;

use super::node::run;
use super::{Cluster, Fixture, kube_config};

/// What was read, by place and key. A flag or a pattern of files can have several values.
pub type Places = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// The place with what the kubelet says of its configuration.
pub const KUBELET_CONFIG: &str = "kubelet-config";
/// The place with the mode and owner of files.
pub const FILES: &str = "files";
/// The place with what happens.
pub const SEEN: &str = "seen";
/// Who answers for the whole cluster.
const API_SERVER: &str = "the API server";

/// `read PATTERN…`: prints lines of place, key and value. `values` has the lines that etcd must not have.
const READ: &str = r#"
say() { printf '%s\t%s\t%s\n' "$@"; }
for process in /proc/[0-9]*; do
    { mapfile -d '' -t words < "$process/cmdline"; } 2> /dev/null || continue
    name=${words[0]-}
    name=${name##*/}
    [[ $name =~ ^(kube-apiserver|kube-controller-manager|kube-scheduler|etcd|kubelet)$ ]] || continue
    for word in "${words[@]:1}"; do
        word=${word#--}
        [[ $word == *=* ]] || word+==true
        say "$name" "${word%%=*}" "${word#*=}"
    done
done
for pattern in "$@"; do
    for file in $pattern; do
        [[ ! -e $file ]] || say files "$pattern" "$(stat --format '%a %U:%G %n' "$file")"
    done
done
say seen "kube-proxy's metrics" "$(ss --no-header --listening --tcp --numeric 'sport = :10249' | awk '{ print $4 }')"
log=/var/log/kubernetes/audit.log
if [[ -e $log ]]; then
    audit=nothing
    ! grep --quiet '"resource":"secrets"' "$log" || audit=metadata
    ! grep --quiet --extended-regexp '"(request|response)Object"' "$log" || audit=bodies
    say seen "Secrets in the audit log" "$audit"
fi
if [[ -d /var/lib/etcd/member ]]; then
    etcd=nothing
    in_etcd() { grep --quiet --recursive --text --fixed-strings "$@" /var/lib/etcd/member; }
    ! in_etcd k8s:enc:secretbox:v1: || etcd=encrypted
    ! in_etcd --file=/dev/stdin <<< "$values" || etcd=plain
    say seen "Secrets in etcd" "$etcd"
fi
"#;

/// `audit`: prints the last 16 MB of the audit log, where there is one.
const AUDIT: &str = r"
log=/var/log/kubernetes/audit.log
[[ ! -e $log ]] || tail --bytes=16M $log
";

/// `profile TRUE_OR_FALSE`: changes a flag of the scheduler where it runs, and waits for the new one.
const PROFILE: &str = r#"
set -e
file=/etc/kubernetes/manifests/kube-scheduler.yaml
[[ -e $file ]] || exit 0
umask 077
sed "s/--profiling=.*/--profiling=$1/" $file > /etc/kubernetes/changed.yaml
mv /etc/kubernetes/changed.yaml $file
end=$((SECONDS + 60))
until pgrep --full "^kube-scheduler .*--profiling=$1" > /dev/null; do
    ((SECONDS < end)) || { echo "no kube-scheduler with --profiling=$1 after 60 s" >&2; exit 1; }
    sleep 0.5
done
"#;

/// Reads each node, and the API server. `files` are patterns of files, `paths` what is asked without a credential.
///
/// # Errors
/// A node or the API server does not answer.
pub async fn read(fixture: &Fixture, files: &[&str], paths: &[&str]) -> Result<BTreeMap<String, Places>> {
    let mut found = BTreeMap::new();
    let values = fixture.cluster.secrets.lines();
    ensure!(!values.is_empty(), "the cluster has no secret that etcd could have");
    let script = format!("values='{}'\n{READ}", values.join("\n").replace('\'', r"'\''"));
    for node in &fixture.cluster.nodes {
        let mut places = places_of(&run(&fixture.cluster, node, &script, files).await?);
        places.insert(KUBELET_CONFIG.to_owned(), kubelet_config(fixture, node).await?);
        found.insert(node.clone(), places);
    }
    let mut seen = anonymous(&fixture.cluster, paths).await?;
    let tokens = ListParams::default().fields("type=bootstrap.kubernetes.io/token");
    let tokens = Api::<Secret>::all(fixture.kube.clone()).list(&tokens).await.context("listing tokens to join")?;
    seen.insert("tokens to join".to_owned(), vec![tokens.items.len().to_string()]);
    found.insert(API_SERVER.to_owned(), [(SEEN.to_owned(), seen)].into());
    Ok(found)
}

/// The end of the audit log, by node. Only the control plane has one, and a cluster of others shows none.
///
/// # Errors
/// A node does not answer.
pub async fn audit_logs(cluster: &Cluster) -> Result<BTreeMap<String, String>> {
    let mut logs = BTreeMap::new();
    for node in &cluster.nodes {
        let log = run(cluster, node, AUDIT, &[]).await?;
        if !log.is_empty() {
            logs.insert(node.clone(), log);
        }
    }
    Ok(logs)
}

/// Lets the scheduler answer with profiles of itself, or not.
///
/// # Errors
/// A node does not answer, or no scheduler runs with the flag in time.
pub async fn profile_scheduler(cluster: &Cluster, profiles: bool) -> Result<()> {
    for node in &cluster.nodes {
        run(cluster, node, PROFILE, &[&profiles.to_string()]).await?;
    }
    Ok(())
}

/// The places in what the script printed.
fn places_of(text: &str) -> Places {
    let mut places = Places::new();
    for line in text.lines() {
        if let [place, key, value] = line.splitn(3, '\t').collect::<Vec<_>>()[..] {
            places.entry(place.to_owned()).or_default().entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    places
}

async fn kubelet_config(fixture: &Fixture, node: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/configz")).body(Vec::new())?;
    let answer: Value = fixture.kube.request(request).await.with_context(|| format!("asking the kubelet of {node}"))?;
    let mut config = BTreeMap::new();
    flatten("", &answer["kubeletconfig"], &mut config);
    Ok(config)
}

/// Each value under its path: `authentication.anonymous.enabled`.
fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, Vec<String>>) {
    let Value::Object(fields) = value else {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        found.insert(path.to_owned(), vec![text]);
        return;
    };
    for (key, value) in fields {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        flatten(&path, value, found);
    }
}

/// How the API server answers to somebody without a credential: the status, by path.
async fn anonymous(cluster: &Cluster, paths: &[&str]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut config = kube_config(cluster).await?;
    config.auth_info = AuthInfo::default();
    let client = kube::Client::try_from(config).context("making a client without a credential")?;
    let mut answers = BTreeMap::new();
    for path in paths {
        let status = match client.request_text(http::Request::get(*path).body(Vec::new())?).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => return Err(error).with_context(|| format!("asking for {path} without a credential")),
        };
        answers.insert((*path).to_owned(), vec![status.to_string()]);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_the_script_is_a_value_of_a_key_in_a_place() {
        let text = "etcd\tname\ta\nfiles\t/p/*\t600 root:root /p/a\nfiles\t/p/*\t644 root:root /p/b\nnoise\n";
        let places = places_of(text);
        assert_eq!(places["etcd"]["name"], ["a"]);
        assert_eq!(places[FILES]["/p/*"], ["600 root:root /p/a", "644 root:root /p/b"]);
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn a_kubelet_s_configuration_is_read_by_paths() {
        let config = json!({"a": {"b": {"c": false}}, "d": "4h0m0s", "e": 50});
        let mut found = BTreeMap::new();
        flatten("", &config, &mut found);
        assert_eq!(found["a.b.c"], ["false"]);
        assert_eq!((&found["d"][0], &found["e"][0]), (&"4h0m0s".to_owned(), &"50".to_owned()));
    }
}
