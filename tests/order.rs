//! `order`, and `bench` as far as it can be tested.

use serde_json::{Value, json};

use crate::util::ulpscope;

fn order(args: &[&str]) -> Value {
    ulpscope(["order", "--json"].iter().chain(args).copied()).ok().json()
}

#[test]
fn our_kernels_add_as_they_declare() {
    for name in [
        "tile32",
        "tile32-blocked",
        "dot2",
        "dot2-lanes",
        "sequential",
        "sequential-blocked",
        "reversed",
        "pairwise",
        "split-k(4)",
        "exact",
    ] {
        for (dtype, m, k) in
            [("bf16", "1", "1536"), ("bf16", "40", "576"), ("f16", "3", "576"), ("f32", "5", "1536")]
        {
            let found = order(&[
                "--kernel",
                "ours",
                "--accumulation",
                name,
                "--dtype",
                dtype,
                "-m",
                m,
                "-n",
                "5",
                "-k",
                k,
            ]);
            let names = found["orders"].as_array().unwrap();
            assert!(names.contains(&json!(name)), "{name} {dtype} {m} {k}: {found}");
            assert_eq!(found["rows_alike"], json!(true), "{found}");
            if name == "exact" {
                assert_eq!((&found["tree"], &found["checked"]), (&Value::Null, &Value::Null));
            } else {
                assert_eq!(found["checked"]["equal"], found["checked"]["of"], "{found}");
                assert_eq!(found["widest"], json!(2));
            }
        }
    }
}

#[test]
fn short_sums_fit_several_names() {
    for k in ["1", "2", "31", "32", "33", "64", "100"] {
        for name in ["tile32", "reversed", "pairwise", "dot2-lanes"] {
            let found = order(&["--accumulation", name, "-k", k]);
            assert!(found["orders"].as_array().unwrap().contains(&json!(name)), "{name} {k}: {found}");
        }
    }
}

#[test]
fn the_devices_own_product_is_read_too() {
    for (dtype, m) in [("f32", "1"), ("bf16", "3"), ("f16", "3"), ("f32", "33")] {
        let found = order(&["--kernel", "device", "--dtype", dtype, "-m", m, "-n", "48", "-k", "300"]);
        assert_eq!(found["declared"], Value::Null);
        assert!(found["tree"].is_string(), "{found}");
        // Its kernels may treat the rows at an edge in their own way; the first element is what the
        // tree is of.
        assert!(found["checked"]["equal"].as_u64().unwrap() > 0, "{found}");
        if found["rows_alike"] == json!(true) {
            assert_eq!(found["checked"]["equal"], found["checked"]["of"], "{found}");
        }
    }
}

#[test]
fn people_read_arithmetic() {
    let text = ulpscope(["order", "-k", "96"]).ok().stdout;
    assert!(text.starts_with("[3, 96] x [96, 64], bf16, by ulpscope-kernels"), "{text}");
    assert!(text.contains("[3 times, 32 apart: (0+2+…+30)+(1+3+…+31)]"), "{text}");
    assert!(text.contains("192 of 192 outputs"), "{text}");
}

#[test]
fn what_can_not_be_probed_is_refused() {
    ulpscope(["order", "--dtype", "f64"]).fails(&["f64", "bf16, f16 or f32"]);
    ulpscope(["order", "-k", "0"]).fails(&["-k 0"]);
    ulpscope(["order", "-m", "0"]).fails(&["-m 0"]);
    ulpscope(["order", "-k", "70000"]).fails(&["70000", "K is 1 to 65536"]);
    ulpscope(["order", "-n", "99999999", "-k", "9999"]).fails(&["2^28"]);
    ulpscope(["order", "--kernel", "device", "--accumulation", "exact"]).fails(&["--accumulation"]);
    ulpscope(["order", "--kernel", "theirs"]).misused(&["ours", "device"]);
}

#[test]
fn time_is_taken() {
    let tiny = crate::util::tiny();
    let timed = ulpscope(["bench", &tiny, "--json", "--tokens", "3", "--repeat", "2"]).ok().json();
    assert_eq!(timed["runs"][0]["tokens"], json!(3));
    let seconds = timed["runs"][0]["seconds"].as_array().unwrap();
    assert!(seconds.len() == 2 && seconds.iter().all(|s| s.as_f64().unwrap() > 0.0), "{timed}");
    let audit =
        ["bench", &tiny, "--b", "load(f32).to(bf16)", "--prompts", "2", "--tokens", "5", "--repeat", "1"];
    assert!(ulpscope(audit).ok().stdout.contains("5 tokens"));
    ulpscope(["bench", &tiny, "--tokens", "0"]).fails(&["0 tokens"]);
    ulpscope(["bench", &tiny, "--repeat", "0"]).fails(&["--repeat 0"]);
}
