//! Arrivals: pieces of constant rate, from a scenario or from the user's trace.

use rand::rngs::ChaCha8Rng;

use super::random::exponential;

/// A rate of arrivals that changes in steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Start in seconds and documents a second of each piece, in order.
    pieces: Vec<(f64, f64)>,
    /// Seconds after which nothing arrives.
    pub end: f64,
    /// Whether arrivals are random. Otherwise they are even.
    pub random: bool,
    /// Seconds of the mean that the oracle knows. A trace has the noise of its arrivals in it.
    pub smoothing: f64,
}

/// Seconds between two arrivals at known times, at least.
const CLOSEST: f64 = 1e-6;

/// A trace that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTrace(String);

impl Load {
    /// Pieces of a duration in seconds and a rate.
    pub fn pieces(pieces: &[(f64, f64)]) -> Self {
        let mut starts = Vec::with_capacity(pieces.len());
        let mut at = 0.0;
        for (seconds, rate) in pieces {
            starts.push((at, *rate));
            at += seconds;
        }
        Self { pieces: starts, end: at, random: true, smoothing: 0.0 }
    }

    /// The same with even arrivals.
    pub fn even(self) -> Self {
        Self { random: false, ..self }
    }

    /// Arrivals at known times in seconds, in order; the load ends at `end`.
    pub fn at(times: &[f64], end: f64) -> Self {
        let mut pieces = Vec::with_capacity(times.len() + 1);
        let mut from = 0.0;
        for at in times {
            let seconds = (at - from).max(CLOSEST);
            // One document a piece, which rounding must not leave for the next.
            pieces.push((from, (1.0 + 1e-9) / seconds));
            from += seconds;
        }
        pieces.push((from, 0.0));
        Self { pieces, end: end.max(from), random: false, smoothing: 0.0 }
    }

    /// Turns of a low and a high rate, half a period each.
    pub fn waves(low: f64, high: f64, period: f64, turns: u32) -> Self {
        let turn = [(period / 2.0, low), (period / 2.0, high)];
        Self::pieces(&std::iter::repeat_n(turn, turns as usize).flatten().collect::<Vec<_>>())
    }

    /// Days with a low night and a high noon, in pieces of a minute.
    pub fn days(low: f64, high: f64, days: u32) -> Self {
        let minute = |minute: u32| {
            let angle = f64::from(minute % 1440) / 1440.0 * std::f64::consts::TAU;
            (60.0, low + (high - low) * (1.0 - angle.cos()) / 2.0)
        };
        Self::pieces(&(0..days * 1440).map(minute).collect::<Vec<_>>())
    }

    /// A trace: lines of `seconds,arrivals`, each until the next line, or of one arrival's time in seconds.
    ///
    /// # Errors
    /// A line is not a number, is negative or goes back in time, or there is none.
    pub fn trace(text: &str) -> Result<Self, BadTrace> {
        let mut rows: Vec<(f64, f64)> = Vec::new();
        let mut counted = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let number = index + 1;
            let is_header = rows.is_empty() && line.starts_with(|first: char| first.is_ascii_alphabetic());
            let is_header = is_header && line.contains(|letter: char| letter.is_ascii_alphabetic()) && index == 0;
            if line.is_empty() || line.starts_with('#') || (is_header && line.to_lowercase().starts_with("seconds")) {
                continue;
            }
            let (time, count) = match line.split_once(',') {
                Some((time, count)) => (time, Some(count)),
                None => (line, None),
            };
            if *counted.get_or_insert(count.is_some()) != count.is_some() {
                let wanted = if count.is_some() { "one number" } else { "two numbers" };
                return Err(BadTrace(format!("line {number} is \"{line}\"; the lines before it have {wanted}")));
            }
            let at = amount(time).map_err(|why| bad(number, "a time in seconds", time, why))?;
            let arrivals = match count {
                Some(count) => amount(count).map_err(|why| bad(number, "a number of arrivals", count, why))?,
                None => 1.0,
            };
            if let Some((before, _)) = rows.last()
                && (at < *before || (counted == Some(true) && at == *before))
            {
                return Err(BadTrace(format!(
                    "line {number} has the time {at}, after {before}; sort the lines by time"
                )));
            }
            rows.push((at, arrivals));
        }
        if rows.is_empty() {
            return Err(BadTrace("there is no line; write lines of seconds,arrivals, such as 0,12".into()));
        }
        Ok(match counted {
            Some(true) => Self::counts(&rows),
            _ => Self::times(&rows),
        })
    }

    fn counts(rows: &[(f64, f64)]) -> Self {
        let first = rows[0].0;
        let gap = |index: usize| rows.get(index + 1).map(|next| next.0 - rows[index].0);
        let last = rows.len() - 1;
        let tail = if last > 0 { gap(last - 1).unwrap_or(1.0) } else { 1.0 };
        let piece = |index: usize| {
            let seconds = gap(index).unwrap_or(tail);
            (rows[index].0 - first, rows[index].1 / seconds)
        };
        let pieces: Vec<_> = (0..rows.len()).map(piece).collect();
        Self { end: rows[last].0 - first + tail, pieces, random: false, smoothing: 60.0 }
    }

    fn times(rows: &[(f64, f64)]) -> Self {
        let first = rows[0].0.floor();
        let end = rows[rows.len() - 1].0 - first;
        let mut pieces: Vec<(f64, f64)> = (0..=end as usize).map(|second| (second as f64, 0.0)).collect();
        for (at, count) in rows {
            pieces[(at - first) as usize].1 += count;
        }
        Self { pieces, end: end.floor() + 1.0, random: false, smoothing: 60.0 }
    }

    /// Documents a second at a time.
    pub fn rate(&self, at: f64) -> f64 {
        if !(0.0..self.end).contains(&at) {
            return 0.0;
        }
        let piece = self.pieces.partition_point(|(start, _)| *start <= at);
        self.pieces[..piece].last().map_or(0.0, |(_, rate)| *rate)
    }

    /// The rate of each second as an oracle knows it.
    pub fn known(&self, seconds: usize) -> Vec<f64> {
        let rates: Vec<f64> = (0..seconds).map(|second| self.rate(second as f64)).collect();
        let half = (self.smoothing / 2.0) as usize;
        if half == 0 {
            return rates;
        }
        let mut sums = vec![0.0];
        for rate in &rates {
            sums.push(sums[sums.len() - 1] + rate);
        }
        let mean = |second: usize| {
            let (from, to) = (second.saturating_sub(half), (second + half + 1).min(seconds));
            (sums[to] - sums[from]) / (to - from) as f64
        };
        (0..seconds).map(mean).collect()
    }

    /// The arrivals in order.
    pub(super) fn arrivals(&self) -> Arrivals<'_> {
        Arrivals { load: self, piece: 0, at: 0.0 }
    }
}

fn amount(text: &str) -> Result<f64, &'static str> {
    let number: f64 = text.trim().parse().map_err(|_| "is not a number")?;
    match number {
        _ if !number.is_finite() => Err("is not finite"),
        _ if number < 0.0 => Err("is negative"),
        _ if number > 1e12 => Err("is above 1000000000000"),
        _ => Ok(number),
    }
}

fn bad(line: usize, what: &str, value: &str, why: &str) -> BadTrace {
    BadTrace(format!("line {line}: \"{}\" {why}; write {what} of 0 or more", value.trim()))
}

/// The arrivals of a load, one after the other.
#[derive(Debug)]
pub(super) struct Arrivals<'a> {
    load: &'a Load,
    piece: usize,
    at: f64,
}

impl Arrivals<'_> {
    /// The time of the next arrival.
    pub(super) fn next(&mut self, random: &mut ChaCha8Rng) -> Option<f64> {
        let mut left = if self.load.random { exponential(random) } else { 1.0 };
        while let Some((_, rate)) = self.load.pieces.get(self.piece) {
            let end = self.load.pieces.get(self.piece + 1).map_or(self.load.end, |(start, _)| *start);
            let fits = (end - self.at) * rate;
            if fits >= left && *rate > 0.0 {
                self.at += left / rate;
                return Some(self.at);
            }
            left -= fits;
            self.at = end;
            self.piece += 1;
        }
        None
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
