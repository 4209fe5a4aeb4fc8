//! What happens in several layers in the same way.

/// The name of a tensor or site with its layer left open.
pub(crate) fn class(name: &str) -> String {
    let parts: Vec<&str> =
        name.split('.').map(|part| if part.parse::<usize>().is_ok() { "*" } else { part }).collect();
    parts.join(".")
}

/// Whether what happened in so many of a model's layers in the same way happened once.
pub(crate) fn together(count: usize, layers: usize) -> bool {
    count > 2 || (count == 2 && layers == 2)
}

/// Items with the same key, together, in the order of the first of each.
pub(crate) fn by_key<T, K: PartialEq>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<Vec<T>> {
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    for item in items {
        let key = key(&item);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(item),
            None => groups.push((key, vec![item])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Numbers in words: `3, 7 to 9`. Of many runs, the first.
pub(crate) fn ranges(numbers: impl IntoIterator<Item = usize>) -> String {
    const SHOWN: usize = 6;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for n in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => runs.push((n, n)),
        }
    }
    let said = |&(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    };
    let shown: Vec<String> = runs.iter().take(SHOWN).map(said).collect();
    shown.join(", ") + if runs.len() > SHOWN { ", …" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_in_runs() {
        assert_eq!(ranges([3]), "3");
        assert_eq!(ranges([0, 1, 4, 7, 8, 9]), "0, 1, 4, 7 to 9");
        assert_eq!(ranges((0..20).map(|n| 2 * n)), "0, 2, 4, 6, 8, 10, …");
    }
}
