//! Whole checkpoints under attack, in memory: headers, indexes, tokenizers.

use std::collections::HashMap;
use std::path::Path;

use anamnesis::{GgufMetadataArray, GgufMetadataValue as V, GgufType};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use ulpscope_fuzzing::{Random, Target};

use crate::checkpoint::{Checkpoint, read_config};
use crate::gguf::Gguf;
use crate::map::parse_json;
use crate::shards::{Shards, weight_map};
use crate::tokenizer::Tokenizer;

#[global_allocator]
static ALLOCATOR: ulpscope_fuzzing::Counting = ulpscope_fuzzing::Counting;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Every parameter of an opened checkpoint has as many values as its shape says.
fn read_all(checkpoint: &Checkpoint) -> Result<String, String> {
    for name in checkpoint.names() {
        let tensor = checkpoint.tensor(name).map_err(|e| e.to_string())?;
        assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>(), "{name}");
        tensor.values.to_f32();
    }
    assert!(checkpoint.tensor("no such parameter").is_err());
    let ignored = "x".repeat(checkpoint.ignored().len().min(3));
    Ok(format!("{} ignored {ignored} {}", checkpoint.auto_dtype(), checkpoint.rope_factors().is_some()))
}

fn tiny_config() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 4, "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 0,
        "num_attention_heads": 1, "head_dim": 2, "max_position_embeddings": 8, "tie_word_embeddings": true,
    })
}

/// A safetensors file with these tensors.
fn file(tensors: &[(&str, Dtype, &[usize])]) -> Vec<u8> {
    let data = [0x3fu8; 64];
    let views = tensors.iter().map(|(name, dtype, shape)| {
        let bytes = &data[..shape.iter().product::<usize>() * dtype.bitsize() / 8];
        (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// Makes the length before a safetensors header what the header has.
fn set_header_length(bytes: &mut [u8], _: &mut Random) {
    let mut depth = 0usize;
    for at in 8..bytes.len() {
        match bytes[at] {
            b'{' => depth += 1,
            b'}' if depth == 1 => {
                bytes[..8].copy_from_slice(&(at as u64 - 7).to_le_bytes());
                return;
            }
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[test]
fn fuzz_safetensors() {
    let (embedding, norm, head) = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight");
    let config_json = tiny_config();
    let config = ulpscope_families::read(&config_json).unwrap();
    let path = Path::new("model.safetensors");
    let (table, norm_shape, frequencies) = (&[4, 2][..], &[2][..], &[1][..]);
    Target::new("safetensors", HERE)
        .seed(file(&[(embedding, Dtype::F32, table), (norm, Dtype::BF16, norm_shape)]))
        .seed(file(&[(head, Dtype::F16, table), (norm, Dtype::F64, norm_shape)]))
        .seed(file(&[
            (embedding, Dtype::BF16, table),
            (head, Dtype::BF16, table),
            (norm, Dtype::F32, norm_shape),
        ]))
        .seed(file(&[
            (embedding, Dtype::F32, table),
            (norm, Dtype::F32, norm_shape),
            ("rotary_emb.inv_freq", Dtype::F32, frequencies),
        ]))
        .words(&[
            "\"dtype\":\"F32\"",
            "BF16",
            "I64",
            "F8_E4M3",
            "\"shape\":[",
            "\"data_offsets\":[0,",
            "__metadata__",
            head,
        ])
        .repair(set_header_length)
        .run(|input| {
            let shards = Shards::held(path, input).map_err(|e| e.to_string())?;
            let checkpoint = Checkpoint::of_shards(
                Path::new("."),
                config_json.clone(),
                config.clone(),
                shards,
                Vec::new(),
            );
            read_all(&checkpoint.map_err(|e| e.to_string())?)
        });
}

#[test]
fn fuzz_shard_index() {
    let path = Path::new("model.safetensors.index.json");
    Target::new("shard-index", HERE)
        .seed(r#"{"metadata":{"total_size":12},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#)
        .seed(r#"{"weight_map":{"lm_head.weight":"model-00001-of-00002.safetensors"}}"#)
        .words(&["\"weight_map\":{", "../", "/", "\\\\", "\\u0000", ".safetensors", "C:", "."])
        .text()
        .run(|input| {
            let json = parse_json(path, input).map_err(|e| e.to_string())?;
            let map = weight_map(path, &json).map_err(|e| e.to_string())?;
            for file in map.values() {
                assert_eq!(Path::new("dir").join(file).parent(), Some(Path::new("dir")), "{file:?}");
                assert!(!file.contains(['/', '\\', '\0']) && file != ".." && file != ".", "{file:?}");
            }
            Ok(format!("{} entries", "x".repeat(map.len().min(4))))
        });
}

#[test]
fn fuzz_config() {
    let path = Path::new("config.json");
    let whole = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 32,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 16, "hidden_act": "silu", "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true, "attention_bias": false, "mlp_bias": false, "dtype": "bfloat16",
        "rope_parameters": {
            "rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192
        },
    });
    let old = |rope: Value| {
        let mut config = tiny_config();
        (config["rope_theta"], config["rope_scaling"]) = (json!(1e4), rope);
        config.to_string()
    };
    Target::new("config", HERE)
        .seed(whole.to_string())
        .seed(tiny_config().to_string())
        .seed(old(json!({"type": "linear", "factor": 2.0})))
        .seed(old(json!({"type": "dynamic", "factor": 4.0})))
        .seed(old(
            json!({"rope_type": "yarn", "factor": 4.0, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0}),
        ))
        .seed(old(
            json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0], "factor": 2.0}),
        ))
        .words(&[
            "\"rope_scaling\":",
            "\"rope_type\":",
            "\"factor\":",
            "\"head_dim\":",
            "\"softcap\":1",
            "\"dtype\":",
        ])
        .text()
        .executions(10_000)
        .run(|input| {
            let json = parse_json(path, input).map_err(|e| e.to_string())?;
            let config = read_config(path, &json).map_err(|e| e.to_string())?;
            assert!(config.max_tokens() > 0);
            for attention in config.layers.iter().map(|layer| layer.attention) {
                assert!(attention.head_dim.is_multiple_of(2));
                assert!(attention.heads.is_multiple_of(attention.groups));
            }
            // A model of thousands of blocks has tens of thousands of names.
            if config.layers.len() < 16 {
                let parameters = config.parameters();
                assert!(parameters.len() >= 2 + 9 * config.layers.len());
                assert!(parameters.iter().all(|p| p.param.shape.iter().all(|&n| n > 0)));
            }
            let rope = format!("{:?}", config.ropes[0].parameters);
            Ok(rope.split(['{', '(']).take(3).collect::<String>())
        });
}

/// A GGUF file with these metadata, and a tensor for each name, type and list of dimensions.
fn file_of(table: &[(String, V)], tensors: &[(&str, GgufType, Vec<u64>)]) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }
    fn list(out: &mut Vec<u8>, tag: u32, items: impl ExactSizeIterator<Item = [u8; 4]>) {
        out.extend([9u32.to_le_bytes(), tag.to_le_bytes()].concat());
        out.extend((items.len() as u64).to_le_bytes());
        out.extend(items.flatten());
    }
    let mut out = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((table.len() as u64).to_le_bytes());
    for (key, value) in table {
        text(&mut out, key);
        match value {
            V::U16(v) => out.extend([&2u32.to_le_bytes()[..], &v.to_le_bytes()].concat()),
            V::I32(v) => out.extend([5u32.to_le_bytes(), v.to_le_bytes()].concat()),
            V::U32(v) => out.extend([4u32.to_le_bytes(), v.to_le_bytes()].concat()),
            V::F32(v) => out.extend([6u32.to_le_bytes(), v.to_le_bytes()].concat()),
            V::Bool(v) => out.extend([7, 0, 0, 0, u8::from(*v)]),
            V::String(v) => {
                out.extend(8u32.to_le_bytes());
                text(&mut out, v);
            }
            V::Array(values) => match &**values {
                GgufMetadataArray::U32(v) => list(&mut out, 4, v.iter().map(|x| x.to_le_bytes())),
                GgufMetadataArray::I32(v) => list(&mut out, 5, v.iter().map(|x| x.to_le_bytes())),
                GgufMetadataArray::F32(v) => list(&mut out, 6, v.iter().map(|x| x.to_le_bytes())),
                GgufMetadataArray::String(v) => {
                    out.extend([9u32.to_le_bytes(), 8u32.to_le_bytes()].concat());
                    out.extend((v.len() as u64).to_le_bytes());
                    v.iter().for_each(|s| text(&mut out, s));
                }
                _ => panic!("no such list is written here"),
            },
            _ => panic!("no such value is written here"),
        }
    }
    let mut data = Vec::new();
    for (name, kind, dims) in tensors {
        text(&mut out, name);
        out.extend((dims.len() as u32).to_le_bytes());
        out.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        let tag: u32 = match kind {
            GgufType::F32 => 0,
            GgufType::F16 => 1,
            GgufType::Q4_0 => 2,
            GgufType::Q8_0 => 8,
            GgufType::Q6_K => 14,
            GgufType::IQ4_XS => 23,
            GgufType::I32 => 26,
            GgufType::F64 => 28,
            GgufType::BF16 => 30,
            _ => panic!("no such type is written here"),
        };
        out.extend(tag.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        let bytes = kind.byte_size_for_n_elements(dims.iter().product()).unwrap() as usize;
        data.resize((data.len() + bytes).next_multiple_of(32), 0x3c);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    [out, data].concat()
}

/// What each part of a GGUF file says of itself.
fn split(number: u16, count: u16, tensors: i32) -> [(String, V); 3] {
    [("split.count", V::U16(count)), ("split.no", V::U16(number)), ("split.tensors.count", V::I32(tensors))]
        .map(|(key, value)| (key.to_owned(), value))
}

/// The parts of the smallest Llama, one after the other: the first has so many of its two tensors.
fn gguf_parts(in_first: usize, change: impl Fn(&mut Vec<(String, V)>)) -> Vec<u8> {
    let mut table: Vec<(String, V)> = smallest(2).into_iter().collect();
    table.extend(split(0, 2, 2));
    table.sort_by(|a, b| a.0.cmp(&b.0));
    let mut other = split(1, 2, 2).to_vec();
    change(&mut other);
    let tensors =
        [("token_embd.weight", GgufType::BF16, vec![2, 2]), ("output_norm.weight", GgufType::F32, vec![2])];
    let (first, second) = tensors.split_at(in_first);
    [file_of(&table, first), file_of(&other, second)].concat()
}

/// Metadata of the smallest Llama.
fn smallest(width: u32) -> HashMap<String, V> {
    HashMap::from(
        [
            ("general.architecture", V::String("llama".into())),
            ("llama.block_count", V::U32(0)),
            ("llama.context_length", V::U32(8)),
            ("llama.embedding_length", V::U32(width)),
            ("llama.feed_forward_length", V::U32(2)),
            ("llama.attention.head_count", V::U32(1)),
            ("llama.attention.layer_norm_rms_epsilon", V::F32(1e-5)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

/// A GGUF file of the smallest Llama, changed, its embedding stored as `kind`.
fn gguf(change: impl FnOnce(&mut HashMap<String, V>), kind: GgufType, more: &[(&str, u64)]) -> Vec<u8> {
    let width = kind.block_size().max(2) as u64;
    let mut table = smallest(width as u32);
    change(&mut table);
    // In an order of its own, so that the same seed gives the same executions.
    let mut table: Vec<(String, V)> = table.into_iter().collect();
    table.sort_by(|a, b| a.0.cmp(&b.0));
    let mut tensors =
        vec![("token_embd.weight", kind, vec![width, 2]), ("output_norm.weight", GgufType::F32, vec![width])];
    tensors.extend(more.iter().map(|(name, length)| (*name, GgufType::F32, vec![*length])));
    file_of(&table, &tensors)
}

fn set(key: &'static str, value: V) -> impl FnOnce(&mut HashMap<String, V>) {
    move |table| drop(table.insert(key.to_owned(), value))
}

#[test]
fn fuzz_gguf() {
    let path = Path::new("x.gguf");
    let heads = V::Array(Box::new(GgufMetadataArray::U32(vec![1, 1])));
    let mut target = Target::new("gguf", HERE)
        .seed(gguf(|_| (), GgufType::F32, &[]))
        .seed(gguf(set("llama.rope.freq_base", V::F32(1e4)), GgufType::BF16, &[("rope_freqs.weight", 1)]))
        .seed(gguf(
            set("llama.attention.head_count_kv", heads),
            GgufType::F16,
            &[("blk.0.attn_rot_embd.weight", 1)],
        ))
        .seed(gguf(|table| table.extend(split(0, 1, 2)), GgufType::F32, &[]))
        .seed(gguf(|table| table.extend(split(0, 2, 2)), GgufType::F32, &[]));
    for kind in
        [GgufType::F64, GgufType::Q4_0, GgufType::Q8_0, GgufType::Q6_K, GgufType::IQ4_XS, GgufType::I32]
    {
        target = target.seed(gguf(|_| (), kind, &[]));
    }
    let target = target
        .words(&[
            "GGUF",
            "\x03\0\0\0",
            "\x08\0\0\0",
            "\x09\0\0\0",
            "general.alignment",
            "llama.rope.scaling.type",
            "llama.vocab_size",
            "llama.attention.key_length",
            "rope_freqs.weight",
            "blk.0.attn_q.weight",
            "output.weight",
            "\x04\0\0\0\0\0\0\0",
        ])
        .executions(4000);
    // Blocks are dequantised on all cores; here in one thread, where the memory is counted.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        target.run(|input| {
            let gguf = Gguf::held(&[(path, input)]).map_err(|e| e.to_string())?;
            read_all(&Checkpoint::of_gguf(path, gguf).map_err(|e| e.to_string())?)
        });
    });
}

#[test]
fn fuzz_gguf_parts() {
    let [first, second] = ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"].map(Path::new);
    Target::new("gguf-parts", HERE)
        .seed(gguf_parts(0, |_| ()))
        .seed(gguf_parts(1, |_| ()))
        .seed(gguf_parts(2, |_| ()))
        .seed(gguf_parts(1, |other| *other = split(0, 2, 2).to_vec()))
        .seed(gguf_parts(1, |other| *other = split(1, 3, 2).to_vec()))
        .seed(gguf_parts(1, |other| *other = split(1, 2, -1).to_vec()))
        .seed(gguf_parts(1, |other| other.push(("general.alignment".to_owned(), V::U32(64)))))
        .seed(gguf_parts(1, Vec::clear))
        .words(&[
            "GGUF",
            "split.no",
            "split.count",
            "split.tensors.count",
            "output_norm.weight",
            "\0\0",
            "\x02\0",
        ])
        .executions(3000)
        .run(|input| {
            // The second part begins at the second magic.
            let cut = (4..input.len()).find(|&at| input[at..].starts_with(b"GGUF"));
            let (a, b) = input.split_at(cut.unwrap_or(input.len()));
            let opened = if input.len().is_multiple_of(2) {
                [(first, a), (second, b)]
            } else {
                [(second, b), (first, a)]
            };
            let files = if cut.is_some() { &opened[..] } else { &[(first, a)] };
            let gguf = Gguf::held(files).map_err(|e| e.to_string())?;
            read_all(&Checkpoint::of_gguf(first, gguf).map_err(|e| e.to_string())?)
        });
}

/// Whatever a tokenizer was built from, texts either have ids or an error.
///
/// Tried for one in sixteen inputs: the library keeps a cache in this thread for each tokenizer
/// that was ever used in it, and after some hundred thousand of them that is what the memory is.
fn tokenise(tokenizer: &Tokenizer, input: &[u8]) -> Result<String, String> {
    let sum = input.iter().fold(input.len(), |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    if !(sum >> 3).is_multiple_of(16) {
        return Ok("a tokenizer".to_owned());
    }
    for text in ["Gravity is 12", "", "é\u{0}🙂 <s>"] {
        let ids = tokenizer.encode(text).map_err(|e| e.to_string())?;
        tokenizer.decode(&ids).map_err(|e| e.to_string())?;
    }
    Ok("tokenises".to_owned())
}

#[test]
fn fuzz_gguf_tokenizer() {
    let path = Path::new("x.gguf");
    let strings = |list: &[&str]| {
        V::Array(Box::new(GgufMetadataArray::String(list.iter().map(|&s| s.to_owned()).collect())))
    };
    let kinds = |list: &[i32]| V::Array(Box::new(GgufMetadataArray::I32(list.to_vec())));
    let file = |entries: Vec<(&'static str, V)>| {
        let change = move |table: &mut HashMap<String, V>| {
            // Not needed here, and only in the way of what is.
            table.retain(|key, _| key == "general.architecture");
            table.extend(entries.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)));
        };
        gguf(change, GgufType::F16, &[])
    };
    let byte_level = |pre: &str| {
        file(vec![
            ("model", V::String("gpt2".into())),
            ("pre", V::String(pre.into())),
            ("tokens", strings(&["<s>", "i", "s", "is", "Ġ", "Ġis"])),
            ("merges", strings(&["i s", "Ġ is"])),
            ("token_type", kinds(&[3, 1, 1, 1, 4, 1])),
            ("bos_token_id", V::U32(0)),
            ("eos_token_id", V::U32(3)),
            ("add_bos_token", V::Bool(true)),
            ("add_eos_token", V::Bool(true)),
        ])
    };
    let scores = GgufMetadataArray::F32(vec![0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0]);
    Target::new("gguf-tokenizer", HERE)
        .seed(byte_level("default"))
        .seed(byte_level("smollm"))
        .seed(file(vec![
            ("model", V::String("llama".into())),
            ("tokens", strings(&["<unk>", "<s>", "<0x41>", "▁", "i", "s", "is", "▁is"])),
            ("scores", V::Array(Box::new(scores))),
            ("token_type", kinds(&[2, 3, 6, 1, 1, 1, 1, 1])),
            ("bos_token_id", V::U32(1)),
            ("unknown_token_id", V::U32(0)),
            ("add_space_prefix", V::Bool(false)),
        ]))
        .words(&[
            "tokenizer.ggml.merges",
            "llama",
            "gpt2",
            "llama-bpe",
            "qwen2",
            " ",
            "▁",
            "Ġ",
            "<s>",
            "\x08\0\0\0",
        ])
        .executions(2000)
        .run(|input| {
            let gguf = Gguf::held(&[(path, input)]).map_err(|e| e.to_string())?;
            tokenise(&gguf.tokenizer().map_err(|e| e.to_string())?, input)
        });
}

#[test]
fn fuzz_tokenizer() {
    let path = Path::new("tokenizer.json");
    let with = |model: &Value, change: Value| {
        let mut json = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": null, "model": model,
            "added_tokens": [{
                "id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true
            }],
        });
        for (key, value) in change.as_object().unwrap() {
            json[key] = value.clone();
        }
        json.to_string()
    };
    let bpe = json!({
        "type": "BPE", "vocab": {"<s>": 0, "i": 1, "s": 2, "is": 3, "Ġ": 4, "Ġis": 5},
        "merges": [["i", "s"], ["Ġ", "is"]], "unk_token": null, "byte_fallback": false, "dropout": null
    });
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}
    });
    let normalizers = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    ]});
    let cut = json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    let padded = json!({
        "strategy": {"Fixed": 8}, "direction": "Left", "pad_to_multiple_of": 2, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<s>"
    });
    let words = json!({"type": "WordLevel", "vocab": {"is": 1, "<s>": 0}, "unk_token": "<s>"});
    let pieces = json!({
        "type": "WordPiece", "vocab": {"is": 1, "##s": 2, "<s>": 0}, "unk_token": "<s>",
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 100
    });
    let unigram = json!({
        "type": "Unigram", "unk_id": 0, "vocab": [["<s>", 0.0], ["is", -1.5], ["▁", -2.0]], "byte_fallback": false
    });
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    Target::new("tokenizer", HERE)
        .seed(with(&bpe, json!({"pre_tokenizer": byte_level, "decoder": byte_level})))
        .seed(with(&bpe, json!({"post_processor": template, "normalizer": normalizers})))
        .seed(with(&bpe, json!({"truncation": cut, "padding": padded})))
        .seed(with(&words, json!({"pre_tokenizer": {"type": "Whitespace"}})))
        .seed(with(&pieces, json!({"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true}})))
        .seed(with(&unigram, json!({"pre_tokenizer": metaspace})))
        .words(&[
            "\"type\":\"",
            "ByteLevel",
            "Digits",
            "Split",
            "NFC",
            "Strip",
            "\"vocab\":{",
            "\"merges\":[",
            "\"id\":",
            "Punctuation",
            "Fuse",
        ])
        .text()
        .executions(2000)
        .run(|input| tokenise(&Tokenizer::parse(path, input).map_err(|e| e.to_string())?, input));
}
