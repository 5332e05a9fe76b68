//! The door through which a followed file is read: a mount that hangs holds up nobody but whoever follows that file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rekey_drivers::Place;
use rekey_model::CredentialName;
use rekey_runtime::{Clock, apart};

/// How long a file may take to be read.
const LONGEST: Duration = Duration::from_secs(1);

/// What each credential is reading now: one reading at a time, however long it hangs.
#[derive(Debug, Clone, Default)]
pub(in crate::executor) struct Readings(Arc<Mutex<HashMap<CredentialName, Place>>>);

/// A reading that is under way.
struct Reading {
    of: Readings,
    name: CredentialName,
    place: Place,
}

impl Readings {
    /// Does `read` at `place`, on a thread of its own; why not, if it does not, or takes too long. What hangs is not begun
    /// again before it has ended.
    pub(in crate::executor) async fn read<T: Send + 'static>(
        &self,
        (name, place, clock): (&CredentialName, &Place, &Clock),
        read: impl FnOnce(&Place) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let hangs = || {
            let shown = place.shown();
            Err(format!("{shown} is not read within {LONGEST:?}: look whether what it is mounted from hangs"))
        };
        let Some(reading) = self.begin(name, place) else { return hangs() };
        let work = move || {
            let done = read(&reading.place);
            drop(reading);
            done
        };
        let done = match apart(work) {
            Ok(done) => clock.within(LONGEST, done).await,
            Err(error) => {
                return Err(format!("{} is not read, for want of a thread: {error}", place.shown()));
            }
        };
        match done {
            Some(Some(done)) => done,
            Some(None) => Err(format!("reading {} failed by a fault of Rekey's", place.shown())),
            None => hangs(),
        }
    }

    /// Whether none is under way.
    #[cfg(test)]
    pub(in crate::executor) fn are_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// None while an earlier one hangs at the same place.
    fn begin(&self, name: &CredentialName, place: &Place) -> Option<Reading> {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.get(name) == Some(place) {
            return None;
        }
        now.insert(name.clone(), place.clone());
        Some(Reading { of: self.clone(), name: name.clone(), place: place.clone() })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut now = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been declared anew meanwhile, and be read elsewhere.
        if now.get(&self.name) == Some(&self.place) {
            now.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_file_that_hangs_is_given_up_and_not_read_twice_and_others_are_read() {
        let (readings, clock) = (Readings::default(), Clock::manual());
        let [mine, other] = ["orders/a", "orders/b"].map(|name| name.parse::<CredentialName>().unwrap());
        let place = Place::new("/mnt/token".into(), None, "the script".to_owned());
        let (release, held) = mpsc::channel::<()>();
        let hangs = move |_: &Place| held.recv().map(|()| 1).map_err(|error| error.to_string());
        let mine = (&mine, &place, &clock);
        let given_up = async { tokio::join!(readings.read(mine, hangs), async { clock.advance(LONGEST) }).0 };
        let given_up =
            tokio::time::timeout(Duration::from_mins(1), given_up).await.expect("it is waited for");
        let given_up = given_up.unwrap_err();
        assert!(given_up.contains("/mnt/token is not read within 1s"), "{given_up}");

        let again = readings.read(mine, |_: &Place| -> Result<u8, String> { panic!("it was begun twice") });
        assert_eq!(again.await.unwrap_err(), given_up);
        assert_eq!(readings.read((&other, &place, &clock), |_| Ok(2)).await, Ok(2), "of another credential");
        let elsewhere = Place::new("/run/token".into(), None, "the script".to_owned());
        assert_eq!(readings.read((mine.0, &elsewhere, &clock), |_| Ok(3)).await, Ok(3), "declared anew");

        release.send(()).unwrap();
        let mut last = readings.read(mine, |_: &Place| Ok(4)).await;
        for _ in 0..10_000 {
            if last == Ok(4) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            last = readings.read(mine, |_: &Place| Ok(4)).await;
        }
        assert_eq!(last, Ok(4), "it has ended, and is read again");
    }
}
