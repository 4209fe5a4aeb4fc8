//! Ways to damage an input.

use crate::Random;
use crate::json::some_value;

/// Numbers at the edges of their types, as they stand in a text.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "255",
    "256",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1152921504606846976",
    "1e308",
    "1e999",
    "-1e999",
    "1e-999",
    "0.5",
    "-0",
    "-0.0",
    "NaN",
    "Infinity",
    "inf",
    "1_000",
    "0x10",
    "00",
    "1e",
    "+1",
    "99999999999999999999999999999999",
];

/// Values that a text in JSON may hold where something else is expected.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "\"\"",
    "\"x\"",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "{\"\":0}",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\\"\"",
    "\"NaN\"",
    "\"inf\"",
    "[1,2,3]",
    "\"../../x\"",
    "\"/etc/passwd\"",
    "\"\u{202e}é🙂\"",
];

/// Numbers at the edges of their types, as they stand in a binary field.
const FIELDS: &[u64] = &[
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    31,
    32,
    33,
    64,
    127,
    128,
    255,
    256,
    4096,
    0x7fff,
    0x8000,
    0xffff,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 40,
    1 << 48,
    1 << 60,
    1 << 61,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 8,
    u64::MAX - 1,
    u64::MAX,
];

/// Inputs longer than this are cut.
const LONGEST: usize = 1 << 14;

/// What a mutation may draw from.
pub(crate) struct Material<'a> {
    pub(crate) examples: &'a [Vec<u8>],
    pub(crate) words: &'a [&'a str],
    /// Whether inputs are text, so that most changes keep it UTF-8.
    pub(crate) text: bool,
}

/// Damages an input in one to eight ways, mostly few.
pub(crate) fn mutate(input: &mut Vec<u8>, material: &Material, random: &mut Random) {
    loop {
        once(input, material, random);
        if !random.one_in(3) {
            break;
        }
    }
    input.truncate(LONGEST);
}

fn once(input: &mut Vec<u8>, material: &Material, random: &mut Random) {
    // The first six keep text text.
    let kinds = if material.text && !random.one_in(8) { 6 } else { 12 };
    match random.below(kinds) {
        0 => word(input, material.words, random),
        1 => number(input, random),
        2 => value(input, random),
        3 => splice(input, material.examples, random),
        4 => block(input, random),
        5 => letter(input, random),
        6 | 7 => field(input, random),
        8 => flip(input, random),
        9 => {
            if let Some(byte) = place(input, random) {
                *byte = random.bits() as u8;
            }
        }
        10 => input.truncate(random.below(input.len() + 1)),
        _ => step(input, random),
    }
}

fn place<'a>(input: &'a mut [u8], random: &mut Random) -> Option<&'a mut u8> {
    let at = random.below(input.len());
    input.get_mut(at)
}

fn flip(input: &mut [u8], random: &mut Random) {
    let bit = random.below(8);
    if let Some(byte) = place(input, random) {
        *byte ^= 1 << bit;
    }
}

/// A small step up or down, as of a length that is off by one.
fn step(input: &mut [u8], random: &mut Random) {
    let by = random.below(17) as u8;
    if let Some(byte) = place(input, random) {
        *byte = byte.wrapping_add(by).wrapping_sub(8);
    }
}

/// Puts a word of the format in, before or over what is there.
fn word(input: &mut Vec<u8>, words: &[&str], random: &mut Random) {
    let Some(word) = random.of(words) else { return flip(input, random) };
    let at = random.below(input.len() + 1);
    let over = if random.one_in(2) { word.len() } else { 0 };
    let end = (at + over).min(input.len());
    input.splice(at..end, word.bytes());
}

/// Replaces a number in a text.
fn number(input: &mut Vec<u8>, random: &mut Random) {
    let from = random.below(input.len());
    let Some(start) = input[from..].iter().position(u8::is_ascii_digit).map(|at| from + at) else {
        return letter(input, random);
    };
    let length = input[start..].iter().position(|b| !b.is_ascii_digit()).unwrap_or(input.len() - start);
    let Some(with) = random.of(NUMBERS) else { return };
    input.splice(start..start + length, with.bytes());
}

/// Replaces, removes, doubles or moves a value of a text in JSON.
fn value(input: &mut Vec<u8>, random: &mut Random) {
    let Some(range) = some_value(input, random) else { return letter(input, random) };
    match random.below(6) {
        0 => drop(input.splice(range, [])),
        1 | 2 => {
            let list = if random.one_in(2) { NUMBERS } else { VALUES };
            let Some(with) = random.of(list) else { return };
            input.splice(range, with.bytes());
        }
        3 => {
            let copy = [b",", &input[range.clone()]].concat();
            input.splice(range.end..range.end, copy);
        }
        4 => {
            let Some(other) = some_value(input, random) else { return };
            let copy = input[other].to_vec();
            input.splice(range, copy);
        }
        _ => {
            // Deep nesting is what parsers with recursion fear.
            let depth = 1 << random.below(9);
            let inner = input[range.clone()].to_vec();
            let nested = [vec![b'['; depth], inner, vec![b']'; depth]].concat();
            input.splice(range, nested);
        }
    }
}

/// Goes on with another example from some place.
fn splice(input: &mut Vec<u8>, examples: &[Vec<u8>], random: &mut Random) {
    let Some(other) = random.of(examples) else { return };
    let from = random.below(other.len() + 1);
    if random.one_in(2) {
        let at = random.below(input.len() + 1);
        input.truncate(at);
        input.extend_from_slice(&other[from..]);
    } else {
        let length = random.below((other.len() - from).min(64) + 1);
        let at = random.below(input.len() + 1);
        input.splice(at..at, other[from..from + length].iter().copied());
    }
}

/// Removes, doubles or repeats a stretch.
fn block(input: &mut Vec<u8>, random: &mut Random) {
    if input.is_empty() {
        return;
    }
    let start = random.below(input.len());
    let longest = if random.one_in(8) { input.len() } else { 16 };
    let end = (start + 1 + random.below(longest)).min(input.len());
    match random.below(4) {
        0 | 1 => drop(input.drain(start..end)),
        2 => {
            let copy = input[start..end].to_vec();
            let at = random.below(input.len() + 1);
            input.splice(at..at, copy);
        }
        _ => {
            let copy = input[start..end].repeat(1 + random.below(32));
            input.splice(start..start, copy);
        }
    }
}

/// Another printable character, or one of those that texts forget about.
fn letter(input: &mut Vec<u8>, random: &mut Random) {
    const ODD: &[&str] =
        &["\0", "\n", "é", "\u{feff}", "\u{2028}", "🙂", "\u{7f}", "\\", "\"", "'", "`", "%", "﷽"];
    let at = random.below(input.len() + 1);
    let end = (at + random.below(2)).min(input.len());
    if random.one_in(4) {
        let odd = random.of(ODD).copied().unwrap_or(" ");
        input.splice(at..end, odd.bytes());
    } else {
        let byte = b' ' + random.below(95) as u8;
        input.splice(at..end, [byte]);
    }
}

/// Overwrites a binary field of 1, 2, 4 or 8 bytes with a number at an edge, or one near its own
/// value.
fn field(input: &mut [u8], random: &mut Random) {
    let width = 1 << random.below(4);
    if input.len() < width {
        return flip(input, random);
    }
    let mut at = random.below(input.len() - width + 1);
    if random.one_in(2) {
        at -= at % width;
    }
    let mut bytes = [0; 8];
    bytes[..width].copy_from_slice(&input[at..at + width]);
    let old = u64::from_le_bytes(bytes);
    let new = match random.below(6) {
        0 => old.wrapping_add(random.below(33) as u64).wrapping_sub(16),
        1 => old.swap_bytes(),
        2 => input.len() as u64,
        _ => random.of(FIELDS).copied().unwrap_or(0),
    };
    input[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
}
