//! "Did you mean": names near to one that is not known, and patterns that match none.

use anyhow::{Result, bail};
use ulpscope_capture::Pattern;
use ulpscope_decoder::{Accumulation, Architecture, AttentionKind, Site, Variant};

/// So many names are offered.
const OFFERED: usize = 3;

/// Longer patterns than this get no suggestion: nobody mistypes them, and looking takes their
/// length times that of all names.
const LONGEST: usize = 200;

/// `; did you mean …?` for what stands behind an `@` and is no variant, or nothing.
pub(crate) fn arithmetic(part: &str) -> String {
    let orders = Accumulation::ALL.map(|order| order.to_string());
    let known = orders.iter().map(String::as_str).chain(["eager", "sdpa"]);
    offer(near(part, known).first().map(|name| format!("@{name}")))
}

/// `; did you mean …?` for one of some names, or nothing.
pub(crate) fn name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    offer(near(name, known).first().map(|&name| name.to_owned()))
}

/// `; did you mean …?` for a variant `CLASS=VALUE` or `CLASS=VALUE[BLOCKS]`, or nothing.
pub(crate) fn variant(part: &str) -> String {
    let (name, blocks) = part.split_at(part.find('[').unwrap_or(part.len()));
    let known: Vec<String> = Variant::all().map(|variant| variant.to_string()).collect();
    let nearest = near(name, known.iter().map(String::as_str)).first().map(|name| format!("@{name}{blocks}"));
    // One that is known is refused for another reason.
    offer(nearest.filter(|nearest| *nearest != format!("@{part}")))
}

fn offer(name: Option<String>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Refuses a pattern of `--sites` that matches no site of the first arm that another one has, too.
/// Gives the parts of the pattern that match none, if others do.
pub(crate) fn sites(
    pattern: &Pattern,
    arms: &[(&Architecture, AttentionKind)],
    model: &str,
) -> Result<Vec<String>> {
    let Some((first, others)) = arms.split_first() else { return Ok(Vec::new()) };
    if *pattern == Pattern::all() {
        return Ok(Vec::new());
    }
    let mut sites = first.0.sites(first.1);
    if !others.is_empty() {
        let theirs: Vec<Vec<Site>> = others.iter().map(|(of, kind)| of.sites(*kind)).collect();
        sites.retain(|site| theirs.iter().any(|theirs| theirs.contains(site)));
    }
    if !sites.iter().any(|site| pattern.matches(*site)) {
        let eager = first.0.sites(AttentionKind::Eager);
        if eager.iter().any(|site| pattern.matches(*site)) {
            bail!("--sites {pattern}: only eager attention has such sites; add --attention eager");
        }
        let names: Vec<String> = eager.iter().map(Site::to_string).collect();
        bail!(
            "--sites {pattern}: no site matches{}; `ulpscope sites {model}` lists them",
            alike(&pattern.to_string(), &names)
        );
    }
    let unmatched = |part: &str| {
        let part = part.parse::<Pattern>().ok();
        part.is_some_and(|part| !sites.iter().any(|site| part.matches(*site)))
    };
    Ok(pattern.to_string().split(',').map(str::trim).filter(|p| unmatched(p)).map(str::to_owned).collect())
}

/// `, near it: …` with names that some part of a pattern nearly matches, or nothing.
pub(crate) fn alike(pattern: &str, names: &[String]) -> String {
    let near = pattern.split(',').flat_map(|part| near(part.trim(), names.iter().map(String::as_str)));
    let near: Vec<String> = near.take(OFFERED).map(|name| format!("`{name}`")).collect();
    if near.is_empty() { String::new() } else { format!(", near it: {}", near.join(", ")) }
}

/// Known names that a glob would match after a few slips of the pen were mended, the nearest first
/// and otherwise in their order.
fn near<'a>(glob: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let letters = glob.bytes().filter(|c| *c != b'*').count();
    if glob.len() > LONGEST || letters == 0 {
        return Vec::new();
    }
    // Two letters in each other's place are two slips.
    let limit = letters.div_ceil(3).min(8);
    let mut found: Vec<(usize, &str)> =
        known.into_iter().map(|name| (distance(glob.as_bytes(), name.as_bytes()), name)).collect();
    found.retain(|(distance, _)| *distance <= limit);
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().map(|(_, name)| name).collect()
}

/// Levenshtein's distance in bytes from the nearest name that the glob matches: `*` takes any
/// number of characters at no cost, `?` any one.
fn distance(glob: &[u8], name: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for &g in glob {
        let mut diagonal = row[0];
        row[0] += usize::from(g != b'*');
        for (j, &n) in name.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if g == b'*' {
                above.min(row[j])
            } else {
                (diagonal + usize::from(g != n && g != b'?')).min(above + 1).min(row[j] + 1)
            };
            diagonal = above;
        }
    }
    row[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_from_globs() {
        for (glob, name, expected) in [
            ("lm_head", "lm_head", 0),
            ("lm_hed", "lm_head", 1),
            ("*", "anything", 0),
            ("model.layer.*", "model.layers.0.mlp", 1),
            ("*.qproj", "model.layers.3.self_attn.q_proj", 1),
            ("a?c", "abc", 0),
            ("", "abc", 3),
            ("abc", "", 3),
        ] {
            assert_eq!(distance(glob.as_bytes(), name.as_bytes()), expected, "{glob} {name}");
        }
    }

    #[test]
    fn names_are_offered_nearest_first() {
        let names = ["model.norm", "lm_head", "model.layers.0"].map(str::to_owned);
        assert_eq!(alike("lm_hed", &names), ", near it: `lm_head`");
        assert_eq!(alike("model.layer.*", &names), ", near it: `model.layers.0`");
        assert_eq!(alike("xyz", &names), "");
        assert_eq!(alike(&"l".repeat(500), &names), "");
    }

    #[test]
    fn help_lists_the_orders_that_are_offered() {
        use clap::CommandFactory;
        let mut command = crate::args::Args::command();
        let help = command.find_subcommand_mut("compare").unwrap().render_long_help().to_string();
        for order in Accumulation::ALL {
            let name = order.to_string().replace("(4)", "(N)");
            assert!(help.contains(&format!("`{name}`")), "{name}");
        }
    }
}
