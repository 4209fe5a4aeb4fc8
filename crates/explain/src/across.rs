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
