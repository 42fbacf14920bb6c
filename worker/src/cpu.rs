//! A fixed number of named threads that compute. They keep computation off the async runtime, and the configuration
//! sets the CPU that a worker can use. Each computation has a limit of CPU time.

use std::{
    any::Any,
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::oneshot,
    time::{Instant, interval_at},
};

type Job = Box<dyn FnOnce() + Send>;

/// Bytes up to which a computation is too short to matter on a thread of the async runtime.
const SHORT: usize = 64 << 10;

/// Runs a computation over this many bytes, such as a hash or JSON: at once if they are few, else on one of the threads
/// that may block. On the [`CpuPool`] it would wait for the documents that are being read. Dropping the future does not
/// stop the computation. A panic of the computation is one of the caller.
pub async fn compute<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= SHORT {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime shuts down, and drops the caller, too.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Interval at which the CPU time of a job is looked at. Almost every job ends before.
const LOOK: Duration = Duration::from_secs(1);

/// Clock ticks a second in `/proc`, on every architecture (`USER_HZ`).
const TICKS: u64 = 100;

/// Why a job has no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoResult {
    /// It panicked. Its thread goes on to the next job.
    #[error("a computation panicked: {0}")]
    Panicked(String),
    /// It used more CPU time than it may. It goes on until it notices that nobody waits for it.
    #[error("a computation used more than {0:?} of CPU time")]
    OverLimit(Duration),
}

/// The CPU time of a job. It does not grow while the job waits for its thread, or the thread for a CPU. So a host that
/// is busy, throttled or paused does not use up the limit of a job.
#[derive(Debug, Clone, Default)]
struct CpuTime(Arc<OnceLock<ThreadTime>>);

/// A thread, and the CPU time that it has used.
#[derive(Debug, PartialEq, Eq)]
struct ThreadTime {
    thread: u32,
    used: Duration,
}

impl ThreadTime {
    /// Reads a file `stat` of a thread. `None` on a system without it, on which jobs have no limit.
    fn read(path: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    /// The first field is the thread, the second its name in parentheses. The 14th and 15th are its ticks.
    fn parse(stat: &str) -> Option<Self> {
        let thread = stat.split(' ').next()?.parse().ok()?;
        let mut ticks = stat.rsplit_once(')')?.1.split_whitespace().skip(11).map(str::parse::<u64>);
        let ticks = ticks.next()?.ok()?.saturating_add(ticks.next()?.ok()?);
        Some(Self { thread, used: Duration::from_millis(ticks.saturating_mul(1000 / TICKS)) })
    }
}

impl CpuTime {
    /// Says that the job begins, on this thread.
    fn begin(&self) {
        if let Some(now) = ThreadTime::read("/proc/thread-self/stat") {
            self.0.get_or_init(|| now);
        }
    }

    /// What the job has used. It is only right while the job runs.
    fn used(&self) -> Duration {
        let Some(start) = self.0.get() else { return Duration::ZERO };
        let now = ThreadTime::read(&format!("/proc/self/task/{}/stat", start.thread));
        now.map_or(Duration::ZERO, |now| now.used.saturating_sub(start.used))
    }
}

/// A pool of threads. Each runs one job at a time; jobs wait in the order of arrival.
#[derive(Debug, Clone)]
pub struct CpuPool {
    jobs: mpsc::Sender<Job>,
    busy: Arc<AtomicUsize>,
    threads: usize,
}

impl CpuPool {
    /// Starts the threads `cpu-0`, `cpu-1`, …
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(threads: usize) -> anyhow::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("cpu-{index}"))
                .spawn(move || serve(&queue))
                .with_context(|| format!("starting CPU thread {index} of {threads}"))?;
        }
        Ok(Self { jobs, busy: Arc::default(), threads })
    }

    /// Runs a computation on one of the threads, until it has used so much CPU time. Neither that nor dropping the
    /// future stops the computation.
    ///
    /// # Errors
    /// The computation panicked, or has used more than the limit.
    pub async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoResult> {
        let (answer, mut result) = oneshot::channel();
        let (busy, time) = (Arc::clone(&self.busy), CpuTime::default());
        let of_job = time.clone();
        let job = move || {
            busy.fetch_add(1, Ordering::Relaxed);
            of_job.begin();
            let outcome = catch_unwind(AssertUnwindSafe(work));
            busy.fetch_sub(1, Ordering::Relaxed);
            // The caller dropped its future, so the result is not needed.
            let _ = answer.send(outcome.map_err(|panic| NoResult::Panicked(message(panic.as_ref()))));
        };
        let gone = || NoResult::Panicked("the CPU threads have ended".into());
        self.jobs.send(Box::new(job)).map_err(|_| gone())?;
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        loop {
            tokio::select! {
                biased;
                result = &mut result => return result.unwrap_or_else(|_| Err(gone())),
                _ = looks.tick() => {
                    if time.used() > limit {
                        return Err(NoResult::OverLimit(limit));
                    }
                }
            }
        }
    }

    /// Number of threads that run a job now.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

/// Runs jobs until the last sender is dropped.
fn serve(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // The lock is held while this thread waits for a job, and released before the job runs.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(),
            Err(mpsc::RecvError) => return,
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Barrier, atomic::AtomicBool},
    };

    use super::*;

    /// A limit that no job of these tests reaches.
    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn jobs_run_on_exactly_the_named_threads() {
        let pool = CpuPool::start(3).unwrap();
        let barrier = Arc::new(Barrier::new(3));
        let names = futures::future::join_all((0..3).map(|_| {
            let (pool, barrier) = (pool.clone(), Arc::clone(&barrier));
            async move {
                let name = move || {
                    barrier.wait();
                    thread::current().name().map(str::to_owned)
                };
                pool.run(LIMIT, name).await.unwrap().unwrap()
            }
        }))
        .await;
        let names: BTreeSet<_> = names.into_iter().collect();
        assert_eq!(names, ["cpu-0", "cpu-1", "cpu-2"].map(str::to_owned).into());
        assert_eq!((pool.threads(), pool.busy()), (3, 0));
    }

    #[tokio::test]
    async fn only_a_long_computation_leaves_the_thread_of_the_runtime() {
        let here = thread::current().id();
        assert_eq!(compute(SHORT, || thread::current().id()).await, here);
        assert_ne!(compute(SHORT + 1, || thread::current().id()).await, here);
    }

    #[tokio::test]
    #[should_panic(expected = "bad claim")]
    async fn a_panic_of_a_long_computation_is_one_of_its_caller() {
        compute(SHORT + 1, || panic!("bad claim")).await;
    }

    #[tokio::test]
    async fn a_long_computation_does_not_wait_for_the_documents_that_are_read() {
        let pool = CpuPool::start(1).unwrap();
        let (finish, finished) = mpsc::channel::<()>();
        let reading = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(LIMIT, move || finished.recv()).await }
        });
        assert_eq!(compute(SHORT + 1, || 7).await, 7);
        finish.send(()).unwrap();
        assert_eq!(reading.await.unwrap(), Ok(Ok(())));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_keeps_running() {
        let pool = CpuPool::start(1).unwrap();
        let panicked = pool.run(LIMIT, || panic!("bad page")).await;
        assert_eq!(panicked, Err::<(), _>(NoResult::Panicked("bad page".into())));
        assert_eq!(pool.run(LIMIT, || 7).await, Ok(7));
    }

    // The clock is paused, so a look does not wait for a second of the real time.
    #[tokio::test(start_paused = true)]
    async fn a_job_over_its_limit_of_cpu_time_is_given_up() {
        let pool = CpuPool::start(1).unwrap();
        let limit = Duration::from_millis(50);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let spin = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        assert_eq!(pool.run(limit, spin).await, Err(NoResult::OverLimit(limit)));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(pool.run(limit, || 7).await, Ok(7), "what the thread used before is not of this job");
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_only_waits_uses_no_cpu_time() {
        let pool = CpuPool::start(1).unwrap();
        let (finish, finished) = mpsc::channel::<()>();
        let waiting = pool.run(Duration::from_millis(200), move || finished.recv().is_ok());
        let an_hour_later = async {
            let hour = tokio::time::timeout(Duration::from_secs(3600), std::future::pending::<()>());
            assert!(hour.await.is_err());
            finish.send(()).unwrap();
        };
        let (waited, ()) = futures::join!(waiting, an_hour_later);
        assert_eq!(waited, Ok(true));
    }

    #[test]
    fn the_time_of_a_thread_is_read_whatever_its_name() {
        let fields = "S 1 1 1 0 -1 4194304 100 0 0 0 250 75 0 0 20 0 9 0 100 0 0";
        for name in ["cpu-0", "a b", "(x) y) 7"] {
            let found = ThreadTime::parse(&format!("4711 ({name}) {fields}"));
            assert_eq!(found, Some(ThreadTime { thread: 4711, used: Duration::from_millis(3250) }), "{name}");
        }
        assert_eq!(ThreadTime::parse(""), None);
        assert!(ThreadTime::read("/proc/thread-self/stat").is_some());
    }
}
