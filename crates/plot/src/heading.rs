//! What every figure shares: its title, what it is about, its legend, and how it says that there is
//! nothing.

use crate::colour::{Colour, GREY, INK};
use crate::error::PlotError;
use crate::font;
use crate::picture::{Align, Mark, Picture, SIZE};
use ulpscope_record::{Arm, LogitDivergence, RunRecord, SiteDivergence};

/// Left and right edge of text.
pub(crate) const LEFT: f64 = 60.0;
pub(crate) const RIGHT: f64 = SIZE.0 as f64 - 60.0;

const HEADLINE: f64 = 44.0;
const LINE: f64 = 28.0;
const LEGEND: f64 = 27.0;
const MAX_LEGEND_ROWS: f64 = 7.0;

/// One prompt of a record, and one arm of it beside the reference where a figure is about one.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) record: &'a RunRecord,
    pub(crate) prompt: usize,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(record: &'a RunRecord, prompt: usize) -> Result<Self, PlotError> {
        if record.arms.len() < 2 {
            return Err(PlotError::OneArm { arms: record.arms.len() });
        }
        if prompt >= record.prompts.len() {
            return Err(PlotError::NoPrompt { prompt, prompts: record.prompts.len() });
        }
        Ok(Self { record, prompt })
    }

    /// The arms other than the reference.
    pub(crate) fn arms(&self) -> &'a [Arm] {
        self.record.arms.get(1..).unwrap_or_default()
    }

    /// The arm with this name, unless it is the reference.
    pub(crate) fn arm(&self, name: &str) -> Result<&'a Arm, PlotError> {
        self.arms().iter().find(|arm| arm.name == name).ok_or_else(|| PlotError::NoArm {
            arm: name.to_owned(),
            arms: self.arms().iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The observed sites of an arm on this prompt, in forward order.
    pub(crate) fn sites(&self, arm: &str) -> impl Iterator<Item = &'a SiteDivergence> + use<'a> {
        let (arm, prompt) = (arm.to_owned(), self.prompt);
        self.record.sites.iter().filter(move |site| site.prompt == prompt && site.arm == arm)
    }

    /// The logits of an arm on this prompt.
    pub(crate) fn logits(&self, arm: &str) -> Option<&'a LogitDivergence> {
        self.record.logits.iter().find(|logits| logits.prompt == self.prompt && logits.arm == arm)
    }

    /// Draws the title and what the figure is about. Returns where the lines end.
    ///
    /// `arm` is the one arm that the figure is about; without one it is about all of them.
    pub(crate) fn headline(
        &self,
        picture: &mut Picture,
        title: &str,
        arm: Option<&Arm>,
        finding: &str,
    ) -> f64 {
        picture
            .text(&font::fitted(title, HEADLINE, RIGHT - LEFT), (LEFT, 72.0), HEADLINE, Align::Start)
            .bold();
        let model = &self.record.model;
        let stand_in = if model.stand_in { " (a stand-in)" } else { "" };
        let [a, b] = self.named(arm);
        let against = if arm.is_some() { format!("{b} against {a}") } else { format!("against {a}") };
        let of = font::fitted(&model.name, LINE, 800.0);
        let about = format!("{of}{stand_in}, {}", self.prompt_in_words());
        let mut y = 72.0;
        for text in [about.as_str(), against.as_str(), finding].into_iter().filter(|text| !text.is_empty()) {
            y += 42.0;
            picture.text(&font::fitted(text, LINE, RIGHT - LEFT), (LEFT, y), LINE, Align::Start).colour(GREY);
        }
        y
    }

    /// The reference and an arm, each with its model where those are two.
    fn named(&self, arm: Option<&Arm>) -> [String; 2] {
        let reference = &self.record.arms[0];
        let arm = arm.unwrap_or(reference);
        let two = arm.model.is_some() || !self.record.settings.traces.is_empty();
        let names = ulpscope_record::summary::names(self.record, arm);
        [(reference, &names[0]), (arm, &names[1])].map(|(arm, name)| match two {
            true => {
                let made = made(arm, reference);
                format!("{}: {}, {made}", short(&arm.name), ulpscope_record::text::shortened(name, 40))
            }
            false => described(arm, reference),
        })
    }

    fn prompt_in_words(&self) -> String {
        let prompt = &self.record.prompts[self.prompt];
        let tokens = match prompt.ids.len() {
            1 => "1 token".to_owned(),
            count => format!("{count} tokens"),
        };
        match &prompt.text {
            Some(text) => format!("“{}”, {tokens}", ulpscope_record::text::shortened(text, 48)),
            None => format!("prompt of {tokens}"),
        }
    }
}

/// Name, recipe and attention of an arm, and what sets its arithmetic apart from the reference's.
pub(crate) fn described(arm: &Arm, reference: &Arm) -> String {
    let model = arm
        .model
        .as_ref()
        .map_or(String::new(), |model| format!("{}, ", ulpscope_record::text::shortened(&model.name, 30)));
    format!("{}: {model}{}", short(&arm.name), made(arm, reference))
}

fn short(name: &str) -> String {
    ulpscope_record::text::shortened(name, 20)
}

fn made(arm: &Arm, reference: &Arm) -> String {
    let order = Some(&arm.accumulation).filter(|order| **order != reference.accumulation);
    let parts = [(&arm.recipe, 60), (&arm.attention, 12)].into_iter();
    let parts = parts.chain(order.into_iter().chain(&arm.variants).map(|text| (text, 40)));
    parts.map(|(text, most)| ulpscope_record::text::shortened(text, most)).collect::<Vec<_>>().join(", ")
}

/// One entry of a legend.
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) colour: Colour,
    pub(crate) sign: Sign,
}

/// What stands before an entry of a legend.
#[derive(Clone, Copy)]
pub(crate) enum Sign {
    Line(Mark),
    Dashes,
    Mark(Mark),
    Hollow(Mark),
    Cross,
}

/// Draws a legend in rows from `y` on, above the data and never over it. Returns where it ends.
pub(crate) fn legend(picture: &mut Picture, keys: &[Key], y: f64) -> f64 {
    let (mut x, mut y) = (LEFT, y + 46.0);
    let last = y + (MAX_LEGEND_ROWS - 1.0) * 42.0;
    for (index, key) in keys.iter().enumerate() {
        let sign = match key.sign {
            Sign::Line(_) | Sign::Dashes => 64.0,
            _ => 30.0,
        };
        let text = font::fitted(&key.text, LEGEND, RIGHT - LEFT - sign - 12.0);
        let width = sign + 12.0 + font::width(&text, LEGEND, false);
        if x > LEFT && x + width > RIGHT {
            (x, y) = (LEFT, y + 42.0);
        }
        // The data keep their room, whatever the number of arms.
        if y >= last && keys.len() - index > 1 {
            let more = format!("and {} more", keys.len() - index);
            picture.label(&more, (LEFT, y), LEGEND, Align::Start).colour(GREY);
            break;
        }
        let middle = (x + sign / 2.0, y);
        match key.sign {
            Sign::Line(mark) => {
                picture.line(&[(x, y), (x + sign, y)], 4.0, key.colour);
                picture.mark(mark, middle, 8.0, key.colour);
            }
            Sign::Dashes => picture.dashed(&[(x, y), (x + sign, y)], 3.0, 14.0, key.colour),
            Sign::Mark(mark) => picture.mark(mark, middle, 10.0, key.colour),
            Sign::Hollow(mark) => picture.hollow(mark, middle, 10.0, key.colour),
            Sign::Cross => picture.cross(middle, 9.0, 4.0, key.colour),
        }
        picture.label(&text, (x + sign + 12.0, y), LEGEND, Align::Start).colour(INK);
        x += width + 44.0;
    }
    y + 34.0
}

/// Says in the middle of a picture, or of a panel from `top` to `bottom`, why there is nothing to
/// see.
pub(crate) fn nothing(picture: &mut Picture, why: &str, top: f64, bottom: f64) {
    let middle = ((LEFT + RIGHT) / 2.0, (top + bottom) / 2.0);
    picture.label(&font::fitted(why, 34.0, RIGHT - LEFT), middle, 34.0, Align::Middle).colour(GREY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::record;

    #[test]
    fn a_legend_leaves_room_for_the_data() {
        let key = |index: usize| Key {
            text: format!("{index}: {}", "recipe ".repeat(20)),
            colour: crate::colour::series(index),
            sign: Sign::Line(Mark::of(index)),
        };
        let keys: Vec<Key> = (0..100).map(key).collect();
        let mut picture = Picture::default();
        assert!(legend(&mut picture, &keys, 156.0) < 560.0);
        assert_eq!(picture.texts().last(), Some(&"and 94 more"));
        let mut picture = Picture::default();
        legend(&mut picture, &keys[..7], 156.0);
        assert!(picture.texts().last().unwrap().starts_with("6: "));
    }

    #[test]
    fn an_arm_of_another_model_names_it() {
        let mut run = record(1, 2, 1);
        assert_eq!(described(&run.arms[1], &run.arms[0]), "b: load(f32).to(bf16), eager");
        run.arms[1].variants = vec!["norm=fused".into()];
        run.arms[1].accumulation = "dot2".into();
        let told = "b: load(f32).to(bf16), eager, dot2, norm=fused";
        assert_eq!(described(&run.arms[1], &run.arms[0]), told, "told from a reference of the same recipe");
        run.arms[1] = record(1, 2, 1).arms.remove(1);
        run.arms[1].model = Some(run.model.clone());
        assert!(described(&run.arms[1], &run.arms[0]).starts_with("b: HuggingFaceTB/"));
        run.model.unavailable.clear();
        run.arms[1].model.as_mut().unwrap().unavailable.clear();
        run.settings.models = vec![vec!["x/one/run".into()], vec!["x/two/run".into()]];
        let subject = Subject::new(&run, 0).unwrap();
        let named = ["a: one/run, load(bf16), eager", "b: two/run, load(f32).to(bf16), eager"];
        assert_eq!(subject.named(Some(&run.arms[1])), named);
    }
}
