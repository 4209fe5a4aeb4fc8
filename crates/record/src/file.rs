//! Reading and writing `record.json`.

use crate::explanation::{Explanation, Origin};
use crate::kind::{Wanted, kind};
use crate::layout;
use crate::schema::{OLDEST, RunRecord, SCHEMA};
use serde::Deserialize;
use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

/// The largest file that is read, in bytes. A thousand times a usual record, and well within
/// memory.
pub const LIMIT: u64 = 256 << 20;

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be opened or read.
    #[error("{path}: cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be written; nothing is left of it, and what was there before still is.
    #[error("{path}: cannot be written: {source}; nothing was changed there")]
    Write {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// More bytes than a record has.
    #[error("{path}: larger than {limit} bytes, which no record is; narrow the sites or the prompts")]
    TooLarge {
        /// The file.
        path: String,
        /// [`LIMIT`].
        limit: u64,
    },
    /// The text ends inside the record.
    #[error(
        "{path}: cut short: the text ends at line {line} inside the record; run again to get a whole one"
    )]
    CutShort {
        /// The file.
        path: String,
        /// Last line.
        line: usize,
    },
    /// Not JSON, or not a record's JSON. The message holds line and column.
    #[error("{path}: not a record of ulpscope: {source}")]
    NotARecord {
        /// The file.
        path: String,
        /// What was expected and found, and where.
        source: serde_json::Error,
    },
    /// Something else under that name.
    #[error("{path}: not a record of ulpscope: {what}")]
    Other {
        /// The file.
        path: String,
        /// What it is, and what to do.
        what: &'static str,
    },
    /// Written with another version of the schema.
    #[error("{path}: schema version {found}, this ulpscope reads versions {OLDEST} to {SCHEMA}; {}", remedy(*found))]
    Version {
        /// The file.
        path: String,
        /// Version in the file.
        found: u64,
    },
    /// A field contradicts another.
    #[error("{path}: {field} is {found}, but {expected}")]
    Contradiction {
        /// The file.
        path: String,
        /// The field, as a path into the record.
        field: String,
        /// Its value.
        found: String,
        /// What the rest of the record asks for.
        expected: String,
    },
    /// A value that has no JSON.
    #[error("the record cannot be written as JSON: {0}")]
    Json(serde_json::Error),
}

fn remedy(found: u64) -> &'static str {
    if found > u64::from(SCHEMA) {
        "use a newer ulpscope"
    } else {
        "run again to get a record of this version"
    }
}

impl RunRecord {
    /// Reads a record from a file.
    ///
    /// # Errors
    /// Every kind of [`RecordError`] but the two of writing; all name the file, and where the text
    /// is at fault, the line.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let failed = |source| RecordError::Read { path: name.clone(), source };
        let mut bytes = Vec::new();
        // One byte past the limit tells a file that is too large, also one whose size the system
        // hides.
        open(path).map_err(failed)?.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LIMIT {
            return Err(RecordError::TooLarge { path: name, limit: LIMIT });
        }
        parse(&bytes, &name)
    }

    /// Writes the record to a file, replacing one that is there.
    ///
    /// The file is either whole or untouched: the text goes to a temporary file in the same folder
    /// first.
    ///
    /// # Errors
    /// [`RecordError::Write`] with what the system says; [`RecordError::TooLarge`] for what
    /// [`read`](Self::read) would refuse.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), RecordError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let text = self.to_json()?;
        if text.len() as u64 > LIMIT {
            return Err(RecordError::TooLarge { path: name, limit: LIMIT });
        }
        replace(path, text.as_bytes()).map_err(|source| RecordError::Write { path: name, source })
    }

    /// Reads a record from text.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        parse(text.as_bytes(), "the record")
    }

    /// The record as text: one field a line, lists of numbers in rows, a newline at the end.
    ///
    /// # Errors
    /// [`RecordError::Json`], which no value of this type is known to cause.
    pub fn to_json(&self) -> Result<String, RecordError> {
        layout::to_json(self).map_err(RecordError::Json)
    }
}

/// Puts `bytes` into the file at `path`: into a temporary file of the same folder, to the disk,
/// then renamed.
///
/// # Errors
/// What the system says, and [`io::ErrorKind::InvalidInput`] where a device, a pipe or a socket
/// stands at `path`, which a rename would destroy. The temporary file is gone then, and what stood
/// at `path` is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a device, pipe or socket is there, which a file must not take the place of",
        ));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = temporary(folder)?;
    file.write_all(bytes)?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// A temporary file in `folder`, locked, which tells it from one whose process is dead and which
/// may be swept away.
fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ulpscope-");
    #[cfg(unix)]
    {
        // The default, 0600, is for secrets; a result is as readable as the umask lets it be.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    loop {
        let file = builder.tempfile_in(folder)?;
        // Whoever sweeps may come between making and locking; then another is made.
        let swept = matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock));
        if !swept && file.path().exists() {
            return Ok(file);
        }
    }
}

/// Opens a file to be read. A pipe, which would be waited for without end, or a device, which may
/// have none, is refused.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidInput`] for what is neither a file nor a link to
/// one.
pub fn open(path: &Path) -> io::Result<File> {
    let found = path.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a device, pipe or socket, and no file",
        ));
    }
    File::open(path)
}

fn parse(bytes: &[u8], path: &str) -> Result<RunRecord, RecordError> {
    #[derive(Deserialize)]
    struct Header {
        schema: u64,
    }
    let wrong = |source: serde_json::Error| {
        let path = path.to_owned();
        match kind(bytes, Wanted::Json) {
            Some(what) => RecordError::Other { path, what },
            None if source.is_eof() => RecordError::CutShort { path, line: source.line() },
            None => RecordError::NotARecord { path, source },
        }
    };
    // Before anything else: another version's fields are not faults of the file.
    let header: Header = serde_json::from_slice(bytes).map_err(wrong)?;
    if !(u64::from(OLDEST)..=u64::from(SCHEMA)).contains(&header.schema) {
        return Err(RecordError::Version { path: path.to_owned(), found: header.schema });
    }
    let record: RunRecord = serde_json::from_slice(bytes).map_err(wrong)?;
    match contradiction(&record) {
        None => Ok(record),
        Some((field, found, expected)) => {
            Err(RecordError::Contradiction { path: path.to_owned(), field, found, expected })
        }
    }
}

/// The first field that points at an arm or prompt which is not there, or has lost its counterpart.
fn contradiction(record: &RunRecord) -> Option<(String, String, String)> {
    let arms: Vec<&str> = record.arms.iter().map(|arm| arm.name.as_str()).collect();
    if arms.is_empty() {
        return Some(("arms".into(), "empty".into(), "the first arm is the reference".into()));
    }
    // Looked up by hash: a file may name a million.
    let mut names = HashSet::new();
    if let Some((index, arm)) = arms.iter().enumerate().find(|(_, arm)| !names.insert(**arm)) {
        let expected = "the rest of the record tells arms apart by their names".into();
        return Some((format!("arms[{index}].name"), format!("{arm} again"), expected));
    }
    let prompts = record.prompts.len();
    let unknown = |arm: &str| !names.contains(arm);
    let known = || format!("the arms are {}", listed(&arms));
    let weights = record.weights.different.iter().enumerate();
    let weights = weights.map(|(i, w)| (format!("weights.different[{i}].arm"), &w.arm));
    let buffers = record.buffers.iter().enumerate().map(|(i, b)| (format!("buffers[{i}].arm"), &b.arm));
    if let Some((field, arm)) = weights.chain(buffers).find(|(_, arm)| unknown(arm)) {
        return Some((field, arm.clone(), known()));
    }
    let sites = record.sites.iter().enumerate().map(|(i, s)| (format!("sites[{i}]"), &s.arm, s.prompt));
    let logits = record.logits.iter().enumerate().map(|(i, l)| (format!("logits[{i}]"), &l.arm, l.prompt));
    let first = record.first.iter().enumerate().map(|(i, f)| (format!("first[{i}]"), &f.arm, f.prompt));
    for (field, arm, prompt) in sites.chain(logits).chain(first) {
        if unknown(arm) {
            return Some((format!("{field}.arm"), arm.clone(), known()));
        }
        if prompt >= prompts {
            let expected = format!("there are {prompts} prompts, counted from 0");
            return Some((format!("{field}.prompt"), prompt.to_string(), expected));
        }
    }
    if let Some(found) = record.explanation.as_ref().and_then(|e| contradiction_in(e, &arms, prompts)) {
        return Some(found);
    }
    record.logits.iter().enumerate().find(|(_, l)| l.sample.a.len() != l.sample.b.len()).map(|(i, l)| {
        let expected = format!("its counterpart b has {}", l.sample.b.len());
        (format!("logits[{i}].sample.a"), format!("{} values long", l.sample.a.len()), expected)
    })
}

/// The first few names.
fn listed(names: &[&str]) -> String {
    const MAX_NAMES: usize = 20;
    let more = if names.len() > MAX_NAMES { " and more" } else { "" };
    names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ") + more
}

/// The same within an explanation, of a run with these arms and this many prompts.
fn contradiction_in(
    explanation: &Explanation,
    arms: &[&str],
    prompts: usize,
) -> Option<(String, String, String)> {
    if !arms[1..].contains(&explanation.arm.as_str()) {
        let expected = format!("the arms beside the reference are {}", listed(&arms[1..]));
        return Some(("explanation.arm".into(), explanation.arm.clone(), expected));
    }
    let floor = &explanation.floor;
    let lists: [(&str, Vec<usize>); 6] = [
        ("origins", explanation.origins.iter().map(|origin| origin.prompt).collect()),
        ("floor.sites", floor.sites.iter().map(|site| site.prompt).collect()),
        ("floor.logits", floor.logits.iter().map(|logits| logits.prompt).collect()),
        ("counterfactuals", explanation.counterfactuals.iter().map(|run| run.prompt).collect()),
        ("growth", explanation.growth.iter().map(|bucket| bucket.prompt).collect()),
        ("decisions", explanation.decisions.iter().map(|decision| decision.prompt).collect()),
    ];
    for (list, of) in &lists {
        if let Some((index, prompt)) = of.iter().enumerate().find(|(_, prompt)| **prompt >= prompts) {
            let expected = format!("there are {prompts} prompts, counted from 0");
            return Some((format!("explanation.{list}[{index}].prompt"), prompt.to_string(), expected));
        }
    }
    let causes = explanation.causes.len();
    let beyond = |origin: &Origin| origin.cause.filter(|cause| *cause >= causes);
    explanation.origins.iter().enumerate().find_map(|(index, origin)| {
        let expected = format!("there are {causes} causes, counted from 0");
        Some((format!("explanation.origins[{index}].cause"), beyond(origin)?.to_string(), expected))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differences;
    use proptest::prelude::*;
    use ulpscope_fuzzing::Target;

    #[global_allocator]
    static ALLOCATOR: ulpscope_fuzzing::Counting = ulpscope_fuzzing::Counting;

    const SMALL: &str = include_str!("../tests/small.json");

    fn small() -> RunRecord {
        RunRecord::from_json(SMALL).unwrap()
    }

    fn error(text: &str) -> String {
        RunRecord::from_json(text).unwrap_err().to_string()
    }

    #[test]
    fn the_golden_file_is_read_value_for_value() {
        let record = small();
        assert_eq!(record.arms[1].conversions[0].changed, 24);
        assert_eq!(record.buffers[0].head, [vec![1.0, 0.7498942], vec![1.0, 0.75]]);
        assert_eq!(record.sites[1].difference.mean_abs, 2.1e-5);
        assert_eq!(record.sites[1].mean_abs_by_position, [0.0, 1e-5, 5.3e-5]);
        assert_eq!(record.sites[2].difference.sqnr_db, f64::INFINITY);
        assert!(record.logits[0].corners[0].rows[1][1].is_nan());
        assert_eq!(record.logits[0].corners[1].rows[1][1], f64::NEG_INFINITY);
    }

    #[test]
    fn the_golden_files_are_written_byte_for_byte() {
        assert_eq!(small().to_json().unwrap(), SMALL);
        let explained = include_str!("../tests/explained.json");
        assert_eq!(RunRecord::from_json(explained).unwrap().to_json().unwrap(), explained);
    }

    #[test]
    fn an_explanation_that_points_nowhere_is_refused() {
        let error = |change: fn(&mut Explanation)| {
            let mut record = RunRecord::from_json(include_str!("../tests/explained.json")).unwrap();
            change(record.explanation.as_mut().unwrap());
            error(&record.to_json().unwrap())
        };
        let arm = error(|e| e.arm = "a".into());
        assert!(arm.contains("explanation.arm is a, but the arms beside the reference are b"), "{arm}");
        let prompt = error(|e| e.growth[1].prompt = 1);
        assert!(prompt.contains("explanation.growth[1].prompt is 1, but there are 1 prompts"), "{prompt}");
        let cause = error(|e| e.origins[0].cause = Some(1));
        assert!(cause.contains("explanation.origins[0].cause is 1"), "{cause}");
    }

    /// Run as root, a rename over `/dev/null` would cost the system its device.
    #[cfg(unix)]
    #[test]
    fn a_socket_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(replace(&path, b"x").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(!path.metadata().unwrap().is_file());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_comes_back_and_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        std::fs::write(&path, "old").unwrap();
        small().write(&path).unwrap();
        assert!(differences(&RunRecord::read(&path).unwrap(), &small()).is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        std::fs::create_dir(&path).unwrap();
        let message = small().write(&path).unwrap_err().to_string();
        assert!(message.contains("record.json: cannot be written"), "{message}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        let message = small().write(folder.path().join("no/such/record.json")).unwrap_err().to_string();
        assert!(message.contains("cannot be written"), "{message}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_record_is_readable_by_others_where_the_umask_lets_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        replace(&ours, b"x").unwrap();
        std::fs::write(&plain, b"x").unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = RunRecord::read("no-such-folder/record.json").unwrap_err().to_string();
        assert!(message.starts_with("no-such-folder/record.json: cannot be read: "), "{message}");
        assert!(matches!(RunRecord::read(".").unwrap_err(), RecordError::Read { .. }));
    }

    #[test]
    fn empty_and_truncated() {
        assert!(error("").contains("cut short"), "{}", error(""));
        let lines = SMALL.lines().count();
        let half: Vec<&str> = SMALL.lines().take(lines / 2).collect();
        let message = error(&half.join("\n"));
        assert!(
            message.contains("cut short") && message.contains(&format!("line {}", lines / 2)),
            "{message}"
        );
    }

    #[test]
    fn garbage_and_other_peoples_json() {
        assert!(error("\u{0}\u{1}PNG").contains("line 1"), "{}", error("\u{0}"));
        assert!(error("[1, 2]").contains("not a record"), "{}", error("[1, 2]"));
        assert!(error("{\"model\": 3}").contains("missing field `schema`"));
        assert!(error(&"[".repeat(100_000)).contains("not a record"));
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), [b'{', b'"', 0xff, 0xfe, b'"']).unwrap();
        let message = RunRecord::read(path.path()).unwrap_err().to_string();
        assert!(message.contains("line 1"), "{message}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let (field, wrong) = ("\"mean_abs\": 0.000021", "\"mean_abs\": [0.000021]");
        let line = 1 + SMALL.lines().position(|line| line.contains(field)).unwrap();
        let message = error(&SMALL.replacen(field, wrong, 1));
        assert!(message.contains("expected a number") && message.contains("line"), "{message}");
        // The divergence's fields are flattened into the site's, so serde can only point at the
        // site's end.
        let told: usize = message.split("line ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((line..line + 25).contains(&told), "fault at line {line}, told {told}");

        let message = error(&SMALL.replacen("\"compared\": 273", "\"compared\": -1", 1));
        assert!(message.contains("-1") && message.contains("line"), "{message}");
        let message = error(&SMALL.replacen("\"kernel\"", "\"colonel\"", 1));
        assert!(message.contains("missing field `kernel`"), "{message}");
    }

    #[test]
    fn another_schema_version_is_said_with_both() {
        let newer =
            SMALL.replacen("\"schema\": 1", "\"schema\": 7", 1).replacen("\"kernel\"", "\"kernels\"", 1);
        assert!(
            error(&newer).contains("version 7, this ulpscope reads versions 1 to 2; use a newer"),
            "{}",
            error(&newer)
        );
        let older = SMALL.replacen("\"schema\": 1", "\"schema\": 0", 1);
        assert!(error(&older).contains("version 0") && error(&older).contains("run again"));
    }

    #[test]
    fn unknown_fields_of_the_same_version_are_ignored() {
        let more = SMALL.replacen("\"schema\": 1,", "\"schema\": 1, \"novelty\": {\"x\": [1]},", 1);
        assert!(differences(&RunRecord::from_json(&more).unwrap(), &small()).is_empty());
    }

    #[test]
    fn references_to_nothing_are_refused() {
        let mut record = small();
        record.sites[1].arm = "c".into();
        let message = error(&record.to_json().unwrap());
        assert!(message.contains("sites[1].arm is c, but the arms are a, b"), "{message}");

        let mut record = small();
        record.first[0].prompt = 9;
        assert!(error(&record.to_json().unwrap()).contains("first[0].prompt is 9"));

        let mut record = small();
        record.logits[0].sample.a.pop();
        assert!(error(&record.to_json().unwrap()).contains("logits[0].sample.a"));

        let mut record = small();
        record.arms[1].name = "a".into();
        assert!(error(&record.to_json().unwrap()).contains("arms[1].name is a again"));

        let mut record = small();
        record.arms.clear();
        assert!(error(&record.to_json().unwrap()).contains("arms is empty"));
    }

    #[test]
    fn too_large_is_refused_before_it_is_parsed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LIMIT + 1).unwrap();
        assert!(matches!(RunRecord::read(file.path()).unwrap_err(), RecordError::TooLarge { .. }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_number_survives_the_file(bits in any::<u64>(), text in any::<String>()) {
            let mut record = small();
            record.sites[0].difference.sqnr_db = f64::from_bits(bits);
            record.sites[0].introduced.max_abs = -f64::from_bits(bits);
            record.buffers[0].head[1].push(f64::from_bits(bits));
            record.logits[0].sample.b[0] = f64::from_bits(bits);
            record.logits[0].corners[0].rows[0][0] = f64::from_bits(bits);
            record.prompts[0].text = Some(text);
            let back = RunRecord::from_json(&record.to_json().unwrap()).unwrap();
            prop_assert_eq!(differences(&record, &back), Vec::<String>::new());
        }

        #[test]
        fn damage_is_an_error_or_a_record_but_never_a_panic(at in 0..SMALL.len(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = SMALL.as_bytes().to_vec();
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            if let Err(error) = parse(&bytes, "x") {
                prop_assert!(error.to_string().starts_with("x: "));
            }
        }
    }

    /// Records without white space, with lists of two at most, and with none: what is executed
    /// often is short.
    fn seeds() -> Vec<String> {
        use serde_json::Value;
        fn shorten(value: &mut Value) {
            match value {
                Value::Array(list) => {
                    list.truncate(2);
                    list.iter_mut().for_each(shorten);
                }
                Value::Object(map) => map.values_mut().for_each(shorten),
                _ => {}
            }
        }
        let mut all = Vec::new();
        for text in [SMALL, include_str!("../tests/explained.json")] {
            let mut json: Value = serde_json::from_str(text).unwrap();
            shorten(&mut json);
            all.push(json.to_string());
            for list in ["sites", "logits", "buffers", "first"] {
                json[list] = Value::Array(Vec::new());
            }
            all.push(json.to_string());
        }
        all
    }

    /// What is read is written and read again as the same.
    #[test]
    fn fuzz_record() {
        let target = Target::new("record", env!("CARGO_MANIFEST_DIR"));
        seeds()
            .iter()
            .fold(target, Target::seed)
            .words(&[
                "\"NaN\"",
                "\"inf\"",
                "\"-inf\"",
                "\"arm\":\"b\"",
                "\"prompt\":",
                "\"explanation\":",
                "\"sites\":[",
                "null",
            ])
            .text()
            .executions(3000)
            .run(|input| {
                let record = parse(input, "x").map_err(|e| e.to_string())?;
                let text = record.to_json().unwrap();
                let again = parse(text.as_bytes(), "x").expect("what was written is read");
                assert_eq!(differences(&record, &again), Vec::<String>::new());
                Ok(if record.explanation.is_some() { "explained" } else { "compared" }.to_owned())
            });
    }
}
