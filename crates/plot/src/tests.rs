//! All figures together: formats, repeatability, awkward records.

use super::*;
use crate::picture::{Shape, Text};
use crate::synthetic::{explained, record};

/// Every figure of a record's arm b, and those of its explanation if it has one.
fn figures(run: &RunRecord) -> Vec<(&'static str, Picture)> {
    let options = Options::default();
    let explained = [
        ("floor", floor(run, &options).unwrap()),
        ("counterfactuals", counterfactuals(run, &options).unwrap()),
        ("growth", growth(run, &options).unwrap()),
    ];
    let mut figures: Vec<(&str, Picture)> =
        explained.into_iter().filter_map(|(name, picture)| Some((name, picture?))).collect();
    figures.extend([
        ("layers", layers(run, &options).unwrap()),
        ("heatmap", heatmap(run, "b", &options).unwrap()),
        ("introduced", introduced(run, "b", &options).unwrap()),
        ("logits", logits(run, "b", &options).unwrap()),
        ("positions", positions(run, "b", &options).unwrap()),
    ]);
    figures
}

#[test]
fn all_files_are_written_whole_and_the_same_twice() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { svg: true, ..Options::default() };
    let (once, twice) = (folder.path().join("once/deep"), folder.path().join("twice"));
    let files = draw_all(&record(30, 3, 3), &once, &options).unwrap();
    draw_all(&record(30, 3, 3), &twice, &options).unwrap();
    assert_eq!(files.len(), 2 * (1 + 4 * 2));
    assert_eq!(std::fs::read_dir(&once).unwrap().count(), files.len(), "a temporary file is left");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(
            bytes,
            std::fs::read(twice.join(path.file_name().unwrap())).unwrap(),
            "{}",
            path.display()
        );
        if path.extension().unwrap() == "png" {
            assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{}", path.display());
            assert!((10_000..600_000).contains(&bytes.len()), "{}: {} bytes", path.display(), bytes.len());
        } else {
            assert_well_formed(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

#[test]
fn names_tell_the_arms_apart_only_where_there_are_several() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = record(2, 2, 2);
    let names = |run: &RunRecord, dir: &str| -> Vec<String> {
        let files = draw_all(run, &folder.path().join(dir), &Options::default()).unwrap();
        assert!(files.iter().all(|file| is_figure(file)), "{files:?}");
        files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        names(&run, "one"),
        ["layers.png", "heatmap.png", "introduced.png", "logits.png", "positions.png"]
    );
    let with_explanation = names(&explained(2, 200), "explained");
    assert_eq!(with_explanation[5..], ["floor.png", "counterfactuals.png", "growth.png"]);
    run = record(2, 3, 2);
    run.arms[2].name = "../c".into();
    let names = names(&run, "two");
    assert_eq!([&names[1], &names[5]], ["heatmap-b.png", "heatmap-2.png"]);
}

#[test]
fn no_text_leaves_the_picture_or_covers_another() {
    let mut long = record(30, 4, 12);
    long.model.name = "organisation/a-very-long-model-name-".repeat(20);
    long.prompts[0].text = Some("It was a dark and stormy night; ".repeat(100));
    long.prompts[0].tokens = vec!["antidisestablishmentarianism".into(); 12];
    for arm in &mut long.arms {
        arm.recipe = "load(f32).to(bf16).to(f32)".repeat(20);
    }
    let mut wild = record(30, 2, 3);
    for site in wild.sites.iter_mut().skip(4).step_by(7) {
        site.difference.mean_abs = f64::NAN;
        site.introduced.mean_abs = f64::INFINITY;
    }
    wild.logits[0].by_position[2].kl = f64::NAN;
    wild.logits[0].by_position[2].mean_abs = f64::INFINITY;
    let mut crowded = explained(30, 5000);
    let explanation = crowded.explanation.as_mut().unwrap();
    let origin = explanation.origins[0].clone();
    explanation.origins = (crowded.sites.iter().skip(500))
        .map(|site| ulpscope_record::Origin { site: site.site.clone(), ..origin.clone() })
        .collect();
    explanation.counterfactuals = [0; 20].iter().flat_map(|_| explanation.counterfactuals.clone()).collect();
    (explanation.onset, explanation.expected_onset) = (Some(4999), Some(4990));
    let explained = [explained(30, 3), explained(1, 1), crowded];
    for run in
        [record(30, 2, 3), record(80, 4, 300), record(1, 2, 1), long, wild].into_iter().chain(explained)
    {
        for (name, picture) in figures(&run) {
            let texts: Vec<&Text> = picture.all_text().collect();
            for text in &texts {
                let [left, top, right, bottom] = text.bounds();
                let inside =
                    left >= 0.0 && top >= 0.0 && right <= f64::from(SIZE.0) && bottom <= f64::from(SIZE.1);
                assert!(inside, "{name}: {:?} at {:?}", text.text, text.bounds());
            }
            for (index, one) in texts.iter().enumerate() {
                for other in &texts[index + 1..] {
                    let ([l, t, r, b], [left, top, right, bottom]) = (one.bounds(), other.bounds());
                    let apart = r <= left || right <= l || b <= top || bottom <= t;
                    assert!(
                        apart,
                        "{name}: {:?} {:?} over {:?} {:?}",
                        one.text,
                        one.bounds(),
                        other.text,
                        other.bounds()
                    );
                }
            }
        }
    }
}

#[test]
fn wild_values_are_drawn_within_the_picture() {
    let wild = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, f64::MAX, f64::from_bits(1)];
    let mut run = explained(30, 9);
    let explanation = run.explanation.as_mut().unwrap();
    for (index, floor) in explanation.floor.sites.iter_mut().enumerate() {
        floor.differing = wild[index % wild.len()];
        floor.mean_abs = [wild[(index + 1) % wild.len()], wild[(index + 2) % wild.len()]];
    }
    for (index, bucket) in explanation.growth.iter_mut().enumerate() {
        (bucket.kl, bucket.intrinsic_kl) = (wild[index % wild.len()], wild[(index + 1) % wild.len()]);
        (bucket.floor_mean, bucket.floor_sd) =
            (wild[(index + 2) % wild.len()], wild[(index + 4) % wild.len()]);
    }
    for (index, run) in explanation.counterfactuals.iter_mut().enumerate() {
        run.kl = wild[index % wild.len()];
    }
    for (index, site) in run.sites.iter_mut().enumerate() {
        site.introduced.equal = wild[(index + 3) % wild.len()];
        site.difference.mean_abs = wild[index % wild.len()];
        site.difference.max_abs = wild[(index + 1) % wild.len()];
        site.introduced.mean_abs = wild[(index + 2) % wild.len()];
        site.mean_abs_by_position.fill(wild[index % wild.len()]);
    }
    run.logits[0].kl = f64::NAN;
    for (index, value) in run.logits[0].sample.a.iter_mut().enumerate() {
        *value = wild[index % wild.len()];
    }
    for (index, at) in run.logits[0].by_position.iter_mut().enumerate() {
        (at.kl, at.mean_abs) = (wild[index % wild.len()], wild[(index + 3) % wild.len()]);
    }
    for (name, picture) in figures(&run) {
        for shape in &picture.shapes {
            let points = match shape {
                Shape::Line { points, .. } | Shape::Polygon { points, .. } => points.clone(),
                Shape::Rect { from, to, .. } => vec![*from, *to],
                Shape::Disc { centre, .. } => vec![*centre],
                Shape::Text(text) => vec![text.at],
            };
            for (x, y) in points {
                assert!((-5.0..=1805.0).contains(&x) && (-5.0..=1205.0).contains(&y), "{name}: {shape:?}");
            }
        }
        assert!(picture.png().unwrap().len() > 10_000);
        assert_well_formed(&picture.svg().unwrap());
    }
}

#[test]
fn a_layer_of_absurd_number_is_drawn_or_left_out() {
    let mut run = record(3, 2, 3);
    for (site, number) in run.sites.iter_mut().skip(3).zip(["18446744073709551615", "4294967295", "-1", "+7"])
    {
        site.site = format!("model.layers.{number}");
    }
    for (name, picture) in figures(&run) {
        assert!(picture.shapes.len() < 20_000, "{name}");
    }
}

#[test]
fn an_empty_record_gives_pictures_that_say_so() {
    let mut run = record(3, 2, 3);
    (run.sites, run.logits) = (Vec::new(), Vec::new());
    for (name, picture) in figures(&run) {
        let says = |text: &str| text.starts_with("No ") || text.starts_with("Nothing ");
        assert!(picture.texts().into_iter().any(says), "{name}: {:?}", picture.texts());
    }
}

#[test]
fn foreign_scripts_and_controls_are_drawn() {
    let mut run = record(3, 2, 3);
    run.prompts[0].text = Some("重力は🙂\u{0}\u{1b}[31m <b>&\"'\u{202e}אבג\nx".into());
    run.prompts[0].tokens = vec!["重".into(), "🙂".into(), "\u{7}".into()];
    for (_, picture) in figures(&run) {
        assert!(picture.png().is_ok());
        assert_well_formed(&picture.svg().unwrap());
    }
}

#[test]
fn every_string_of_a_record_stays_text_in_every_picture() {
    let reads = |text: &str| RunRecord::from_json(text).is_ok_and(|run| run.arms[1].name == "b");
    let json = include_str!("../../record/tests/explained.json");
    for json in ulpscope_fuzzing::hostile(json, reads) {
        for (name, picture) in figures(&RunRecord::from_json(&json).unwrap()) {
            for text in picture.texts() {
                assert!(
                    ulpscope_fuzzing::injected(text).is_none() && !text.contains('\n'),
                    "{name}: {text:?}"
                );
            }
            assert_well_formed(&picture.svg().unwrap());
        }
    }
}

#[test]
fn of_a_thousand_arms_the_first_are_drawn_or_the_one_that_was_asked_for() {
    let mut run = record(1, 2, 1);
    let other = run.arms[1].clone();
    run.arms.extend((0..1000).map(|n| ulpscope_record::Arm { name: format!("x{n}"), ..other.clone() }));
    let folder = tempfile::tempdir().unwrap();
    let drawn = draw_all(&run, folder.path(), &Options::default()).unwrap();
    assert!(drawn.len() <= 4 + 4 * ARMS, "{}", drawn.len());
    let options = Options { arm: Some("x999".into()), ..Options::default() };
    let drawn = draw_all(&run, folder.path(), &options).unwrap();
    assert!(drawn.contains(&folder.path().join("logits-x999.png")) && drawn.len() <= 8);
    let options = Options { arm: Some("no".into()), ..Options::default() };
    assert!(matches!(draw_all(&run, folder.path(), &options), Err(PlotError::NoArm { .. })));
}

#[test]
fn what_was_asked_for_wrongly_is_said() {
    let run = record(3, 3, 3);
    let error = |result: Result<Picture, PlotError>| result.unwrap_err().to_string();
    let options = Options { prompt: 4, ..Options::default() };
    assert_eq!(error(layers(&run, &options)), "prompt 4 was asked for, but the run has 1, counted from 0");
    let against_itself = error(heatmap(&run, "a", &Options::default()));
    assert_eq!(against_itself, "arm a cannot be drawn against the reference; those that can: b, c");
    let folder = tempfile::tempdir().unwrap();
    let one = draw_all(&record(3, 1, 3), &folder.path().join("none"), &Options::default());
    assert!(matches!(one, Err(PlotError::OneArm { arms: 1 })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_cannot_be_made_is_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = draw_all(&record(1, 2, 1), &file.path().join("x"), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

/// Tags nest and close, attributes are quoted, and no character stands there that XML forbids.
fn assert_well_formed(svg: &str) {
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(!svg.contains(|c: char| c.is_control() && c != '\n'), "a control character");
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag that does not end");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        for entity in text.split('&').skip(1) {
            assert!(
                ["lt;", "gt;", "amp;", "quot;", "apos;"].iter().any(|known| entity.starts_with(known)),
                "{text}"
            );
        }
        match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name)),
            (None, true) => {}
            (None, false) => open.extend(tag.split_whitespace().next()),
        }
    }
    assert!(open.is_empty(), "{open:?} not closed");
}
