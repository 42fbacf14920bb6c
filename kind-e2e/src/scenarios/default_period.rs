//! The step of `comparison` and the waves of `oscillation` with what ships and the HPA's default period of 15 s, which
//! most clusters have. Prometheus scrapes every 15 s in every scenario.

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::comparison::Comparison;
use super::oscillation::Oscillation;
use crate::cluster::autoscaling::DEFAULT_SYNC;
use crate::cluster::scalers::Scaler;
use crate::judge::part::Part;
use crate::judge::simulation::Simulated;
use crate::judge::table::Table;
use crate::judge::verdict::Check;
use crate::load::context::Context;
use crate::observe::sample::Sample;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DefaultPeriod {
    step: Comparison,
    waves: Oscillation,
}

impl Scenario for DefaultPeriod {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        async move {
            self.step.play(context, "default-period/step", Scaler::Slipway, DEFAULT_SYNC).await?;
            self.waves.play(context, "default-period", DEFAULT_SYNC).await
        }
        .boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let waves = self.waves.judge(samples).into_iter().map(|check| check.of_part("waves"));
        self.step.judge(samples).into_iter().chain(waves).collect()
    }

    fn loads(&self) -> Vec<Part<'_>> {
        self.step.loads().into_iter().chain(self.waves.loads()).collect()
    }

    fn simulated(&self, load: &str, samples: &[Sample]) -> Vec<Simulated> {
        self.step.simulated(load, samples)
    }

    fn tables(&self, samples: &[Sample]) -> Vec<Table> {
        self.step.tables(samples).into_iter().chain(self.waves.tables(samples)).collect()
    }
}
