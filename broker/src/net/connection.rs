//! One connection: reads frames ahead, answers in request order.
//!
//! Two tasks share a bounded queue. The reader takes a frame, runs the part of its handler that fixes order (for
//! produce: checks and staging), and queues what is left; the writer awaits the queue's head and sends. Only
//! produce requests run ahead of the answers before them, and only behind other produce requests: everything
//! else runs when it reaches the head, so a client that pipelines sees exactly what a broker that serves one
//! request at a time would show it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use reactor::sync::Notify;
use reactor::{Instant, Pace, Priority, Shutdown, TcpStream};
use tracing::{debug, info};

use crate::handlers::reply::Response;
use crate::handlers::{self, Begun, Context, Peer, Refusal, Reply};
use crate::limits;
use crate::metrics::Closed;
use crate::net::connections::{Activity, Connections};
use crate::net::frame_reader::{FrameError, FrameReader};
use crate::net::send;

/// What the reader leaves for the writer.
struct Queue {
    replies: RefCell<VecDeque<Reply>>,
    /// Requests in the queue, or at its head in the writer's hands, that are not produce requests.
    serial: Cell<usize>,
    /// Whether the request in the writer's hands is one of them.
    in_hand_is_serial: Cell<bool>,
    changed: Notify,
    /// The reader has ended: the writer sends what is queued and ends too.
    finished: Cell<bool>,
    /// The writer has ended: nothing more can be answered.
    broken: Cell<bool>,
    /// Until when nothing is read, and no request begun, because of a quota (KIP-219).
    muted_until: Cell<Option<Instant>>,
}

/// Serves `stream` until either side closes it.
pub async fn serve(context: Rc<Context>, stream: Rc<TcpStream>, peer: SocketAddr, all: Rc<Connections>) {
    let registered = all.register(stream.clone(), peer);
    let queue = Rc::new(Queue {
        replies: RefCell::new(VecDeque::new()),
        serial: Cell::new(0),
        in_hand_is_serial: Cell::new(false),
        changed: Notify::new(),
        finished: Cell::new(false),
        broken: Cell::new(false),
        muted_until: Cell::new(None),
    });
    let writer = reactor::spawn(
        Priority::Latency,
        "connection-writer",
        write(context.clone(), stream.clone(), queue.clone(), registered.activity.clone(), peer),
    );
    let reading = Reading { context: &context, queue: &queue, activity: &registered.activity, all: &all };
    read(reading, &stream, peer).await;
    queue.finished.set(true);
    queue.changed.notify_all();
    writer.await;
    let _ = stream.shutdown(Shutdown::Both);
}

/// What the reader works with.
struct Reading<'a> {
    context: &'a Rc<Context>,
    queue: &'a Queue,
    activity: &'a Activity,
    all: &'a Connections,
}

async fn read(reading: Reading<'_>, stream: &Rc<TcpStream>, peer: SocketAddr) {
    let Reading { context, queue, activity, all } = reading;
    let share = context.shard.request_budget.share(stream.clone(), peer);
    let frame_bytes_max = context.config.network.socket_request_max_bytes as usize;
    let mut reader = FrameReader::new(stream.clone(), share, frame_bytes_max, context.shard.clone());
    let peer = Peer { address: peer };
    // Very many small requests may have come with one receive, and none of them may have to wait.
    let mut pace = Pace::every(limits::FRAMES_STEP);
    loop {
        pace.step().await;
        queue.unmuted(context).await;
        let frame = match reader.next(|| activity.frame_started()).await {
            Ok(frame) => frame,
            Err(FrameError::Closed) => return,
            Err(FrameError::Io(error)) => {
                debug!(peer = %peer.address, %error, "connection broke");
                return;
            }
            Err(FrameError::Length(length)) => {
                context.shard.metrics.closed(Closed::Malformed);
                if context.shard.log_pace.allows() {
                    info!(peer = %peer.address, length, "frame length refused, connection closed");
                }
                return;
            }
        };
        if all.is_stopping() {
            return;
        }
        activity.frame_read();
        context.shard.metrics.received_bytes.add(frame.bytes.len() as u64 + 4);
        let ahead = handlers::may_run_ahead(&frame.bytes);
        queue.wait_until(|| queue.has_room() && !(ahead && queue.serial.get() > 0)).await;
        if queue.broken.get() {
            return;
        }
        match handlers::begin(context, peer, frame.bytes, frame.charge).await {
            Ok(Begun { reply, throttle }) => {
                queue.mute(throttle);
                match reply {
                    Some(reply) => queue.push(reply),
                    None => activity.answered(),
                }
            }
            Err(refusal) => {
                refused(context, peer.address, &refusal);
                return;
            }
        }
    }
}

fn refused(context: &Context, peer: SocketAddr, refusal: &Refusal) {
    context.shard.metrics.closed(Closed::Malformed);
    if context.shard.log_pace.allows() {
        info!(%peer, %refusal, "request refused, connection closed");
    }
}

async fn write(
    context: Rc<Context>,
    stream: Rc<TcpStream>,
    queue: Rc<Queue>,
    activity: Rc<Activity>,
    peer: SocketAddr,
) {
    let metrics = &context.shard.metrics;
    let mut answers: Vec<Response> = Vec::new();
    let mut open = true;
    while open {
        queue.wait_until(|| !queue.is_empty() || queue.finished.get()).await;
        let Some(mut next) = queue.pop() else { break };
        let mut bytes = 0;
        loop {
            if next.is_serial() {
                queue.unmuted(&context).await;
            }
            match next.finish(metrics).await {
                Ok(answer) => {
                    bytes += answer.bytes();
                    queue.mute(answer.throttle);
                    answers.push(answer);
                }
                Err(refusal) => {
                    refused(&context, peer, &refusal);
                    open = false;
                }
            }
            queue.done();
            activity.answered();
            // Answers that are ready behind the head leave in the same call.
            match queue.pop_ready() {
                Some(ready) if open && bytes < limits::SEND_BATCH_BYTES => next = ready,
                Some(later) => break queue.put_back(later),
                None => break,
            }
        }
        match send::send_all(&stream, &mut answers, &context.shard.bulk_sends).await {
            Ok(sent) => metrics.sent_bytes.add(sent),
            Err(error) => {
                debug!(%peer, %error, "answer not sent");
                open = false;
            }
        }
    }
    queue.fail();
    // The reader may sit in a receive: this ends it.
    let _ = stream.shutdown(Shutdown::Both);
}

impl Queue {
    async fn wait_until(&self, condition: impl Fn() -> bool) {
        while !condition() && !self.broken.get() {
            self.changed.notified().await;
        }
    }

    /// Nothing more from this client for so long.
    fn mute(&self, throttle: Duration) {
        if throttle > Duration::ZERO {
            let until = reactor::now() + throttle;
            self.muted_until.set(Some(self.muted_until.get().map_or(until, |known| known.max(until))));
        }
    }

    /// Waits until the client may go on.
    async fn unmuted(&self, context: &Context) {
        while let Some(until) = self.muted_until.get() {
            let left = until.since(reactor::now());
            if left.is_zero() {
                self.muted_until.set(None);
            } else if self.broken.get() || context.stopping.has_begun() {
                return;
            } else {
                reactor::sleep(left.min(limits::THROTTLE_STEP)).await;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.replies.borrow().len() < limits::CONNECTION_REQUESTS_MAX
    }

    fn is_empty(&self) -> bool {
        self.replies.borrow().is_empty()
    }

    fn push(&self, reply: Reply) {
        if reply.is_serial() {
            self.serial.set(self.serial.get() + 1);
        }
        self.replies.borrow_mut().push_back(reply);
        self.changed.notify_all();
    }

    fn pop(&self) -> Option<Reply> {
        let reply = self.replies.borrow_mut().pop_front()?;
        self.in_hand_is_serial.set(reply.is_serial());
        Some(reply)
    }

    /// The head, if it is an answer that needs no more waiting.
    fn pop_ready(&self) -> Option<Reply> {
        if !self.replies.borrow_mut().front_mut().is_some_and(Reply::is_ready) {
            return None;
        }
        self.pop()
    }

    fn put_back(&self, reply: Reply) {
        self.replies.borrow_mut().push_front(reply);
        self.in_hand_is_serial.set(false);
    }

    /// The reply in the writer's hands is answered.
    fn done(&self) {
        if self.in_hand_is_serial.replace(false) {
            self.serial.set(self.serial.get() - 1);
        }
        self.changed.notify_all();
    }

    /// Nothing more can be answered.
    fn fail(&self) {
        self.broken.set(true);
        self.replies.borrow_mut().clear();
        self.changed.notify_all();
    }
}
