//! How new connections of pods come to the engine of the network policies, which decides about each.
//!
//! The engine makes rules of nftables for it. Some kernels cannot queue from nftables, but from iptables: there the rules
//! are made here, and the engine only answers. Without any rule it would be idle, and say nothing.

use anyhow::{Result, ensure};

use super::kind::POD_SUBNET;
use super::{Maker, Record};

/// The kustomization of the policies and their engine.
pub(super) const POLICIES: &str = "overlays/kind/network-policies";
/// The ways, as `cluster.json` has them.
pub(super) const NFTABLES: &str = "nftables";
pub(super) const IPTABLES: &str = "iptables";

/// What the engine needs of nftables. `nft --check` asks the kernel, and makes nothing.
const PROBE: &str = "table inet slipway-probe {\n  chain c {\n    type filter hook postrouting priority 95\n    \
                     queue flags bypass to 100\n  }\n}\n";

/// The rules for the pods of the subnet `$1`, which may be there already. They are those that the engine would make:
///
/// - A connection that is accepted passes, and so does what the node's root sends, such as the kubelet's probes.
/// - Every other packet of a pod waits for the engine. Without an engine it passes.
/// - The same is true of connections from a pod to its node, which the first chain does not see.
const RULES: &str = r#"
set -euo pipefail
iptables-restore --wait --noflush <<END
*mangle
:SLIPWAY-POLICIES - [0:0]
:SLIPWAY-TO-NODE - [0:0]
-A SLIPWAY-POLICIES -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
-A SLIPWAY-POLICIES -m owner --uid-owner 0 -j RETURN
-A SLIPWAY-POLICIES -s $1 -j NFQUEUE --queue-num 100 --queue-bypass
-A SLIPWAY-POLICIES -d $1 -j NFQUEUE --queue-num 100 --queue-bypass
-A SLIPWAY-TO-NODE -s $1 -m conntrack --ctstate NEW -j NFQUEUE --queue-num 100 --queue-bypass
COMMIT
END
chain() { iptables --wait --table mangle --check "$@" 2> /dev/null || iptables --wait --table mangle --append "$@"; }
chain POSTROUTING --jump SLIPWAY-POLICIES
chain INPUT --jump SLIPWAY-TO-NODE
"#;

impl Maker<'_> {
    /// How the kernel of the nodes can queue packets.
    pub(super) fn find_queue(&self, record: &Record) -> Result<&'static str> {
        let Some(node) = record.nodes.first() else { return Ok(NFTABLES) };
        let probe = self.in_node(node, &["nft", "--check", "--file", "-"]).stdin(PROBE).run_any()?;
        Ok(if probe.status.success() { NFTABLES } else { IPTABLES })
    }

    /// Makes the rules where the engine cannot.
    pub(super) fn queue_connections(&self, record: &Record) -> Result<()> {
        if record.policies.as_deref() != Some(IPTABLES) {
            return Ok(());
        }
        for node in &record.nodes {
            let made = self.in_node(node, &["bash", "-s", "--", POD_SUBNET]).stdin(RULES).run_any()?;
            ensure!(
                made.status.success(),
                "{node} can queue packets neither from nftables nor from iptables, which network policies need: {}",
                made.all.trim()
            );
        }
        Ok(())
    }
}
