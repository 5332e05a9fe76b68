//! Calls that the machine may hold for as long as it likes, such as reading a file on a mount that hangs.

use std::io;
use std::thread;

use tokio::sync::oneshot;

/// Begins `work` on a thread of its own; what it comes to is awaited, and is none if it panics. It holds no thread of the
/// runtime, and the process ends without it. It goes on when nobody awaits it any longer, and what it comes to is dropped
/// then. Whoever calls sees to it that not too many are begun. Fails where the machine gives no thread, and `work` is
/// dropped.
pub fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<impl Future<Output = Option<T>> + Send> {
    let (tell, told) = oneshot::channel();
    let began = thread::Builder::new().name("apart".to_owned()).spawn(move || drop(tell.send(work())));
    began.map(|_detached| async { told.await.ok() })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_hangs_holds_nobody_else_up_on_the_only_thread_of_a_runtime() {
        let (release, held) = mpsc::channel::<()>();
        let mut hangs = Box::pin(apart(move || held.recv().is_ok()).unwrap());
        let late = tokio::time::timeout(Duration::from_millis(20), &mut hangs).await;
        assert!(late.is_err(), "the time limit comes though it hangs");
        assert_eq!(apart(|| 1).unwrap().await, Some(1), "another one is done meanwhile");
        release.send(()).unwrap();
        assert_eq!(hangs.await, Some(true));
    }

    #[tokio::test]
    async fn what_panics_comes_to_nothing() {
        assert_eq!(apart(|| panic!("as this test wants it")).unwrap().await, None::<()>);
    }
}
