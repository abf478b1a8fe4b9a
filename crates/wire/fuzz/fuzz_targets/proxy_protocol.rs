//! Connections that begin with a header of the PROXY protocol.

#![no_main]

use libfuzzer_sys::fuzz_target;
use novasphere_wire::proxy_protocol::{HEADER_BYTES_LIMIT, ProxyHeaderProgress, ProxyHeaderReader, begins_with_header};

fuzz_target!(|data: &[u8]| {
    let (mut reader, mut taken) = (ProxyHeaderReader::default(), 0);
    loop {
        let want = reader.want();
        assert!(want > 0, "a header that is not over wants bytes");
        let Some(part) = data.get(taken..taken + want) else {
            break;
        };
        taken += want;
        assert!(taken <= HEADER_BYTES_LIMIT, "no more is read");
        match reader.receive(part) {
            Ok(ProxyHeaderProgress::More) => {}
            Ok(ProxyHeaderProgress::Client(client)) => {
                assert_eq!(client, client.to_canonical());
                assert!(begins_with_header(data), "only a header names a client");
                break;
            }
            Ok(ProxyHeaderProgress::Proxy) | Err(_) => break,
        }
    }
});
