//! The text of a worker's /metrics, and its values.

/// One response of /metrics.
#[derive(Debug)]
pub(crate) struct Exposition(pub(crate) String);

impl Exposition {
    /// The sum of all series with this name and these labels; `None` if there is no such series.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let series = self.0.lines().filter_map(|line| sample(line, name, labels));
        series.reduce(|sum, value| sum + value)
    }
}

/// The value of one line, if it has the name and the labels.
fn sample(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let (series, value) = line.rsplit_once(' ')?;
    let found = series.strip_prefix(name)?;
    let carried = match found.strip_prefix('{') {
        Some(inside) => inside.strip_suffix('}')?,
        None if found.is_empty() => "",
        None => return None,
    };
    let has = |(key, value): &(&str, &str)| carried.split(',').any(|label| label == format!("{key}=\"{value}\""));
    labels.iter().all(has).then(|| value.parse().ok()).flatten()
}
