//! The hub path against a server on loopback that answers in the hub's layout, well and badly.
#![cfg(feature = "hub")]

#[path = "hub/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use server::{COMMIT, Hub, WEIGHTS, fixture, model, sha256, walk};
use ulpscope_weights::{ModelRef, Options, Progress, Source, SourceError, locate, locate_first};

#[derive(Default)]
struct Seen {
    files: Vec<(String, u64, u64, bool)>,
}

impl Progress for Seen {
    fn start(&mut self, what: &str, bytes: Option<u64>) {
        self.files.push((what.into(), bytes.unwrap_or(0), 0, false));
    }
    fn advance(&mut self, bytes: u64) {
        self.files.last_mut().unwrap().2 += bytes;
    }
    fn finish(&mut self) {
        self.files.last_mut().unwrap().3 = true;
    }
}

#[test]
fn what_is_needed_is_fetched_once_and_then_nothing_is_asked() {
    let hub = Hub::tiny();
    let mut seen = Seen::default();
    let found = locate(&model(None), &hub.options(), &mut seen).unwrap();
    hub.assert_complete(&found);
    assert_eq!(fs::read_to_string(hub.repository().join("refs/main")).unwrap(), COMMIT);
    let requests = hub.requests();
    assert!(
        requests[0].contains("/revision/main?blobs=true") && requests[0].ends_with("with token"),
        "{requests:?}"
    );
    assert!(!requests.iter().any(|r| r.contains("README")), "{requests:?}");
    assert_eq!(seen.files.len(), 4);
    for (name, announced, arrived, finished) in seen.files {
        assert_eq!((arrived, finished), (announced, true), "{name}");
    }

    let again = hub.locate().unwrap();
    assert_eq!(again, found);
    assert_eq!(hub.locate_at(Some(COMMIT)).unwrap(), found);
    let offline = Options { offline: true, ..hub.options() };
    assert_eq!(locate(&model(Some("main")), &offline, &mut ()).unwrap(), found);
    assert_eq!(hub.requests(), [""; 0]);
}

/// The hub keeps large files on other hosts, which are told where to find them and nothing else.
#[test]
fn the_token_is_for_the_hub_alone() {
    let (hub, elsewhere) = (Hub::tiny(), Hub::tiny());
    hub.state().elsewhere = Some(elsewhere.endpoint().to_owned());
    // Broken off once, so that the request that continues is seen, too.
    elsewhere.state().cut = Some((100_000, 1));
    hub.assert_complete(&hub.locate().unwrap());
    let (at_hub, there) = (hub.requests(), elsewhere.requests());
    assert!(at_hub.iter().all(|r| r.ends_with(" with token")), "{at_hub:?}");
    assert!(there.iter().any(|r| r.contains("from 100000")) && there.len() == 3, "{there:?}");
    assert!(!there.iter().any(|r| r.contains(" with ")), "{there:?}");
}

#[test]
fn credentials_in_an_endpoint_are_shown_nowhere() {
    let cache = tempfile::tempdir().unwrap();
    for endpoint in ["http://me:hunter2@127.0.0.1:9", "me:hunter2@127.0.0.1:9", "ftp://me:hunter2@h"] {
        let options = Options {
            cache: Some(cache.path().into()),
            endpoint: endpoint.into(),
            token: Some(server::TOKEN.into()),
            ..Options::default()
        };
        let error = locate(&model(None), &options, &mut ()).unwrap_err();
        let shown = format!("{error} {error:?} {options:?}");
        assert!(!shown.contains("hunter2") && !shown.contains(server::TOKEN), "{shown}");
    }
    let error = "https://me:hunter2@hub.example/org/name".parse::<ModelRef>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[test]
fn a_commit_is_fetched_as_such_and_no_branch_is_written() {
    let hub = Hub::tiny();
    let found = hub.locate_at(Some(COMMIT)).unwrap();
    hub.assert_complete(&found);
    assert!(!hub.repository().join("refs").exists());
    hub.requests();
    assert_eq!(hub.locate_at(Some(COMMIT)).unwrap(), found);
    assert_eq!(hub.requests(), [""; 0]);
}

#[test]
fn only_what_is_missing_is_fetched() {
    let hub = Hub::tiny();
    let found = hub.locate().unwrap();
    fs::remove_file(found.path.join("config.json")).unwrap();
    hub.requests();
    hub.assert_complete(&hub.locate().unwrap());
    // The blob is still there; neither it nor the weights are transferred again.
    let gets: Vec<_> = hub.requests().into_iter().filter(|r| r.starts_with("GET /org")).collect();
    assert_eq!(gets, [""; 0]);
}

#[test]
fn refusals_are_one_clear_sentence() {
    let hub = Hub::tiny();
    let cases = [
        (401, "RepoNotFound", "HF_TOKEN"),
        (403, "GatedRepo", "accept its licence"),
        (404, "RepoNotFound", "no repository org/tiny"),
        (404, "RevisionNotFound", "no revision main of org/tiny"),
        (404, "", "no repository org/tiny, or no revision main"),
        (429, "", "too many requests"),
        (503, "", "try again later"),
    ];
    for (status, code, part) in cases {
        hub.state().refuse = Some((status, code));
        let error = hub.error().to_string();
        assert!(error.contains(part) && error.contains(&status.to_string()), "{status}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    hub.state().refuse = None;
    // A gated repository lists its files and refuses them.
    for (status, part) in
        [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "check the spelling"), (500, "try again")]
    {
        hub.state().refuse_files = Some(status);
        let error = hub.error().to_string();
        assert!(error.contains(part) && error.contains(&status.to_string()), "{status}: {error}");
    }
    hub.state().refuse_files = None;
    hub.assert_complete(&hub.locate().unwrap());
}

/// Whether a continued transfer of the weights was asked for.
fn continued(requests: &[String]) -> bool {
    requests.iter().any(|r| r.starts_with("GET /cdn/model.safetensors") && !r.contains("from 0"))
}

#[test]
fn a_connection_cut_once_is_continued() {
    for lengthless in [false, true] {
        let hub = Hub::tiny();
        hub.state().lengthless = lengthless;
        hub.state().cut = Some((100_000, 1));
        let mut seen = Seen::default();
        let found = locate(&model(None), &hub.options(), &mut seen).unwrap();
        hub.assert_complete(&found);
        let requests = hub.requests();
        assert!(continued(&requests), "{requests:?}");
        let weights = seen.files.iter().find(|file| file.0 == WEIGHTS).unwrap();
        assert_eq!(weights.1, weights.2, "bytes were counted twice or not at all");
    }
}

#[test]
fn a_connection_cut_again_and_again_is_an_error_and_the_next_run_continues() {
    for lengthless in [false, true] {
        let hub = Hub::tiny();
        hub.state().lengthless = lengthless;
        hub.state().cut = Some((100_000, usize::MAX));
        let error = hub.error();
        assert!(matches!(&error, SourceError::Broken { kept, .. } if *kept == 200_000), "{error}");
        assert!(error.to_string().contains("run again to continue"), "{error}");
        assert!(!hub.repository().join("snapshots").join(COMMIT).join(WEIGHTS).exists());
        assert!(!hub.repository().join("refs/main").exists());
        hub.requests();
        hub.state().cut = None;
        hub.assert_complete(&hub.locate().unwrap());
        let requests = hub.requests();
        assert!(requests.iter().any(|r| r.contains("from 200000")), "{requests:?}");
    }
}

#[test]
fn a_part_of_another_file_is_noticed_and_fetched_anew() {
    let hub = Hub::tiny();
    hub.state().cut = Some((100_000, usize::MAX));
    hub.error();
    hub.state().cut = None;
    let parts: Vec<_> = walk(&hub.repository().join("ulpscope-partial"))
        .into_iter()
        .filter(|(_, name)| name.ends_with(".part"))
        .collect();
    assert_eq!(parts.len(), 1);
    let whole = hub.state().files[WEIGHTS].len();
    for length in [10, whole, whole + 10] {
        let _ = fs::remove_dir_all(hub.repository().join("snapshots"));
        let _ = fs::remove_dir_all(hub.repository().join("blobs"));
        fs::create_dir_all(parts[0].0.parent().unwrap()).unwrap();
        fs::write(&parts[0].0, vec![7; length]).unwrap();
        hub.assert_complete(&hub.locate().unwrap());
    }
}

#[test]
#[cfg(unix)]
fn what_a_killed_run_left_behind_does_no_harm() {
    let hub = Hub::tiny();
    let staged = hub.repository().join("ulpscope-partial/models--org--tiny");
    let links = staged.join("snapshots").join(COMMIT);
    fs::create_dir_all(&links).unwrap();
    // Killed after the blob had moved into the cache, and before its link in staging was removed.
    std::os::unix::fs::symlink("../../blobs/gone", links.join(WEIGHTS)).unwrap();
    hub.assert_complete(&hub.locate().unwrap());
}

#[test]
fn a_stalled_transfer_is_given_up_and_can_be_continued() {
    let hub = Hub::tiny();
    hub.state().stall = Some(50_000);
    let options = Options { stall_timeout: Duration::from_millis(400), ..hub.options() };
    let started = Instant::now();
    let error = locate(&model(None), &options, &mut ()).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(matches!(error, SourceError::Stalled { .. }), "{error}");
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    hub.assert_whole();
    hub.state().stall = None;
    hub.requests();
    hub.assert_complete(&hub.locate().unwrap());
    assert!(continued(&hub.requests()));
}

#[test]
fn without_a_network_it_takes_seconds_and_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let options = Options {
        cache: Some(cache.path().into()),
        endpoint: "http://someone:secret@127.0.0.1:9".into(),
        ..Options::default()
    };
    for proxied in [false, true] {
        let started = Instant::now();
        let error = locate(&model(None), &Options { proxied, ..options.clone() }, &mut ()).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(5));
        let text = error.to_string();
        assert!(matches!(error, SourceError::Unreachable { .. }), "{text}");
        assert!(text.contains("127.0.0.1:9") && text.contains("check the network"), "{text}");
        assert!(!text.contains("secret") && !format!("{error:?}").contains("secret"), "{error:?}");
    }
    assert_eq!(walk(cache.path()), []);
    let odd = Options { endpoint: "hub.example".into(), ..options };
    let error = locate(&model(None), &odd, &mut ()).unwrap_err();
    assert!(matches!(error, SourceError::BadEndpoint { .. }), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let hub = Hub::tiny();
    hub.state().silent = true;
    let options = Options { stall_timeout: Duration::from_millis(300), ..hub.options() };
    let started = Instant::now();
    let error = locate(&model(None), &options, &mut ()).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(matches!(error, SourceError::Stalled { .. }), "{error}");
    hub.state().silent = false;
}

#[test]
fn offline_means_that_nothing_is_asked() {
    let hub = Hub::tiny();
    let switches = [
        (Options { offline: true, ..hub.options() }, "--offline"),
        (Options { hub_offline: true, ..hub.options() }, "HF_HUB_OFFLINE"),
    ];
    for (options, named) in switches {
        let error = locate(&model(Some("dev")), &options, &mut ()).unwrap_err().to_string();
        let looked_at = hub.repository().join("refs/dev");
        for part in
            ["org/tiny", "dev", named, looked_at.to_str().unwrap(), "hf download org/tiny --revision dev"]
        {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }
    assert_eq!(hub.requests(), [""; 0]);
}

fn sharded() -> BTreeMap<String, Vec<u8>> {
    let index = r#"{"weight_map":{"a":"model-1.safetensors","b":"sub/model-2.safetensors","c":"model-1.safetensors"}}"#;
    BTreeMap::from([
        ("config.json".into(), b"{}".to_vec()),
        ("model.safetensors.index.json".into(), index.as_bytes().to_vec()),
        ("model-1.safetensors".into(), vec![1; 5000]),
        ("sub/model-2.safetensors".into(), vec![2; 7000]),
    ])
}

#[test]
fn all_shards_of_the_index_are_fetched() {
    let hub = Hub::new(sharded());
    hub.state().listed.push(b"original/consolidated.safetensors".to_vec());
    let found = hub.locate().unwrap();
    hub.assert_complete(&found);
    assert!(!hub.requests().iter().any(|r| r.contains("consolidated")));
    // This repository has no tokenizer, which is now known.
    assert_eq!(hub.locate().unwrap(), found);
    assert_eq!(hub.requests(), [""; 0]);
    // A lost shard makes the snapshot incomplete.
    fs::remove_file(found.path.join("sub/model-2.safetensors")).unwrap();
    hub.assert_complete(&hub.locate().unwrap());
}

#[test]
fn a_shard_that_is_not_there_is_named() {
    let mut files = sharded();
    files.remove("sub/model-2.safetensors");
    let error = Hub::new(files).error().to_string();
    assert!(error.contains("sub/model-2.safetensors"), "{error}");
}

#[test]
fn weights_of_another_tool_without_a_tokenizer_serve_when_the_hub_does_not() {
    let hub = Hub::tiny();
    let folder = hub.repository().join("snapshots").join(COMMIT);
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(hub.repository().join("refs")).unwrap();
    fs::write(hub.repository().join("refs/main"), COMMIT).unwrap();
    for name in ["config.json", WEIGHTS] {
        fs::write(folder.join(name), &hub.state().files[name]).unwrap();
    }
    hub.state().refuse = Some((503, ""));
    assert_eq!(hub.locate().unwrap().path, folder);
    hub.state().refuse = None;
    hub.assert_complete(&hub.locate().unwrap());
    let requests = hub.requests();
    assert!(!requests.iter().any(|r| r.starts_with("GET /cdn/")), "what was there came again: {requests:?}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let names: [(&[u8], &str); 5] = [
        (b"../../x", "../../x"),
        (b"/etc/x", "/etc/x"),
        (b"a\\..\\x", "a\\\\..\\\\x"),
        (b"caf\xe9.json", "caf"),
        (b"a/../../x", "a/../../x"),
    ];
    for (name, shown) in names {
        let hub = Hub::tiny();
        hub.state().listed.push(name.to_vec());
        let error = hub.error();
        assert!(matches!(error, SourceError::HostileName { .. }), "{error}");
        assert!(error.to_string().contains(shown), "{error}");
        assert_eq!(hub.requests().len(), 1, "files were asked for");
    }
    for etag in ["../../../../x", "a/b", "", "..", "W/abc"] {
        let hub = Hub::tiny();
        hub.state().etag = Some(etag.into());
        let error = hub.error();
        assert!(matches!(error, SourceError::BadAnswer { .. }), "{error}");
    }
    let hub = Hub::new(BTreeMap::from([
        ("config.json".into(), b"{}".to_vec()),
        ("model.safetensors.index.json".into(), br#"{"weight_map":{"a":"../../../x"}}"#.to_vec()),
    ]));
    let error = hub.error().to_string();
    assert!(error.contains("../../../x"), "{error}");
}

#[test]
fn content_with_another_hash_is_deleted_and_said() {
    let hub = Hub::tiny();
    let wrong = "ab".repeat(32);
    hub.state().etag = Some(wrong.clone());
    let error = hub.error();
    assert!(matches!(error, SourceError::Corrupt { property: "sha256", .. }), "{error}");
    let right = sha256(&hub.state().files[WEIGHTS]);
    for part in [WEIGHTS, &wrong, &right] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let left: Vec<_> =
        walk(&hub.repository()).into_iter().filter(|(path, _)| path.ends_with(&wrong)).collect();
    assert_eq!(left, []);
    hub.state().etag = None;
    hub.assert_complete(&hub.locate().unwrap());
}

#[test]
fn a_repository_of_ggufs_points_to_the_file() {
    let hub = Hub::new(BTreeMap::from([("m.Q4_1.gguf".into(), vec![1; 10])]));
    let error = hub.error().to_string();
    assert!(error.contains("hf download org/tiny m.Q4_1.gguf"), "{error}");
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn several_at_once_fetch_it_once() {
    let hub = Hub::tiny();
    hub.state().pause = Duration::from_millis(200);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let found = hub.locate().unwrap();
                assert_eq!(found.revision.as_deref(), Some(COMMIT));
            });
        }
    });
    let transfers = hub.requests().iter().filter(|r| r.starts_with("GET /cdn/")).count();
    assert_eq!(transfers, 1);
    hub.assert_complete(&hub.locate().unwrap());
}

#[test]
fn the_chain_ends_at_what_is_there() {
    let hub = Hub::tiny();
    hub.state().refuse = Some((404, "RepoNotFound"));
    let chain = [model(None), ModelRef::Directory(fixture())];
    let found = locate_first(&chain, &hub.options(), &mut ()).unwrap();
    assert_eq!((found.kind, found.name.as_str()), (Source::Directory, "tiny-llama"));
    assert_eq!(found.unavailable.len(), 1);
    assert!(found.unavailable[0].starts_with("org/tiny: "), "{:?}", found.unavailable);
}

/// As [`the_token_is_for_the_hub_alone`], for lists, and to the same host.
#[test]
fn the_token_stays_when_a_list_is_elsewhere() {
    let (hub, other_port) = (Hub::tiny(), Hub::tiny());
    hub.state().list_elsewhere = Some(other_port.endpoint().to_owned());
    hub.assert_complete(&hub.locate().unwrap());
    let asked = other_port.requests();
    assert_eq!(asked, ["GET /api/models/org/tiny/revision/main?blobs=true from 0"]);
    assert!(hub.requests().iter().all(|request| request.ends_with(" with token")));
    // Round and round.
    let hub = Hub::tiny();
    hub.state().list_elsewhere = Some(hub.endpoint().to_owned());
    let error = hub.error();
    assert!(matches!(error, SourceError::BadAnswer { .. }), "{error}");
}

/// Bytes on disk below a folder.
fn on_disk(folder: &std::path::Path) -> u64 {
    walk(folder).iter().map(|(path, _)| path.metadata().map_or(0, |found| found.len())).sum()
}

#[test]
fn a_download_ends_at_its_announced_size() {
    for name in ["config.json", "tokenizer.json", WEIGHTS] {
        let hub = Hub::tiny();
        hub.state().endless = Some(name);
        let error = hub.error();
        assert!(matches!(error, SourceError::Corrupt { property: "size", .. }), "{name}: {error}");
        let whole: usize = hub.state().files.values().map(Vec::len).sum();
        assert!(on_disk(&hub.repository()) <= whole as u64 + 1, "{name}");
        hub.state().endless = None;
        hub.assert_complete(&hub.locate().unwrap());
    }
}

#[test]
fn sizes_that_no_disk_has_are_refused_before_the_first_byte() {
    for (name, size, part) in [
        ("config.json", 1 << 40, "no such file has"),
        ("config.json", u64::MAX, "no such file has"),
        (WEIGHTS, 1 << 60, "has room for"),
        (WEIGHTS, u64::MAX, "has room for"),
    ] {
        let hub = Hub::tiny();
        hub.state().announced = Some((name, size));
        let error = hub.error().to_string();
        assert!(error.contains(part) && error.contains(&size.to_string()), "{error}");
        assert!(!hub.requests().iter().any(|r| r.starts_with("GET") && r.contains(&format!("/{name}"))));
    }
    // Each would fit, all together would not.
    let hub = Hub::tiny();
    hub.state().listed_size = Some(u64::MAX / 2);
    let error = hub.error();
    assert!(matches!(error, SourceError::NoRoom { .. }), "{error}");
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn a_size_that_is_too_small_or_another_part_ends_in_a_sentence() {
    let hub = Hub::tiny();
    hub.state().announced = Some(("config.json", 10));
    let error = hub.error();
    assert!(matches!(error, SourceError::Corrupt { property: "size", .. }), "{error}");
    let hub = Hub::tiny();
    hub.state().shifted = 3;
    let error = hub.error();
    assert!(error.to_string().contains("another part of it was sent"), "{error}");
}

#[test]
fn silence_a_refusal_and_a_wrong_name_are_told_apart() {
    let hub = Hub::tiny();
    let said = |endpoint: &str| {
        let stall_timeout = Duration::from_millis(300);
        let options = Options { endpoint: endpoint.into(), stall_timeout, ..hub.options() };
        locate(&model(None), &options, &mut ()).unwrap_err().to_string()
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = said(&format!("http://{}", listener.local_addr().unwrap()));
    assert!(silent.contains("has arrived for 0.3 s"), "{silent}");
    drop(listener);
    let refused = said("http://127.0.0.1:9");
    assert!(refused.contains("the connection was refused"), "{refused}");
    let unknown = said("http://no-such-host.invalid");
    assert!(unknown.contains("does not resolve") || unknown.contains("did not resolve"), "{unknown}");
    // The place of large files refuses.
    hub.state().elsewhere = Some("http://127.0.0.1:9".to_owned());
    let error = hub.error().to_string();
    assert!(error.contains("the connection was refused"), "{error}");
}

#[test]
fn keys_in_addresses_are_shown_nowhere() {
    let hub = Hub::tiny();
    let secret = "hunter2";
    for endpoint in [
        format!("http://127.0.0.1:9/?key={secret}"),
        format!("http://127.0.0.1:9/#{secret}"),
        format!("127.0.0.1:9/?key={secret}"),
        format!("http://me:p/{secret}@127.0.0.1:9"),
        format!("http://me:{secret}@127.0.0.1:9/x?{secret}"),
    ] {
        let options = Options { endpoint: endpoint.clone(), ..hub.options() };
        let error = locate(&model(None), &options, &mut ()).unwrap_err();
        let shown = format!("{error} {error:?} {options:?}");
        assert!(!shown.contains(secret), "{endpoint}: {shown}");
    }
    // Signed addresses, as the hub redirects to.
    for to in [format!("ftp://h/x?signature={secret}"), format!("http://me:{secret}@127.0.0.1:9")] {
        hub.state().elsewhere = Some(to);
        let error = hub.error();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

/// What somebody else who may write to the cache could have put there.
#[cfg(unix)]
#[test]
fn planted_links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let victim = tempfile::tempdir().unwrap();
    let file = victim.path().join("precious");
    let etag = |hub: &Hub, name: &str| sha256(&hub.state().files[name])[..40].to_owned();
    type Plant<'a> = &'a dyn Fn(&Hub) -> bool;
    let at = |hub: &Hub, path: &str| {
        let path = hub.repository().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let plants: [Plant<'_>; 7] = [
        &|hub| symlink(victim.path(), at(hub, "ulpscope-partial")).is_err(),
        &|hub| symlink(victim.path(), at(hub, "blobs")).is_err(),
        &|hub| symlink(victim.path(), at(hub, "snapshots")).is_err(),
        &|hub| symlink(victim.path(), at(hub, "refs")).is_err(),
        // The others are put aside.
        &|hub| {
            symlink(&file, at(hub, &format!("ulpscope-partial/{}.part", etag(hub, "config.json")))).is_ok()
        },
        &|hub| {
            fs::hard_link(&file, at(hub, &format!("ulpscope-partial/{}.part", etag(hub, "config.json"))))
                .is_ok()
        },
        &|hub| {
            // As long as what it stands for.
            fs::write(&file, vec![b' '; hub.state().files["config.json"].len()]).unwrap();
            symlink(&file, at(hub, &format!("blobs/{}", etag(hub, "config.json")))).is_ok()
        },
    ];
    for (case, plant) in plants.into_iter().enumerate() {
        fs::write(&file, "x").unwrap();
        let hub = Hub::tiny();
        let served = plant(&hub);
        let before = fs::read(&file).unwrap();
        match hub.locate() {
            Ok(found) => hub.assert_complete(&found),
            Err(error) => assert!(!served && error.to_string().contains("it is a link"), "{case}: {error}"),
        }
        assert_eq!(fs::read(&file).unwrap(), before, "{case}");
        assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 1, "{case}: something was put there");
    }
}

#[cfg(unix)]
#[test]
fn a_cached_file_is_what_its_name_says_and_in_the_cache() {
    let hub = Hub::tiny();
    let found = hub.locate().unwrap();
    let weights = found.path.join(WEIGHTS);
    let blob = weights.canonicalize().unwrap();
    let right = fs::read(&blob).unwrap();
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    fs::write(&blob, &wrong).unwrap();
    let checkpoint = ulpscope_weights::Checkpoint::open(&found.path).unwrap();
    let error = checkpoint.sha256().unwrap_err().to_string();
    assert!(error.contains(&sha256(&right)) && error.contains(&sha256(&wrong)), "{error}");
    drop(checkpoint);
    // An incomplete snapshot takes no such blob along.
    fs::remove_file(&weights).unwrap();
    hub.assert_complete(&hub.locate().unwrap());
    // A link out of the cache is no copy.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("w"), &wrong).unwrap();
    fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("w"), &weights).unwrap();
    let offline = Options { offline: true, ..hub.options() };
    assert!(matches!(locate(&model(None), &offline, &mut ()), Err(SourceError::NotCached { .. })));
    hub.assert_complete(&hub.locate().unwrap());
    assert_eq!(fs::read(elsewhere.path().join("w")).unwrap(), wrong);
}
