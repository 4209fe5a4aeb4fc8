//! What ran, where and when.

use crate::schema::Provenance;

impl Provenance {
    /// The provenance of a run that starts now, on this machine.
    ///
    /// `git` is the revision the program was built from, which only the program's own build knows.
    /// The caller sets `elapsed_s`, zero until then, when the run is over.
    ///
    /// ```
    /// use ulpscope_record::Provenance;
    ///
    /// let provenance = Provenance::gather("flex", 2, "gemm, sequential", option_env!("GIT_REVISION"));
    /// assert!(provenance.started.ends_with('Z'));
    /// ```
    pub fn gather(device: &str, threads: usize, kernel: &str, git: Option<&'static str>) -> Self {
        Self {
            ulpscope: env!("CARGO_PKG_VERSION").to_owned(),
            git: git.unwrap_or("unknown").to_owned(),
            device: device.to_owned(),
            threads,
            cpu: cpu(),
            kernel: kernel.to_owned(),
            started: now(),
            elapsed_s: 0.0,
        }
    }
}

/// Model name of the processor, or the architecture's where the system does not tell.
pub fn cpu() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| model_name(&text))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// This moment in UTC, RFC 3339, to the second.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    // Digits below the second say nothing about a run and make the text vary in length.
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

fn model_name(cpuinfo: &str) -> Option<String> {
    // ARM kernels write no model name; "Hardware" and "CPU part" there do not name the processor.
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_name_is_found_and_tidied() {
        let text = "processor\t: 0\nmodel name\t: Intel(R)  Xeon(R) : 2.1GHz\nmodel name\t: other\n";
        assert_eq!(model_name(text).as_deref(), Some("Intel(R) Xeon(R) : 2.1GHz"));
        assert_eq!(model_name("processor : 0\nCPU part : 0xd0c\n"), None);
        assert_eq!(model_name("model name :\n"), None);
    }

    #[test]
    fn gathers_what_the_caller_cannot_know() {
        let provenance = Provenance::gather("flex", 3, "plain", None);
        assert_eq!((provenance.git.as_str(), provenance.threads), ("unknown", 3));
        assert!(!provenance.cpu.is_empty());
        let time: jiff::Timestamp = provenance.started.parse().unwrap();
        assert!(time <= jiff::Timestamp::now());
        assert_eq!(provenance.started.len(), "2026-01-01T00:00:00Z".len());
    }
}
