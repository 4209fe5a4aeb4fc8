//! The causes that can be named, one file each.
//!
//! [`registry!`] is the one list of them: a cause that is not in it does not compile into anything.

/// Declares the causes of one folder: a module for each, its `CAUSE` under the name, and `ALL` of them.
macro_rules! registry {
    ($($name:ident = $module:ident;)*) => {
        $(mod $module;)*
        $(pub(crate) static $name: &super::CauseKind = &$module::CAUSE;)*
        pub(in crate::causes) static ALL: &[&super::CauseKind] = &[$(&$module::CAUSE),*];
    };
}

mod arithmetic;
mod operations;
mod settings;
mod weights;

pub(crate) use self::{arithmetic::*, operations::*, settings::*, weights::*};

pub use ulpscope_record::Severity;

/// One cause that can be named.
#[derive(Debug)]
#[non_exhaustive]
pub struct CauseKind {
    /// Its name in records.
    pub id: &'static str,
    /// Its name in sentences.
    pub title: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// Whether it is a mistake or a choice.
    pub severity: Severity,
    /// What is exchanged together.
    pub scope: Scope,
}

/// Causes are equal by their name.
impl PartialEq for CauseKind {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// What a cause is exchanged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each tensor is a cause of its own.
    PerTensor,
    /// It happens to tensors as a class, so that all of them are one cause.
    PerClass,
}

impl CauseKind {
    /// Whether somebody has to mend it.
    pub fn is_defect(&self) -> bool {
        self.severity == Severity::Defect
    }
}

/// Every cause that can be named, for listings.
pub fn all() -> Vec<&'static CauseKind> {
    [settings::ALL, weights::ALL, arithmetic::ALL, operations::ALL].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_say_what_to_do() {
        let all = all();
        for (i, cause) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other.id != cause.id), "{}", cause.id);
            assert!(!cause.title.is_empty() && cause.remedy.ends_with('.'), "{}", cause.id);
            assert!(cause.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }
}
