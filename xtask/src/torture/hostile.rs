//! A hub that wants the token, the disk, or all the time there is; and links planted in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::hub::{Hub, Manner};
use super::{Bench, Tally, contents, not_an_error};

const TOKEN: &str = "hf_torture_token";
/// No answer of these hubs is worth waiting longer for.
const PATIENCE: Duration = Duration::from_secs(15);
/// What may lie on the disk beside the model.
const ROOM: usize = 1 << 20;

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let tally = answers(bench)?;
    bench.done("hub", &tally);
    #[cfg(unix)]
    {
        let tally = links(bench)?;
        bench.done("hub", &tally);
    }
    Ok(())
}

fn fetch(bench: &Bench, hub: &Hub, home: &Path) -> Result<Output> {
    let mut command = bench.ulpscope();
    command.args(["weights", "org/tiny", "--quiet"]).env_remove("HF_HUB_OFFLINE");
    command.env("HF_HOME", home).env("HF_ENDPOINT", hub.endpoint()).env("HF_TOKEN", TOKEN);
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    command.output().context("ulpscope can't be started")
}

fn answers(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("answers of a hostile hub");
    let size: usize = contents(&bench.model).values().map(Vec::len).sum();
    for manner in [
        Manner::ListElsewhere,
        Manner::FilesElsewhere,
        Manner::Round,
        Manner::EndlessList,
        Manner::EndlessFiles,
        Manner::Announced(1 << 60),
        Manner::Announced(u64::MAX),
        Manner::Announced(10),
        Manner::Announced(0),
        Manner::Shifted,
        Manner::Nonsense,
    ] {
        let elsewhere = Hub::with_manner(&bench.model, Manner::Good, "")?;
        let home = bench.folder("home")?;
        let hub = Hub::with_manner(&bench.model, manner, elsewhere.endpoint())?;
        let begun = Instant::now();
        let output = fetch(bench, &hub, &home)?;
        let kept: usize = contents(&home).values().map(Vec::len).sum();
        let said = format!("{output:?}");
        let works = matches!(manner, Manner::ListElsewhere | Manner::FilesElsewhere);
        let wrong = match () {
            () if elsewhere.tokens() > 0 => Some("another port saw the token".to_owned()),
            () if said.contains(TOKEN) => Some(format!("the token is shown: {said}")),
            () if kept > size + ROOM => Some(format!("{kept} bytes are left on the disk")),
            () if begun.elapsed() > PATIENCE => Some(format!("it took {:?}", begun.elapsed())),
            () if works => (!output.status.success()).then_some(said),
            () => not_an_error(&output, &[]),
        };
        tally.count(wrong.map(|wrong| format!("{manner:?}: {wrong}")));
    }
    Ok(tally)
}

/// Each place of the cache led to somebody's folder or file, of which nothing may change.
#[cfg(unix)]
fn links(bench: &mut Bench) -> Result<Tally> {
    use std::os::unix::fs::symlink;
    let mut tally = Tally::new("links planted in the cache");
    let hub = Hub::with_manner(&bench.model, Manner::Good, "")?;
    let etag = "config-json";
    let repository = "hub/models--org--tiny";
    let places = ["blobs", "snapshots", "refs", "ulpscope-partial", ".no_exist"];
    let files = [format!("blobs/{etag}"), format!("ulpscope-partial/{etag}.part"), "refs/main".to_owned()];
    let files = files.iter().map(|file| (Path::new(repository).join(file), true));
    let locks = ["hub/.locks/models--org--tiny/ulpscope.lock"].map(|file| (PathBuf::from(file), true));
    let folders = places.iter().map(|place| (Path::new(repository).join(place), false));
    let folders = folders.chain([(PathBuf::from(repository), false)]);
    for (place, file) in folders.chain(files).chain(locks) {
        let (home, victim) = (bench.folder("home")?, bench.folder("victim")?);
        fs::write(victim.join("precious"), "x")?;
        let before = contents(&victim);
        let at = home.join(&place);
        fs::create_dir_all(at.parent().unwrap_or(&home))?;
        symlink(if file { victim.join("precious") } else { victim.clone() }, &at)?;
        let output = fetch(bench, &hub, &home)?;
        let wrong = match output.status.success() {
            _ if contents(&victim) != before => Some("what the link leads to was changed".to_owned()),
            true => None,
            false => not_an_error(&output, &[]),
        };
        tally.count(wrong.map(|wrong| format!("{}: {wrong}", place.display())));
    }
    Ok(tally)
}
