//! How much memory there is for this process, and a limit that makes wanting more an error.

/// Limits the memory that this process may ask for to what its control group (a container's limit)
/// or the machine has.
///
/// Linux grants memory that is not there and has its out-of-memory killer end a process that comes
/// to use it, about which nothing can be said. Within the limit that is set here (`RLIMIT_DATA`:
/// heaps and other private memory, not mapped files) the request itself is refused, and
/// [`Allocator`](crate::Allocator) says so. A stricter limit that is set already stays. A setting
/// of the whole process, so that it is for programs to ask for; does nothing outside of Linux.
pub fn stay_within_memory() {
    #[cfg(target_os = "linux")]
    if let Some(most) = linux::most("/proc".as_ref(), "/sys/fs/cgroup".as_ref()) {
        linux::limit(most);
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::path::Path;

    /// The smallest of what the machine and the control groups around this process have, in bytes.
    pub(super) fn most(proc: &Path, groups: &Path) -> Option<u64> {
        let machine = fs::read_to_string(proc.join("meminfo")).ok().map(|text| machine(&text));
        let own = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        let of_groups = own.lines().filter_map(|line| {
            // `0::/path` of the one hierarchy there is today, or `4:memory:/path` of one for each
            // resource.
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            match controllers {
                "" => smallest(groups, path, "memory.max"),
                _ if controllers.split(',').any(|c| c == "memory") => {
                    smallest(&groups.join("memory"), path, "memory.limit_in_bytes")
                }
                _ => None,
            }
        });
        machine.filter(|&bytes| bytes > 0).into_iter().chain(of_groups).min()
    }

    /// Memory and swap.
    fn machine(meminfo: &str) -> u64 {
        let of = |name: &str| {
            let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        1024 * (of("MemTotal:").unwrap_or(0) + of("SwapTotal:").unwrap_or(0))
    }

    /// The smallest limit of a group and those around it. A container may not see all of the path,
    /// but its own root.
    fn smallest(root: &Path, path: &str, file: &str) -> Option<u64> {
        let limit = |group: &Path| {
            let text = fs::read_to_string(root.join(group).join(file)).ok()?;
            // `max` is no number, and no limit.
            text.trim().parse::<u64>().ok()
        };
        Path::new(path.trim_start_matches('/')).ancestors().filter_map(limit).min()
    }

    pub(super) fn limit(most: u64) {
        let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointers are to a value that lives through the calls, which do nothing but
        // read and write it.
        #[allow(unsafe_code)]
        unsafe {
            if libc::getrlimit(libc::RLIMIT_DATA, &raw mut now) == 0 && most < now.rlim_cur {
                now.rlim_cur = most;
                libc::setrlimit(libc::RLIMIT_DATA, &raw const now);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_smallest_limit_around_counts() {
            let folder = tempfile::tempdir().unwrap();
            let (proc, groups) = (folder.path().join("proc"), folder.path().join("cgroup"));
            let put = |path: &str, text: &str| {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            assert_eq!(most(&proc, &groups), None);
            put("proc/meminfo", "MemTotal:        1000 kB\nMemFree: 5 kB\nSwapTotal:  24 kB\n");
            assert_eq!(most(&proc, &groups), Some(1 << 20));
            put("proc/self/cgroup", "0::/a/b\n");
            put("cgroup/a/b/memory.max", "max\n");
            assert_eq!(most(&proc, &groups), Some(1 << 20));
            put("cgroup/a/memory.max", "700000\n");
            put("cgroup/memory.max", "800000\n");
            assert_eq!(most(&proc, &groups), Some(700_000));
            // The older form, of whose path a container sees only the end.
            put("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/0123\n");
            put("cgroup/memory/memory.limit_in_bytes", "600000\n");
            assert_eq!(most(&proc, &groups), Some(600_000));
            put("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
            assert_eq!(most(&proc, &groups), Some(1 << 20));
        }
    }
}
