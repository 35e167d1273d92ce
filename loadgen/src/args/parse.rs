//! Values of options.

use std::time::Duration;

use wire::kafka::compression::Codec;

use crate::distributions::number;
use crate::limits::{
    INTERVAL_MIN, OUTBOX_REQUESTS_MAX, THINGS_MAX, THREADS_MAX, TOPICS_PER_REQUEST_MAX, VALUE_BYTES_MAX,
};
use crate::rate_curve::RATE_MAX;

pub(super) fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn codec(name: &str) -> Result<Codec, String> {
    let known = || Codec::ALL.map(Codec::name).join(", ");
    Codec::from_name(name).ok_or_else(|| format!("expected one of {}", known()))
}

pub(super) fn within(text: &str, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(format!("expected a number from 1 to {max}")),
    }
}

pub(super) fn threads(text: &str) -> Result<usize, String> {
    within(text, THREADS_MAX)
}

/// A core that this program may use.
pub(super) fn core(text: &str) -> Result<usize, String> {
    let allowed = reactor::allowed_cpus();
    match text.trim().parse() {
        Ok(core) if allowed.contains(&core) => Ok(core),
        _ => {
            let known: Vec<String> = allowed.iter().map(usize::to_string).collect();
            Err(format!("expected one of the cores that this program may use: {}", known.join(", ")))
        }
    }
}

pub(super) fn in_flight(text: &str) -> Result<usize, String> {
    within(text, OUTBOX_REQUESTS_MAX)
}

pub(super) fn value_bytes(text: &str) -> Result<usize, String> {
    within(text, VALUE_BYTES_MAX)
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.0, RATE_MAX)
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1e9)
}

pub(super) fn point_seconds(text: &str) -> Result<f64, String> {
    number(text, 0.1, 3600.0)
}

pub(super) fn profile_space(text: &str) -> Result<f64, String> {
    number(text, 0.1, 1e6)
}

pub(super) fn part(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    number(text, INTERVAL_MIN.as_secs_f64(), 3600.0).map(Duration::from_secs_f64)
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    within(text, THINGS_MAX)
}

pub(super) fn topics_per_request(text: &str) -> Result<usize, String> {
    within(text, TOPICS_PER_REQUEST_MAX)
}
