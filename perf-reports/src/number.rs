//! Numbers for people.

/// Three significant digits, more for whole numbers, thousands apart by commas.
pub(crate) fn short(value: f64) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    if value.is_infinite() {
        return "∞".to_owned();
    }
    let size = value.abs();
    let digits = match size {
        _ if size == 0.0 || size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ => (2.0 - size.log10().floor()).min(9.0) as usize,
    };
    grouped(&format!("{value:.digits$}"))
}

/// Whole numbers as they are, others as [`short`].
pub(crate) fn brief(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { grouped(&format!("{value:.0}")) } else { short(value) }
}

/// As short as it can be said, for the ticks of an axis: 250, 0.05, 20k, 1.5M.
pub(crate) fn tick(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.6}");
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A ratio, to two digits behind the point.
pub(crate) fn times(value: f64) -> String {
    if value.is_finite() && value.abs() < 100.0 { format!("{value:.2}") } else { short(value) }
}

/// The value in the middle, or the geometric mean of the two there; nothing of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    if lower.total_cmp(&upper).is_eq() {
        return Some(upper);
    }
    Some(if lower > 0.0 { (lower * upper).sqrt() } else { f64::midpoint(lower, upper) })
}

fn grouped(text: &str) -> String {
    let (whole, rest) = text.find('.').map_or((text, ""), |point| text.split_at(point));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (0.001_234, "0.00123"),
            (0.5, "0.500"),
            (1.0, "1.00"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1_234_567.8, "1,234,568"),
            (-45_678.0, "-45,678"),
            (f64::INFINITY, "∞"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn whole_numbers_have_no_point() {
        for (value, text) in [(2.0, "2"), (1234.0, "1,234"), (2.5, "2.50"), (0.0, "0")] {
            assert_eq!(brief(value), text);
        }
    }

    #[test]
    fn ticks_are_brief() {
        for (value, text) in [(0.0, "0"), (0.05, "0.05"), (250.0, "250"), (20_000.0, "20k"), (1.5e6, "1.5M")]
        {
            assert_eq!(tick(value), text);
        }
    }

    #[test]
    fn the_median_is_no_mean() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 1000.0]), Some(3.0));
        assert_eq!(median(&[2.0, 8.0]), Some(4.0));
        assert_eq!(median(&[0.0, 3.0]), Some(1.5));
    }
}
