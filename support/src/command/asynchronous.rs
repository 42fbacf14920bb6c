//! Running a command from a task: the same runner, on one of tokio's threads for blocking work.

use std::sync::mpsc::{self, Sender};

use super::{Cmd, CommandError, Output, Stop};

/// Kills the command when the future that waits for it is dropped.
struct KillOnDrop(Sender<Stop>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Nobody receives after the command's end.
        let _ = self.0.send(Stop::Abandoned);
    }
}

/// Dropping one of these futures kills the command and what it started.
impl Cmd {
    /// As [`Cmd::run`].
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub async fn run_async(&self) -> Result<Output, CommandError> {
        self.expect_success(self.run_any_async().await?)
    }

    /// As [`Cmd::read`].
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub async fn read_async(&self) -> Result<String, CommandError> {
        Ok(self.run_async().await?.stdout.trim().to_owned())
    }

    /// As [`Cmd::run_any`].
    ///
    /// # Errors
    /// As [`Cmd::run_any`].
    pub async fn run_any_async(&self) -> Result<Output, CommandError> {
        let (stop, stopped) = mpsc::channel();
        let _kill = KillOnDrop(stop.clone());
        let command = self.clone();
        let running =
            tokio::task::spawn_blocking(move || command.execute(|stdin| command.feed_input(stdin), (stop, stopped)));
        running.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(self.start_error(std::io::Error::other(error))),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::wait::{Probe, eventually, when};

    fn shell(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script])
    }

    #[tokio::test]
    async fn task_gets_output_and_errors_as_a_thread_does() {
        assert_eq!(shell("cat").stdin("in").read_async().await.unwrap(), "in");
        let error = shell("echo why; exit 4").run_async().await.unwrap_err();
        assert!(error.to_string().contains("exit status: 4"), "{error}");
        let endless = shell("exec tail -f /dev/null").limit(Duration::from_millis(50));
        let error = endless.run_any_async().await.unwrap_err();
        assert!(error.to_string().contains("did not end within 50ms"), "{error}");
    }

    #[tokio::test]
    async fn dropped_future_kills_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let command = shell("echo $$ > \"$PID_FILE\"; exec tail -f /dev/null").env("PID_FILE", &file);
        let deadline = Duration::from_secs(10);
        let started = eventually("the command starts", deadline, async || {
            let pid = std::fs::read_to_string(&file).unwrap_or_default();
            if pid.ends_with('\n') {
                Probe::Ready(pid.trim().to_owned())
            } else {
                Probe::NotYet("its file has no process id".into())
            }
        });
        let pid = tokio::select! {
            ended = command.run_async() => panic!("{ended:?}"),
            started = started => started.unwrap(),
        };
        let process = Path::new("/proc").join(&pid);
        let ended =
            eventually("the command ends", deadline, async || when(!process.exists(), || format!("{pid} runs")));
        ended.await.unwrap();
    }
}
