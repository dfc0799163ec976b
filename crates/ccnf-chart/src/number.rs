//! How numbers are written.

/// More decimals than an `f64` has are noise.
const MAX_DIGITS: usize = 17;

/// `value` with `digits` decimals, ASCII only; scientific where the plain form would be longer than a cell.
pub(crate) fn fixed_ascii(value: f64, digits: usize) -> String {
    let digits = digits.min(MAX_DIGITS);
    let written = if value.abs() >= 1e15 { format!("{value:.3e}") } else { format!("{value:.digits$}") };
    // "-0.000" says a sign that the shown digits do not have
    match written.strip_prefix('-') {
        Some(rest) if !rest.bytes().any(|b| b.is_ascii_digit() && b != b'0') => rest.to_string(),
        _ => written,
    }
}

/// [`fixed_ascii`] with a real minus sign and exponents as superscripts, for HTML and SVG.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    typeset(&fixed_ascii(value, digits))
}

/// The shortest text that reads back as the same number, for machines.
pub(crate) fn plain(value: f64) -> String {
    if value != 0.0 && !(1e-5..1e16).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

/// Decimals that give about four significant digits to a value of this size.
pub(crate) fn digits_for(largest: f64) -> usize {
    if !largest.is_finite() || largest == 0.0 {
        return 3;
    }
    (3.0 - largest.abs().log10().floor()).clamp(0.0, 6.0) as usize
}

/// About four significant digits, for tooltips and data tables.
pub(crate) fn short(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e7).contains(&value.abs()) {
        return typeset(&format!("{value:.3e}"));
    }
    fixed(value, digits_for(value))
}

/// `-1.5e-7` as `−1.5×10⁻⁷`; a mantissa of 1 is left out.
pub(crate) fn typeset(ascii: &str) -> String {
    let minus = |s: &str| s.replace('-', "−");
    let Some((mantissa, exponent)) = ascii.split_once('e') else { return minus(ascii) };
    let raised: String = exponent.chars().map(superscript).collect();
    let mantissa = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    };
    match mantissa {
        "1" => format!("10{raised}"),
        "-1" => format!("−10{raised}"),
        other => format!("{}×10{raised}", minus(other)),
    }
}

fn superscript(c: char) -> char {
    match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32('⁰' as u32 + c as u32 - '0' as u32).unwrap_or(c),
        other => other,
    }
}

/// Why a number cannot be shown, if it cannot.
pub(crate) fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        v if v.is_nan() => Some("not a number"),
        v if v.is_infinite() => Some("infinite"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_and_lose_a_sign_without_value() {
        assert_eq!(fixed(0.9314, 3), "0.931");
        assert_eq!(fixed(-0.5, 1), "−0.5");
        assert_eq!(fixed(-0.0001, 3), "0.000");
        assert_eq!(fixed_ascii(-12.0, 0), "-12");
        assert_eq!(fixed(1e300, 2), "10³⁰⁰");
        assert_eq!(fixed_ascii(0.5, usize::MAX).len(), 2 + MAX_DIGITS);
    }

    #[test]
    fn plain_numbers_read_back_exactly() {
        for v in [0.1, -3.25, 1e-300, 123456789.125, 0.0, f64::MAX, f64::MIN_POSITIVE] {
            assert_eq!(plain(v).parse::<f64>().unwrap(), v, "{v}");
        }
        assert!(plain(1e300).len() < 10);
    }

    #[test]
    fn exponents_are_raised() {
        assert_eq!(typeset("1e-7"), "10⁻⁷");
        assert_eq!(typeset("-2.50e12"), "−2.5×10¹²");
        assert_eq!(typeset("10e3"), "10×10³");
        assert_eq!(short(0.00001234), "1.234×10⁻⁵");
        assert_eq!(short(123456.0), "123456");
        assert_eq!(short(0.93), "0.9300");
    }
}
