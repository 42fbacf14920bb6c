//! A fixed number of named threads that compute. They keep computation off the async runtime, and the configuration
//! sets the CPU that a worker can use.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::Context as _;
use tokio::sync::oneshot;

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

/// A job panicked. Its thread goes on to the next job.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a computation panicked: {0}")]
pub struct Panicked(pub String);

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

    /// Runs a computation on one of the threads. Dropping the future does not stop the computation.
    ///
    /// # Errors
    /// The computation panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
        let (answer, result) = oneshot::channel();
        let busy = Arc::clone(&self.busy);
        let job = move || {
            busy.fetch_add(1, Ordering::Relaxed);
            let outcome = catch_unwind(AssertUnwindSafe(work));
            busy.fetch_sub(1, Ordering::Relaxed);
            // The caller dropped its future, so the result is not needed.
            let _ = answer.send(outcome.map_err(|panic| Panicked(message(panic.as_ref()))));
        };
        let gone = || Panicked("the CPU threads have ended".into());
        self.jobs.send(Box::new(job)).map_err(|_| gone())?;
        result.await.unwrap_or_else(|_| Err(gone()))
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
    use std::{collections::BTreeSet, sync::Barrier};

    use super::*;

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
                pool.run(name).await.unwrap().unwrap()
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
            async move { pool.run(move || finished.recv()).await }
        });
        assert_eq!(compute(SHORT + 1, || 7).await, 7);
        finish.send(()).unwrap();
        assert_eq!(reading.await.unwrap(), Ok(Ok(())));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_keeps_running() {
        let pool = CpuPool::start(1).unwrap();
        let panicked = pool.run(|| panic!("bad page")).await;
        assert_eq!(panicked, Err::<(), _>(Panicked("bad page".into())));
        assert_eq!(pool.run(|| 7).await, Ok(7));
    }
}
