//! Whether the host, and not the product, explains a late answer. Pure.
//!
//! A bound in seconds that is broken while the host is saturated or busy with something else is Inconclusive.

use crate::observe::sample::Sample;
use crate::observe::window::Window;

/// Cores that other programs may take, as a share of all: what system services take on a quiet host.
const OTHERS: f64 = 0.1;
/// Above this share of its cores the host has none left. The load is sized to 70 % of what was measured.
const SATURATED: f64 = 0.97;

/// Mean use of the host in a window, as shares of its cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// By all programs, steal included.
    pub busy: f64,
    /// By programs that are neither the cluster's nor this one, steal included.
    pub others: f64,
    /// Share of the time in which a program waited for a CPU; none where the kernel does not say.
    pub pressure: Option<f64>,
}

/// The mean use in a window; none where it was never seen.
pub fn mean(samples: &[Sample], window: Window) -> Option<Mean> {
    let seen: Vec<_> = window.of(samples).filter_map(|sample| sample.host.seen()).collect();
    let mean = |of: &dyn Fn(&crate::observe::host::HostUse) -> f64| {
        seen.iter().map(|host| of(host)).sum::<f64>() / seen.len() as f64
    };
    (!seen.is_empty()).then(|| Mean {
        busy: mean(&|host| (host.busy + host.steal) / host.cores),
        others: mean(&|host| (host.others.unwrap_or(0.0) + host.steal) / host.cores),
        pressure: seen.iter().map(|host| host.pressure).sum::<Option<f64>>().map(|sum| sum / seen.len() as f64),
    })
}

/// Why a late answer in this window may be the host's: another program took its CPU, or none was left.
pub fn excuse(samples: &[Sample], window: Window) -> Option<String> {
    let mean = mean(samples, window)?;
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    if mean.others > OTHERS {
        let taken = percent(mean.others);
        return Some(format!("this host was busy with something else, which took {taken} of its CPU"));
    }
    (mean.busy > SATURATED).then(|| format!("this host was saturated: {} of its CPU was in use", percent(mean.busy)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::reading::Reading;
    use crate::observe::host::HostUse;

    #[test]
    fn only_a_saturated_or_a_disturbed_host_is_an_excuse() {
        let window = Window { from: 0.0, to: 9.0 };
        let excuse = |busy: f64, steal: f64, others: Option<f64>| {
            let host = HostUse { cores: 2.0, busy, steal, others, pressure: None };
            let sample = |at: i32| Sample { at: f64::from(at), host: Reading::Seen(host), ..Sample::default() };
            super::excuse(&(0..10).map(sample).collect::<Vec<_>>(), window)
        };
        assert_eq!(excuse(1.8, 0.0, Some(0.1)), None);
        assert_eq!(excuse(1.5, 0.0, None), None);
        assert!(excuse(1.5, 0.0, Some(0.3)).unwrap().contains("took 15 %"));
        assert!(excuse(1.5, 0.3, None).unwrap().contains("took 15 %"));
        assert!(excuse(1.96, 0.0, Some(0.0)).unwrap().contains("98 %"));
        assert_eq!(super::excuse(&[], window), None);
    }
}
