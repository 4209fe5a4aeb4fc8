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
    for (id, name) in [
        ("logits", "Tokens"),
        ("causes", "Causes"),
        ("map", "Map"),
        ("tensors", "Tensors"),
        ("positions", "Positions"),
        ("layers", "Layers"),
        ("method", "Method"),
    ] {
        assert!(page.contains(&format!("<section id=\"{id}\"><h2>{name}</h2>")), "{id}");
        assert!(page.contains(&format!("<a href=\"#{id}\">{name}</a>")), "{name}");
    }
    for link in page.split("href=\"#").skip(1) {
        let id = link.split_once('"').unwrap().0;
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    for number in
        ["3.500e-7", "0.0015", "both ways, to the bit", "0.001400", "b = round_bf16(a)", "of 3 top tokens"]
    {
        assert!(page.contains(number), "{number}");
    }
    assert!(page.ends_with("</html>\n"), "a page that was cut short has another end");
}

/// Equal, different, not looked at: a page does not call the third the first.
#[test]
fn what_was_not_compared_is_not_called_equal() {
    let mut odd = small();
    odd.first.iter_mut().for_each(|first| first.site = None);
    odd.logits.iter_mut().for_each(|logits| logits.equal = 1.0);
    odd.sites[2].nonfinite = [1, 1];
    let mut unseen = small();
    unseen.weights = Default::default();
    unseen.first.iter_mut().for_each(|first| first.site = None);
    unseen.sites.clear();
    unseen.logits.clear();
    unseen.coverage.compared = 0;
    for (run, said) in [(odd, "holds NaN or infinity"), (unseen, "No activations were compared.")] {
        let runs = [("one".to_owned(), run.clone()), ("other".to_owned(), run.clone())];
        for page in [html(&run), markdown(&run), several(&runs), markdown_of_several(&runs)] {
            assert!(page.contains("UNDECIDED"), "{page}");
            assert!(!page.contains(">EQUAL<") && !page.contains("**EQUAL**"), "{page}");
        }
        assert!(html(&run).contains(said) && markdown(&run).contains(said), "{}", markdown(&run));
        assert!(!markdown(&run).contains("0 of 0 tensors"), "{}", markdown(&run));
    }
}

#[test]
fn the_first_screen_says_what_it_means_before_how_it_was_proved() {
    let mut run = explained();
    run.settings.failed = vec!["kl 0.001400 > 0.001 (b, prompt 0)".into()];
    let page = html(&run);
    assert!(page.contains("<title>load(f32).to(bf16) vs load(bf16) · NOISE · KL 0.0014</title>"));
    assert!(page.contains("<h1><b>b: load(f32).to(bf16)</b> against a: load(bf16)</h1>"));
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
    let order = [
        "✗ kl 0.001400 &gt; 0.001",
        "<strong class=\"badge noise\">NOISE</strong>",
        "<span class=\"chip\">proved both ways, to the bit</span>",
        "No token changes, and another order",
        "0.92 × noise",
        "<dt>CAUSE</dt>",
        "<dt>LIMIT</dt>",
        "<section id=\"logits\">",
    ];
    assert!(order.windows(2).all(|two| at(two[0]) < at(two[1])), "{:?}", order.map(at));
    assert!(!page.contains("not a bug by itself"), "it is one");
    // A record of schema 1 has no judgement: then its own verdict is shown.
    let old = RunRecord::from_json(include_str!("../../record/tests/explained-1.json")).unwrap();
    let page = html(&old);
    assert!(page.contains("<strong class=\"badge\">EXPLAINED</strong>"));
    assert!(page.contains("Rounding of the rotary frequencies by a dtype cast causes all of it"));
}

#[test]
fn origins_are_grouped_and_shares_shown_only_where_they_add_up() {
    let mut run = explained();
    let explanation = run.explanation.as_mut().unwrap();
    let origin = explanation.origins[0].clone();
    explanation.origins = (0..210)
        .map(|layer| {
            let mut origin = origin.clone();
            origin.site = format!("model.layers.{layer}.mlp.down_proj");
            origin
        })
        .collect();
    let page = html(&run);
    assert!(page.contains("<summary>210 × rotary-buffer-rounded</summary>"));
    assert!(!page.split("<script").next().unwrap().contains("layers.<wbr>17.<wbr>mlp"), "no row for each");
    assert!(page.contains("100 %"));
    let explanation = run.explanation.as_mut().unwrap();
    let mut larger = explanation.causes[0].clone();
    (larger.id, larger.kl_share, larger.intrinsic_kl) = ("larger".into(), -0.17, 5.2);
    explanation.causes.push(larger);
    let page = html(&run);
    assert!(page.contains("do not add up") && !page.contains("-17.00 %"));
    let table = page.split_once("Causes, the largest first").unwrap().1;
    assert!(table.find("larger").unwrap() < table.find("rotary-buffer-rounded").unwrap());
}

#[test]
fn without_an_explanation_its_sections_are_left_out() {
    let page = html(&small());
    assert!(page.contains("b parts from a at model.rotary_emb.cos on prompt 0"));
    assert!(!page.contains("id=\"causes\"") && !page.contains("href=\"#causes\""));
    assert!(!page.contains("× noise"), "there is no noise to compare with");
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
    let judgement = explanation.judgement.as_mut().unwrap();
    judgement.headline = hostile.into();
    judgement.compared = [hostile.into(), hostile.into()];
    judgement.rows[0].text = hostile.into();
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

/// Cells of a row of Markdown.
fn cells(row: &str) -> usize {
    row.replace("\\\\", "").replace("\\|", "").matches('|').count()
}

#[test]
fn every_string_of_a_record_stays_text_on_every_page() {
    let reads = |text: &str| RunRecord::from_json(text).is_ok();
    for json in
        [include_str!("../../record/tests/explained.json"), include_str!("../../record/tests/small.json")]
    {
        let all = ulpscope_fuzzing::hostile(json, reads);
        assert!(all.len() > 30, "{}", all.len());
        for json in all {
            let run = RunRecord::from_json(&json).unwrap();
            let name = "run".to_owned() + ulpscope_fuzzing::HOSTILE;
            let named = [(name, run.clone())];
            let pages = [html(&run), several(&named)];
            let texts = [markdown(&run), markdown_of_several(&named), ulpscope_record::markdown(&run)];
            // Ends of lines are spaces in HTML.
            for page in pages.map(|page| page.replace('\n', " ")).iter().chain(&texts) {
                assert_eq!(ulpscope_fuzzing::injected(page), None);
                assert!(!page.contains("<img src=x"));
            }
            // In a shell's word it is what was given.
            for page in texts {
                let outside = page.split("```").step_by(2).collect::<String>();
                assert!(!outside.contains("l](//h)") && !outside.contains("http://h.example"), "{outside}");
                for (row, next) in page.lines().zip(page.lines().skip(1)) {
                    if row.starts_with('|') && next.starts_with('|') {
                        assert_eq!(cells(row), cells(next), "{row}\n{next}");
                    }
                }
            }
        }
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
fn what_was_not_measured_is_no_number() {
    let mut run = explained();
    let explanation = run.explanation.as_mut().unwrap();
    let cause = &mut explanation.causes[0];
    (cause.necessary, cause.sufficient, cause.intrinsic_kl) = (false, false, f64::NAN);
    cause.kl_share = f64::NAN;
    let page = html(&run);
    let causes = page.split_once("<section id=\"causes\">").unwrap().1.split_once("</table>").unwrap().0;
    assert!(causes.contains("not by running it") && causes.contains("not measured"), "{causes}");
    assert!(!causes.contains("NaN"), "{causes}");
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
    run.coverage = Default::default();
    run.prompts.clear();
    assert!(html(&run).contains("No activations were compared."));
    assert!(several(&[("x".into(), run.clone())]).contains("No run has two arms."));
    assert!(markdown(&run).starts_with("## tiny-llama\n"), "{}", markdown(&run));
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
    let top: Vec<&str> = page.lines().take(7).filter(|line| !line.is_empty()).collect();
    assert_eq!(top[0], "## b: load(f32).to(bf16) against a: load(bf16)", "{page}");
    assert!(top[3].starts_with("**NOISE** (proved both ways, to the bit): No token changes"), "{page}");
    assert!(
        page.contains("| `rotary-buffer-rounded` | `model.rotary_emb.inv_freq` | `b = round_bf16(a)` |"),
        "{page}"
    );
    assert!(page.contains("```console\n$ ulpscope explain org/small"), "{page}");
    assert!(page.trim_end().ends_with("</details>"));
}
