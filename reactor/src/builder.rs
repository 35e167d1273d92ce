//! Starting a reactor, on a thread of its own or on the calling one.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::executor;
use crate::limits::RING_ENTRIES;
use crate::ring::DriverOptions;

/// How a reactor is to run.
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    cpu: Option<usize>,
    spin: Duration,
    options: DriverOptions,
}

impl Builder {
    /// A reactor with the given thread name, not pinned, sleeping at once when idle.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            cpu: None,
            spin: Duration::ZERO,
            options: DriverOptions { ring_entries: RING_ENTRIES },
        }
    }

    /// Pins the thread to a core, by the system's number.
    #[must_use]
    pub fn cpu(mut self, cpu: Option<usize>) -> Self {
        self.cpu = cpu;
        self
    }

    /// Entries of the submission queue, rounded up to a power of two by the kernel. At least 2: a write and its sync go in
    /// together.
    #[must_use]
    pub fn ring_entries(mut self, entries: u32) -> Self {
        self.options.ring_entries = entries.max(2);
        self
    }

    /// How long an idle reactor looks for work before it sleeps. Costs a core while it does.
    #[must_use]
    pub fn spin(mut self, duration: Duration) -> Self {
        self.spin = duration;
        self
    }

    /// Starts a thread, builds the reactor in it and runs the future that `main` makes. The reactor ends with that
    /// future: other tasks are dropped then.
    ///
    /// # Errors
    /// The thread cannot be made or pinned, or the kernel refuses the ring.
    pub fn spawn<F, Fut, T>(self, main: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (started, start) = mpsc::channel();
        let name = self.name.clone();
        let thread = thread::Builder::new().name(self.name.clone()).spawn(move || {
            self.run(move || {
                let _ = started.send(());
                main()
            })
        })?;
        if start.recv().is_ok() {
            return Ok(JoinHandle { name, thread });
        }
        match thread.join() {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(io::Error::other("the reactor ended before it began")),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs the reactor on the calling thread until the future that `main` makes has returned.
    ///
    /// # Errors
    /// The thread cannot be pinned, the kernel refuses the ring, or it fails while running.
    ///
    /// # Panics
    /// If a reactor already runs on this thread.
    pub fn run<F, Fut>(self, main: F) -> io::Result<Fut::Output>
    where
        F: FnOnce() -> Fut,
        Fut: Future + 'static,
    {
        if let Some(cpu) = self.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            let reason = format!("cannot pin {} to core {cpu}: no such core, or not allowed", self.name);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        executor::run(&self.options, self.spin, main)
    }
}

/// The cores that this thread may run on, by the system's numbers, ascending: those of the machine, or what a container or
/// `taskset` left of them. Empty if the system does not say.
pub fn allowed_cpus() -> Vec<usize> {
    let mut cpus: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}

/// A reactor's thread.
#[derive(Debug)]
pub struct JoinHandle<T> {
    name: String,
    thread: thread::JoinHandle<io::Result<T>>,
}

impl<T> JoinHandle<T> {
    /// Waits for the reactor's main future and returns its output. Blocks the calling thread.
    ///
    /// # Errors
    /// The ring failed, or the reactor's thread panicked.
    pub fn join(self) -> io::Result<T> {
        self.thread.join().unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic");
            Err(io::Error::other(format!("reactor {} panicked: {text}", self.name)))
        })
    }

    /// True if the reactor has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}
