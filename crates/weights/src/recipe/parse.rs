//! Reading a recipe, and saying where it goes wrong.

use std::fmt;
use std::str::FromStr;

use super::{LoadDType, Recipe, Step, cast, load};
use crate::suggest::nearest;

/// Why a text is no recipe, with the place marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeError {
    /// What is wrong, and what would be right.
    pub message: String,
    /// Where the offending part begins, in characters, from 1.
    pub column: usize,
    /// The text, cut to the neighbourhood of the column if it is long.
    excerpt: String,
    /// Characters of the excerpt before the mark.
    before: usize,
    /// Characters marked.
    width: usize,
}

impl std::error::Error for RecipeError {}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "recipe, column {}: {}", self.column, self.message)?;
        writeln!(f, "    {}", self.excerpt)?;
        write!(f, "    {}{}", " ".repeat(self.before), "^".repeat(self.width))
    }
}

/// Characters shown on either side of the mark.
const AROUND: usize = 36;

impl RecipeError {
    /// Marks `text[start..end]`; an empty range marks the character there, or the end of the text.
    fn at(text: &str, start: usize, end: usize, message: String) -> Self {
        let before = text[..start].chars().count();
        let marked = text[start..end].chars().count().clamp(1, AROUND);
        let skipped = before.saturating_sub(AROUND);
        let shown = (before - skipped) + marked + AROUND;
        let visible = |c: char| if c.is_control() { '·' } else { c };
        let mut excerpt: String = text.chars().skip(skipped).take(shown).map(visible).collect();
        let mut before_shown = before - skipped;
        if skipped > 0 {
            excerpt.insert(0, '…');
            before_shown += 1;
        }
        if text.chars().count() > skipped + shown {
            excerpt.push('…');
        }
        RecipeError { message, column: before + 1, excerpt, before: before_shown, width: marked }
    }
}

impl FromStr for Recipe {
    type Err = RecipeError;

    /// Reads `load(DTYPE)` followed by any number of `.to(DTYPE)`, `.half()`, `.bfloat16()`,
    /// `.float()`, `.double()`. A DTYPE is `f64`, `f32`, `bf16`, `f16` or PyTorch's name for one;
    /// `load` also takes `auto`.
    fn from_str(text: &str) -> Result<Self, RecipeError> {
        let mut steps = Vec::new();
        let mut at = text.len() - text.trim_start().len();
        let end = text.trim_end().len().max(at);
        loop {
            let (step, after) = call(text, at, end, steps.is_empty())?;
            steps.push(step);
            if after == end {
                return Ok(Recipe { steps });
            }
            if !text[after..end].starts_with('.') {
                let message = "expected `.` and another call, or the end".to_owned();
                return Err(RecipeError::at(text, after, end, message));
            }
            at = after + 1;
        }
    }
}

/// Reads one call from `text[at..end]`; returns it and where it ends.
fn call(text: &str, at: usize, end: usize, first: bool) -> Result<(Step, usize), RecipeError> {
    let error = |from: usize, to: usize, message: String| Err(RecipeError::at(text, from, to, message));
    let rest = &text[at..end];
    let name_end = at + rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let name = &text[at..name_end];
    let named = cast::NAMED.iter().find(|(known, _)| *known == name);
    let known = name == load::CALL || name == cast::TO || named.is_some();

    if name.is_empty() {
        let expected = if first { "`load(DTYPE)`, which every recipe begins with" } else { CALLS };
        return error(at, at, format!("expected {expected}"));
    }
    if !known {
        let calls = [load::CALL, cast::TO].into_iter().chain(cast::NAMED.iter().map(|(n, _)| *n));
        let hint =
            nearest(name, calls).map_or_else(|| ".".to_owned(), |near| format!("; did you mean `{near}`?"));
        return error(
            at,
            name_end,
            format!("unknown call `{}`{hint} Known are load(DTYPE), {CALLS}", shorten(name)),
        );
    }
    if first != (name == load::CALL) {
        let message = match first {
            true => {
                format!("a recipe begins with `load(DTYPE)`, not with `{name}`: write load(f32).{name}(…)")
            }
            false => "`load` can only be the first call; use `.to(DTYPE)` to cast what is loaded".to_owned(),
        };
        return error(at, name_end, message);
    }
    if !text[name_end..end].starts_with('(') {
        let what = if named.is_some() { format!("`{name}()`") } else { format!("`{name}(DTYPE)`") };
        return error(name_end, name_end, format!("expected `(`: the call is {what}"));
    }
    let open = name_end + 1;
    let Some(length) = text[open..end].find(')') else {
        return error(name_end, name_end, format!("the `(` of `{name}` is never closed"));
    };
    let close = open + length;
    let argument = text[open..close].trim();
    let step = match named {
        Some((_, step)) if argument.is_empty() => *step,
        Some(_) => {
            return error(
                open,
                close,
                format!("`{name}()` takes no argument; use `.to(DTYPE)` to name a dtype"),
            );
        }
        None if first => match argument.parse::<LoadDType>() {
            Ok(dtype) => Step::Load(dtype),
            Err(_) => return error(open, close, unknown_dtype(argument, &["auto"])),
        },
        None => match argument.parse() {
            Ok(dtype) => Step::To(dtype),
            Err(_) if argument == "auto" => {
                let message =
                    "`auto` is only known to `load`; name a dtype: f64, f32, bf16 or f16".to_owned();
                return error(open, close, message);
            }
            Err(_) => return error(open, close, unknown_dtype(argument, &[])),
        },
    };
    Ok((step, close + 1))
}

const CALLS: &str = ".to(DTYPE), .half(), .bfloat16(), .float() or .double()";

fn unknown_dtype(argument: &str, more: &[&str]) -> String {
    let short = ["f64", "f32", "bf16", "f16"];
    let long = ["float64", "float32", "bfloat16", "float16"];
    let known = short.iter().chain(more).copied().collect::<Vec<_>>();
    let list = known.join(", ");
    if argument.is_empty() {
        return format!("the dtype is missing; known are {list} (PyTorch's names are accepted too)");
    }
    let bare = argument.strip_prefix("torch.").unwrap_or(argument);
    let near = nearest(bare, known.iter().copied().chain(long));
    let hint = near.map_or_else(|| ".".to_owned(), |near| format!("; did you mean `{near}`?"));
    format!("unknown dtype `{}`{hint} Known are {list} (PyTorch's names are accepted too)", shorten(argument))
}

fn shorten(s: &str) -> String {
    let visible = |c: char| if c.is_control() { '·' } else { c };
    if s.chars().count() <= 40 {
        s.chars().map(visible).collect()
    } else {
        s.chars().take(39).map(visible).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ulpscope_fuzzing::Target;

    fn error(text: &str) -> RecipeError {
        text.parse::<Recipe>().expect_err(text)
    }

    #[test]
    fn pytorchs_spellings_are_accepted_and_printed_short() {
        for (text, printed) in [
            ("load(bf16)", "load(bf16)"),
            ("load(torch.bfloat16)", "load(bf16)"),
            ("load(auto).half()", "load(auto).half()"),
            (
                "load(float32).to(torch.float16).bfloat16().float().double()",
                "load(f32).to(f16).bfloat16().float().double()",
            ),
            (" load( f32 ).to( double ) ", "load(f32).to(f64)"),
        ] {
            assert_eq!(text.parse::<Recipe>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn errors_name_the_call_and_its_column() {
        for (text, column, part) in [
            ("", 1, "load(DTYPE)"),
            ("   ", 4, "load(DTYPE)"),
            ("load", 5, "expected `(`"),
            ("load(int8)", 6, "unknown dtype `int8`"),
            ("load()", 6, "dtype is missing"),
            ("load(f32).to(int8)", 14, "unknown dtype `int8`"),
            ("load(f32).to(auto)", 14, "`auto`"),
            ("load(f32).to()", 14, "dtype is missing"),
            ("load(f32).quantize(4)", 11, "unknown call `quantize`"),
            ("load(f32).halv()", 11, "did you mean `half`?"),
            ("load(f32).to(bfloat)", 14, "did you mean `bfloat16`?"),
            ("to(bf16)", 1, "begins with `load(DTYPE)`"),
            ("load(f32).load(bf16)", 11, "only be the first call"),
            ("load(f32)..half()", 11, "expected .to(DTYPE)"),
            ("load(f32).", 11, "expected .to(DTYPE)"),
            ("load(f32).to(bf16", 13, "never closed"),
            ("load(f32).half(f16)", 16, "takes no argument"),
            ("load(f32).half", 15, "expected `(`"),
            ("load(f32) to(bf16)", 10, "expected `.`"),
            ("load(f32).half()!", 17, "expected `.`"),
            ("load(f32)。half()", 10, "expected `.`"),
            ("lädt(f32)", 1, "unknown call `lädt`"),
            ("load(f32).größer()", 11, "unknown call `größer`"),
            ("🙂", 1, "expected `load(DTYPE)`"),
        ] {
            let error = error(text);
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.message.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_caret_stands_under_the_call() {
        let text = error("load(f32).quantize(4).half()").to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "    load(f32).quantize(4).half()");
        assert_eq!(lines[2], "              ^^^^^^^^");
    }

    #[test]
    fn long_and_hostile_texts_give_short_messages() {
        for text in [
            "x".repeat(10_000),
            format!("load({})", "é".repeat(10_000)),
            format!("load(f32){}", ".half()".repeat(2_000) + "§"),
        ] {
            let message = error(&text).to_string();
            assert!(message.chars().count() < 600, "{}", message.len());
            assert_eq!(message.lines().count(), 3);
        }
        assert_eq!(error("load(f32)\n.half()").to_string().lines().count(), 3);
    }

    fn recipes() -> impl Strategy<Value = Recipe> {
        let loads = prop::sample::select(vec![
            LoadDType::F64,
            LoadDType::F32,
            LoadDType::Bf16,
            LoadDType::F16,
            LoadDType::Auto,
        ]);
        let casts = prop::sample::select(vec![
            Step::Half,
            Step::Bfloat16,
            Step::Float,
            Step::Double,
            Step::To(ulpscope_floats::DType::F64),
            Step::To(ulpscope_floats::DType::F32),
            Step::To(ulpscope_floats::DType::Bf16),
            Step::To(ulpscope_floats::DType::F16),
        ]);
        (loads, prop::collection::vec(casts, 0..8)).prop_map(|(first, rest)| {
            let mut recipe = Recipe::load(first);
            recipe.steps.extend(rest);
            recipe
        })
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(recipe in recipes()) {
            prop_assert_eq!(recipe.to_string().parse::<Recipe>().unwrap(), recipe);
        }

        #[test]
        fn no_text_panics(text in "[a-z0-9().\\PC\n]{0,60}") {
            if let Err(e) = text.parse::<Recipe>() {
                prop_assert!(e.to_string().lines().count() == 3);
            }
        }

        #[test]
        fn damaged_recipes_never_panic(recipe in recipes(), at in 0usize..60, with in any::<char>()) {
            let mut text: Vec<char> = recipe.to_string().chars().collect();
            let at = at.min(text.len() - 1);
            text[at] = with;
            let text: String = text.into_iter().collect();
            if let Ok(parsed) = text.parse::<Recipe>() {
                prop_assert_eq!(parsed.to_string().parse::<Recipe>().unwrap(), parsed);
            }
        }
    }

    #[test]
    fn fuzz_recipe() {
        Target::new("recipe", env!("CARGO_MANIFEST_DIR"))
            .seed("load(bf16)")
            .seed(" load( torch.float32 ).to(torch.bfloat16).half().float().double().bfloat16()")
            .words(&["load", ".to(", ".half()", "auto", "bf16", "f16", "torch.", "(", ")", ".", "float8"])
            .text()
            .run(|input| {
                let text = String::from_utf8_lossy(input);
                match text.parse::<Recipe>() {
                    Ok(recipe) => {
                        assert_eq!(recipe.to_string().parse().as_ref(), Ok(&recipe));
                        Ok(format!("{} steps", "x".repeat(recipe.steps.len().min(9))))
                    }
                    Err(error) => {
                        let lines = error.to_string();
                        assert!(lines.lines().count() == 3 && lines.chars().count() < 600, "{lines}");
                        Err(error.message)
                    }
                }
            });
    }
}
