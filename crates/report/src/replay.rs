//! The command that repeats a run.

use ulpscope_record::text::unprintable;
use ulpscope_record::{Arm, Prompt, RunRecord, Settings};

/// Characters of a prompt that a command line is still readable with.
const TEXT: usize = 400;
/// Token ids that a command line is still readable with.
const IDS: usize = 1000;

/// The command line that asks the same again, for a POSIX shell; none where it would be unreadably
/// long.
pub(crate) fn command(record: &RunRecord) -> Option<String> {
    let [a, b, more @ ..] = &record.arms[..] else { return None };
    let traces = &record.settings.traces;
    let explained = record.explanation.is_some() || !traces.is_empty();
    let question = if explained { "explain" } else { "compare" };
    let mut words = vec!["ulpscope".to_owned(), question.to_owned()];
    let (first, others) = record.settings.models.split_first()?;
    let (model, fallbacks) = first.split_first()?;
    words.push(quoted(model)?);
    for other in others.iter().filter_map(|sources| sources.first()) {
        words.push(quoted(other)?);
    }
    let mut add = |flag: &str, value: &str| {
        words.extend([flag.to_owned(), quoted(value)?]);
        Some(())
    };
    for fallback in fallbacks {
        add("--fallback", fallback)?;
    }
    if traces.is_empty() {
        add("--a", &spec(a))?;
        add("--b", &spec(b))?;
    } else {
        add("--recipe", &spec(b))?;
    }
    for trace in traces {
        add("--trace", trace)?;
    }
    for arm in more {
        add("--arm", &format!("{}={}", arm.name, spec(arm)))?;
    }
    if record.settings.sites != "*" {
        add("--sites", &record.settings.sites)?;
    }
    if record.settings.device != "flex" {
        add("--device", &record.settings.device)?;
    }
    if let Some(continued) = record.settings.continued.filter(|continued| *continued != Settings::CONTINUED) {
        add("--continue", &continued.to_string())?;
    }
    for prompt in record.prompts.iter().filter(|_| traces.is_empty()) {
        let (flag, value) = of_prompt(prompt)?;
        add(flag, &value)?;
    }
    Some(words.join(" "))
}

/// An arm as it is written on the command line.
fn spec(arm: &Arm) -> String {
    let order = Some(&arm.accumulation).filter(|order| *order != "device");
    let parts = [&arm.recipe, &arm.attention].into_iter().chain(order).chain(&arm.variants);
    parts.map(String::as_str).collect::<Vec<_>>().join("@")
}

fn of_prompt(prompt: &Prompt) -> Option<(&'static str, String)> {
    let plain = |text: &&String| text.chars().count() <= TEXT && !text.chars().any(unprintable);
    if let Some(text) = prompt.text.as_ref().filter(plain) {
        return Some(("--prompt", text.clone()));
    }
    let ids: Vec<String> = prompt.ids.iter().map(u32::to_string).collect();
    (ids.len() <= IDS).then(|| ("--ids", ids.join(",")))
}

/// A word for a shell; none for what cannot be a word on one line.
fn quoted(word: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    match word {
        _ if word.chars().any(unprintable) => None,
        _ if !word.is_empty() && word.chars().all(plain) => Some(word.to_owned()),
        _ => Some(format!("'{}'", word.replace('\'', r"'\''"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> RunRecord {
        RunRecord::from_json(include_str!("../../record/tests/small.json")).unwrap()
    }

    #[test]
    fn the_small_run_again() {
        assert_eq!(
            command(&small()).unwrap(),
            "ulpscope compare org/small --fallback tests/fixtures/tiny-llama --a 'load(bf16)@eager@exact' \
             --b 'load(f32).to(bf16)@eager@exact' --prompt 'Gravity is'"
        );
    }

    #[test]
    fn traces_bring_their_prompts() {
        let mut run = small();
        run.settings.traces = vec!["their trace".into()];
        assert_eq!(
            command(&run).unwrap(),
            "ulpscope explain org/small --fallback tests/fixtures/tiny-llama --recipe 'load(f32).to(bf16)@eager@exact' \
             --trace 'their trace'"
        );
    }

    #[test]
    fn a_prompt_cannot_run_anything() {
        let mut run = small();
        run.prompts[0].text = Some("'; rm -rf ~; $(x) `y`".into());
        assert!(command(&run).unwrap().ends_with(r"--prompt ''\''; rm -rf ~; $(x) `y`'"));
        run.prompts[0].text = Some("a\nb".into());
        assert!(command(&run).unwrap().ends_with("--ids 22007,6463,314"));
        run.prompts[0].ids = vec![7; 5000];
        assert_eq!(command(&run), None);
    }
}
