//! GGUF files in parts.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anamnesis::{GgufMetadataValue as V, GgufWriteTensor, parse_gguf_front_matter_from_reader, write_gguf};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use ulpscope_weights::{Checkpoint, Format};

use crate::{fixture, one_sentence, refusal};

fn part(number: usize) -> String {
    format!("rope-llama3-{number:05}-of-00003.gguf")
}

/// A copy of the three parts, to be damaged.
fn copy() -> (TempDir, [PathBuf; 3]) {
    let dir = tempfile::tempdir().unwrap();
    let paths = [1, 2, 3].map(|number| dir.path().join(part(number)));
    for path in &paths {
        fs::copy(fixture("parts").join(path.file_name().unwrap()), path).unwrap();
    }
    (dir, paths)
}

/// Writes `to` where a file holds `from`, which is as long and there once.
fn replace(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    assert!(places.len() == 1 && from.len() == to.len(), "{places:?}");
    bytes[places[0]..places[0] + to.len()].copy_from_slice(to);
    fs::write(path, bytes).unwrap();
}

/// Writes another number for a key of which the file says `from`.
fn set(path: &Path, key: &str, from: i32, to: i32) {
    let entry = |value: i32| {
        let mut entry = key.as_bytes().to_vec();
        if key == "split.tensors.count" {
            entry.extend([5u32.to_le_bytes(), value.to_le_bytes()].concat());
        } else {
            entry.extend([&2u32.to_le_bytes()[..], &(value as u16).to_le_bytes()].concat());
        }
        entry
    };
    replace(path, &entry(from), &entry(to));
}

fn equal(parts: &Checkpoint, whole: &Checkpoint) {
    assert_eq!(parts.format(), Format::Gguf);
    assert_eq!(parts.names(), whole.names());
    assert_eq!((parts.architecture(), parts.config_json()), (whole.architecture(), whole.config_json()));
    assert_eq!((parts.rope_factors(), parts.ignored()), (whole.rope_factors(), whole.ignored()));
    for name in whole.names() {
        let (a, b) = (parts.tensor(name).unwrap(), whole.tensor(name).unwrap());
        assert_eq!((&a.stored, &a.shape), (&b.stored, &b.shape), "{name}");
        assert_eq!(a.values.bytes(), b.values.bytes(), "{name}");
    }
}

#[test]
fn any_part_opens_what_the_whole_file_holds() {
    let whole = Checkpoint::open(&fixture("rope-llama3.gguf")).unwrap();
    let paths = [1, 2, 3].map(|number| fixture("parts").join(part(number)));
    let hashes = paths.clone().map(|path| {
        let hash: String =
            Sha256::digest(fs::read(&path).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), hash)
    });
    for path in &paths {
        let parts = Checkpoint::open(path).unwrap();
        equal(&parts, &whole);
        assert_eq!((parts.path(), parts.files()), (path.as_path(), &paths[..]));
        assert_eq!(parts.sha256().unwrap(), hashes);
        assert_eq!(parts.stamp(), Checkpoint::open(&paths[0]).unwrap().stamp());
        parts.unchanged().unwrap();
        parts.release();
        equal(&parts, &whole);
    }
}

/// Writes a file again in `count` parts with alignments of their own. Its tensors are dealt out in
/// turn, from part `from` on.
fn split(whole: &Path, name: &Path, count: usize, from: usize) -> Vec<PathBuf> {
    let bytes = fs::read(whole).unwrap();
    let front = parse_gguf_front_matter_from_reader(std::io::Cursor::new(&bytes)).unwrap();
    let stem = name.display();
    let write = |number: usize| {
        let mut table = if number == 0 { front.metadata.clone() } else { HashMap::new() };
        table.insert("split.no".into(), V::U16(number as u16));
        table.insert("split.count".into(), V::U16(count as u16));
        table.insert("split.tensors.count".into(), V::I32(front.tensor_infos.len() as i32));
        table.insert("general.alignment".into(), V::U32(8 << (2 * number)));
        let own = |at: &usize| number >= from && at % (count - from) == number - from;
        let tensors: Vec<GgufWriteTensor<'_>> = (0..front.tensor_infos.len())
            .filter(own)
            .map(|at| {
                let info = &front.tensor_infos[at];
                let start = info.data_offset as usize;
                let data = &bytes[start..start + info.byte_len.unwrap() as usize];
                GgufWriteTensor { name: &info.name, shape: &info.shape, dtype: info.dtype, data }
            })
            .collect();
        let path = PathBuf::from(format!("{stem}-{:05}-of-{count:05}.gguf", number + 1));
        write_gguf(&path, &tensors, &table).unwrap();
        path
    };
    (0..count).map(write).collect()
}

#[test]
fn tensors_may_be_in_any_part_and_the_tokenizer_is_in_the_first() {
    let path = fixture("tiny-llama.gguf");
    let whole = Checkpoint::open(&path).unwrap();
    let text = "Gravity is 12 m/s², é🙂 <s> and\n\n  more of it.";
    let ids = whole.tokenizer().unwrap().encode(text).unwrap();
    for from in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        for path in split(&path, &dir.path().join("a-of-b"), 4, from) {
            let parts = Checkpoint::open(&path).unwrap();
            equal(&parts, &whole);
            let tokenizer = parts.tokenizer().unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids);
            assert_eq!(tokenizer.decode(&ids).unwrap(), whole.tokenizer().unwrap().decode(&ids).unwrap());
        }
    }
    // In one part it is whole under any name.
    let dir = tempfile::tempdir().unwrap();
    let [one] = &split(&path, &dir.path().join("a"), 1, 0)[..] else { panic!() };
    equal(&Checkpoint::open(one).unwrap(), &whole);
    let other = dir.path().join("b.gguf");
    fs::rename(one, &other).unwrap();
    equal(&Checkpoint::open(&other).unwrap(), &whole);
}

/// What each part is refused with after a change.
fn refusals(change: impl Fn(&[PathBuf; 3])) -> Vec<String> {
    let (_dir, paths) = copy();
    change(&paths);
    paths.iter().filter(|path| path.exists()).map(|path| refusal(path)).collect()
}

#[test]
fn parts_that_do_not_belong_together_are_named() {
    let says = |named: &str, text: &str, change: &dyn Fn(&[PathBuf; 3])| {
        for message in refusals(change) {
            assert!(message.contains(text), "{message}");
            assert!(message.split("cannot").next().unwrap().contains(named), "{message}");
        }
    };
    says("", "missing beside it: 1 of 3 parts, first `rope-llama3-00002-of-00003.gguf`; download", &|p| {
        fs::remove_file(&p[1]).unwrap();
    });
    says(
        &part(3),
        "missing beside it: 2 of 3 parts, first `rope-llama3-00001-of-00003.gguf`; download",
        &|p| {
            fs::remove_file(&p[0]).unwrap();
            fs::remove_file(&p[1]).unwrap();
        },
    );
    says(
        &part(3),
        "it is part 2, which `rope-llama3-00002-of-00003.gguf` is already; download part 3",
        &|p| {
            fs::copy(&p[1], &p[2]).unwrap();
        },
    );
    says(&part(1), "says part 1 of 3; rename it", &|p| {
        let aside = p[0].with_extension("x");
        for (from, to) in [(&p[0], &aside), (&p[1], &p[0]), (&aside, &p[1])] {
            fs::rename(from, to).unwrap();
        }
    });
    says(&part(2), "it is part 2 of 4, but its name says part 2 of 3; rename it, or download it", &|p| {
        set(&p[1], "split.count", 3, 4);
    });
    says(&part(2), "its `split.tensors.count` is 13, but 12 in `rope-llama3-00001-of-00003.gguf`", &|p| {
        set(&p[1], "split.tensors.count", 12, 13);
    });
    says(&part(3), "tensor `blk.0.ffn_norm.weight` is also in `rope-llama3-00002-of-00003.gguf`", &|p| {
        replace(&p[1], b"blk.0.ffn_gate.weight", b"blk.0.ffn_norm.weight");
    });
    says("", "all 3 parts hold 12 tensors, but `split.tensors.count` is 14; download them again", &|p| {
        p.iter().for_each(|path| set(path, "split.tensors.count", 12, 14));
    });
}

#[test]
fn a_file_that_is_no_part_is_not_taken_for_one() {
    let (_dir, [first, second, third]) = copy();
    replace(&third, b"split.count", b"split.cOUNT");
    let text = "its metadata do not say that it is a part, as those of `rope-llama3-0000";
    for path in [&first, &second] {
        let message = refusal(path);
        assert!(
            message.starts_with(&format!("`{}`", third.display())) && message.contains(text),
            "{message}"
        );
    }
    assert!(
        refusal(&third).contains("general.architecture = absent"),
        "by itself it is a model, and a bad one"
    );
}

#[test]
fn a_part_with_another_name_says_which_it_should_have() {
    let refused = |name: &str| {
        let (dir, [_, second, third]) = copy();
        fs::remove_file(third).unwrap();
        let path = dir.path().join(name);
        fs::rename(&second, &path).unwrap();
        refusal(&path)
    };
    for (name, text) in [
        (
            "mine.gguf",
            "it is part 2 of 3, but the others cannot be found by its name; rename it NAME-00002-of-00003",
        ),
        (&part(3), "it is part 2 of 3, but its name says part 3 of 3; rename it"),
        ("rope-llama3-00002-of-00004.gguf", "it is part 2 of 3, but its name says part 2 of 4; rename it"),
        ("other-00002-of-00003.gguf", "missing beside it: 2 of 3 parts, first `other-00001-of-00003.gguf`"),
    ] {
        let message = refused(name);
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn impossible_numbers_are_refused() {
    let refused = |key: &str, from: i32, to: i32| {
        let (_dir, paths) = copy();
        set(&paths[1], key, from, to);
        refusal(&paths[1])
    };
    assert!(refused("split.no", 1, 3).contains("its `split.no` is 3 where `split.count` is 3"));
    assert!(refused("split.count", 3, 0).contains("its `split.no` is 1 where `split.count` is 0"));
    assert!(refused("split.tensors.count", 12, -12).contains("`split.tensors.count` is a negative number"));
    let (_dir, paths) = copy();
    replace(&paths[2], b"split.tensors.count", b"split.tensors.cOUNT");
    assert!(refusal(&paths[0]).contains("its metadata lacks `split.tensors.count`"));
}

#[test]
fn a_part_that_changes_is_noticed() {
    let (_dir, [first, second, third]) = copy();
    let checkpoint = Checkpoint::open(&first).unwrap();
    let stamp = checkpoint.stamp();
    let file = fs::OpenOptions::new().write(true).open(&second).unwrap();
    file.set_len(1000).unwrap();
    for error in [
        checkpoint.unchanged().unwrap_err(),
        checkpoint.tensor("model.layers.0.mlp.down_proj.weight").unwrap_err(),
        checkpoint.sha256().unwrap_err(),
    ] {
        let message = one_sentence(&error);
        assert!(message.contains(&part(2)) && message.contains("is 1000 now"), "{message}");
    }
    checkpoint.tensor("model.norm.weight").unwrap();
    fs::copy(fixture("parts").join(part(2)), &second).unwrap();
    assert_ne!(Checkpoint::open(&first).unwrap().stamp(), stamp);
    let checkpoint = Checkpoint::open(&first).unwrap();
    fs::remove_file(third).unwrap();
    let message = checkpoint.unchanged().unwrap_err().to_string();
    assert!(message.contains(&part(3)) && message.contains("was taken away"), "{message}");
}

#[test]
fn a_folder_of_parts_says_what_to_give() {
    let (dir, paths) = copy();
    let says = |text: &str| {
        let message = refusal(dir.path());
        assert!(message.contains(text), "{message}");
    };
    says("it holds a GGUF file in 3 parts: give the path of one, such as rope-llama3-00001-of-00003.gguf");
    fs::remove_file(&paths[0]).unwrap();
    says(
        "it holds 2 of the 3 parts of a GGUF file, such as rope-llama3-00002-of-00003.gguf: download the others",
    );
    fs::remove_file(&paths[1]).unwrap();
    says("it holds 1 of the 3 parts of a GGUF file");
    fs::write(dir.path().join("a.gguf"), b"").unwrap();
    says("it holds GGUF files: give the path of one, such as a.gguf");
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_no_missing_part() {
    let (_dir, [first, second, _]) = copy();
    fs::remove_file(&second).unwrap();
    std::os::unix::fs::symlink("gone", &second).unwrap();
    let message = refusal(&first);
    assert!(message.contains(&part(2)) && message.contains("is a link to `gone`"), "{message}");
}
