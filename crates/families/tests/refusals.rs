//! What is refused: one sentence, which names the value and what would be accepted.

use serde_json::{Value, json};

/// A small config.json of a family, with changes.
fn config(family: &str, changes: Value) -> Value {
    let mut config = json!({
        "model_type": family, "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}

fn refusal(config: &Value) -> String {
    let message = ulpscope_families::read(config).expect_err(&config.to_string()).to_string();
    assert!(!message.contains('\n') && message.chars().count() < 400, "{message}");
    message
}

/// Asserts that a family refuses changes with these words.
fn assert_refused(family: &str, changes: Value, words: &[&str]) {
    let message = refusal(&config(family, changes.clone()));
    assert!(words.iter().all(|word| message.contains(word)), "{family} {changes}: {message}");
}

const WINDOWED: [&str; 3] = ["ministral", "qwen2", "qwen3"];

#[test]
fn a_window_of_no_token_is_refused() {
    for family in ["mistral", "ministral", "ministral3", "qwen2", "qwen3"] {
        let mut changes = json!({ "sliding_window": 0 });
        if family.starts_with("qwen") {
            changes["use_sliding_window"] = json!(true);
        }
        assert_refused(family, changes, &["`sliding_window` is 0", "a whole number from 1", "null"]);
    }
}

#[test]
fn layer_types_of_another_length_are_refused() {
    for family in WINDOWED {
        let changes = json!({ "layer_types": ["full_attention"] });
        let words = ["`layer_types`", "[\"full_attention\"]", "a list of 2"];
        assert_refused(family, changes, &words);
    }
}

#[test]
fn an_unknown_layer_type_is_refused() {
    for family in WINDOWED {
        let changes = json!({ "layer_types": ["full_attention", "linear_attention"] });
        assert_refused(family, changes, &["`layer_types`", "linear_attention", "sliding_attention"]);
    }
}

#[test]
fn a_sliding_layer_without_a_window_is_refused() {
    let types = json!(["full_attention", "sliding_attention"]);
    let none = ["`layer_types`", "sliding_attention", "there is no sliding_window; give one"];
    assert_refused("ministral", json!({ "layer_types": types, "sliding_window": null }), &none);
    for family in ["qwen2", "qwen3"] {
        let off = json!({ "layer_types": types, "sliding_window": 4, "use_sliding_window": false });
        assert_refused(family, off, &["`layer_types`", "`use_sliding_window` is off; switch it on"]);
        let null = json!({ "layer_types": types, "sliding_window": null, "use_sliding_window": true });
        assert_refused(family, null, &none);
    }
}

#[test]
fn an_unknown_rope_type_is_refused() {
    for family in ulpscope_families::ALL {
        let rope = json!({ "rope_type": "spiral", "rope_theta": 1e4 });
        let mut changes = json!({ "rope_parameters": rope });
        // Without these, that is what is refused.
        if family.model_type == "ministral3" {
            changes["rope_parameters"]["llama_4_scaling_beta"] = json!(0.1);
            changes["rope_parameters"]["original_max_position_embeddings"] = json!(16);
        }
        let words = ["`rope_parameters.rope_type` = \"spiral\"", "known are default", "yarn"];
        assert_refused(family.model_type, changes, &words);
    }
}

#[test]
fn ministral3_needs_what_its_queries_are_scaled_by() {
    let yarn = json!({
        "rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 16, "llama_4_scaling_beta": 0.1,
    });
    for (spelling, key) in [
        ("rope_parameters", "llama_4_scaling_beta"),
        ("rope_parameters", "original_max_position_embeddings"),
        ("rope_scaling", "llama_4_scaling_beta"),
    ] {
        let mut rope = yarn.clone();
        rope.as_object_mut().unwrap().remove(key);
        let words = [&format!("lacks `{spelling}.{key}`")[..], "take that from the original model's"];
        assert_refused("ministral3", json!({ spelling: rope }), &words);
    }
    let mut rope = yarn;
    rope["llama_4_scaling_beta"] = json!("a tenth");
    let words = ["`rope_parameters.llama_4_scaling_beta` is \"a tenth\"", "a number >= 0"];
    assert_refused("ministral3", json!({ "rope_parameters": rope }), &words);
}

#[test]
fn another_familys_settings_are_refused() {
    assert_refused("mistral", json!({ "attention_bias": true }), &["`attention_bias`", "no biases"]);
    assert_refused("qwen3", json!({ "mlp_bias": true }), &["`mlp_bias`", "no biases"]);
    assert_refused("qwen2", json!({ "num_experts": 8 }), &["`num_experts`", "`qwen2` has no such key"]);
    assert_refused("qwen3", json!({ "head_dim": 7 }), &["`head_dim` is 7", "an even number"]);
    let class = json!({ "architectures": ["Qwen2ForCausalLM"] });
    assert_refused("qwen3", class, &["Qwen2ForCausalLM", "only `Qwen3ForCausalLM`"]);
}

#[test]
fn an_unknown_model_type_is_refused_with_the_nearest_family() {
    let words = ["`model_type` = \"gemma2\"", "qwen3", "nearest is `llama`", "1 + weight"];
    assert_refused("gemma2", json!({}), &words);
    let experts = json!({ "num_local_experts": 8, "sliding_window": 16 });
    let words = ["`model_type` = \"wolpertinger\"", "nearest is", "`num_local_experts` = 8"];
    assert_refused("wolpertinger", experts, &words);
    // Where keys don't tell, the name does.
    assert_refused("qwen2_vl", json!({}), &["nearest is `qwen2`, which knows every key"]);
    assert_refused(
        "qwen3_vl_text",
        json!({ "deepstack_layers": 3 }),
        &["nearest is `qwen3`", "`deepstack_layers` = 3"],
    );
}
