//! Pages of whole records: every section, hostile text, awkward numbers, size.

use super::*;

fn explained() -> RunRecord {
    RunRecord::from_json(include_str!("../../record/tests/explained.json")).unwrap()
}

fn small() -> RunRecord {
    RunRecord::from_json(include_str!("../../record/tests/small.json")).unwrap()
}

/// The data that a page brings for its script.
fn data(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn every_section_is_there_and_every_link_leads_to_one() {
    let page = html(&explained());
    for id in [
        "verdict",
        "map",
        "layers",
        "positions",
        "logits",
        "causes",
        "decisions",
        "tensors",
        "coverage",
        "run",
    ] {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    for link in page.split("href=\"#").skip(1) {
        let id = link.split_once('"').unwrap().0;
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    for number in
        ["3.500e-7", "0.001520", "both ways, to the bit", "0.001400", "b = round_bf16(a)", "of 3 tokens"]
    {
        assert!(page.contains(number), "{number}");
    }
}

#[test]
fn without_an_explanation_its_sections_are_left_out() {
    let page = html(&small());
    assert!(page.contains("parts from a at model.rotary_emb.cos on prompt 0"));
    for id in ["causes", "decisions"] {
        assert!(
            !page.contains(&format!("id=\"{id}\"")) && !page.contains(&format!("href=\"#{id}\"")),
            "{id}"
        );
    }
}

#[test]
fn hostile_text_stays_text() {
    let hostile = "</script><img src=x onerror=\"alert(1)\"><!-- \u{2028} ' & \u{1b}[31m";
    let mut run = explained();
    run.model.name = hostile.into();
    run.model.files[0].path = hostile.into();
    run.prompts[0].text = Some(hostile.into());
    run.prompts[0].tokens = vec![hostile.into(); 3];
    run.token_texts.insert(9, hostile.into());
    run.arms[1].recipe = hostile.into();
    run.sites[0].site = hostile.into();
    run.buffers[0].name = hostile.into();
    run.buffers[0].relation = Some(hostile.into());
    run.coverage.not_compared = vec![hostile.into()];
    run.provenance.cpu = hostile.into();
    run.settings.models = vec![vec![hostile.into()]];
    let explanation = run.explanation.as_mut().unwrap();
    explanation.verdict = hostile.into();
    explanation.causes[0].subject = hostile.into();
    explanation.counterfactuals[1].factor = hostile.into();
    explanation.decisions[0].continuations = [hostile.into(), hostile.into()];
    explanation.guards = vec![hostile.into()];
    let clean = html(&explained());
    for page in [html(&run), several(&[(hostile.to_owned(), run.clone())])] {
        assert!(!page.contains("<img") && !page.contains("<!--") && !page.contains('\u{1b}'));
        assert_eq!(page.matches("<script").count(), clean.matches("<script").count());
        assert_eq!(page.matches("</script").count(), clean.matches("</script").count());
    }
    assert!(html(&run).contains("&lt;/script&gt;&lt;img src=x onerror="));
    // Cut to what is shown, and still the same text.
    let text = data(&html(&run))["texts"]["9"].as_str().unwrap().to_owned();
    assert!(hostile.starts_with(text.trim_end_matches('…')), "{text}");
    for page in [markdown(&run), markdown_of_several(&[(hostile.to_owned(), run)])] {
        assert!(!page.contains("<img") && !page.contains("<script"), "{page}");
    }
}

#[test]
fn nothing_is_fetched_and_nothing_is_styled_in_place() {
    for page in [html(&explained()), several(&[("one".into(), explained())])] {
        let (head, rest) = page.split_once("<style>").unwrap();
        assert!(head.contains("default-src 'none'; script-src 'sha256-"));
        let body = rest.split_once("</style>").unwrap().1;
        // A style attribute, or a handler in HTML, would be blocked by the page's own policy.
        let html = body.split("<script").next().unwrap();
        for forbidden in [" style=", " src=", "url(", "@import", " onclick="] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        for url in page.split("http").skip(1) {
            assert!(url.starts_with("://www.w3.org/2000/svg") || url.starts_with("-equiv"), "{}", &url[..40]);
        }
    }
}

#[test]
fn what_cancels_out_and_what_was_not_measured_has_tiles_of_its_own() {
    let tiles = |run: &RunRecord| {
        let page = html(run);
        page.split_once("<dl class=\"tiles\">").unwrap().1.split_once("</dl>").unwrap().0.to_owned()
    };
    let mut run = explained();
    assert!(tiles(&run).contains("both ways, to the bit"));
    let cause = &mut run.explanation.as_mut().unwrap().causes[0];
    (cause.necessary, cause.sufficient, cause.intrinsic_kl) = (false, false, f64::NAN);
    let seen = tiles(&run);
    assert!(
        seen.contains("<strong>no</strong><span>not by running it") && seen.contains("not measured"),
        "{seen}"
    );
    assert!(!seen.contains("NaN"), "{seen}");
    let cause = &mut run.explanation.as_mut().unwrap().causes[0];
    (cause.fault, cause.remedy) = (false, String::new());
    let seen = tiles(&run);
    assert!(seen.contains("<strong>none</strong><span>things that differ cancel out: 1"), "{seen}");
}

#[test]
fn numbers_that_json_lacks_arrive_as_words() {
    let mut run = explained();
    run.sites[0].difference.mean_abs = f64::NAN;
    run.sites[1].introduced.mean_abs = f64::INFINITY;
    run.logits[0].by_position[1].kl = f64::NEG_INFINITY;
    let explanation = run.explanation.as_mut().unwrap();
    explanation.counterfactuals.iter_mut().for_each(|run| run.kl = f64::NAN);
    explanation.floor.logits.iter_mut().for_each(|floor| floor.kl = f64::INFINITY);
    explanation.growth.iter_mut().for_each(|bucket| bucket.floor_mean = f64::NAN);
    let page = html(&run);
    let data = data(&page);
    assert_eq!(data["runs"][0]["sites"][0][2][1], "NaN");
    assert_eq!(data["runs"][0]["sites"][1][3][1], "Infinity");
    assert_eq!(data["runs"][0]["logits"]["kl"][1], "-Infinity");
    assert!(
        !page.contains("x=\"NaN\"") && !page.contains("width=\"NaN\"") && !page.contains("width=\"inf\"")
    );
}

#[test]
fn numbers_are_those_of_the_record() {
    let run = explained();
    let data = data(&html(&run));
    for (site, found) in run.sites.iter().zip(data["runs"][0]["sites"].as_array().unwrap()) {
        assert_eq!(found[2][1], site.difference.mean_abs);
        assert_eq!(found[3][0], site.introduced.equal);
    }
    assert_eq!(data["runs"][0]["sites"][0][7]["cause"], "rotary-buffer-rounded");
    let element = &data["runs"][0]["sites"][0][9]["elements"][0];
    assert_eq!((&element["values"][1], &element["bits"][1]), (&"0.984375".into(), &"0x3f7c".into()));
    assert_eq!(data["runs"][0]["logits"]["listed"][0]["at"], 1, "only positions with candidates are listed");
}

#[test]
fn a_large_run_is_sampled_and_says_so() {
    let mut run = explained();
    let position = run.logits[0].by_position[1].clone();
    run.logits[0].by_position = vec![position; 100_000];
    run.prompts = vec![run.prompts[0].clone(); 100];
    let (site, logits) = (run.sites[0].clone(), run.logits[0].clone());
    run.sites = (0..100)
        .flat_map(|prompt| {
            let site = site.clone();
            (0..600).map(move |n| {
                let mut site = site.clone();
                (site.prompt, site.site) = (prompt, format!("model.layers.{n}"));
                site
            })
        })
        .collect();
    run.logits = vec![logits; 1];
    let page = html(&run);
    assert!(page.len() < 4 << 20, "{}", page.len());
    assert!(page.contains("Charts show 20 of 100 pairs of arm and prompt"));
    let data = data(&page);
    assert_eq!(data["runs"][0]["logits"]["step"], 98);
    assert!(data["runs"][0]["logits"]["kl"].as_array().unwrap().len() <= 1024);
}

#[test]
fn empty_records_make_pages_that_say_so() {
    let mut run = small();
    (run.sites, run.logits, run.first, run.buffers) = Default::default();
    let page = html(&run);
    for sentence in ["No site was compared.", "No logits were compared.", "No buffers were compared."] {
        assert!(page.contains(sentence), "{sentence}");
    }
    run.arms.truncate(1);
    run.prompts.clear();
    assert!(html(&run).contains("No activations were compared."));
    assert!(several(&[("x".into(), run.clone())]).contains("No run has two arms."));
    assert!(markdown(&run).starts_with("## tiny-llama\n"));
}

#[test]
fn runs_side_by_side() {
    let runs = [("before".to_owned(), small()), ("after".to_owned(), explained())];
    let page = several(&runs);
    for text in ["2 runs side by side", "before", "after", "rotary-buffer-rounded", "compared", "0.001400"] {
        assert!(page.contains(text), "{text}");
    }
    let page = markdown_of_several(&runs);
    assert!(
        page.contains(
            "| before | b: `load(f32).to(bf16)` | 0 | compared | – | `model.rotary_emb.cos` | 0.001400 |"
        ),
        "{page}"
    );
}

#[test]
fn the_short_form() {
    let page = markdown(&explained());
    assert!(
        page.contains(
            "| `rotary-buffer-rounded` | `model.rotary_emb.inv_freq` | both ways, to the bit | 100 % |"
        ),
        "{page}"
    );
    assert!(page.contains("```console\n$ ulpscope explain org/small"), "{page}");
    assert!(page.trim_end().ends_with("</details>"));
}
