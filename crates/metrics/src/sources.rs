//! Tensors that are found under another name: swapped, moved, tied, untied.

use std::collections::HashMap;
use std::fmt;

/// A tensor, known by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What [`digest`](crate::digest) says of its values.
    pub digest: u128,
}

/// Where the content of a tensor of `b` is found in `a`, if not under its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Two tensors have each other's content.
    Swapped {
        /// The one that comes first in `b`.
        one: String,
        /// The other.
        other: String,
    },
    /// A tensor has the content of another, which is unchanged: a head that was tied, a layer that
    /// was doubled.
    Copied {
        /// The tensor of `b`.
        name: String,
        /// Whose content it has, in `a` and in `b`.
        of: String,
    },
    /// A tensor has the content of another, which itself is different now or gone: renamed, or
    /// layers off by one.
    Moved {
        /// The tensor of `b`.
        name: String,
        /// Whose content it has, in `a`.
        from: String,
    },
    /// A tensor that equals another in `a` no longer does: a head that is not tied.
    Untied {
        /// The tensor of `b` that changed.
        name: String,
        /// The one it was equal to, which is unchanged.
        from: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Swapped { one, other } => write!(f, "{one} and {other} are swapped"),
            Origin::Copied { name, of } => write!(f, "b's {name} is a copy of {of}"),
            Origin::Moved { name, from } => write!(f, "b's {name} is a's {from}"),
            Origin::Untied { name, from } => write!(f, "{name} equals {from} in a, not in b"),
        }
    }
}

/// Finds tensors of `b` that differ from those of the same name in `a`, and whose content `a` has
/// elsewhere.
///
/// All tensors of both sides are expected, the equal ones too: whether a source is still in its
/// place decides on what is said. Contents are compared by digest and shape; where several tensors
/// of `a` have one content, the first is named. Values that were also rounded are found if the
/// digests in `a` are those of rounded values.
///
/// ```
/// use ulpscope_metrics::{Fingerprint, origins};
///
/// let tensor = |name: &str, digest| Fingerprint { name: name.to_owned(), shape: vec![2, 2], digest };
/// let a = [tensor("q_proj", 1), tensor("k_proj", 2), tensor("v_proj", 3)];
/// let b = [tensor("q_proj", 2), tensor("k_proj", 1), tensor("v_proj", 3)];
/// assert_eq!(origins(&a, &b)[0].to_string(), "q_proj and k_proj are swapped");
/// ```
pub fn origins(a: &[Fingerprint], b: &[Fingerprint]) -> Vec<Origin> {
    let named = |side: &'_ [Fingerprint]| -> HashMap<String, (u128, Vec<usize>)> {
        side.iter().map(|t| (t.name.clone(), (t.digest, t.shape.clone()))).collect()
    };
    let (in_a, in_b) = (named(a), named(b));
    let mut holders: HashMap<(u128, &[usize]), Vec<&str>> = HashMap::new();
    for t in a {
        holders.entry((t.digest, &t.shape)).or_default().push(&t.name);
    }
    let mut found = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for t in b.iter().filter(|t| in_a.get(&t.name) != Some(&(t.digest, t.shape.clone()))) {
        if done.contains(&t.name.as_str()) {
            continue;
        }
        let holding = holders.get(&(t.digest, &t.shape[..])).map_or(&[][..], Vec::as_slice);
        // Of several, one that now holds what this one held: the other half of a swap.
        let was = in_a.get(&t.name);
        let swapped = holding.iter().find(|from| was.is_some() && in_b.get(**from) == was);
        if let Some(other) = swapped {
            done.push(other);
            found.push(Origin::Swapped { one: t.name.clone(), other: (*other).to_owned() });
        } else if let Some(from) = holding.first() {
            let (name, from) = (t.name.clone(), (*from).to_owned());
            let stayed = in_b.get(&from) == in_a.get(&from);
            found.push(if stayed { Origin::Copied { name, of: from } } else { Origin::Moved { name, from } });
        } else if let Some((digest, shape)) = was {
            let twins = holders.get(&(*digest, &shape[..])).map_or(&[][..], Vec::as_slice);
            let twin = twins.iter().find(|twin| **twin != t.name && in_b.get(**twin) == was);
            found.extend(twin.map(|from| Origin::Untied { name: t.name.clone(), from: (*from).to_owned() }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(digests: &[(&str, u128)]) -> Vec<Fingerprint> {
        let tensor = |(name, digest): &(&str, u128)| Fingerprint {
            name: (*name).to_owned(),
            shape: vec![4, 4],
            digest: *digest,
        };
        digests.iter().map(tensor).collect()
    }

    fn said(a: &[(&str, u128)], b: &[(&str, u128)]) -> Vec<String> {
        origins(&model(a), &model(b)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn swaps_moves_and_ties() {
        let a = [("embed", 1), ("l0", 10), ("l1", 11), ("l2", 12), ("head", 2)];
        assert!(said(&a, &a).is_empty());
        let swapped = [("embed", 1), ("l0", 11), ("l1", 10), ("l2", 12), ("head", 2)];
        assert_eq!(said(&a, &swapped), ["l0 and l1 are swapped"]);
        let shifted = [("embed", 1), ("l0", 11), ("l1", 12), ("l2", 99), ("head", 2)];
        assert_eq!(said(&a, &shifted), ["b's l0 is a's l1", "b's l1 is a's l2"]);
        let tied = [("embed", 1), ("l0", 10), ("l1", 11), ("l2", 12), ("head", 1)];
        assert_eq!(said(&a, &tied), ["b's head is a copy of embed"]);
        assert_eq!(said(&tied, &a), ["head equals embed in a, not in b"]);
        let renamed = [("embed", 1), ("l0", 10), ("l1", 11), ("layer2", 12), ("head", 2)];
        assert_eq!(said(&a, &renamed), ["b's layer2 is a's l2"]);
    }

    #[test]
    fn what_is_new_has_no_origin() {
        let a = [("x", 1), ("y", 2)];
        assert!(said(&a, &[("x", 3), ("y", 4)]).is_empty());
        let mut b = model(&[("x", 2), ("y", 2)]);
        b[0].shape = vec![2, 8];
        assert!(origins(&model(&a), &b).is_empty());
    }

    #[test]
    fn equal_norms_are_not_mixed_up() {
        // Three norms of ones; one of them changed to something else, another to its old content.
        let a = [("n0", 1), ("n1", 1), ("n2", 5)];
        assert_eq!(said(&a, &[("n0", 7), ("n1", 1), ("n2", 5)]), ["n0 equals n1 in a, not in b"]);
        assert_eq!(said(&a, &[("n0", 5), ("n1", 1), ("n2", 1)]), ["n0 and n2 are swapped"]);
    }
}
