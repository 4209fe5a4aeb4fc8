//! What a statement says, as names and numbers: nobody needs to parse its sentence.

use ulpscope_floats::Rounding;

use crate::operation::Operation;
use crate::order::Order;
use crate::place::Place;
use crate::rearrangement::Rearrangement;
use crate::relation::{Change, Relation, Zeros};
use crate::side::Side;
use crate::statement::{Description, Statement};

/// One value of a statement.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A count, an index, or yes (1) and no (0).
    Integer(i64),
    /// A measured number.
    Number(f64),
    /// A name, such as that of a format or of a side.
    Text(String),
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Value::Integer(yes.into())
    }
}

/// Names with their values, in the order of the sentence.
type Values = Vec<(&'static str, Value)>;

fn text(shown: impl ToString) -> Value {
    Value::Text(shown.to_string())
}

/// Two counts of one thing, one for each side.
fn each(names: [&'static str; 2], values: [impl Into<Value>; 2]) -> Values {
    names.into_iter().zip(values.map(Into::into)).collect()
}

/// The side that was changed, and how it was rounded first.
fn source(of: Side, rounded: Option<Rounding>) -> Values {
    let mut values = vec![("of", text(of))];
    values.extend(rounded.map(|by| ("rounding", text(by))));
    values
}

impl Statement {
    /// The rule's name: `rounded`, `quantised`, `permuted`, `low-rank-update`. It stays the same if
    /// words change.
    pub fn rule(&self) -> &'static str {
        match self {
            Statement::Exact(relation) => relation.rule(),
            Statement::Described(description) => description.rule(),
        }
    }

    /// The numbers and names that the sentence shows, each with a name of its own.
    ///
    /// `of` is the side that the other one was made of. A value that does not apply is left out.
    ///
    /// ```
    /// use ulpscope_floats::{DType, Floats};
    /// use ulpscope_relations::{Hints, Value, describe};
    ///
    /// let a = Floats::from(vec![0.1f32, 0.2, 0.3]);
    /// let statement = describe(&a, &a.cast(DType::Bf16), &[3], &Hints::default());
    /// assert_eq!(statement.rule(), "rounded");
    /// let values = statement.values();
    /// assert_eq!(values[0], ("of", Value::Text("a".to_owned())));
    /// assert_eq!(values[2], ("dtype", Value::Text("bf16".to_owned())));
    /// ```
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        match self {
            Statement::Exact(relation) => relation.values(),
            Statement::Described(description) => description.values(),
        }
    }
}

impl Relation {
    /// The rule's name, as [`Statement::rule`] gives it.
    pub fn rule(&self) -> &'static str {
        match self {
            Relation::Identical => "identical",
            Relation::SameValues => "same-values",
            Relation::Negated => "negated",
            Relation::Rounded { .. } => "rounded",
            Relation::Scaled { .. } => "scaled",
            Relation::Affine(affine) => match affine.operation {
                Operation::Times => "multiplied",
                Operation::Plus => "added",
            },
            Relation::Neighbours(_) => "rounded-to-neighbour",
            Relation::Overflowed(_) => "overflowed",
            Relation::Clamped(_) => "clamped",
            Relation::Misread(_) => "misread",
            Relation::Mapped(_) => "mapped",
            Relation::Signs { .. } => "signs",
            Relation::Rearranged(rearranged) => rearranged.by.rule(),
            Relation::Few(_) => "few-elements",
            Relation::Partial(_) => "partial",
            Relation::Grouped(_) => "grouped",
            Relation::Quantised(_) => "quantised",
        }
    }

    /// The numbers and names of the sentence, as [`Statement::values`] gives them.
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        let dtype = |to: Option<_>| to.map(|to: ulpscope_floats::DType| ("dtype", text(to)));
        match self {
            Relation::Identical | Relation::SameValues | Relation::Negated => Vec::new(),
            Relation::Rounded { by, of } => {
                [source(*of, Some(*by)), vec![("dtype", text(by.target()))]].concat()
            }
            Relation::Scaled { by, of } => vec![("of", text(of)), ("gain", (*by).into())],
            Relation::Affine(affine) => {
                let name = if affine.operation == Operation::Times { "gain" } else { "summand" };
                let constant =
                    [("of", text(affine.of)), (name, affine.by.value.into()), ("form", text(affine.by))];
                constant.into_iter().chain(dtype(affine.to)).collect()
            }
            Relation::Neighbours(found) => vec![
                ("of", text(found.of)),
                ("dtype", text(found.to)),
                ("direction", text(found.rule.name())),
                ("rounded", found.rounded.into()),
                ("farther", found.farther.into()),
            ],
            Relation::Overflowed(found) => {
                let counts = each(["count", "elements"], [found.count, found.len]);
                [source(found.of, Some(found.by)), counts].concat()
            }
            Relation::Clamped(found) => {
                let limit = vec![("limit", found.limit.into()), ("count", found.count.into())];
                [source(Side::A, found.rounded), limit].concat()
            }
            Relation::Misread(found) => vec![
                ("of", text(found.of)),
                ("written", text(found.written)),
                ("read", text(found.read)),
                ("swapped", found.swapped.into()),
            ],
            Relation::Mapped(found) => {
                vec![("of", text(found.of)), ("function", text(found.function.formula("x")))]
            }
            Relation::Signs { turned, len } => each(["turned", "elements"], [*turned, *len]),
            Relation::Rearranged(found) => [source(found.of, found.rounded), found.by.values()].concat(),
            Relation::Few(found) => {
                let counts = each(["count", "elements"], [found.changed.len(), found.len]);
                let mut values = [source(found.of, found.rounded), counts].concat();
                if let [one] = &found.changed[..] {
                    values.extend(each(["row", "column"], [one.row, one.column]));
                    values.extend(each(["from", "to"], [one.from, one.to]));
                    values.extend(one.flipped_bit().map(|bit| ("bit", Value::Integer(bit.into()))));
                }
                values
            }
            Relation::Partial(found) => {
                let counts = each(["differing", "elements"], [found.differing, found.len]);
                let source = source(found.of, found.rounded);
                [source, found.place.values(), found.change.values(), counts].concat()
            }
            Relation::Grouped(found) => {
                let ends = [f64::min, f64::max].map(|end| found.constants.iter().copied().reduce(end));
                let values = [
                    ("of", text(found.of)),
                    ("operation", text(if found.operation == Operation::Times { "times" } else { "plus" })),
                    ("groups", text(found.groups)),
                    ("constants", found.constants.len().into()),
                    ("smallest", ends[0].unwrap_or(f64::NAN).into()),
                    ("largest", ends[1].unwrap_or(f64::NAN).into()),
                    ("both-rounded", found.both.into()),
                ];
                values.into_iter().chain(dtype(found.to)).collect()
            }
            Relation::Quantised(found) => {
                let mut values = found.grid.values();
                values.push(("sqnr_db", found.sqnr_db.into()));
                values.extend(found.misfit.map(|misfit| ("sqnr_db-with-others", misfit.sqnr_db.into())));
                values
            }
        }
    }
}

impl Rearrangement {
    fn rule(&self) -> &'static str {
        match self {
            Rearrangement::Transposed { .. } => "transposed",
            Rearrangement::Permuted { .. } => "permuted",
            Rearrangement::Shards { .. } => "shards",
            Rearrangement::Shifted { .. } => "shifted",
        }
    }

    fn values(&self) -> Values {
        match self {
            Rearrangement::Transposed { rows, columns } => each(["rows", "columns"], [*rows, *columns]),
            Rearrangement::Permuted { axis, order, of } => {
                let mut values = vec![("axis", text(axis)), ("order", text(order)), ("length", (*of).into())];
                if let Order::Heads { heads, .. }
                | Order::HeadsTwice { heads, .. }
                | Order::HeadsMismatched { heads, .. } = order
                {
                    values.push(("heads", (*heads).into()));
                }
                values
            }
            Rearrangement::Shards { count, stacked } => {
                vec![("count", (*count).into()), ("stacked", (*stacked).into())]
            }
            Rearrangement::Shifted { axis, by, edge } => {
                vec![("axis", text(axis)), ("by", Value::Integer(*by as i64)), ("edge", text(edge))]
            }
        }
    }
}

impl Place {
    fn values(&self) -> Values {
        vec![("place", text(self))]
    }
}

impl Change {
    fn values(&self) -> Values {
        match self {
            Change::Zero(Zeros::Below(limit)) => vec![("change", text("zero")), ("below", (*limit).into())],
            Change::Zero(_) => vec![("change", text("zero"))],
            Change::Constant(value) => vec![("change", text("constant")), ("value", (*value).into())],
            Change::NotFinite => vec![("change", text("not-finite"))],
            Change::Moved { from, .. } => vec![("change", text("moved")), ("from", text(from))],
            Change::Mean { .. } => vec![("change", text("mean"))],
            Change::Related(relation) => vec![("change", text(relation.rule()))],
            Change::Several(parts) => vec![("change", text("several")), ("parts", parts.len().into())],
            Change::Other => vec![("change", text("other"))],
        }
    }
}

impl Description {
    /// The name of what was measured, as [`Statement::rule`] gives it.
    pub fn rule(&self) -> &'static str {
        match self {
            Description::Lengths { .. } => "lengths",
            Description::NotFinite { .. } => "not-finite",
            Description::Constant { .. } => "constant",
            Description::Ulps(_) => "ulps",
            Description::Noisy { .. } => "noisy",
            Description::Update { .. } => "low-rank-update",
            Description::Reduced { .. } => "low-rank",
            Description::Rotated { .. } => "rotated",
            Description::Aligned { .. } => "aligned",
            Description::Coded { .. } => "coded",
            Description::Unsigned { .. } => "unsigned",
            Description::Averaged { .. } => "averaged",
            Description::Except { .. } => "except",
            Description::Unrelated { .. } => "unrelated",
            Description::Correlated { .. } => "correlated",
        }
    }

    /// The numbers and names of the sentence, as [`Statement::values`] gives them.
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        let rank = |rank: usize, sampled: bool, sqnr_db: f64| {
            vec![("rank", rank.into()), ("sampled", sampled.into()), ("sqnr_db", sqnr_db.into())]
        };
        match self {
            Description::Lengths { len } => each(["elements-of-a", "elements-of-b"], *len),
            Description::NotFinite { nan, infinite, len } => {
                [each(["nan", "infinite"], [*nan, *infinite]), vec![("elements", (*len).into())]].concat()
            }
            Description::Constant { value } => vec![("value", (*value).into())],
            Description::Ulps(ulps) => vec![
                ("differing", ulps.differing.into()),
                ("elements", ulps.len.into()),
                ("ulps", Value::Integer(ulps.largest as i64)),
                ("toward-zero", ulps.toward_zero.into()),
            ],
            Description::Noisy { gain, sqnr_db, equal } => {
                [each(["gain", "sqnr_db"], [*gain, *sqnr_db]), vec![("equal", (*equal).into())]].concat()
            }
            Description::Update { rank: of, sampled, sqnr_db }
            | Description::Reduced { rank: of, sampled, sqnr_db } => rank(*of, *sampled, *sqnr_db),
            Description::Rotated { axis, apart } => vec![("axis", text(axis)), ("apart", (*apart).into())],
            Description::Aligned { by, gain, sqnr_db, grid } => {
                let mut values = vec![("order", text(by.rule()))];
                values.extend(by.values().into_iter().filter(|(name, _)| *name != "order"));
                values.extend(each(["gain", "sqnr_db"], [*gain, *sqnr_db]));
                values.extend(grid.iter().flat_map(|grid| grid.values()));
                values
            }
            Description::Coded { axis, numbers, sqnr_db } => {
                vec![("axis", text(axis)), ("numbers", (*numbers).into()), ("sqnr_db", (*sqnr_db).into())]
            }
            Description::Unsigned { by } => vec![("by", (*by).into())],
            Description::Averaged { heads, group } => each(["heads", "group"], [*heads, *group]),
            Description::Except { rest, parts } => {
                let mut values = vec![("rest", text(rest.rule())), ("parts", parts.len().into())];
                for (place, change) in parts {
                    values.extend([place.values(), change.values()].concat());
                }
                values
            }
            Description::Unrelated { correlation, rms, alike } => {
                let mut values = vec![("correlation", (*correlation).into())];
                values.extend(each(["rms-of-a", "rms-of-b"], *rms));
                values.push(("alike", (*alike).into()));
                values
            }
            Description::Correlated { correlation, sqnr_db, equal } => {
                let known = each(["correlation", "sqnr_db"], [*correlation, *sqnr_db]);
                [known, vec![("equal", (*equal).into())]].concat()
            }
        }
    }
}

impl crate::grid::Grid {
    fn values(&self) -> Values {
        let mut values =
            vec![("groups", text(self.groups)), ("code", text(self.code)), ("levels", self.levels.into())];
        if let crate::groups::Groups::Blocks(block) = self.groups {
            values.push(("block", block.into()));
        }
        values.extend(self.like().map(|like| ("like", text(like))));
        values
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::{DType, Floats};

    use super::*;
    use crate::registry::{Hints, describe};
    use crate::samples::{build, gaussian};

    fn value(statement: &Statement, name: &str) -> Option<Value> {
        statement.values().into_iter().find(|(of, _)| *of == name).map(|(_, value)| value)
    }

    fn described(a: &Floats, b: &Floats) -> Statement {
        describe(a, b, &[32, 64], &Hints { heads: &[4] })
    }

    #[test]
    fn a_rule_has_its_name_and_numbers() {
        let a = gaussian(2048, 1);
        let cast = described(&a, &a.cast(DType::Bf16));
        assert_eq!((cast.rule(), value(&cast, "dtype")), ("rounded", Some(Value::Text("bf16".into()))));
        let zero = described(&a, &build(&a, |i| if i / 64 == 9 { 0.0 } else { a.get(i) }));
        assert_eq!((zero.rule(), value(&zero, "place")), ("partial", Some(Value::Text("row 9".into()))));
        assert_eq!(value(&zero, "change"), Some(Value::Text("zero".into())));
        assert_eq!(value(&zero, "differing"), Some(Value::Integer(64)));
        let reversed = described(&a, &build(&a, |i| a.get((31 - i / 64) * 64 + i % 64)));
        assert_eq!(
            (reversed.rule(), value(&reversed, "axis")),
            ("permuted", Some(Value::Text("rows".into())))
        );
        let added = described(&a, &build(&a, |i| a.get(i) + 1.0));
        assert_eq!((added.rule(), value(&added, "summand")), ("added", Some(Value::Number(1.0))));
    }

    #[test]
    fn a_description_has_them_too() {
        let (a, other) = (gaussian(2048, 1), gaussian(2048, 2));
        let noisy = described(&a, &build(&a, |i| a.get(i) + 0.01 * other.get(i)));
        assert_eq!(noisy.rule(), "noisy");
        assert!(matches!(value(&noisy, "sqnr_db"), Some(Value::Number(db)) if (39.0..41.0).contains(&db)));
        let step = |i: usize| f64::from(0.1f32 * (a.get(i) / 0.7).round().clamp(-7.0, 7.0) as f32) * 7.0;
        let coarse = described(&a, &build(&a, step));
        assert_eq!(
            (coarse.rule(), value(&coarse, "groups")),
            ("quantised", Some(Value::Text("per tensor".into())))
        );
        let shorter = described(&a, &a.slice(0..7));
        assert_eq!((shorter.rule(), value(&shorter, "elements-of-b")), ("lengths", Some(Value::Integer(7))));
        assert_eq!(described(&a, &other).rule(), "unrelated");
    }
}
