//! Rows of chunked bodies, and a naive decoder as the model.

use proptest::prelude::*;

use super::*;

/// Decodes `wire` in pieces of the given sizes (cycled), each in place; returns
/// the payload and the bytes consumed, or the status of the refusal.
fn decode_in_pieces(wire: &[u8], pieces: &[usize]) -> Result<(Vec<u8>, usize, bool), u16> {
    let mut decoder = ChunkDecoder::default();
    let (mut payload, mut taken) = (Vec::new(), 0);
    let mut sizes = pieces.iter().copied().cycle();
    while taken < wire.len() && !decoder.is_end() {
        let piece_bytes = sizes.next().unwrap_or(1).clamp(1, wire.len() - taken);
        let mut piece = wire[taken..taken + piece_bytes].to_vec();
        let decoded = decoder
            .decode(&mut piece)
            .map_err(|refusal| refusal.status.code())?;
        assert!(decoded.is_end || decoded.consumed == piece_bytes);
        payload.extend_from_slice(&piece[..decoded.produced]);
        taken += decoded.consumed;
    }
    Ok((payload, taken, decoder.is_end()))
}

fn decode_whole(wire: &[u8]) -> Result<(Vec<u8>, usize, bool), u16> {
    let whole = decode_in_pieces(wire, &[wire.len()]);
    assert_eq!(
        whole,
        decode_in_pieces(wire, &[1]),
        "{}",
        wire.escape_ascii()
    );
    whole
}

/// The model: splits lines with the standard library, knows no bounds, takes
/// only complete and correct messages.
fn decode_naively(mut wire: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    loop {
        let line_end = wire.windows(2).position(|pair| pair == b"\r\n")?;
        let size = wire[..line_end].split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        wire = &wire[line_end + 2..];
        if size == 0 {
            return Some(payload);
        }
        payload.extend_from_slice(wire.get(..size)?);
        wire = wire.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[test]
fn chunks_come_out_as_one_run_and_the_next_request_stays() {
    let wire = b"5\r\nhello\r\n6;a=b;c=\"d\"\r\n world\r\n0\r\nA: b\r\nB:\r\n\r\nGET /";
    let (payload, taken, is_end) = decode_whole(wire).unwrap();
    assert_eq!(payload, b"hello world");
    assert_eq!((taken, is_end), (wire.len() - 5, true));
    let (payload, _, is_end) = decode_whole(b"00000005\r\nhello\r\n0;x\r\n\r\n").unwrap();
    assert_eq!((payload.as_slice(), is_end), (b"hello".as_slice(), true));
    assert!(!decode_whole(b"A\r\n0123456789\r\n").unwrap().2);
}

#[test]
fn what_is_not_a_chunk_is_refused() {
    for wire in [
        "\r\n",
        ";a\r\n",
        "g\r\n",
        "+5\r\n",
        "-5\r\n",
        "0x5\r\n",
        "5_0\r\n",
        " 5\r\n",
        "5 \r\n",
        "5 ;a\r\n",
        "5\t\r\n",
        "5\n",
        "5\r5",
        "5\r\nhello5",
        "5\r\nhelloo\r\n",
        "5\r\nhello\n",
        "5\r\nhello\r5",
        "5;a\n",
        "5;a\tb\r\n",
        "5;a\0\r\n",
        "5;a\rb",
        "10000000000000000\r\n",
        "00000000000000005\r\n",
        "0\r\nA\r\n",
        "0\r\n: b\r\n",
        "0\r\nA : b\r\n",
        "0\r\n A: b\r\n",
        "0\r\nA: b\n",
        "0\r\nA: b\r\r\n",
        "0\r\nA: \0\r\n",
        "0\r\n\r\r",
        "0\r\n\n",
        "5,\r\n",
    ] {
        assert_eq!(decode_whole(wire.as_bytes()), Err(400), "{wire:?}");
    }
}

#[test]
fn the_largest_size_is_taken_and_not_believed_to_be_here() {
    let wire = b"ffffffffffffffff\r\nabc";
    assert_eq!(decode_whole(wire), Ok((b"abc".to_vec(), wire.len(), false)));
}

#[test]
fn extensions_are_bounded_over_the_message() {
    let half = usize::try_from(CHUNK_EXTENSION_BYTES_MAX / 2).unwrap();
    let chunk = |bytes: usize| format!("1;{}\r\nx\r\n", "e".repeat(bytes));
    let fits = format!("{}{}", chunk(half), chunk(half));
    assert!(decode_whole(fits.as_bytes()).is_ok());
    assert_eq!(decode_whole(format!("{fits}1;e").as_bytes()), Err(400));
}

#[test]
fn trailers_are_bounded() {
    let bound = usize::try_from(TRAILER_BYTES_MAX).unwrap();
    // "A:" + value + CRLF + CRLF
    let trailer = |bytes: usize| format!("0\r\nA:{}\r\n\r\n", "v".repeat(bytes - 6));
    assert!(decode_whole(trailer(bound).as_bytes()).unwrap().2);
    assert_eq!(decode_whole(trailer(bound + 1).as_bytes()), Err(431));
}

/// A message of the given chunks, in the forms that clients send.
fn encode(chunks: &[(Vec<u8>, u8)]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (data, form) in chunks.iter().filter(|(data, _)| !data.is_empty()) {
        let size = match form % 4 {
            0 => format!("{:x}", data.len()),
            1 => format!("{:X}", data.len()),
            2 => format!("{:08x}", data.len()),
            _ => format!("{:x};name=\"value\"", data.len()),
        };
        wire.extend_from_slice(size.as_bytes());
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(data);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

fn chunks() -> impl Strategy<Value = Vec<(Vec<u8>, u8)>> {
    let data = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0')], 0..20),
        (100_usize..3000).prop_map(|count| vec![b'd'; count]),
    ];
    prop::collection::vec((data, any::<u8>()), 0..12)
}

proptest! {
    #[test]
    fn any_split_decodes_as_the_model_does(
        chunks in chunks(),
        pieces in prop::collection::vec(1_usize..400, 1..20),
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let message = encode(&chunks);
        let wire = [message.as_slice(), &rest].concat();
        let (payload, taken, is_end) = decode_in_pieces(&wire, &pieces).unwrap();
        prop_assert!(is_end);
        prop_assert_eq!(taken, message.len());
        prop_assert_eq!(Some(payload), decode_naively(&message));
    }

    #[test]
    fn one_changed_byte_gives_the_same_verdict_however_split(
        chunks in chunks(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        pieces in prop::collection::vec(1_usize..50, 1..20),
    ) {
        let mut wire = encode(&chunks);
        let at = at.index(wire.len());
        wire[at] = byte;
        let whole = decode_in_pieces(&wire, &[wire.len()]);
        prop_assert_eq!(&whole, &decode_in_pieces(&wire, &pieces));
        if let Ok((payload, taken, true)) = whole {
            prop_assert_eq!(Some(payload), decode_naively(&wire[..taken]));
        }
    }
}
