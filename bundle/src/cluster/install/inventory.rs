//! One version in a cluster of others, and what the cluster knows of it.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use support::progress::step;

use super::super::actions::{apply_when_admitted, start};
use super::super::{Record, kubectl};
use super::objects::{Id, MANAGER, NotOurs, OURS, apply, delete, delete_broken_pods, is_ours, label};

/// The object with the inventory.
pub(in crate::cluster) const INVENTORY: &str = "slipway-installation";
/// Its namespace, which every cluster has and which is none of ours.
pub(in crate::cluster) const INVENTORY_NAMESPACE: &str = "kube-system";

/// One version in a cluster: its objects, with all their fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::cluster) struct Installed {
    pub(in crate::cluster) registry: String,
    pub(in crate::cluster) services: Vec<Value>,
    pub(in crate::cluster) migration: Vec<Value>,
    pub(in crate::cluster) worker: Vec<Value>,
}

impl Installed {
    pub(in crate::cluster) fn all(&self) -> impl Iterator<Item = &Value> {
        self.services.iter().chain(&self.migration).chain(&self.worker)
    }

    pub(in crate::cluster) fn ids(&self) -> BTreeSet<Id> {
        self.all().map(Id::of).collect()
    }

    /// The label of what matters. In our own cluster, to which no registry belongs, everything does.
    fn selector(&self) -> Option<&'static str> {
        (!self.registry.is_empty()).then_some(OURS)
    }

    /// Applies this version, waits until it is ready, and deletes those of the `other` objects that it does not have,
    /// such as configurations with another hash.
    pub(in crate::cluster) fn apply(&self, record: &Record, other: &BTreeSet<Id>) -> Result<()> {
        step("apply the services", || apply(record, &self.services))?;
        start(record, self.selector(), || apply(record, &self.migration), || self.apply_worker(record))?;
        let gone: BTreeSet<Id> = other.difference(&self.ids()).filter(|id| !id.holds_data()).cloned().collect();
        step("delete what another version had", || delete(record, &gone))
    }

    /// Tells the cluster that this version is installed.
    pub(in crate::cluster) fn write(&self, record: &Record) -> Result<()> {
        Inventory { ids: self.ids(), installed: Some(self.clone()) }.write(record)
    }

    fn apply_worker(&self, record: &Record) -> Result<()> {
        let mut objects = self.worker.iter().map(|object| (Id::of(object).shown(), object.to_string()));
        objects.try_for_each(|(name, text)| apply_when_admitted(record, &name, &text, MANAGER))
    }

    /// Applies this version in place of one that does not start. Pods of that one whose images cannot be had are
    /// deleted, because a StatefulSet waits for them before it makes others.
    pub(in crate::cluster) fn apply_again(&self, record: &Record, other: &BTreeSet<Id>) -> Result<()> {
        step("apply the version before", || apply(record, &self.services).and_then(|()| self.apply_worker(record)))?;
        step("delete the pods that do not start", || delete_broken_pods(record, self.selector()))?;
        self.apply(record, other)
    }
}

/// What the cluster knows of an installation.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Inventory {
    /// Every object that may be there.
    pub(in crate::cluster) ids: BTreeSet<Id>,
    /// The version that runs, if one ever did.
    pub(in crate::cluster) installed: Option<Installed>,
}

impl Inventory {
    pub(in crate::cluster) fn read(record: &Record) -> Result<Self> {
        let get =
            ["get", "configmap", INVENTORY, "--namespace", INVENTORY_NAMESPACE, "--ignore-not-found", "-o", "json"];
        let text = kubectl(record).args(get).quiet().read()?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let object: Value = serde_json::from_str(&text).context("parse the inventory")?;
        if !is_ours(&object) {
            return Err(NotOurs { what: "objects", names: vec![Id::of(&object).shown()] }.into());
        }
        Self::of(&object).context("parse the inventory, which another version wrote")
    }

    fn of(object: &Value) -> Result<Self> {
        let ids = serde_json::from_str(object["data"]["objects"].as_str().unwrap_or("[]"))?;
        let installed = match object["data"]["installed"].as_str() {
            Some(packed) => {
                let packed = hex::decode(packed)?;
                Some(serde_json::from_reader(ZlibDecoder::new(packed.as_slice()))?)
            }
            None => None,
        };
        Ok(Self { ids, installed })
    }

    /// The objects are compressed: an object of Kubernetes has at most 1 MiB, and the definitions of KEDA have more.
    fn object(&self) -> Result<Value> {
        let mut data = json!({"objects": serde_json::to_string(&self.ids)?, "version": env!("CARGO_PKG_VERSION")});
        if let Some(installed) = &self.installed {
            let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
            serde_json::to_writer(&mut packed, installed)?;
            data["installed"] = json!(hex::encode(packed.finish()?));
            data["registry"] = json!(installed.registry);
        }
        let metadata = json!({"name": INVENTORY, "namespace": INVENTORY_NAMESPACE});
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        label(&mut object);
        Ok(object)
    }

    pub(in crate::cluster) fn write(&self, record: &Record) -> Result<()> {
        apply(record, &[self.object().context("write the inventory")?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inventory_keeps_the_objects_of_the_version_that_runs() {
        let worker =
            vec![json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": {}})];
        let installed = Installed { registry: "r/x".into(), services: Vec::new(), migration: Vec::new(), worker };
        let inventory = Inventory { ids: installed.ids(), installed: Some(installed) };
        let object = inventory.object().unwrap();
        assert!(is_ours(&object));
        let read = Inventory::of(&object).unwrap();
        assert_eq!(read.ids, inventory.ids);
        assert_eq!(read.installed.unwrap().worker, inventory.installed.unwrap().worker);
        assert!(Inventory::of(&Inventory::default().object().unwrap()).unwrap().installed.is_none());
    }
}
