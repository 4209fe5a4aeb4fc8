//! Threads that stay at hand between the steps of a computation.
//!
//! A forward pass is hundreds of short steps, each of which all threads take part in and nobody may begin before the
//! last is done. Falling asleep and being woken between them costs as much as the work itself when a prompt is short;
//! so, for as long as a [`team`] is together, its threads wait awake.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;

/// Looks for work, some 50 ns each, after which a thread lets others have the processor.
const PATIENCE: u32 = 1000;

/// Runs `f` on this thread, with the other threads of the current rayon pool waiting for what its steps give them.
///
/// Only the kernels of this crate make use of them; `f` should do little else. Threads that are busy elsewhere join
/// when they have time, or not at all. Within a team this is the call of `f` and nothing more.
pub fn team<R>(f: impl FnOnce() -> R) -> R {
    let threads = rayon::current_num_threads();
    if threads < 2 || !matches!(PLACE.get(), Place::Alone) {
        return f();
    }
    let team = Team::default();
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| team.help());
        }
        let _dissolved = Dissolved(&team);
        let _within = Within::enter(Place::Leading(&raw const team));
        f()
    })
}

/// Runs `f` on this thread, without a [`team`]: whatever threads of the current rayon pool have nothing else to do take part in
/// its steps. That pays where many such computations run side by side, each on a thread of the pool.
pub fn apart<R>(f: impl FnOnce() -> R) -> R {
    let _within = matches!(PLACE.get(), Place::Alone).then(|| Within::enter(Place::Apart));
    f()
}

/// Calls `work` once for every number below `tasks`, from all threads of the team, or of the pool where there is none.
/// Within such a call, from this thread alone.
pub(crate) fn each(tasks: usize, work: impl Fn(usize) + Sync) {
    match PLACE.get() {
        _ if tasks < 2 => (0..tasks).for_each(work),
        Place::Working => (0..tasks).for_each(work),
        Place::Alone | Place::Apart => (0..tasks).into_par_iter().with_max_len(1).for_each(|task| {
            let _within = Within::enter(Place::Working);
            work(task);
        }),
        // SAFETY: the team outlives the time that this thread leads it: see `team`.
        Place::Leading(team) => unsafe { &*team }.each(tasks, &work),
    }
}

/// How many threads take part in what is called from here.
pub(crate) fn threads() -> usize {
    match PLACE.get() {
        Place::Working => 1,
        _ => rayon::current_num_threads(),
    }
}

/// Calls `work` once for every stretch of `size` values (the last may be shorter), as [`each`] does.
pub(crate) fn each_part<T: Send>(values: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    struct Start<T>(*mut T);
    // SAFETY: it only leads to parts, which are mutable borrows of values that may be sent.
    unsafe impl<T: Send> Sync for Start<T> {}
    let (start, len) = (Start(values.as_mut_ptr()), values.len());
    let start = &start;
    each(len.div_ceil(size), move |i| {
        let first = i * size;
        // SAFETY: within the slice. Each number is given out once, so that no two parts overlap, and all calls return
        // before `each` does.
        work(i, unsafe { std::slice::from_raw_parts_mut(start.0.add(first), size.min(len - first)) });
    });
}

/// Calls `work` once for every item, as [`each`] does.
pub(crate) fn each_of<T: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    each_part(&mut items, 1, |_, item| item.iter_mut().filter_map(Option::take).for_each(&work));
}

/// What this thread is to a team.
#[derive(Clone, Copy)]
enum Place {
    Alone,
    /// Beside others, none of which has a team.
    Apart,
    Leading(*const Team),
    /// In the middle of a task.
    Working,
}

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(Place::Alone) };
}

/// Puts this thread back into the place that it had.
struct Within(Place);

impl Within {
    fn enter(place: Place) -> Self {
        Within(PLACE.replace(place))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        PLACE.set(self.0);
    }
}

/// Sends everybody home.
struct Dissolved<'a>(&'a Team);

impl Drop for Dissolved<'_> {
    fn drop(&mut self) {
        self.0.dissolved.store(true, Ordering::Release);
    }
}

type Work<'a> = &'a (dyn Fn(usize) + Sync + 'a);

#[derive(Default)]
struct Team {
    /// The number of the step, and in the lower half how many of its tasks nobody has taken yet.
    left: AtomicU64,
    /// What the step does and its number of tasks. Written by the leader between steps, read by whoever has taken a task.
    step: UnsafeCell<Option<(Work<'static>, usize)>>,
    done: AtomicUsize,
    dissolved: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `step` is written only while no task is open (the leader waits for `done`) and read only by threads that have
// taken one, which they learn by an acquiring operation on `left` that follows the leader's releasing one.
unsafe impl Sync for Team {}

impl Team {
    fn each(&self, tasks: usize, work: Work) {
        let count = u32::try_from(tasks).expect("steps have fewer tasks than that");
        // SAFETY: only the lifetime changes. Nobody calls it who has not taken a task, and this function does not return
        // before all of those are done.
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
        let _within = Within::enter(Place::Working);
        let result = catch_unwind(AssertUnwindSafe(|| work(tasks - before as u32 as usize)));
        if let Err(panic) = result {
            *self.panic.lock().expect("nothing panics while it is held") = Some(panic);
        }
        self.done.fetch_add(1, Ordering::Release);
        true
    }

    fn help(&self) {
        let mut looks = 0;
        while !self.dissolved.load(Ordering::Acquire) {
            if self.task() {
                looks = 0;
            } else {
                wait(&mut looks);
            }
        }
    }
}

/// A moment.
fn wait(looks: &mut u32) {
    if *looks < PATIENCE {
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
                team(|| {
                    for tasks in (0..200).chain([5000]) {
                        let mut seen = vec![0u8; tasks];
                        each_part(&mut seen, 3, |_, part| part.iter_mut().for_each(|n| *n += 1));
                        assert!(seen.iter().all(|&n| n == 1), "{tasks}");
                    }
                });
            });
        }
    }

    #[test]
    fn steps_follow_each_other() {
        pool(4).install(|| {
            team(|| {
                let mut values = vec![0usize; 1000];
                for step in 0..500 {
                    each_part(&mut values, 7, |_, part| {
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
    fn teams_and_steps_within_tasks_are_the_same_thread() {
        let sum = AtomicUsize::new(0);
        pool(3).install(|| {
            team(|| each(10, |_| team(|| each(10, |_| add(&sum, 1)))));
        });
        assert_eq!(sum.into_inner(), 100);
    }

    #[test]
    fn computations_side_by_side_share_the_pool() {
        let sum = AtomicUsize::new(0);
        pool(3).install(|| {
            (0..40usize)
                .into_par_iter()
                .for_each(|_| apart(|| team(|| each(50, |_| each(2, |_| add(&sum, 1))))));
            team(|| apart(|| each(100, |_| add(&sum, 1))));
        });
        assert_eq!(sum.into_inner(), 40 * 50 * 2 + 100);
    }

    #[test]
    fn many_teams_at_once_get_along() {
        let sum = AtomicUsize::new(0);
        let one = |_: usize| {
            team(|| {
                for _ in 0..50 {
                    each(8, |_| add(&sum, 1));
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
            let result = catch_unwind(|| team(|| each(100, |i| assert_ne!(i, 57, "task {i}"))));
            let message = *result.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains("task 57"), "{message}");
            team(|| each(3, |_| ()));
        });
    }

    #[test]
    fn items_are_handed_over() {
        let (items, sum) = ((1..=100).map(Box::new), AtomicUsize::new(0));
        each_of(items, |i| add(&sum, *i));
        assert_eq!(sum.into_inner(), 5050);
    }
}
