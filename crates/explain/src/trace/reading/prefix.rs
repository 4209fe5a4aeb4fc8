//! Recordings that begin behind a cached prefix: our model computes the prefix, and what was
//! recorded is judged behind it.

use burn::tensor::Device;
use ulpscope_capture::{Activation, Activations, Trace};
use ulpscope_compare::{CompareError, NamedArm, Parts, Reference, Setting, introduced};
use ulpscope_decoder::{Accumulation, Architecture, AttentionKind, Op, Part, Role, Shape, Site};
use ulpscope_floats::Floats;
use ulpscope_record::SiteDivergence;

use super::rows_of;

/// Positions that are tried for the first row of a table.
const POSITIONS: usize = 1 << 16;

/// Rows that a trace's tensors have, where all that have rows agree; else the number of its ids.
pub(super) fn tokens(trace: &Trace, of: &Architecture, ids: usize) -> usize {
    let rows = |(name, x): (&String, &Activation)| {
        let site = of.site(name).ok()?;
        match (of.node(site).shape, &x.shape[..]) {
            (Shape::Rows(width), [1, rows, last]) if *last == width => Some(*rows),
            _ => None,
        }
    };
    let mut all = trace.activations.iter().filter_map(rows);
    match all.next() {
        Some(first) if all.all(|other| other == first) => first,
        _ => ids,
    }
}

/// The number of tokens of a cached prefix; the trace's ids then begin with the prefix's, and its
/// tensors have rows for it.
pub(super) fn complete(trace: &mut Trace, of: &Architecture) -> Result<usize, String> {
    let Some(ids) = trace.ids() else { return Ok(0) };
    let rows = tokens(trace, of, ids.len());
    let begins = first_position(trace, of, rows);
    let given = match trace.about.get("prefix_ids") {
        None => None,
        Some(text) => Some(serde_json::from_str::<Vec<u32>>(text).map_err(|_| {
            format!("its `prefix_ids` are `{text}`, where a list such as [1, 17, 250] is expected")
        })?),
    };
    let whole = match given {
        Some(prefix) if prefix.is_empty() => return Ok(0),
        Some(prefix) if rows == ids.len() => [prefix, ids].concat(),
        Some(prefix) if rows + prefix.len() == ids.len() && ids.starts_with(&prefix) => ids,
        Some(prefix) => {
            return Err(format!(
                "it holds {rows} tokens; with a prefix of {} its `ids` have to be these, or the prefix and these: they \
                 are {}",
                prefix.len(),
                ids.len()
            ));
        }
        None if rows < ids.len() && begins == Some(ids.len() - rows) => ids,
        None if rows == ids.len() && attends_before(trace, of, rows) => {
            let first = begins.filter(|first| *first > 0);
            let many = first.map_or("some".to_owned(), |first| first.to_string());
            return Err(format!(
                "it begins behind {many} tokens of a cached prefix, whose keys and values were not recorded; hand in the \
                 prefix's ids with --prefix-ids, or as `prefix_ids` in its metadata"
            ));
        }
        None => return Ok(0),
    };
    let before = whole.len() - rows;
    for site in of.sites(AttentionKind::Eager) {
        if let Some(x) = trace.activations.get_mut(&site.to_string())
            && let Some(longer) = lengthened(of, site, x, rows, before)
        {
            *x = longer;
        }
    }
    trace.about.insert("ids".to_owned(), serde_json::to_string(&whole).unwrap_or_default());
    Ok(before)
}

/// The position of the first row of a table of cosines and sines.
fn first_position(trace: &Trace, of: &Architecture, rows: usize) -> Option<usize> {
    let width = of.layers.first()?.attention.head_dim;
    let tables = of
        .tables(0)
        .map(|site| trace.activations.get(&site.to_string()).filter(|x| x.shape == of.shape(site, rows)));
    let [Some(cos), Some(sin)] = tables else { return None };
    let frequencies = of.ropes.first()?.parameters.inv_freq(width);
    let unit = cos.values.dtype().unit_roundoff();
    let fits = |position: &usize| {
        frequencies.iter().enumerate().all(|(i, frequency)| {
            let angle = f64::from(*position as f32 * frequency);
            let near = 2.0 * unit + 4.0 * f64::from(f32::EPSILON) * angle;
            (angle.cos() - cos.values.get(i)).abs() <= near && (angle.sin() - sin.values.get(i)).abs() <= near
        })
    };
    (0..POSITIONS).find(fits)
}

/// Whether the first token's attention is of more than its own value: of what stands in a cache.
fn attends_before(trace: &Trace, of: &Architecture, rows: usize) -> bool {
    let pairs = |name: &str| name.ends_with("scores") || name.ends_with("probs");
    let more = |x: &Activation| matches!(x.shape[..], [1, _, t, keys] if t == rows && keys > rows);
    if trace.activations.iter().any(|(name, x)| pairs(name) && more(x)) {
        return true;
    }
    let differs = |layer: usize| {
        let spec = of.layers[layer].attention;
        let read = |role| {
            let site = of.site_of(Part::Block(layer), of.layers[layer].place(role)?);
            trace.activations.get(&site.to_string()).filter(|x| x.shape == of.shape(site, rows))
        };
        let (value, context) = (read(Role::Value)?, read(Role::Context)?);
        let width = spec.head_dim;
        let (mut apart, mut size) = (0.0, 0.0);
        for i in 0..spec.heads * width {
            let group = i / width * spec.groups / spec.heads;
            let (v, y) = (value.values.get(group * width + i % width), context.values.get(i));
            (apart, size) = (apart + (v - y).powi(2), size + y * y + v * v);
        }
        Some(apart > 0.01 * size)
    };
    // Nothing but a cache makes this so in every layer, where the positions begin behind one, too.
    let all: Vec<bool> = (0..of.layers.len()).filter_map(differs).collect();
    let begins = first_position(trace, of, rows).is_some_and(|first| first > 0);
    begins && !all.is_empty() && all.iter().all(|differs| *differs)
}

/// An activation with rows in front that are still to be computed. `None` if it has another shape.
fn lengthened(
    of: &Architecture,
    site: Site,
    x: &Activation,
    rows: usize,
    before: usize,
) -> Option<Activation> {
    let (shape, tokens) = (of.node(site).shape, rows + before);
    let [outer, inner] = shape.blocks(tokens);
    let recorded = match shape {
        Shape::Pairs(heads) => vec![1, heads, rows, tokens],
        _ => shape.dims(rows),
    };
    if x.shape != recorded {
        return None;
    }
    let mut values = Vec::with_capacity(outer * tokens * inner);
    for block in 0..outer {
        values.extend(std::iter::repeat_n(0.0, before * inner));
        let start = block * rows * inner;
        values.extend((start..start + rows * inner).map(|i| x.values.get(i)));
    }
    Some(Activation { shape: shape.dims(tokens), values: Floats::from(values).cast(x.values.dtype()) })
}

/// Computes the rows of cached prefixes as this arm does.
pub(in crate::trace) fn fill(
    references: &mut [Reference],
    arm: &NamedArm,
    device: &Device,
) -> Result<(), CompareError> {
    filled(references, arm, false, device)
}

/// The same, of the prefix alone or as the beginning of the whole: kernels sum otherwise for other
/// numbers of rows.
fn filled(
    references: &mut [Reference],
    arm: &NamedArm,
    whole: bool,
    device: &Device,
) -> Result<(), CompareError> {
    let setting = Setting::of(arm);
    for reference in references.iter_mut().filter(|reference| reference.before > 0) {
        let mut parts = Parts::new(&arm.arm, device);
        let (tokens, before) = (reference.ids.len(), reference.before);
        let prefix = reference.ids[..if whole { tokens } else { before }].to_vec();
        let (mut state, mut own) = (None, Activations::new());
        for part in setting.architecture.parts() {
            let (next, seen) = parts.free(part, &setting, &prefix, state.take())?;
            state = Some(next);
            own.extend(seen);
        }
        if whole {
            let of = &setting.architecture;
            let cut = |(site, x)| Some((site, rows_of(of, site, &x, tokens, [0, before])?));
            own = own.into_iter().filter_map(cut).collect();
        }
        for (site, x) in &mut reference.activations {
            if let Some(own) = own.get(site) {
                in_front(&setting.architecture, *site, x, own, reference.ids.len(), reference.before);
            }
        }
    }
    Ok(())
}

/// What attention differs by where the prefix was computed in another order of summation: errors of
/// many layers, which the cache hands on.
pub(in crate::trace) fn noise(
    arm: &NamedArm,
    references: &[Reference],
    orders: &[Accumulation],
    device: &Device,
) -> Result<Vec<SiteDivergence>, CompareError> {
    let base = Setting::of(arm);
    let blocks = base.architecture.parts().into_iter().filter(|part| matches!(part, Part::Block(_)));
    let mut parts = Parts::new(&arm.arm, device);
    // In our own order, of every block and prompt: what reads the cache.
    let mut taught = Vec::new();
    for part in blocks {
        for (prompt, own) in references.iter().enumerate().filter(|(_, own)| own.before > 0) {
            let mut seen = parts.forced(part, &base, &own.ids, &own.activations)?;
            seen.retain(|site, _| reads_cache(*site) && own.judged.contains(site));
            taught.push((part, prompt, seen));
        }
    }
    let mut found = Vec::new();
    let own_order = arm.semantics.base.accumulation;
    let all = orders.iter().map(|&order| (order, false)).chain([(own_order, true)]);
    for (order, whole) in all {
        let mut other = arm.clone();
        other.semantics.base.accumulation = order;
        let mut changed = references.to_vec();
        filled(&mut changed, &other, whole, device)?;
        for (part, prompt, taught) in &taught {
            let (own, other) = (&references[*prompt], &changed[*prompt]);
            let moved = parts.forced(*part, &base, &other.ids, &other.activations)?;
            for (site, x) in taught {
                if let Some(y) = moved.get(site) {
                    let (x, y) = (own.behind(x), own.behind(y));
                    found.push(introduced(&order.to_string(), *site, *prompt, &x, &y));
                }
            }
        }
    }
    Ok(found)
}

/// Whether a site reads cached keys or values.
fn reads_cache(site: Site) -> bool {
    matches!(site.op(), Op::Scores | Op::Mix)
}

/// Puts the rows of a prefix in front.
fn in_front(
    of: &Architecture,
    site: Site,
    x: &mut Activation,
    own: &Activation,
    tokens: usize,
    before: usize,
) {
    let shape = of.node(site).shape;
    if x.shape != shape.dims(tokens) || own.shape != shape.dims(before) {
        return;
    }
    let [outer, inner] = shape.blocks(tokens);
    let hidden = if site.op() == Op::Scores { f64::NEG_INFINITY } else { 0.0 };
    let mut values = x.values.to_f64();
    for block in 0..outer {
        for token in 0..before {
            for i in 0..inner {
                let value = match shape {
                    Shape::Pairs(_) if i >= before => hidden,
                    Shape::Pairs(_) => own.values.get((block * before + token) * before + i),
                    _ => own.values.get((block * before + token) * inner + i),
                };
                values[(block * tokens + token) * inner + i] = value;
            }
        }
    }
    x.values = Floats::from(values).cast(x.values.dtype());
}
