//! Both forms of the header: as proxies send them, cut anywhere, and damaged.

use proptest::prelude::*;

use super::*;

fn text(line: &str) -> Result<Option<Header>, HeaderError> {
    Header::parse(format!("{line}\r\nGET / HTTP/1.1\r\n").as_bytes())
}

fn behalf(line: &str) -> Behalf {
    let header = text(line).unwrap().unwrap();
    assert_eq!(header.length_bytes, line.len() + 2);
    header.behalf
}

fn client(address: &str) -> Behalf {
    Behalf::Client(address.parse().unwrap())
}

fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, content].concat()
}

const V4: [u8; 12] = [192, 0, 2, 7, 192, 0, 2, 1, 0xc8, 0x22, 1, 0xbb];

#[test]
fn a_line_names_the_client() {
    let four = behalf("PROXY TCP4 192.0.2.7 192.0.2.1 51234 443");
    assert_eq!(four, client("192.0.2.7:51234"));
    let six = behalf("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535");
    assert_eq!(six, client("[2001:db8::7]:1"));
    // A client that is somewhere, and not the proxy.
    for line in ["PROXY UNKNOWN", "PROXY UNKNOWN ffff::1 whatever 1 2"] {
        assert_eq!(behalf(line), Behalf::Unknown);
    }
}

#[test]
fn a_line_that_is_not_exact_is_refused() {
    let (malformed, missing) = (Err(HeaderError::Malformed), Err(HeaderError::Missing));
    for line in [
        "PROXY TCP4 192.0.2.7 192.0.2.1 51234",
        "PROXY TCP4 192.0.2.7 192.0.2.1 51234 443 ",
        "PROXY TCP4  192.0.2.7 192.0.2.1 51234 443",
        "PROXY TCP4 192.0.2.7 192.0.2.1 +51234 443",
        "PROXY TCP4 192.0.2.7 192.0.2.1 051234 443",
        "PROXY TCP4 192.0.2.7 192.0.2.1 65536 443",
        "PROXY TCP4 192.0.2.007 192.0.2.1 1 443",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2",
        "PROXY TCP6 192.0.2.7 192.0.2.1 1 2",
        "PROXY TCP5 192.0.2.7 192.0.2.1 1 2",
        "PROXY UDP4 192.0.2.7 192.0.2.1 1 2",
        "PROXY UNKNOWNS",
        "PROXY  TCP4 192.0.2.7 192.0.2.1 1 2",
        "PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n",
    ] {
        assert_eq!(text(line), malformed, "{line}");
    }
    for line in ["GET / HTTP/1.1", "proxy TCP4", "PROXY\tTCP4", "\u{16}\u{3}"] {
        assert_eq!(text(line), missing, "{line}");
    }
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'a'; 200]].concat();
    assert_eq!(Header::parse(&endless), Err(HeaderError::TooLong));
}

#[test]
fn a_binary_header_names_the_client() {
    let header = binary(0x21, 0x11, &V4);
    let expected = Header {
        behalf: client("192.0.2.7:51234"),
        length_bytes: 28,
    };
    assert_eq!(Header::parse(&header), Ok(Some(expected)));
    let behind = [&header[..], b"more"].concat();
    assert_eq!(Header::parse(&behind), Ok(Some(expected)));
    let six = [[0x20; 32].as_slice(), &[0, 1, 0, 2, 9, 9, 9]].concat();
    let read = Header::parse(&binary(0x21, 0x21, &six)).unwrap().unwrap();
    assert_eq!(read.length_bytes, 16 + six.len());
    assert!(matches!(read.behalf, Behalf::Client(client) if client.port() == 1));
    for (header, behalf) in [
        (binary(0x20, 0x11, &V4), Behalf::Itself),
        (binary(0x20, 0, &[]), Behalf::Itself),
        (binary(0x21, 0, &[1, 2, 3]), Behalf::Unknown),
        (binary(0x21, 0x31, &[0; 216]), Behalf::Unknown),
    ] {
        let read = Header::parse(&header).unwrap().unwrap();
        assert_eq!((read.behalf, read.length_bytes), (behalf, header.len()));
    }
}

#[test]
fn a_binary_header_that_is_not_exact_is_refused() {
    let rows = [
        (binary(0x11, 0x11, &V4), HeaderError::Malformed),
        (binary(0x22, 0x11, &V4), HeaderError::Malformed),
        (binary(0x21, 0x11, &V4[..11]), HeaderError::Malformed),
        (binary(0x21, 0x21, &V4), HeaderError::Malformed),
        (binary(0x21, 0x41, &V4), HeaderError::Malformed),
        (binary(0x21, 0x12, &V4), HeaderError::NotTcp),
        (binary(0x21, 0x11, &[0; 4090]), HeaderError::TooLong),
    ];
    for (header, error) in rows {
        assert_eq!(Header::parse(&header), Err(error));
    }
}

proptest! {
    #[test]
    fn a_header_cut_anywhere_asks_for_more(
        is_text in any::<bool>(),
        address in any::<[u8; 12]>(),
        port in any::<u16>(),
    ) {
        let header = if is_text {
            let [a, b, c, d, e, f, ..] = address;
            format!("PROXY TCP4 {a}.{b}.{c}.{d} {e}.{f}.0.1 {port} 443\r\n").into_bytes()
        } else {
            binary(0x21, 0x11, &address)
        };
        for cut in 0..header.len() {
            prop_assert_eq!(Header::parse(&header[..cut]), Ok(None));
        }
        prop_assert!(Header::parse(&header).unwrap().is_some());
    }

    #[test]
    fn any_bytes_are_a_header_within_bounds_or_refused(
        form in 0_usize..3,
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let front: [&[u8]; 3] = [b"", b"PROXY TCP", &SIGNATURE];
        let bytes = [front[form], &tail].concat();
        match Header::parse(&bytes) {
            Ok(Some(header)) => prop_assert!(header.length_bytes <= bytes.len()),
            Ok(None) => prop_assert!(bytes.len() < HEADER_BYTES_MAX),
            Err(_) => {}
        }
    }
}
