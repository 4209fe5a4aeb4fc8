//! What must not get out: tokens, passwords, and a single packet that nobody asked for.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::util::{Dir, Run, tiny};

const TOKEN: &str = "hf_0123secret";
const PASSWORD: &str = "hunter2";

/// Everything that a run said and wrote.
fn everything(dir: &Dir, run: &Run) -> Vec<(String, String)> {
    let mut all = vec![("stdout".to_owned(), run.stdout.clone()), ("stderr".to_owned(), run.stderr.clone())];
    for name in dir.listing() {
        if let Ok(bytes) = fs::read(dir.join(&name)) {
            all.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    all
}

#[track_caller]
fn nothing_shown(dir: &Dir, run: &Run) {
    for (name, text) in everything(dir, run) {
        assert!(!text.contains(TOKEN) && !text.contains(PASSWORD), "{name}: {text}");
    }
}

#[test]
fn tokens_and_passwords_reach_no_output() {
    let endpoint = format!("http://me:{PASSWORD}@127.0.0.1:9");
    for by_file in [false, true] {
        let dir = Dir::new();
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let with = |args: &[&str], endpoint: &str| {
            let mut command = dir.command();
            command.args(args).env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", endpoint);
            match by_file {
                true => command.env("HF_HOME", home.path()),
                false => command.env("HF_TOKEN", TOKEN),
            };
            Run::new(args.iter().map(|&a| a.to_owned()).collect(), command.output().unwrap())
        };
        // A hub that can't be reached is said in the record, with its address.
        let stand_in = ["compare", "org/name", "--fallback", &tiny(), "--out", "run"];
        let run = with(&stand_in, &endpoint);
        run.check(run.code == Some(0) && run.stderr.contains("127.0.0.1:9"), "the stand-in is used");
        assert!(fs::read_to_string(dir.join("run/record.json")).unwrap().contains("127.0.0.1:9"));
        nothing_shown(&dir, &run);
        for endpoint in
            [endpoint.as_str(), &format!("me:{PASSWORD}@hub"), &format!("ftp://me:{PASSWORD}@hub")]
        {
            let run = with(&["compare", "org/name"], endpoint).fails(&[]);
            nothing_shown(&dir, &run);
        }
        let url = format!("https://me:{PASSWORD}@hub.example/org/name");
        let run = with(&["compare", &url], &endpoint).fails(&["hub.example"]);
        nothing_shown(&dir, &run);
    }
}

/// A hub, and proxies, that are waited for in vain.
#[test]
fn a_local_model_is_compared_without_a_word_to_anybody() {
    let dir = Dir::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let model = tiny();
    let commands: [(&[&str], i32); 5] = [
        (&["compare", &model, "--out", "run"], 0),
        (&["explain", &model, "--out", "why"], 0),
        (&["weights", &model], 0),
        (&["report", "run"], 0),
        // Asked for by its id, with HF_HUB_OFFLINE=1.
        (&["compare", "org/name"], 1),
    ];
    for (args, code) in commands {
        let mut command = dir.command();
        command.args(args).env("HF_ENDPOINT", &address);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env(proxy, &address);
        }
        let run = Run::new(args.iter().map(|&a| a.to_owned()).collect(), command.output().unwrap());
        run.check(run.code == Some(code), &format!("status {code} expected"));
        assert!(listener.accept().is_err(), "{args:?} connects to {address}");
    }
}

/// The same by what the system saw: no socket is opened at all.
#[cfg(target_os = "linux")]
#[test]
fn no_socket_is_opened() {
    let dir = Dir::new();
    let trace = |args: &[&str]| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=socket,connect,sendto", "-o"]).arg(dir.join("calls"));
        strace
            .arg(env!("CARGO_BIN_EXE_ulpscope"))
            .args(args)
            .current_dir(dir.join(""))
            .env("HF_HUB_OFFLINE", "1");
        strace.output()
    };
    match trace(&["--version"]) {
        Ok(output) if output.status.success() => {}
        other => {
            println!("skipped: there is no strace that works here: {other:?}");
            return;
        }
    }
    for (args, code) in [(["compare", &tiny()], 0), (["explain", &tiny()], 0), (["compare", "org/name"], 1)] {
        let output = trace(&args).unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        let calls = fs::read_to_string(dir.join("calls")).unwrap();
        let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
        assert_eq!(calls, [""; 0], "{args:?}");
    }
}
