//! The pool with real sockets.

use std::net::{TcpListener, TcpStream as StdStream};

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

const LIMITS: PoolLimits = PoolLimits {
    idle_timeout: Duration::from_secs(60),
    idle_max: 8,
    open_max: 8,
    waiting_max: 8,
};

/// Returns a pool with one kept connection, and the other end of it.
async fn kept(tasks: &TaskTracker) -> (Arc<Pool>, StdStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let pool = Arc::new(Pool::new(addr, LIMITS));
    let lease = pool.connect(Want::Any, PATIENCE, tasks).await.unwrap();
    let (other, _) = listener.accept().unwrap();
    while !lease.sender.is_ready() {
        tokio::task::yield_now().await;
    }
    lease.give_back();
    (pool, other)
}

#[tokio::test]
async fn a_kept_connection_is_taken_again() {
    let tasks = TaskTracker::new();
    let (pool, _other) = kept(&tasks).await;
    let lease = pool.take(Want::Recent).unwrap();
    assert!(lease.is_reused);
    assert!(pool.take(Want::Any).is_none(), "only once");
}

#[tokio::test]
async fn an_unrepeatable_request_gets_no_connection_that_has_just_closed() {
    let tasks = TaskTracker::new();
    let (pool, other) = kept(&tasks).await;
    drop(other);
    // The runtime has not run since, so hyper doesn't know yet.
    assert!(pool.take(Want::Recent).is_none());
    assert!(pool.take(Want::Any).is_some());
}

#[tokio::test]
async fn an_unrepeatable_request_gets_no_connection_that_idled_long() {
    let tasks = TaskTracker::new();
    let (pool, _other) = kept(&tasks).await;
    for entry in &mut pool.lock().idle {
        entry.since -= IDLE_FOR_UNREPEATABLE + Duration::from_millis(1);
    }
    assert!(pool.take(Want::Recent).is_none());
    assert!(pool.take(Want::Any).is_some());
}

#[tokio::test]
async fn a_closed_or_old_connection_is_swept() {
    let tasks = TaskTracker::new();
    let (pool, _other) = kept(&tasks).await;
    pool.sweep();
    assert_eq!(pool.lock().idle.len(), 1);
    for entry in &mut pool.lock().idle {
        entry.since -= Duration::from_secs(61);
    }
    assert!(pool.take(Want::Any).is_none(), "too old");
    pool.sweep();
    assert_eq!(pool.lock().idle.len(), 0);
}

/// Returns a pool for one connection to `listener`.
fn narrow(listener: &TcpListener) -> Arc<Pool> {
    let limits = PoolLimits {
        open_max: 1,
        ..LIMITS
    };
    Arc::new(Pool::new(listener.local_addr().unwrap(), limits))
}

fn bound() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Lets the tasks of connections run until they have nothing to do.
async fn quiesce() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_idle_connection_that_is_not_wanted_makes_room() {
    let (tasks, listener) = (TaskTracker::new(), bound());
    let pool = narrow(&listener);
    let lease = pool.connect(Want::Any, PATIENCE, &tasks).await.unwrap();
    let _other = listener.accept().unwrap();
    quiesce().await;
    lease.give_back();
    for entry in &mut pool.lock().idle {
        entry.since -= IDLE_FOR_UNREPEATABLE + Duration::from_millis(1);
    }
    let fresh = pool.connect(Want::Recent, PATIENCE, &tasks).await.unwrap();
    assert!(!fresh.is_reused);
    let connections = pool.lock();
    assert_eq!((connections.open, connections.idle.len()), (1, 0));
}

#[tokio::test]
async fn what_is_given_back_goes_to_who_has_waited_longest() {
    let (tasks, listener) = (TaskTracker::new(), bound());
    let pool = narrow(&listener);
    let lease = pool.connect(Want::Any, PATIENCE, &tasks).await.unwrap();
    let _other = listener.accept().unwrap();
    quiesce().await;
    let mut first = Box::pin(pool.connect(Want::Any, PATIENCE, &tasks));
    let mut second = Box::pin(pool.connect(Want::Any, PATIENCE, &tasks));
    for waiting in [&mut first, &mut second] {
        assert!(timeout(Duration::ZERO, waiting).await.is_err());
    }
    lease.give_back();
    assert!(timeout(Duration::ZERO, &mut second).await.is_err());
    let lease = first.await.unwrap();
    assert!(lease.is_reused);
    lease.give_back();
    assert!(second.await.unwrap().is_reused);
}

#[tokio::test]
async fn who_can_not_use_what_was_given_is_first_for_the_room_that_makes() {
    let (tasks, listener) = (TaskTracker::new(), bound());
    let pool = narrow(&listener);
    let lease = pool.connect(Want::Any, PATIENCE, &tasks).await.unwrap();
    let _other = listener.accept().unwrap();
    quiesce().await;
    let mut first = Box::pin(pool.connect(Want::Fresh, PATIENCE, &tasks));
    let mut second = Box::pin(pool.connect(Want::Any, PATIENCE, &tasks));
    for waiting in [&mut first, &mut second] {
        assert!(timeout(Duration::ZERO, waiting).await.is_err());
    }
    lease.give_back();
    let fresh = timeout(PATIENCE, &mut first).await.unwrap().unwrap();
    assert!(!fresh.is_reused);
    assert!(timeout(Duration::ZERO, &mut second).await.is_err());
    drop(fresh);
    assert!(!second.await.unwrap().is_reused, "its end made room");
}

#[tokio::test]
async fn a_connection_that_can_not_be_opened_takes_no_place() {
    let tasks = TaskTracker::new();
    let pool = narrow(&bound());
    for _ in 0..3 {
        let refused = pool.connect(Want::Any, PATIENCE, &tasks).await;
        assert_eq!(refused.unwrap_err(), ConnectError::Refused);
    }
    assert_eq!(pool.lock().open, 0);
}

#[tokio::test]
async fn a_grant_that_nobody_takes_is_passed_on() {
    let (tasks, listener) = (TaskTracker::new(), bound());
    let pool = narrow(&listener);
    let lease = pool.connect(Want::Any, PATIENCE, &tasks).await.unwrap();
    let mut first = Box::pin(pool.connect(Want::Any, PATIENCE, &tasks));
    let mut second = Box::pin(pool.connect(Want::Any, PATIENCE, &tasks));
    for waiting in [&mut first, &mut second] {
        assert!(timeout(Duration::ZERO, waiting).await.is_err());
    }
    drop(lease);
    // The end of the connection has been granted to the first, who leaves without having looked.
    quiesce().await;
    drop(first);
    assert!(timeout(PATIENCE, second).await.unwrap().is_ok());
    assert_eq!(pool.lock().open, 1);
}
