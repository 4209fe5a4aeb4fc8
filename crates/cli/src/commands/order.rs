//! `ulpscope order`: in which order a matrix product adds.

use std::fmt::Write;

use anyhow::{Result, bail};
use burn::tensor::{Device, Tensor};
use serde_json::json;
use ulpscope_floats::{DType, Floats};
use ulpscope_kernels::{
    Accumulation, Masks, PackedWeight, Recovered, bridge, declared, linear, owns, recognise, recover,
};

use crate::args::{Multiplier, OrderArgs};
use crate::commands::{Outcome, print, print_json};
use crate::device;
use crate::progress::Talk;

/// Rows that are put in every place of the product, to see whether the place matters.
const PLACES: usize = 16;
/// The largest operand or result, in elements.
const LARGEST: usize = 1 << 28;

pub(crate) fn run(args: &OrderArgs, talk: &Talk) -> Result<Outcome> {
    if args.dtype == DType::F64 {
        bail!("--dtype f64: there is no wider format to count the lost ones in; use bf16, f16 or f32");
    }
    let (m, n, k) = (args.m, args.n, args.k);
    if m == 0 || n == 0 || [(m, k), (n, k), (m, n)].iter().any(|(a, b)| a.saturating_mul(*b) > LARGEST) {
        bail!(
            "-m {m} -n {n} -k {k}: rows and columns are at least 1, and no matrix has more than 2^28 elements"
        );
    }
    let (device, threads) = device::open(&args.device)?;
    let default = if owns(&device) { Multiplier::Ours } else { Multiplier::Device };
    let product = match args.kernel.unwrap_or(default) {
        Multiplier::Ours if !owns(&device) => {
            bail!("--kernel ours: our kernels compute on flex, not on {}", args.device.device)
        }
        Multiplier::Ours => Product {
            args,
            declared: Some(args.accumulation.unwrap_or(Accumulation::of(args.dtype))),
            device,
        },
        Multiplier::Device if args.accumulation.is_some() => {
            bail!("--accumulation: a device's own product has no order that could be asked for")
        }
        Multiplier::Device => Product { args, declared: None, device },
    };
    let stage = talk.stage("adding");
    let found = product.probe()?;
    drop(stage);
    if args.json {
        print_json(&found.json(&product, threads))?;
    } else {
        print(&found.text(&product))?;
    }
    match product.declared {
        Some(order) if !found.names.contains(&order) => {
            bail!("the kernels do not add in the order that they declare: {order}")
        }
        _ => Ok(Outcome::Done),
    }
}

/// The product in question.
struct Product<'a> {
    args: &'a OrderArgs,
    /// The order asked of our kernels; `None` where the device multiplies.
    declared: Option<Accumulation>,
    device: Device,
}

/// What was found about it.
struct Found {
    order: Recovered,
    names: Vec<Accumulation>,
    /// Whether every element of the product adds alike, as far as probes tell; if not, `order` is
    /// of the first.
    alike: bool,
    /// Elements of a product of random numbers that have the bits of the tree, and elements in all.
    checked: Option<(usize, usize)>,
}

impl Product<'_> {
    /// Our kernels give the sum in f32, whatever goes in.
    fn output(&self) -> DType {
        if self.declared.is_some() { DType::F32 } else { self.args.dtype }
    }

    fn name(&self) -> String {
        match self.declared {
            Some(order) => format!("{}, declared {order}", ulpscope_kernels::name(&self.device)),
            None => "burn, in the device's own order".to_owned(),
        }
    }

    fn probe(&self) -> Result<Found> {
        let OrderArgs { m, n, k, .. } = *self.args;
        if k == 0 {
            bail!("-k 0: a sum of nothing has no order");
        }
        let ones = self.weight(&vec![1.0; n * k]);
        let masks = Masks::new(self.args.dtype, self.output());
        let alike = self.alike(&ones, masks);
        let order = recover(k, masks, |rows| {
            let mut sums = Vec::with_capacity(rows.len() / k);
            // Only where all rows are alike can each of them hold another probe.
            for rows in rows.chunks(if alike { m * k } else { k }) {
                let mut x = rows.repeat((m * k).div_ceil(rows.len()));
                x.truncate(m * k);
                let y = ones.times(x);
                sums.extend(y.chunks(n).take(rows.len() / k).map(|y| y[0]));
            }
            sums
        })?;
        let mut names = recognise(&order, k)?;
        // Of several names, the one that was asked for may not have been the plainest.
        if let Some(asked) = self.declared
            && !names.contains(&asked)
            && declared(asked, k)? == order
        {
            names.insert(0, asked);
        }
        let checked = self.check(&order);
        Ok(Found { order, names, alike, checked })
    }

    /// Whether the place of a row or a column changes its sum.
    fn alike(&self, ones: &Weight, masks: Masks) -> bool {
        let OrderArgs { m, k, .. } = *self.args;
        let mut random = Random(7);
        (0..PLACES).all(|_| {
            let mut row = vec![0.0; k];
            let counted = k.min(masks.countable);
            let first = random.below(k - counted + 1);
            row[first..first + counted].fill(masks.unit);
            row[random.below(k)] = masks.big;
            let minus = random.below(k);
            row[minus] = if row[minus] == masks.big { masks.unit } else { -masks.big };
            let y = ones.times(row.repeat(m));
            y.iter().all(|sum| sum == &y[0])
        })
    }

    /// Multiplies random numbers, whose products f32 holds exactly, and compares bits.
    fn check(&self, order: &Recovered) -> Option<(usize, usize)> {
        let Recovered::Tree(tree) = order else { return None };
        let OrderArgs { m, n, k, .. } = *self.args;
        let mut random = Random(11);
        let mut noise = |len| (0..len).map(|_| random.number()).collect::<Vec<f32>>();
        // More rows say no more, and every sum is taken once more by hand.
        let columns = n.min((1 << 24) / (m * k) + 1);
        let (x, w) = (noise(m * k), noise(n * k));
        let y = self.weight(&w).times(x.clone());
        let mut equal = 0;
        let mut products = vec![0.0; k];
        for (x, y) in x.chunks(k).zip(y.chunks(n)) {
            for (w, y) in w.chunks(k).zip(y).take(columns) {
                products.iter_mut().zip(x.iter().zip(w)).for_each(|(p, (x, w))| *p = x * w);
                let sum = Floats::from(vec![tree.sum(&products)?]).cast(self.output());
                equal += usize::from(sum.as_f32()[0] == *y);
            }
        }
        Some((equal, m * columns))
    }

    fn weight(&self, values: &[f32]) -> Weight<'_> {
        let OrderArgs { n, k, dtype, .. } = *self.args;
        let values = Floats::from(values).cast(dtype);
        let place = match self.declared {
            Some(order) => {
                let packed = PackedWeight::new(&values, n, k).expect("a matrix that is not empty");
                Place::Packed(packed, order)
            }
            // As a linear layer has it: [out, in], transposed.
            None => Place::Tensor(bridge::tensor(values, [n, k], &self.device)),
        };
        Weight { product: self, place }
    }
}

/// The right operand.
struct Weight<'a> {
    product: &'a Product<'a>,
    place: Place,
}

enum Place {
    Packed(PackedWeight, Accumulation),
    Tensor(Tensor<2>),
}

impl Weight<'_> {
    /// `[M, K]` to `[M, N]`.
    fn times(&self, x: Vec<f32>) -> Vec<f32> {
        let OrderArgs { m, k, dtype, .. } = *self.product.args;
        let x = Floats::from(x).cast(dtype);
        let y = match &self.place {
            Place::Packed(weight, order) => {
                linear(&x, weight.into(), None, *order, DType::F32).expect("its shapes were made to fit")
            }
            Place::Tensor(weight) => {
                let x: Tensor<2> = bridge::tensor(x, [m, k], &self.product.device);
                bridge::floats(&x.matmul(weight.clone().transpose()))
            }
        };
        y.as_f32().into_owned()
    }
}

impl Found {
    fn text(&self, product: &Product) -> String {
        let OrderArgs { m, n, k, dtype, .. } = *product.args;
        let mut text = format!("[{m}, {k}] x [{k}, {n}], {dtype}, by {}\n", product.name());
        let names: Vec<_> = self.names.iter().map(Accumulation::to_string).collect();
        let names =
            if names.is_empty() { "none that has a name here".to_owned() } else { names.join(", or ") };
        _ = writeln!(text, "order     {names}");
        match &self.order {
            Recovered::Exact => {
                text += "tree      none: nothing is lost beside 2^100, or beside 2^39 in f16\n";
            }
            Recovered::Tree(tree) => {
                _ = writeln!(text, "tree      {tree}");
                _ = writeln!(
                    text,
                    "depth     a product goes through at most {} additions, of {} numbers at most",
                    tree.depth(),
                    tree.widest()
                );
            }
        }
        if !self.alike {
            text += "rows      do not all add alike: this is row 0, column 0\n";
        }
        if let Some((equal, of)) = self.checked {
            _ = writeln!(
                text,
                "checked   {equal} of {of} outputs for random inputs have the bits of this tree"
            );
        }
        text
    }

    fn json(&self, product: &Product, threads: usize) -> serde_json::Value {
        let OrderArgs { m, n, k, dtype, .. } = *product.args;
        let tree = if let Recovered::Tree(tree) = &self.order { Some(tree) } else { None };
        json!({
            "device": product.args.device.device,
            "threads": threads,
            "kernel": product.name(),
            "declared": product.declared.map(|order| order.to_string()),
            "dtype": dtype.to_string(),
            "m": m,
            "n": n,
            "k": k,
            "orders": self.names.iter().map(Accumulation::to_string).collect::<Vec<_>>(),
            "tree": tree.map(ToString::to_string),
            "depth": tree.map(ulpscope_kernels::SumTree::depth),
            "widest": tree.map(ulpscope_kernels::SumTree::widest),
            "rows_alike": self.alike,
            "checked": self.checked.map(|(equal, of)| json!({ "equal": equal, "of": of })),
        })
    }
}

/// The same numbers on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    /// Eight significant bits, so that every format holds it and f32 the product of two.
    fn number(&mut self) -> f32 {
        let bits = self.next();
        let size = (128 + bits % 128) as f32 / 128.0 * 2f32.powi(-((bits >> 8) as i32 % 5));
        if bits >> 16 & 1 == 0 { size } else { -size }
    }
}
