//! The same checkpoint by another chain of calls.

use super::{Case, Facts, PROMPTS, fault};

pub(super) fn cases(cases: &mut Vec<Case>, llama: &Facts, others: &[Facts], ropes: &[Facts]) {
    // The cosines of a short prompt may all round to the same: then sines are the first that show
    // it.
    let buffer = || fault(&["rotary-buffer-rounded"], "model.rotary_emb.*");
    for prompt in &PROMPTS {
        for recipe in ["load(f32).to(bf16)", "load(bf16).bfloat16()", "load(f64).bfloat16()"] {
            let b = format!("{recipe}@eager");
            cases.push(llama.case("recipe", recipe, "load(bf16)@eager", &b, prompt, buffer()).seen());
        }
        let (a, b) = ("load(f32).to(bf16)@eager", "load(f16).to(bf16)@eager");
        let twice = fault(&["weights-rounded-twice"], "model.embed_tokens");
        cases.push(llama.case("recipe", "by way of f16", a, b, prompt, twice).seen());
    }
    for (i, facts) in [llama].into_iter().chain(others).chain(ropes).enumerate() {
        let attention = ["sdpa", "eager"][i % 2];
        // Most models are stored in 16 bits: what widening them changes is nothing.
        for (a, b) in [
            ("load(bf16)", "load(f32).to(bf16)"),
            ("load(bf16)", "load(bf16).bfloat16()"),
            ("load(bf16)", "load(f64).bfloat16()"),
            ("load(f16)", "load(f32).half()"),
            ("load(f16)", "load(f16).half()"),
            ("load(f32)", "load(f32).half().float()"),
        ] {
            let (a, spec) = (format!("{a}@{attention}"), format!("{b}@{attention}"));
            let float = b.ends_with("float()");
            // Weights lose bits, too, where they have more than f16 holds; the buffer is the fault.
            let site = if !float { "model.rotary_emb.*" } else { "model.*" };
            let expected = fault(&["rotary-buffer-rounded"], site);
            cases.push(facts.case("recipe", b, &a, &spec, &facts.ids(12), expected));
        }
    }
    for (i, facts) in [llama].into_iter().chain(others).enumerate() {
        let attention = ["eager", "sdpa"][i % 2];
        for (a, b) in [("f32", "bf16"), ("f32", "f16"), ("bf16", "f16"), ("f64", "f32")] {
            let key = format!("load({a}) against load({b})");
            let (a, b) = (format!("load({a})@{attention}"), format!("load({b})@{attention}"));
            let expected = fault(&["compute-format", "weights-rounded"], "model.*");
            cases.push(facts.case("recipe", &key, &a, &b, &facts.ids(12), expected));
        }
    }
}
