//! A pool of threads that wait awake between the steps of a computation.
//!
//! A forward pass is hundreds of short steps. All threads take part in each, and none may begin the
//! next before the last is done. Where a prompt is short, putting threads to sleep and waking them
//! costs as much as the work itself. So the threads of a [`SpinPool`] spin until the next step
//! comes.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;

/// How often a thread looks for work, some 50 ns each time, before it lets others have the
/// processor.
const LOOKS_BEFORE_YIELD: u32 = 1000;

/// Runs `f` on this thread, without a [`SpinPool`]. Its steps are shared by those threads of the
/// current rayon pool that are idle. That pays where many computations run at once, each on a
/// thread of the pool.
pub fn without_pool<R>(f: impl FnOnce() -> R) -> R {
    let _role = matches!(ROLE.get(), ThreadRole::Alone).then(|| RoleGuard::enter(ThreadRole::WithoutPool));
    f()
}

/// Calls `work` once for every number below `tasks`, from all threads of the [`SpinPool`], or of
/// the rayon pool where there is none. Within a task it runs on this thread alone.
pub(crate) fn for_each_task(tasks: usize, work: impl Fn(usize) + Sync) {
    match ROLE.get() {
        _ if tasks < 2 => (0..tasks).for_each(work),
        ThreadRole::InTask => (0..tasks).for_each(work),
        ThreadRole::Alone | ThreadRole::WithoutPool => {
            (0..tasks).into_par_iter().with_max_len(1).for_each(|task| {
                let _role = RoleGuard::enter(ThreadRole::InTask);
                work(task);
            });
        }
        // SAFETY: the pool outlives the time that this thread leads it: see `SpinPool::scope`.
        ThreadRole::Leader(pool) => unsafe { &*pool }.step(tasks, &work),
    }
}

/// How many threads share a step that begins here.
pub(crate) fn threads() -> usize {
    match ROLE.get() {
        ThreadRole::InTask => 1,
        _ => rayon::current_num_threads(),
    }
}

/// Calls `work` once for every `size` values in a row (the last may be fewer), as [`for_each_task`]
/// does.
pub(crate) fn for_each_part<T: Send>(values: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    struct Start<T>(*mut T);
    // SAFETY: it only leads to parts, which are mutable borrows of values that may be sent.
    unsafe impl<T: Send> Sync for Start<T> {}
    let (start, len) = (Start(values.as_mut_ptr()), values.len());
    let start = &start;
    for_each_task(len.div_ceil(size), move |i| {
        let first = i * size;
        // SAFETY: within the slice. Each number is given out once, so that no two parts overlap,
        // and all calls return before `for_each_task` does.
        work(i, unsafe { std::slice::from_raw_parts_mut(start.0.add(first), size.min(len - first)) });
    });
}

/// Calls `work` once for every item, as [`for_each_task`] does.
pub(crate) fn for_each_item<T: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    for_each_part(&mut items, 1, |_, item| item.iter_mut().filter_map(Option::take).for_each(&work));
}

/// What this thread does at the moment.
#[derive(Clone, Copy)]
enum ThreadRole {
    Alone,
    /// One of many computations at once, none of which has a [`SpinPool`].
    WithoutPool,
    Leader(*const SpinPool),
    InTask,
}

thread_local! {
    static ROLE: Cell<ThreadRole> = const { Cell::new(ThreadRole::Alone) };
}

/// Gives this thread its former role back when dropped.
struct RoleGuard(ThreadRole);

impl RoleGuard {
    fn enter(role: ThreadRole) -> Self {
        RoleGuard(ROLE.replace(role))
    }
}

impl Drop for RoleGuard {
    fn drop(&mut self) {
        ROLE.set(self.0);
    }
}

/// Lets the helping threads of a pool go when dropped.
struct ClosedGuard<'a>(&'a SpinPool);

impl Drop for ClosedGuard<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

type Work<'a> = &'a (dyn Fn(usize) + Sync + 'a);

/// Threads that wait awake for the steps of one computation.
pub struct SpinPool {
    /// The number of the step; in the lower half, how many of its tasks are not taken yet.
    left: AtomicU64,
    /// The work of the step and its number of tasks. The leader writes it between steps; whoever
    /// has taken a task reads it.
    step: UnsafeCell<Option<(Work<'static>, usize)>>,
    done: AtomicUsize,
    closed: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for SpinPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpinPool").finish_non_exhaustive()
    }
}

// SAFETY: the leader writes `step` only while no task is open, for it waits for `done`. Other
// threads read `step` only after they took a task. Taking one acquires what the leader released by
// its write of `left`.
unsafe impl Sync for SpinPool {}

impl SpinPool {
    /// Runs `f` on this thread; the other threads of the current rayon pool wait for the steps that
    /// `f` gives them.
    ///
    /// Only the kernels of this crate give them any, so `f` should do little else. Threads that are
    /// busy join when they have time, or never. Within another scope this only calls `f`.
    pub fn scope<R>(f: impl FnOnce() -> R) -> R {
        let threads = rayon::current_num_threads();
        if threads < 2 || !matches!(ROLE.get(), ThreadRole::Alone) {
            return f();
        }
        let pool = SpinPool::new();
        rayon::in_place_scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| pool.help());
            }
            let _closed = ClosedGuard(&pool);
            let _role = RoleGuard::enter(ThreadRole::Leader(&raw const pool));
            f()
        })
    }

    fn new() -> Self {
        SpinPool {
            left: AtomicU64::new(0),
            step: UnsafeCell::new(None),
            done: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            panic: Mutex::new(None),
        }
    }

    /// Runs all tasks of a step, and returns when they are done.
    fn step(&self, tasks: usize, work: Work) {
        let count = u32::try_from(tasks).expect("steps have fewer tasks than that");
        // SAFETY: only the lifetime changes. It is called only for tasks that were taken, and this
        // function returns only when all of those are done.
        let work = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        // SAFETY: between steps; see the type.
        unsafe { *self.step.get() = Some((work, tasks)) };
        self.done.store(0, Ordering::Relaxed);
        let step = (self.left.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.left.store(step << 32 | u64::from(count), Ordering::Release);
        while self.task() {}
        let mut looks = 0;
        while self.done.load(Ordering::Acquire) < tasks {
            wait(&mut looks);
        }
        if let Some(panic) = self.panic.lock().expect("nothing panics while it is held").take() {
            resume_unwind(panic);
        }
    }

    /// Does one task of the step, if one is left.
    fn task(&self) -> bool {
        let take = |left: u64| (left as u32 > 0).then(|| left - 1);
        let Ok(before) = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) else {
            return false;
        };
        // SAFETY: a task is taken; see the type.
        let (work, tasks) =
            unsafe { *self.step.get() }.expect("a step is set before its tasks are given out");
        let _role = RoleGuard::enter(ThreadRole::InTask);
        let result = catch_unwind(AssertUnwindSafe(|| work(tasks - before as u32 as usize)));
        if let Err(panic) = result {
            *self.panic.lock().expect("nothing panics while it is held") = Some(panic);
        }
        self.done.fetch_add(1, Ordering::Release);
        true
    }

    fn help(&self) {
        let mut looks = 0;
        while !self.closed.load(Ordering::Acquire) {
            if self.task() {
                looks = 0;
            } else {
                wait(&mut looks);
            }
        }
    }
}

/// Waits a moment before the next look.
fn wait(looks: &mut u32) {
    if *looks < LOOKS_BEFORE_YIELD {
        *looks += 1;
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    fn add(sum: &AtomicUsize, n: usize) {
        sum.fetch_add(n, Ordering::Relaxed);
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            pool(threads).install(|| {
                SpinPool::scope(|| {
                    for tasks in (0..200).chain([5000]) {
                        let mut seen = vec![0u8; tasks];
                        for_each_part(&mut seen, 3, |_, part| part.iter_mut().for_each(|n| *n += 1));
                        assert!(seen.iter().all(|&n| n == 1), "{tasks}");
                    }
                });
            });
        }
    }

    #[test]
    fn steps_follow_each_other() {
        pool(4).install(|| {
            SpinPool::scope(|| {
                let mut values = vec![0usize; 1000];
                for step in 0..500 {
                    for_each_part(&mut values, 7, |_, part| {
                        part.iter_mut().for_each(|n| {
                            assert_eq!(*n, step);
                            *n += 1;
                        });
                    });
                }
            });
        });
    }

    #[test]
    fn scopes_and_steps_within_tasks_stay_on_one_thread() {
        let sum = AtomicUsize::new(0);
        pool(3).install(|| {
            SpinPool::scope(|| {
                for_each_task(10, |_| SpinPool::scope(|| for_each_task(10, |_| add(&sum, 1))))
            });
        });
        assert_eq!(sum.into_inner(), 100);
    }

    #[test]
    fn computations_at_once_share_the_rayon_pool() {
        let sum = AtomicUsize::new(0);
        pool(3).install(|| {
            (0..40usize).into_par_iter().for_each(|_| {
                without_pool(|| SpinPool::scope(|| for_each_task(50, |_| for_each_task(2, |_| add(&sum, 1)))))
            });
            SpinPool::scope(|| without_pool(|| for_each_task(100, |_| add(&sum, 1))));
        });
        assert_eq!(sum.into_inner(), 40 * 50 * 2 + 100);
    }

    #[test]
    fn many_pools_at_once_get_along() {
        let sum = AtomicUsize::new(0);
        let one = |_: usize| {
            SpinPool::scope(|| {
                for _ in 0..50 {
                    for_each_task(8, |_| add(&sum, 1));
                }
            });
        };
        pool(3).install(|| (0..40).into_par_iter().for_each(one));
        assert_eq!(sum.load(Ordering::Relaxed), 40 * 50 * 8);
        // And from threads of no pool.
        std::thread::scope(|s| (0..3).for_each(|i| drop(s.spawn(move || one(i)))));
        assert_eq!(sum.load(Ordering::Relaxed), 43 * 50 * 8);
    }

    #[test]
    fn a_panic_reaches_whoever_asked() {
        pool(2).install(|| {
            let result =
                catch_unwind(|| SpinPool::scope(|| for_each_task(100, |i| assert_ne!(i, 57, "task {i}"))));
            let message = *result.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains("task 57"), "{message}");
            SpinPool::scope(|| for_each_task(3, |_| ()));
        });
    }

    #[test]
    fn items_are_handed_over() {
        let (items, sum) = ((1..=100).map(Box::new), AtomicUsize::new(0));
        for_each_item(items, |i| add(&sum, *i));
        assert_eq!(sum.into_inner(), 5050);
    }
}
