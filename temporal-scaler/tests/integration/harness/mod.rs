//! The environment of the tests. A test gets a [`World`]: a Temporal namespace and a folder that no other test uses. It
//! plays an API server ([`Cluster`]) and the pages of workers ([`Page`]), and starts scalers:
//!
//! ```ignore
//! let cluster = Cluster::start().await?;
//! let page = Page::start(&slots("io", 2, 3)).await?;
//! cluster.put(pod("a", page.port));
//! let scaler = world.scaler(&cluster, "activity:io").start().await?;
//! let answer = scaler.answer().await?;
//! ```
//!
//! What runs a real Temporal and ends every process is the worker's harness, file by file.

pub(crate) mod cluster;
pub(crate) mod door;
pub(crate) mod page;
#[path = "../../../../worker/tests/integration/harness/ports.rs"]
pub(crate) mod ports;
#[path = "../../../../worker/tests/integration/harness/programs.rs"]
pub(crate) mod programs;
pub(crate) mod python;
#[path = "../../../../worker/tests/integration/harness/reaper.rs"]
pub(crate) mod reaper;
pub(crate) mod scaler;
pub(crate) mod servers;
#[expect(dead_code, reason = "these tests need certificates and no proxy")]
#[path = "../../../../worker/tests/integration/harness/tls.rs"]
pub(crate) mod tls;
#[expect(dead_code, reason = "these tests need one of the two waits")]
#[path = "../../../../worker/tests/integration/harness/wait.rs"]
pub(crate) mod wait;
pub(crate) mod world;

pub(crate) use cluster::{Cluster, pod};
pub(crate) use page::{Page, slots};
pub(crate) use scaler::Scaler;
pub(crate) use servers::Servers;
pub(crate) use wait::{eventually, when};
pub(crate) use world::World;
