//! `ulpscope report`: the page of a finished run, or one page about several.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use ulpscope_record::RunRecord;

use crate::args::ReportArgs;
use crate::commands::{Outcome, print_files, runs};
use crate::output::{Inputs, make_folder, sweep};
use crate::progress::Talk;

pub(crate) fn run(args: &ReportArgs, talk: &Talk) -> Result<Outcome> {
    let stage = talk.stage("writing pages");
    let (paths, records): (Vec<PathBuf>, Vec<RunRecord>) =
        args.runs.iter().map(|run| runs::read(run)).collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let beside = paths[0].parent().map(Path::to_owned).unwrap_or_default();
    let (folder, name, [html, markdown]) = match &records[..] {
        [record] => (beside, "report", [ulpscope_report::html(record), ulpscope_report::markdown(record)]),
        _ => {
            let runs = named(&paths, records);
            let pages = [ulpscope_report::several(&runs), ulpscope_report::markdown_of_several(&runs)];
            (PathBuf::new(), "comparison", pages)
        }
    };
    let folder = args.out.clone().unwrap_or(folder);
    if !folder.as_os_str().is_empty() {
        make_folder(&folder)?;
    }
    sweep(&folder);
    let page = folder.join(name).with_extension("html");
    let files = [page.clone(), page.with_extension("md")];
    let inputs = Inputs::default().and(&paths);
    files.iter().filter(|file| file.exists()).try_for_each(|file| inputs.spare_file(file))?;
    for (path, text) in files.iter().zip([html, markdown]) {
        ulpscope_record::file::replace(path, text.as_bytes())
            .with_context(|| format!("{} can't be written; --out names another folder", path.display()))?;
    }
    drop(stage);
    print_files(&files, args.json)?;
    if args.open {
        open(&page)?;
    }
    Ok(Outcome::Done)
}

/// Records with names that tell them apart: their folders', numbered where those are the same.
fn named(paths: &[PathBuf], records: Vec<RunRecord>) -> Vec<(String, RunRecord)> {
    let folder = |path: &Path| path.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let names: Vec<String> = (paths.iter().zip(&records))
        .map(|(path, record)| ulpscope_report::name(&folder(path), record))
        .collect();
    let again = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
    let number = |(index, name): (usize, &String)| match again(name) {
        true => format!("{} ({name})", index + 1),
        false => name.clone(),
    };
    names.iter().enumerate().map(number).zip(records).collect()
}

/// Hands a file to whatever shows such files on this system.
fn open(page: &Path) -> Result<()> {
    let program = match std::env::consts::OS {
        "macos" => "open",
        "windows" => "explorer",
        _ => "xdg-open",
    };
    Command::new(program)
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("`{program}` can't be started; open {} by hand", page.display()))?;
    Ok(())
}
