use novasphere_wire::websocket::frame::FrameRole;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};

use super::*;
use crate::{
    peer::RawPeer,
    registry::{Registry, SessionId, StreamInfo, Transport},
    websocket::WebSocket,
};

/// What a pipe between the relay and a test's peer holds.
const PIPE: usize = 1024;

struct Fixture {
    registry: Registry,
    counters: Arc<StreamCounters>,
    viewer: DuplexStream,
    target: DuplexStream,
    relay: JoinHandle<StreamEnd>,
}

impl Fixture {
    fn raw(rules: Rules, deadlines: Deadlines) -> Self {
        Self::new(|viewer| Box::new(RawPeer(viewer)), Protocol::Vnc, rules, deadlines)
    }

    fn new(
        peer: impl Fn(DuplexStream) -> Box<dyn Peer>,
        protocol: Protocol,
        rules: Rules,
        deadlines: Deadlines,
    ) -> Self {
        let registry = Registry::default();
        let mut handle = registry.open(StreamInfo {
            session: SessionId {
                namespace: "team".into(),
                name: "a".into(),
                uid: "1".into(),
            },
            connection: String::new(),
            user: "ann".into(),
            target: "VmAccess/web".into(),
            client: [192, 0, 2, 1].into(),
            transport: Transport::WebSocket,
            protocol,
        });
        let (viewer, near_viewer) = duplex(PIPE);
        let (target, near_target) = duplex(PIPE);
        let counters = Arc::clone(&handle.stream().counters);
        let filter = ViewerFilter::new(protocol, rules);
        let relay = Relay::new(
            peer(near_viewer),
            Box::new(RawPeer(near_target)),
            filter,
            deadlines,
            Arc::clone(&counters),
        );
        let relay = tokio::spawn(async move {
            let ended = relay.run(&mut handle).await;
            drop(handle);
            let end = ended.end.clone();
            ended.close().await;
            end
        });
        Self {
            registry,
            counters,
            viewer,
            target,
            relay,
        }
    }

    async fn end(self) -> EndReason {
        self.relay.await.unwrap().reason
    }
}

fn websocket(viewer: DuplexStream) -> Box<dyn Peer> {
    Box::new(WebSocket::new(viewer, bytes::Bytes::new(), FrameRole::Server))
}

async fn read(stream: &mut DuplexStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn read_all(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 65];

#[tokio::test(start_paused = true)]
async fn bytes_pass_both_ways_and_are_counted() {
    let mut stream = Fixture::raw(Rules::CONTROL, Deadlines::default());
    stream.viewer.write_all(&KEY).await.unwrap();
    assert_eq!(read(&mut stream.target, 8).await, KEY);
    let picture = vec![7; 100_000];
    let (written, received) = tokio::join!(
        stream.target.write_all(&picture),
        read(&mut stream.viewer, picture.len())
    );
    written.unwrap();
    assert_eq!(received, picture);
    assert_eq!(
        (stream.counters.to_viewer(), stream.counters.from_viewer()),
        (100_000, 8)
    );
    drop(stream.viewer);
    assert_eq!(stream.relay.await.unwrap().reason, EndReason::ViewerLeft);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_a_broken_message_still_arrives() {
    let mut stream = Fixture::raw(Rules::CONTROL, Deadlines::default());
    stream.viewer.write_all(&[&KEY[..], &[7], &KEY].concat()).await.unwrap();
    assert_eq!(read_all(&mut stream.target).await, KEY);
    assert_eq!(stream.end().await, EndReason::MessageNotAllowed);
}

#[tokio::test(start_paused = true)]
async fn the_last_picture_arrives_when_the_target_ends() {
    let mut stream = Fixture::raw(Rules::CONTROL, Deadlines::default());
    stream.target.write_all(b"last").await.unwrap();
    stream.target.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream.viewer).await, b"last");
    assert_eq!(stream.end().await, EndReason::TargetDisconnected);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_reads_nothing_stops_the_target_and_not_the_keys() {
    let mut stream = Fixture::raw(Rules::CONTROL, Deadlines::default());
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), stream.target.write(&[0; 4096])).await {
        taken += written.unwrap();
    }
    assert!(
        taken <= BUFFER_BYTES + 2 * PIPE,
        "{taken} bytes were taken for a viewer that reads none"
    );
    stream.viewer.write_all(&KEY).await.unwrap();
    assert_eq!(read(&mut stream.target, 8).await, KEY);
    assert_eq!(read(&mut stream.viewer, taken).await.len(), taken, "nothing is lost");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_reads_nothing_stops_the_viewer() {
    let mut stream = Fixture::raw(Rules::CONTROL, Deadlines::default());
    let keys = KEY.repeat(64);
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), stream.viewer.write(&keys)).await {
        taken += written.unwrap();
    }
    assert!(
        taken <= BUFFER_BYTES + 2 * PIPE,
        "{taken} bytes were taken for a target that reads none"
    );
    stream.target.write_all(b"picture").await.unwrap();
    assert_eq!(read(&mut stream.viewer, 7).await, b"picture");
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_their_time_is_over() {
    let start = Instant::now();
    let deadlines = Deadlines {
        expires: Some(start + Duration::from_secs(90)),
        idle: None,
    };
    assert_eq!(Fixture::raw(Rules::CONTROL, deadlines).end().await, EndReason::Expired);
    assert!((Duration::from_secs(90)..Duration::from_secs(96)).contains(&start.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn only_human_input_keeps_a_stream_from_being_idle() {
    let start = Instant::now();
    let deadlines = Deadlines {
        expires: None,
        idle: Some(Duration::from_mins(1)),
    };
    let mut stream = Fixture::raw(Rules::CONTROL, deadlines);
    tokio::time::sleep(Duration::from_secs(40)).await;
    stream.viewer.write_all(&KEY).await.unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    // A viewer asks for updates all the time.
    stream.viewer.write_all(&[3; 10]).await.unwrap();
    stream.target.write_all(b"picture").await.unwrap();
    assert_eq!(read(&mut stream.viewer, 7).await, b"picture");
    let closed = stream.relay;
    let mut rest = Vec::new();
    stream.viewer.read_to_end(&mut rest).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(100), "40 s and the idle timeout");
    drop((stream.viewer, stream.target));
    assert_eq!(closed.await.unwrap().reason, EndReason::Idle);
}

#[tokio::test(start_paused = true)]
async fn what_a_viewer_who_only_views_types_is_no_input_and_shows_that_they_are_there() {
    let deadlines = Deadlines {
        expires: None,
        idle: Some(Duration::from_mins(1)),
    };
    let start = Instant::now();
    let mut stream = Fixture::raw(Rules::VIEW_ONLY, deadlines);
    tokio::time::sleep(Duration::from_secs(40)).await;
    stream.viewer.write_all(&KEY).await.unwrap();
    let mut rest = Vec::new();
    stream.viewer.read_to_end(&mut rest).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(100), "40 s and the idle timeout");
    assert_eq!(stream.counters.last_input(), stream.counters.opened());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_ended_cuts_the_target_at_once_and_tells_the_viewer() {
    let mut stream = Fixture::new(websocket, Protocol::Vnc, Rules::CONTROL, Deadlines::default());
    let start = Instant::now();
    assert_eq!(stream.registry.end_where(|_| true, EndReason::Revoked), 1);
    assert_eq!(
        read(&mut stream.viewer, 11).await,
        [&[0x88, 9, 0x0f, 0xa1][..], b"Revoked"].concat()
    );
    assert_eq!(read_all(&mut stream.target).await, b"");
    assert!(start.elapsed() < Duration::from_millis(5));
    assert_eq!(stream.registry.count(), 0);
    drop((stream.viewer, stream.target));
    assert_eq!(stream.relay.await.unwrap().reason, EndReason::Revoked);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_reads_nothing_is_cut_all_the_same() {
    let mut stream = Fixture::new(websocket, Protocol::Vnc, Rules::CONTROL, Deadlines::default());
    let _ = timeout(Duration::from_secs(1), stream.target.write_all(&vec![0; 200_000])).await;
    let start = Instant::now();
    stream.registry.end_where(|_| true, EndReason::Deleted);
    drop(stream.target);
    assert_eq!(stream.relay.await.unwrap().reason, EndReason::Deleted);
    assert!(start.elapsed() <= FLUSH_TIMEOUT + CLOSE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn viewers_are_pinged_and_missed() {
    let mut stream = Fixture::new(websocket, Protocol::Serial, Rules::CONTROL, Deadlines::default());
    let start = Instant::now();
    for round in 1..=3 {
        assert_eq!(read(&mut stream.viewer, 2).await, [0x89, 0]);
        assert_eq!(start.elapsed(), PING_INTERVAL * round);
        // A masked pong without payload.
        stream.viewer.write_all(&[0x8a, 0x80, 1, 2, 3, 4]).await.unwrap();
    }
    assert_eq!(read(&mut stream.viewer, 6).await, [0x89, 0, 0x89, 0, 0x89, 0]);
    let mut rest = Vec::new();
    stream.viewer.read_to_end(&mut rest).await.unwrap();
    assert!(start.elapsed() <= PING_INTERVAL * 7, "{:?}", start.elapsed());
    drop((stream.viewer, stream.target));
    assert_eq!(stream.relay.await.unwrap().reason, EndReason::ViewerLost);
}

#[tokio::test(start_paused = true)]
async fn pings_of_a_viewer_are_answered_between_frames() {
    let mut stream = Fixture::new(websocket, Protocol::Serial, Rules::CONTROL, Deadlines::default());
    stream
        .viewer
        .write_all(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i'])
        .await
        .unwrap();
    assert_eq!(read(&mut stream.viewer, 4).await, [0x8a, 2, b'h', b'i']);
    stream.target.write_all(b"login:").await.unwrap();
    assert_eq!(read(&mut stream.viewer, 8).await, [&[0x82, 6][..], b"login:"].concat());
    stream.viewer.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(read(&mut stream.viewer, 4).await[0], 0x88);
    drop((stream.viewer, stream.target));
    assert_eq!(stream.relay.await.unwrap().reason, EndReason::ViewerLeft);
}

/// A viewer of SSH who sends a message after each of these pauses.
async fn ssh_with_messages(pauses: impl IntoIterator<Item = Duration>) -> (Fixture, Vec<u8>) {
    let deadlines = Deadlines {
        idle: Some(Duration::from_mins(1)),
        ..Deadlines::default()
    };
    let mut stream = Fixture::new(
        |viewer| Box::new(RawPeer(viewer)),
        Protocol::Ssh,
        Rules::CONTROL,
        deadlines,
    );
    let (message, mut sent) = ([0xa5; 36], Vec::new());
    for pause in pauses {
        tokio::time::sleep(pause).await;
        if stream.relay.is_finished() {
            break;
        }
        stream.viewer.write_all(&message).await.unwrap();
        sent.extend_from_slice(&read(&mut stream.target, message.len()).await);
    }
    (stream, sent)
}

#[tokio::test(start_paused = true)]
async fn ssh_passes_as_it_is() {
    let mut stream = Fixture::new(
        |viewer| Box::new(RawPeer(viewer)),
        Protocol::Ssh,
        Rules::CONTROL,
        Deadlines::default(),
    );
    let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
    stream.viewer.write_all(&bytes).await.unwrap();
    assert_eq!(read(&mut stream.target, bytes.len()).await, bytes);
    stream.target.write_all(&bytes).await.unwrap();
    assert_eq!(read(&mut stream.viewer, bytes.len()).await, bytes);
}

#[tokio::test(start_paused = true)]
async fn an_ssh_client_that_only_keeps_alive_is_idle() {
    let (stream, sent) = ssh_with_messages([Duration::from_secs(25); 100]).await;
    assert_eq!(sent.len(), 2 * 36);
    assert_eq!(stream.counters.last_input(), stream.counters.opened());
    assert_eq!(stream.end().await, EndReason::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_types_by_ssh_is_not_idle() {
    let (stream, sent) = ssh_with_messages([Duration::from_secs(2); 100]).await;
    assert_eq!(sent.len(), 100 * 36);
    assert!(stream.counters.last_input() > stream.counters.opened() + Duration::from_secs(190));
    drop(stream.viewer);
    assert_eq!(stream.relay.await.unwrap().reason, EndReason::ViewerLeft);
}
