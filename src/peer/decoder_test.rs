//! Tests of frames: however they are cut they come out alike, and damage is seen.

use super::*;

use proptest::prelude::*;

use crate::base::limits::PEER_PAYLOAD_BYTES_MAX;
use crate::peer::frame::{FrameKind, decode_refusal, encode_refusal};

fn encode(frame: &Frame) -> Vec<u8> {
    [frame.header().as_slice(), &frame.payload].concat()
}

/// Feeds `bytes` in pieces of the given sizes, over and over.
fn decode(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new(PEER_PAYLOAD_BYTES_MAX);
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let space = decoder.space();
        let wanted = pieces.next().copied().unwrap_or(usize::MAX).max(1);
        let count = wanted.min(space.len()).min(rest.len());
        assert!(count > 0, "there is always space");
        space[..count].copy_from_slice(&rest[..count]);
        decoder.filled(count);
        rest = &rest[count..];
        while let Some(frame) = decoder.take()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let kind = prop::sample::select(vec![
        FrameKind::Call,
        FrameKind::Answer,
        FrameKind::Refusal,
        FrameKind::Ping,
        FrameKind::Pong,
    ]);
    let small = prop::collection::vec(any::<u8>(), 0..200);
    let large = (0..200_000_usize, any::<u8>()).prop_map(|(count, byte)| vec![byte; count]);
    let payload = prop_oneof![4 => small, 1 => large];
    let fields = (kind, any::<u16>(), any::<u64>(), payload);
    fields.prop_map(|(kind, service, id, payload)| Frame {
        kind,
        service,
        id,
        payload: payload.into(),
    })
}

#[test]
fn a_frame_is_what_the_drawing_says() {
    let frame = Frame {
        kind: FrameKind::Call,
        service: 0x0102,
        id: 0x0304,
        payload: Bytes::from_static(b"xy"),
    };
    let mut drawn = vec![22, 0, 0, 0, 1, 1, 2, 1, 4, 3, 0, 0, 0, 0, 0, 0];
    let mut checksum = Hasher::new();
    checksum.update(&drawn);
    checksum.update(b"xy");
    drawn.extend(checksum.finalize().to_le_bytes());
    drawn.extend(b"xy");
    assert_eq!(encode(&frame), drawn);
    assert_eq!(decode(&drawn, &[]), Ok(vec![frame]));
}

#[test]
fn a_header_out_of_bounds_is_refused_before_its_payload_comes() {
    let frame = Frame {
        kind: FrameKind::Ping,
        service: 0,
        id: 1,
        payload: Bytes::new(),
    };
    let good = frame.header();
    let with = |place: usize, bytes: &[u8]| {
        let mut bad = good;
        bad[place..place + bytes.len()].copy_from_slice(bytes);
        decode(&bad, &[])
    };
    let length = |length_bytes: u32| FrameError::Length { length_bytes };
    let longest = PEER_PAYLOAD_BYTES_MAX + 20;
    assert_eq!(with(0, &[19]), Err(length(19)));
    let above = (longest + 1).to_le_bytes();
    assert_eq!(with(0, &above), Err(length(longest + 1)));
    assert_eq!(with(0, &longest.to_le_bytes()), Ok(vec![]));
    assert_eq!(with(4, &[2]), Err(FrameError::Version { version: 2 }));
    assert_eq!(with(5, &[0]), Err(FrameError::Kind { code: 0 }));
    assert_eq!(with(5, &[6]), Err(FrameError::Kind { code: 6 }));
    assert_eq!(with(16, &[0, 0, 0, 0]), Err(FrameError::Checksum));
}

#[test]
fn the_largest_frame_comes_out_whole() {
    let payload = vec![7; to_usize(PEER_PAYLOAD_BYTES_MAX)];
    let frame = Frame {
        kind: FrameKind::Answer,
        service: 3,
        id: u64::MAX,
        payload: payload.into(),
    };
    assert_eq!(decode(&encode(&frame), &[100_001]), Ok(vec![frame]));
}

#[test]
fn a_refusal_reads_back_and_a_long_reason_is_cut_between_characters() {
    let payload = encode_refusal(7, "too much");
    assert_eq!(decode_refusal(&payload), Ok((7, "too much".into())));
    let (code, reason) = decode_refusal(&encode_refusal(1, &"ä".repeat(5000))).unwrap();
    assert_eq!((code, reason.len()), (1, 4096));
    assert!(decode_refusal(&[]).is_err());
    assert!(decode_refusal(&[1, 0xff]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_frames(
        frames in prop::collection::vec(any_frame(), 1..6),
        pieces in prop::collection::vec(1..100_000_usize, 1..8),
        is_dripping: bool,
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        let pieces = if is_dripping && bytes.len() < 5000 { vec![1] } else { pieces };
        prop_assert_eq!(decode(&bytes, &pieces), Ok(frames));
    }

    #[test]
    fn a_flipped_bit_never_passes(
        frames in prop::collection::vec(any_frame(), 1..4),
        place: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let mut bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        // Frames before the flipped bit come out; the one it is in and all behind do not.
        let mut start = 0;
        let is_before = |frame: &&Frame| {
            start += HEADER_BYTES + frame.payload.len();
            start <= place
        };
        let before: Vec<_> = frames.iter().take_while(is_before).cloned().collect();
        // `Ok` with those before: the damaged length asks for more than came.
        if let Ok(out) = decode(&bytes, &[]) {
            prop_assert_eq!(out, before);
        }
    }

    #[test]
    fn any_bytes_end_in_frames_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        pieces in prop::collection::vec(1..300_usize, 1..4),
    ) {
        let whole = decode(&bytes, &[]);
        prop_assert_eq!(decode(&bytes, &pieces).is_err(), whole.is_err());
    }
}

#[test]
fn a_frame_beyond_the_bound_of_its_connection_is_refused_by_its_header() {
    let frame = |bytes: usize| Frame {
        kind: FrameKind::Call,
        service: 7,
        id: 1,
        payload: vec![0; bytes].into(),
    };
    for (bytes, is_taken) in [(4096, true), (4097, false), (1 << 20, false)] {
        let frame = frame(bytes);
        let mut decoder = Decoder::new(4096);
        let sent = encode(&frame);
        let first = sent.len().min(HEADER_BYTES + 4096);
        decoder.space()[..first].copy_from_slice(&sent[..first]);
        decoder.filled(first);
        let taken = decoder.take();
        assert_eq!(taken.is_ok(), is_taken, "{bytes}");
        assert!(decoder.large.is_none());
    }
}
